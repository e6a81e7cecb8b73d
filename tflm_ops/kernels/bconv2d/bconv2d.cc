#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/bconv2d/bconv2d.h"

#include "tflm_ops/kernels/bconv2d/kernels.h"
#include "tflm_ops/kernels/number.h"

namespace bcnet {
namespace {

int8_t RoundAndSaturate(float y) {
  // Past the range first: the conversion of a float that fits no int32 is undefined.
  if (y >= 127.0f) return 127;
  if (y <= -128.0f) return -128;
  // Halves are rounded away from 0. The fraction is exact, which y + 0.5f is not.
  const int32_t whole = static_cast<int32_t>(y);
  const float fraction = y - static_cast<float>(whole);
  return static_cast<int8_t>(whole + (fraction >= 0.5f) - (fraction <= -0.5f));
}

// The output before it is rounded.
float Transformed(const Bconv2dTransform& transform, int32_t channel, int32_t sum) {
  const float x = static_cast<float>(Bconv2dClamp(sum, transform.clamp_min, transform.clamp_max));
  return Rounded(x * transform.multiplier[channel]) + transform.bias[channel];
}

void WriteFloat(const Bconv2dOutputStage& stage, int32_t pixel, int32_t word, int32_t count,
                const int32_t* sums) {
  float* output = Bconv2dOutputs<float>(stage, pixel, word);
  for (int32_t i = 0; i < count; ++i)
    output[i] = Transformed(*stage.transform, word * kWordBits + i, sums[i]);
}

void WriteInt8Linear(const Bconv2dOutputStage& stage, int32_t pixel, int32_t word, int32_t count,
                     const int32_t* sums) {
  const LinearChannel* channels = stage.linear_transform->channels + word * kWordBits;
  int8_t* output = Bconv2dOutputs<int8_t>(stage, pixel, word);
  const int32_t offset = stage.linear_transform->offset;
  for (int32_t i = 0; i < count; ++i) output[i] = Bconv2dInt8Output(channels[i], sums[i] - offset);
}

void WriteInt8(const Bconv2dOutputStage& stage, int32_t pixel, int32_t word, int32_t count,
               const int32_t* sums) {
  int8_t* output = Bconv2dOutputs<int8_t>(stage, pixel, word);
  for (int32_t i = 0; i < count; ++i)
    output[i] = Bconv2dInt8Output(*stage.transform, word * kWordBits + i, sums[i]);
}

void WriteBitpacked(const Bconv2dOutputStage& stage, int32_t pixel, int32_t word, int32_t count,
                    const int32_t* sums) {
  uint32_t bits = 0;
  for (int32_t i = 0; i < count; ++i)
    bits |= static_cast<uint32_t>(sums[i] / 2 > stage.thresholds[word * kWordBits + i]) << i;
  static_cast<uint32_t*>(stage.output)[pixel * stage.pixel_size + word] = bits;
}

}  // namespace

void Bconv2dRun(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                const uint32_t* filter, const Bconv2dOutputStage& stage, void* scratch) {
  switch (plan.kernel) {
    case Bconv2dKernel::kHelium:
#if BCNET_HELIUM
      Bconv2dHelium(params, plan, input, filter, stage, scratch);
#endif
      return;
    case Bconv2dKernel::kSliced:
      return Bconv2dSliced(params, plan, input, filter, stage, scratch);
    case Bconv2dKernel::kCarrySave:
      return Bconv2dCarrySave(params, input, filter, stage, scratch);
    case Bconv2dKernel::kPortable:
      return Bconv2dPortable(params, input, filter, stage);
  }
}

int8_t Bconv2dInt8Output(const Bconv2dTransform& transform, int32_t channel, int32_t sum) {
  return RoundAndSaturate(Transformed(transform, channel, sum));
}

void Bconv2dFloat(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                  const uint32_t* filter, const Bconv2dTransform& transform, void* scratch,
                  float* output) {
  Bconv2dOutputStage stage = {
      WriteFloat, {&transform}, Bconv2dOutputStage::kSums, params.channels_out, output};
  Bconv2dRun(params, plan, input, filter, stage, scratch);
}

void Bconv2dInt8(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                 const uint32_t* filter, const Bconv2dTransform& transform, void* scratch,
                 int8_t* output) {
  Bconv2dOutputStage stage = {
      WriteInt8, {&transform}, Bconv2dOutputStage::kSums, params.channels_out, output};
  Bconv2dRun(params, plan, input, filter, stage, scratch);
}

void Bconv2dInt8(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                 const uint32_t* filter, const Bconv2dLinearTransform& transform, void* scratch,
                 int8_t* output) {
  Bconv2dOutputStage stage = {
      WriteInt8Linear, {nullptr}, Bconv2dOutputStage::kLinear, params.channels_out, output};
  stage.linear_transform = &transform;
  Bconv2dRun(params, plan, input, filter, stage, scratch);
}

void Bconv2dBitpacked(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                      const uint32_t* filter, const int32_t* thresholds, void* scratch,
                      uint32_t* output) {
  Bconv2dOutputStage stage = {WriteBitpacked,
                              {nullptr},
                              Bconv2dOutputStage::kBitpacked,
                              BitpackedWords(params.channels_out),
                              output};
  stage.thresholds = thresholds;
  Bconv2dRun(params, plan, input, filter, stage, scratch);
}

}  // namespace bcnet
