// The portable kernels: plain loops, right on every core and compiler.
#include "tflm_ops/kernels/bconv2d.h"

#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/number.h"

namespace bcnet {
namespace {

int32_t Clamp(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }

// Calls emit(channel, 2 * m) for each output value in NHWC order. Twice m, because a tap outside
// the input that counts 0 is half a mismatch a channel.
template <typename Emit>
void ForEachOutput(const Bconv2dParams& params, const uint32_t* input, const uint32_t* filter,
                   Emit emit) {
  const int32_t words = params.words_in_group;
  const int32_t channels_out_group = params.channels_out / params.groups;
  for (int32_t batch = 0; batch < params.batches; ++batch) {
    for (int32_t y = 0; y < params.height.output; ++y) {
      const TapRange rows = TapsInside(params.height, y);
      const int32_t top = y * params.height.stride - params.height.pad;
      for (int32_t x = 0; x < params.width.output; ++x) {
        const TapRange columns = TapsInside(params.width, x);
        const int32_t left = x * params.width.stride - params.width.pad;
        const uint32_t* tap = filter;
        for (int32_t channel = 0; channel < params.channels_out; ++channel) {
          const uint32_t* group = input + channel / channels_out_group * words;
          int32_t mismatches = 0;
          int32_t outside = 0;
          for (int32_t row = 0; row < params.height.filter; ++row) {
            const bool row_inside = row >= rows.begin && row < rows.end;
            const int32_t line = (top + row * params.height.dilation) * params.width.input;
            for (int32_t column = 0; column < params.width.filter; ++column, tap += words) {
              if (row_inside && column >= columns.begin && column < columns.end) {
                const uint32_t* pixel =
                    group + (line + left + column * params.width.dilation) * params.words_in;
                for (int32_t word = 0; word < words; ++word)
                  mismatches += PopCount(pixel[word] ^ tap[word]);
              } else if (params.zero_padding) {
                ++outside;
              } else {
                for (int32_t word = 0; word < words; ++word) mismatches += PopCount(tap[word]);
              }
            }
          }
          emit(channel, 2 * mismatches + outside * params.channels_in_group);
        }
      }
    }
    input += params.height.input * params.width.input * params.words_in;
  }
}

int8_t RoundAndSaturate(float y) {
  // Past the range first: the conversion of a float that fits no int32 is undefined.
  if (y >= 127.0f) return 127;
  if (y <= -128.0f) return -128;
  // Halves are rounded away from 0. The fraction is exact, which y + 0.5f is not.
  const int32_t whole = static_cast<int32_t>(y);
  const float fraction = y - static_cast<float>(whole);
  return static_cast<int8_t>(whole + (fraction >= 0.5f) - (fraction <= -0.5f));
}

}  // namespace

Bconv2dPlan PlanBconv2d(const Bconv2dParams&, Bconv2dOutput, int32_t) {
  return {Bconv2dKernel::kPortable, 0};
}

bool PlanBconv2d(const Bconv2dParams&, Bconv2dOutput, int32_t, Bconv2dKernel kernel,
                 Bconv2dPlan* plan) {
  *plan = {kernel, 0};
  return kernel == Bconv2dKernel::kPortable;
}

void Bconv2dFloat(const Bconv2dParams& params, const Bconv2dPlan&, const uint32_t* input,
                  const uint32_t* filter, const Bconv2dTransform& transform, void*, float* output) {
  ForEachOutput(params, input, filter, [&](int32_t channel, int32_t sum) {
    const float x = static_cast<float>(Clamp(sum, transform.clamp_min, transform.clamp_max));
    *output++ = Rounded(x * transform.multiplier[channel]) + transform.bias[channel];
  });
}

void Bconv2dInt8(const Bconv2dParams& params, const Bconv2dPlan&, const uint32_t* input,
                 const uint32_t* filter, const Bconv2dTransform& transform, void*, int8_t* output) {
  ForEachOutput(params, input, filter, [&](int32_t channel, int32_t sum) {
    const float x = static_cast<float>(Clamp(sum, transform.clamp_min, transform.clamp_max));
    *output++ =
        RoundAndSaturate(Rounded(x * transform.multiplier[channel]) + transform.bias[channel]);
  });
}

void Bconv2dInt8(const Bconv2dParams& params, const Bconv2dPlan&, const uint32_t* input,
                 const uint32_t* filter, const Bconv2dFixedTransform& transform, void*,
                 int8_t* output) {
  ForEachOutput(params, input, filter, [&](int32_t channel, int32_t sum) {
    const FixedPointChannel& fixed = transform.channels[channel];
    const int64_t x = Clamp(sum, transform.clamp_min, transform.clamp_max);
    const int64_t y = x * fixed.multiplier + fixed.bias;
    // Halves are rounded away from 0, as in the float transform.
    const int64_t rounded = (y + (int64_t{1} << (fixed.shift - 1)) - (y < 0)) >> fixed.shift;
    *output++ = static_cast<int8_t>(rounded < -128 ? -128 : rounded > 127 ? 127 : rounded);
  });
}

void Bconv2dBitpacked(const Bconv2dParams& params, const Bconv2dPlan&, const uint32_t* input,
                      const uint32_t* filter, const int32_t* thresholds, void*, uint32_t* output) {
  uint32_t word = 0;
  ForEachOutput(params, input, filter, [&](int32_t channel, int32_t sum) {
    word |= static_cast<uint32_t>(sum / 2 > thresholds[channel]) << (channel % kWordBits);
    if (channel % kWordBits == kWordBits - 1 || channel + 1 == params.channels_out) {
      *output++ = word;
      word = 0;
    }
  });
}

}  // namespace bcnet
