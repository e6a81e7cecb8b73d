#include "tflm_ops/kernels/optimize_for_speed.h"

#include "tflm_ops/kernels/stem.h"

#include <cstring>

#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/shape.h"

namespace bcnet {
namespace {

int32_t Taps(const StemParams& params) {
  return params.height.filter * params.width.filter * params.channels;
}

// Copies what the window of an output pixel sees to `window`.
void Gather(const StemParams& params, const int8_t* image, int32_t y, int32_t x, int8_t* window) {
  const int32_t channels = params.channels;
  const TapRange rows = TapsInside(params.height, y);
  const TapRange columns = TapsInside(params.width, x);
  const int32_t row_size = params.width.filter * channels;
  const int32_t first_row = y * params.height.stride - params.height.pad;
  const int32_t first_column = x * params.width.stride - params.width.pad;
  const size_t inside = static_cast<size_t>((columns.end - columns.begin) * channels);
  std::memset(window, params.zero_point, static_cast<size_t>(Taps(params)));
  for (int32_t row = rows.begin; row < rows.end; ++row) {
    const int32_t pixel = (first_row + row) * params.width.input + first_column + columns.begin;
    std::memcpy(window + row * row_size + columns.begin * channels, image + pixel * channels,
                inside);
  }
}

}  // namespace

const char* PrepareStem(const StemOptions& options, const int32_t input_dims[4], int32_t zero_point,
                        const int32_t filter_dims[4], int32_t thresholds,
                        const int32_t output_dims[4], StemParams* params) {
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

int32_t StemScratchSize(const StemParams& params) { return Taps(params); }

void Stem(const StemParams& params, const int8_t* input, const int8_t* filter,
          const int32_t* thresholds, void* scratch, uint32_t* output) {
  int8_t* window = static_cast<int8_t*>(scratch);
  const int32_t taps = Taps(params);
  const int32_t words = BitpackedWords(params.filters * params.planes);
  const int32_t image_size = params.height.input * params.width.input * params.channels;
  for (int32_t batch = 0; batch < params.batches; ++batch, input += image_size) {
    for (int32_t y = 0; y < params.height.output; ++y) {
      for (int32_t x = 0; x < params.width.output; ++x, output += words) {
        Gather(params, input, y, x, window);
        std::memset(output, 0, static_cast<size_t>(words) * sizeof(uint32_t));
        const int8_t* weights = filter;
        const int32_t* threshold = thresholds;
        int32_t bit = 0;
        for (int32_t i = 0; i < params.filters; ++i, weights += taps) {
          int32_t sum = 0;
          for (int32_t tap = 0; tap < taps; ++tap) sum += weights[tap] * window[tap];
          for (int32_t plane = 0; plane < params.planes; ++plane, ++bit) {
            if (sum < *threshold++) output[bit / kWordBits] |= uint32_t{1} << bit % kWordBits;
          }
        }
      }
    }
  }
}

}  // namespace bcnet
