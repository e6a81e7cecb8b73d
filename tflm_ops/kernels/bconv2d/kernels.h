// What the kernels of the binary convolution share: the output stage, and their names.
#ifndef TFLM_OPS_KERNELS_BCONV2D_KERNELS_H_
#define TFLM_OPS_KERNELS_BCONV2D_KERNELS_H_

#include <cstdint>

// Whether there is SSAT. Clang has __ARM_FEATURE_SAT for Cortex-M23 too, which has none. __ssat
// came with GCC 10, and Arduino's cores have GCC 7.
#if defined(__ARM_FEATURE_SAT) && defined(__thumb2__) && (defined(__clang__) || __GNUC__ >= 10)
#define BCNET_SSAT 1
#include <arm_acle.h>
#else
#define BCNET_SSAT 0
#endif

#include "tflm_ops/kernels/bconv2d/bconv2d.h"
#include "tflm_ops/kernels/bconv2d/plan.h"
#include "tflm_ops/kernels/bitpacking.h"

namespace bcnet {

// The output stage: turns sums into outputs. A sum is 2 * m: twice the mismatches, because a tap
// outside the input that counts 0 is half a mismatch a channel.
struct Bconv2dOutputStage {
  // Writes the outputs of `count` channels, at most 32, from channel 32 * `word` on.
  void (*write)(const Bconv2dOutputStage& stage, int32_t pixel, int32_t word, int32_t count,
                const int32_t* sums);
  union {
    const Bconv2dTransform* transform;
    const Bconv2dFixedTransform* fixed_transform;
    const Bconv2dLinearTransform* linear_transform;
    const int32_t* thresholds;
  };
  // What the sliced kernel does without sums.
  enum : uint8_t { kSums, kLinear, kBitpacked } kind;
  int32_t pixel_size;  // of the output: channels, or words
  void* output;
};

// The place of the first of the channels from 32 * `word` on in the output.
template <typename T>
T* Bconv2dOutputs(const Bconv2dOutputStage& stage, int32_t pixel, int32_t word) {
  return static_cast<T*>(stage.output) + pixel * stage.pixel_size + word * kWordBits;
}

inline int32_t Bconv2dClamp(int32_t x, int32_t low, int32_t high) {
  return x < low ? low : x > high ? high : x;
}

// Computes the outputs by the kernel of the plan.
void Bconv2dRun(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                const uint32_t* filter, const Bconv2dOutputStage& stage, void* scratch);

// An output of the float transform, rounded and saturated.
int8_t Bconv2dInt8Output(const Bconv2dTransform& transform, int32_t channel, int32_t sum);

// The numbers of the linear transform that suit the core. With Helium, its product is the upper
// half of one of 64 bits; elsewhere the offset leaves most sums a byte, and an output is a
// halfword.
#if BCNET_HELIUM
constexpr int kProductShift = 16;
constexpr int kLinearShift = 12;
#else
constexpr int kProductShift = 9;
constexpr int kLinearShift = 16;
#endif

// An output of the linear transform from a sum less the offset. It is within 2^15.
inline int8_t Bconv2dInt8Output(const LinearChannel& channel, int32_t sum) {
  // A product of 32 and 16 bits in 32: the smallest cores have no longer one.
  const uint32_t high =
      static_cast<uint32_t>(channel.multiplier >> kProductShift) * static_cast<uint32_t>(sum);
  const int32_t low = (channel.multiplier & ((1 << kProductShift) - 1)) * sum >> kProductShift;
  const int32_t y = static_cast<int32_t>(high + static_cast<uint32_t>(low) +
                                         static_cast<uint32_t>(channel.bias)) >>
                    kLinearShift;
#if BCNET_SSAT
  return static_cast<int8_t>(__ssat(y, 8));
#else
  return static_cast<int8_t>(y < -128 ? -128 : y > 127 ? 127 : y);
#endif
}

// Output channels that the word `word` of an output pixel stands for.
inline int32_t ChannelsOfWord(const Bconv2dParams& params, int32_t word) {
  const int32_t left = params.channels_out - word * kWordBits;
  return left < kWordBits ? left : kWordBits;
}

void Bconv2dPortable(const Bconv2dParams& params, const uint32_t* input, const uint32_t* filter,
                     const Bconv2dOutputStage& stage);

int32_t Bconv2dCarrySaveScratchSize(const Bconv2dParams& params);
void Bconv2dCarrySave(const Bconv2dParams& params, const uint32_t* input, const uint32_t* filter,
                      const Bconv2dOutputStage& stage, void* scratch);

void Bconv2dSliced(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                   const uint32_t* filter, const Bconv2dOutputStage& stage, void* scratch);

// There where BCNET_HELIUM is 1.
void Bconv2dHelium(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                   const uint32_t* filter, const Bconv2dOutputStage& stage, void* scratch);

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_KERNELS_H_
