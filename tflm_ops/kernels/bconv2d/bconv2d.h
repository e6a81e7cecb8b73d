// LceBconv2d: binary convolution of a bitpacked NHWC tensor with bitpacked OHWI weights.
//
// A sum of n products of signs is n - 2 * m, where m is the number of places in which the signs
// differ. The kernels count m and turn it into the output: a float or an int8 through a fused
// activation and a multiplier and bias for each output channel, or a bit through a threshold for
// each. The formulas and the order of roundings are those of Larq Compute Engine's converter,
// https://github.com/larq/compute-engine.
#ifndef TFLM_OPS_KERNELS_BCONV2D_BCONV2D_H_
#define TFLM_OPS_KERNELS_BCONV2D_BCONV2D_H_

#include <cstdint>

#include "tflm_ops/kernels/options.h"
#include "tflm_ops/kernels/window.h"

namespace bcnet {

enum class Bconv2dOutput : int8_t { kFloat32, kInt8, kBitpacked };

struct Bconv2dParams {
  int32_t batches;
  int32_t groups;
  int32_t words_in;           // words of an input pixel, all groups
  int32_t words_in_group;     // words of a filter tap
  int32_t channels_in_group;  // input channels that an output channel sees
  int32_t channels_out;       // of all groups
  WindowAxis height;
  WindowAxis width;
  bool zero_padding;  // taps outside the input count 0; otherwise they meet +1
  Activation activation;
};

// Checks options and shapes against each other and fills `params`. The input is NHWC with the
// channels in words, the filter OHWI with the input channels of one group in words, the output
// NHWC, in words when it is bitpacked. Returns nullptr, or why the operator cannot run.
const char* PrepareBconv2d(const Bconv2dOptions& options, const int32_t input_dims[4],
                           const int32_t filter_dims[4], const int32_t output_dims[4],
                           Bconv2dOutput output, Bconv2dParams* params);

// The kernels that compute a convolution; all give the same output.
enum class Bconv2dKernel : int8_t { kPortable, kCarrySave, kSliced, kHelium };

// How a convolution is computed.
struct Bconv2dPlan {
  Bconv2dKernel kernel;
  // How kSliced and kHelium use their memory.
  int8_t table_inputs;          // 5: two full adders, 3: one
  int16_t tile_width;           // outputs of a row that are worked on at a time
  uint16_t index_rows;          // rows of the input whose table indices are kept at a time
  int32_t channel_block_words;  // words of input channels that have tables at a time
  int32_t scratch_bytes;  // that the functions below need at `scratch`, aligned to 16; may be 0
};

// The fastest kernel whose scratch memory stays within `scratch_budget` bytes. There is always one:
// kPortable needs none.
Bconv2dPlan PlanBconv2d(const Bconv2dParams& params, Bconv2dOutput output, int32_t scratch_budget);

// The same for a kernel that the caller names. Returns false when it cannot compute this
// convolution, or not within the budget.
bool PlanBconv2d(const Bconv2dParams& params, Bconv2dOutput output, int32_t scratch_budget,
                 Bconv2dKernel kernel, Bconv2dPlan* plan);

// The output is clamp(2 * m) * multiplier + bias: minus two and n of the formula above, the
// activation, and the quantization of the output are folded into the four numbers.
struct Bconv2dTransform {
  int32_t clamp_min;
  int32_t clamp_max;
  const float* multiplier;  // one for each output channel
  const float* bias;
};

// Fills `multiplier`, `bias` and `transform` from the operator's inputs post_activation_multiplier
// and post_activation_bias and, for int8, the output's scale and zero point (1 and 0 for float).
// Returns nullptr, or why the numbers cannot be used.
const char* PrepareBconv2dTransform(const Bconv2dParams& params, const float* post_multiplier,
                                    const float* post_bias, float scale, int32_t zero_point,
                                    float* multiplier, float* bias, Bconv2dTransform* transform);

// The same in integers, for cores without floating-point unit: (clamp(2 * m) * multiplier + bias) /
// 2^shift.
struct FixedPointChannel {
  int64_t bias;
  int32_t multiplier;
  int32_t shift;
};

struct Bconv2dFixedTransform {
  int32_t clamp_min;
  int32_t clamp_max;
  const FixedPointChannel* channels;
};

// Fills `channels`, one for each output channel, and `fixed`. An int8 output then differs from the
// float one by 1 at the most, where the float one lies next to a half. Returns false, and the float
// transform must be used, when a number before saturation reaches 2^22 steps of int8, where floats
// are too coarse to promise that.
bool PrepareBconv2dFixedTransform(const Bconv2dParams& params, const Bconv2dTransform& transform,
                                  FixedPointChannel* channels, Bconv2dFixedTransform* fixed);

// An int8 output in integers of 32 bits, the same as that of the float transform for every sum that
// there can be: floor((floor((2 * m - offset) * multiplier / 2^kProductShift) + bias) /
// 2^kLinearShift), saturated.
struct LinearChannel {
  int32_t multiplier;
  int32_t bias;
};

struct Bconv2dLinearTransform {
  const LinearChannel* channels;
  int32_t offset;  // even
};

// Fills `channels`, one for each output channel, and `linear`. Returns false, and another transform
// must be used, when no such numbers are found: the activation cuts sums off, or an output changes
// by 2 codes or more where a sum changes by 1.
bool PrepareBconv2dLinearTransform(const Bconv2dParams& params, const Bconv2dTransform& transform,
                                   LinearChannel* channels, Bconv2dLinearTransform* linear);

// `plan` is one for `params` and the type of the output.
void Bconv2dFloat(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                  const uint32_t* filter, const Bconv2dTransform& transform, void* scratch,
                  float* output);
void Bconv2dInt8(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                 const uint32_t* filter, const Bconv2dTransform& transform, void* scratch,
                 int8_t* output);
void Bconv2dInt8(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                 const uint32_t* filter, const Bconv2dFixedTransform& transform, void* scratch,
                 int8_t* output);
void Bconv2dInt8(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                 const uint32_t* filter, const Bconv2dLinearTransform& transform, void* scratch,
                 int8_t* output);
// An output bit is 1 where m is above the threshold of its channel; bits past the last channel are
// 0.
void Bconv2dBitpacked(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                      const uint32_t* filter, const int32_t* thresholds, void* scratch,
                      uint32_t* output);

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_BCONV2D_H_
