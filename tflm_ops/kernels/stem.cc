#include "tflm_ops/kernels/optimize_for_speed.h"

#include "tflm_ops/kernels/stem.h"

#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/shape.h"
#include "tflm_ops/kernels/stem/layout.h"

#if BCNET_STEM_HELIUM
#include "tflm_ops/kernels/stem/helium.h"
#elif BCNET_STEM_DSP
#include "tflm_ops/kernels/stem/dsp.h"
#elif BCNET_STEM_THUMB
#include "tflm_ops/kernels/stem/thumb.h"
#else
#include "tflm_ops/kernels/stem/portable.h"
#endif

namespace bcnet {
namespace {

// Fills the columns that the windows of `count` outputs of row y see, from output x on; `sides` are
// those outside the image.
BCNET_SMALL void FillColumns(const StemParams& params, const stem::Layout& layout,
                             const int8_t* image, int32_t y, int32_t x, int32_t count, bool sides,
                             stem::Form* form) {
  // Windows without columns in common are copied one by one.
  const bool apart = params.width.stride > params.width.filter;
  const int32_t length = (apart ? 0 : (count - 1) * layout.step) + params.width.filter;
  const int32_t top = y * params.height.stride - params.height.pad;
  for (int32_t i = 0; i < (apart ? count : 1); ++i) {
    const int32_t column = i * layout.step;
    const int32_t left = (x + i) * params.width.stride - params.width.pad;
    const int32_t begin = left < 0 ? -left : 0;
    const int32_t rest = params.width.input - left;
    const int32_t end = rest < length ? rest : length;
    const int32_t row_size = params.width.input * params.channels;
    for (int32_t row = 0; row < params.height.filter;) {
      if (top + row < 0 || top + row >= params.height.input) {
        form->Put(row++, column, length, nullptr);
        continue;
      }
      const int32_t rows = params.height.input - (top + row);
      const int8_t* pixels = image + (top + row) * row_size + (left + begin) * params.channels;
      int32_t done = form->PutRows(row, rows, column + begin, end - begin, pixels, row_size);
      for (; done > 0; --done, ++row) {
        if (!sides) continue;
        if (begin > 0) form->Put(row, column, begin, nullptr);
        if (length > end) form->Put(row, column + end, length - end, nullptr);
      }
    }
  }
}

}  // namespace

BCNET_SMALL const char* PrepareStem(const StemOptions& options, const int32_t input_dims[4],
                                    int32_t zero_point, const int32_t filter_dims[4],
                                    int32_t thresholds, const int32_t output_dims[4],
                                    StemParams* params) {
  if (ElementCount(input_dims, 4) == 0 || ElementCount(filter_dims, 4) == 0)
    return "the dimensions of input and filter must be positive, and their sizes below 2 GiB";
  if (filter_dims[3] != input_dims[3]) return "the filter must have as many channels as the input";
  if (zero_point < -128 || zero_point > 127)
    return "the input's zero point must lie between -128 and 127";
  const char* reason = PrepareWindow(options.padding, input_dims[1], filter_dims[1],
                                     options.stride_height, 1, &params->height);
  if (reason != nullptr) return reason;
  reason = PrepareWindow(options.padding, input_dims[2], filter_dims[2], options.stride_width, 1,
                         &params->width);
  if (reason != nullptr) return reason;
  // 2^17 products of 128 * 128 would be 2^31.
  if (ElementCount(filter_dims + 1, 3) >= 1 << 17)
    return "a filter must have fewer than 131072 weights";
  if (thresholds < 1 || thresholds % filter_dims[0] != 0)
    return "there must be as many thresholds for each filter, and at least one";
  if (ElementCount(output_dims, 4) == 0 || output_dims[0] != input_dims[0] ||
      output_dims[1] != params->height.output || output_dims[2] != params->width.output ||
      output_dims[3] != BitpackedWords(thresholds)) {
    return "the output's shape does not follow from those of input and filter, the options and the "
           "number of thresholds";
  }
  params->batches = input_dims[0];
  params->channels = input_dims[3];
  params->filters = filter_dims[0];
  params->planes = thresholds / filter_dims[0];
  params->zero_point = zero_point;
  return nullptr;
}

int32_t StemScratchSize(const StemParams& params) { return stem::LayOut(params).bytes; }

BCNET_SMALL void Stem(const StemParams& params, const int8_t* input, const int8_t* filter,
                      const int32_t* thresholds, void* scratch, uint32_t* output) {
  const stem::Layout layout = stem::LayOut(params);
  stem::Form form(params, layout, scratch);
  const int32_t words = BitpackedWords(params.filters * params.planes);
  const int32_t image_size = params.height.input * params.width.input * params.channels;
  for (int32_t first = 0; first < params.filters; first += layout.group) {
    const int32_t rest = params.filters - first;
    form.SetFilters(filter + first * stem::TapsOf(params), thresholds + first * params.planes,
                    rest < layout.group ? rest : layout.group);
    uint32_t* to = output + first * params.planes / kWordBits;
    const int8_t* image = input;
    bool sides = true;  // they stay where a tile is a whole row
    for (int32_t batch = 0; batch < params.batches; ++batch, image += image_size) {
      for (int32_t y = 0; y < params.height.output; ++y) {
        for (int32_t x = 0; x < params.width.output; x += layout.tile) {
          const int32_t left = params.width.output - x;
          const int32_t count = left < layout.tile ? left : layout.tile;
          FillColumns(params, layout, image, y, x, count, sides, &form);
          form.Run(count, to, words);
          to += count * words;
        }
        sides = layout.tile < params.width.output;
      }
    }
  }
}

}  // namespace bcnet
