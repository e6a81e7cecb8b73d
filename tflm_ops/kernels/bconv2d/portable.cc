// The portable kernel: plain loops, right on every core and compiler.
#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/bconv2d/kernels.h"

namespace bcnet {

void Bconv2dPortable(const Bconv2dParams& params, const uint32_t* input, const uint32_t* filter,
                     const Bconv2dOutputStage& stage) {
  const int32_t words = params.words_in_group;
  const int32_t channels_out_group = params.channels_out / params.groups;
  int32_t pixel = 0;
  for (int32_t batch = 0; batch < params.batches; ++batch) {
    for (int32_t y = 0; y < params.height.output; ++y) {
      const TapRange rows = TapsInside(params.height, y);
      const int32_t top = y * params.height.stride - params.height.pad;
      for (int32_t x = 0; x < params.width.output; ++x, ++pixel) {
        const TapRange columns = TapsInside(params.width, x);
        const int32_t left = x * params.width.stride - params.width.pad;
        const uint32_t* tap = filter;
        int32_t sums[kWordBits];
        for (int32_t channel = 0; channel < params.channels_out; ++channel) {
          const uint32_t* group = input + channel / channels_out_group * words;
          int32_t mismatches = 0;
          int32_t outside = 0;
          for (int32_t row = 0; row < params.height.filter; ++row) {
            const bool row_inside = row >= rows.begin && row < rows.end;
            const int32_t line = (top + row * params.height.dilation) * params.width.input;
            for (int32_t column = 0; column < params.width.filter; ++column, tap += words) {
              if (row_inside && column >= columns.begin && column < columns.end) {
                const uint32_t* pixel_words =
                    group + (line + left + column * params.width.dilation) * params.words_in;
                for (int32_t word = 0; word < words; ++word)
                  mismatches += PopCount(pixel_words[word] ^ tap[word]);
              } else if (params.zero_padding) {
                ++outside;
              } else {
                for (int32_t word = 0; word < words; ++word) mismatches += PopCount(tap[word]);
              }
            }
          }
          sums[channel % kWordBits] = 2 * mismatches + outside * params.channels_in_group;
          if (channel % kWordBits == kWordBits - 1 || channel + 1 == params.channels_out)
            stage.write(stage, pixel, channel / kWordBits, channel % kWordBits + 1, sums);
        }
      }
    }
    input += params.height.input * params.width.input * params.words_in;
  }
}

}  // namespace bcnet
