// int8 outputs in integers of 64 bits, for cores without floating-point unit.
#include "tflm_ops/kernels/optimize.h"

#include <cmath>

#include "tflm_ops/kernels/bconv2d/kernels.h"

namespace bcnet {
namespace {

void WriteInt8Fixed(const Bconv2dOutputStage& stage, int32_t pixel, int32_t word, int32_t count,
                    const int32_t* sums) {
  const Bconv2dFixedTransform& transform = *stage.fixed_transform;
  const FixedPointChannel* channels = transform.channels + word * kWordBits;
  int8_t* output = Bconv2dOutputs<int8_t>(stage, pixel, word);
  for (int32_t i = 0; i < count; ++i) {
    const FixedPointChannel& fixed = channels[i];
    const int64_t x = Bconv2dClamp(sums[i], transform.clamp_min, transform.clamp_max);
    const int64_t y = x * fixed.multiplier + fixed.bias;
    // Halves are rounded away from 0, as in the float transform.
    const auto rounded =
        static_cast<int32_t>((y + (int64_t{1} << (fixed.shift - 1)) - (y < 0)) >> fixed.shift);
    output[i] = static_cast<int8_t>(Bconv2dClamp(rounded, -128, 127));
  }
}

}  // namespace

bool PrepareBconv2dFixedTransform(const Bconv2dParams& params, const Bconv2dTransform& transform,
                                  FixedPointChannel* channels, Bconv2dFixedTransform* fixed) {
  constexpr float kLimit = 1 << 22;
  // 22 bits before the point and 39 after it, a sum of two, and the rounding's half stay below
  // 2^63.
  constexpr int kMaxShift = 39;
  for (int32_t i = 0; i < params.channels_out; ++i) {
    const float multiplier = transform.multiplier[i];
    const float bias = transform.bias[i];
    if (std::fabs(bias) >= kLimit) return false;
    if (std::fabs(multiplier) * static_cast<float>(transform.clamp_max) >= kLimit) return false;
    int exponent;
    std::frexp(multiplier, &exponent);  // |multiplier| < 2^exponent
    int shift = 30 - exponent;          // at least 8, as clamp_max is at least 1
    if (shift > kMaxShift) shift = kMaxShift;
    channels[i].multiplier = static_cast<int32_t>(std::ldexp(multiplier, shift));
    channels[i].bias = static_cast<int64_t>(std::ldexp(bias, shift));
    channels[i].shift = shift;
  }
  fixed->clamp_min = transform.clamp_min;
  fixed->clamp_max = transform.clamp_max;
  fixed->channels = channels;
  return true;
}

void Bconv2dInt8(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                 const uint32_t* filter, const Bconv2dFixedTransform& transform, void* scratch,
                 int8_t* output) {
  Bconv2dOutputStage stage = {
      WriteInt8Fixed, {nullptr}, Bconv2dOutputStage::kSums, params.channels_out, output};
  stage.fixed_transform = &transform;
  Bconv2dRun(params, plan, input, filter, stage, scratch);
}

}  // namespace bcnet
