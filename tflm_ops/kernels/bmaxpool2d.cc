#include "tflm_ops/kernels/optimize_for_speed.h"

#include "tflm_ops/kernels/bmaxpool2d.h"

#include "tflm_ops/kernels/shape.h"

namespace bcnet {

const char* PrepareBMaxPool2d(const BMaxPool2dOptions& options, const int32_t input_dims[4],
                              const int32_t output_dims[4], BMaxPool2dParams* params) {
  params->batches = input_dims[0];
  params->words = input_dims[3];
  if (ElementCount(input_dims, 4) == 0)
    return "the input's dimensions must be positive and its size below 2 GiB";
  const char* reason = PrepareWindow(options.padding, input_dims[1], options.filter_height,
                                     options.stride_height, 1, &params->height);
  if (reason != nullptr) return reason;
  reason = PrepareWindow(options.padding, input_dims[2], options.filter_width, options.stride_width,
                         1, &params->width);
  if (reason != nullptr) return reason;
  if (output_dims[0] != params->batches || output_dims[1] != params->height.output ||
      output_dims[2] != params->width.output || output_dims[3] != params->words) {
    return "the output's shape does not follow from the input's shape and the options";
  }
  return nullptr;
}

void BMaxPool2d(const BMaxPool2dParams& params, const uint32_t* input, uint32_t* output) {
  const int32_t words = params.words;
  for (int32_t batch = 0; batch < params.batches; ++batch) {
    for (int32_t y = 0; y < params.height.output; ++y) {
      const TapRange rows = TapsInside(params.height, y);
      const int32_t top = y * params.height.stride - params.height.pad;
      for (int32_t x = 0; x < params.width.output; ++x) {
        const TapRange columns = TapsInside(params.width, x);
        const int32_t left = x * params.width.stride - params.width.pad;
        for (int32_t word = 0; word < words; ++word) {
          uint32_t all = ~uint32_t{0};
          for (int32_t row = rows.begin; row < rows.end; ++row) {
            const uint32_t* line = input + (top + row) * params.width.input * words + word;
            for (int32_t column = columns.begin; column < columns.end; ++column)
              all &= line[(left + column) * words];
          }
          *output++ = all;
        }
      }
    }
    input += params.height.input * params.width.input * words;
  }
}

}  // namespace bcnet
