// The kernels behind a plain C interface, for Python. Each function takes an operator's options as
// they stand in a flatbuffer, checks them with the shapes as the operator itself does, and returns
// nullptr, or why it cannot run.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tflm_ops/kernels/bconv2d/bconv2d.h"
#include "tflm_ops/kernels/bconv2d/plan.h"
#include "tflm_ops/kernels/bconv2d/plan_costs.h"
#include "tflm_ops/kernels/bmaxpool2d.h"
#include "tflm_ops/kernels/budget.h"
#include "tflm_ops/kernels/gate.h"
#include "tflm_ops/kernels/quantize.h"
#include "tflm_ops/kernels/stem.h"
#include "tflm_ops/kernels/thermometer.h"

namespace {

// Types of tensors, numbered as bcnet_keras/runtime/kernels.py does.
enum Type : int32_t { kFloat32 = 0, kInt8 = 1, kBool = 2 };

struct alignas(16) Aligned {
  uint8_t bytes[16];
};

}  // namespace

#define BCNET_EXPORT __attribute__((visibility("default")))

extern "C" {

BCNET_EXPORT const char* bcnet_quantize(int32_t type, int32_t rows, int32_t channels,
                                        int32_t zero_point, const void* input, uint32_t* output) {
  if (type == kFloat32) {
    bcnet::QuantizeFloat(rows, channels, static_cast<const float*>(input), output);
  } else if (type == kInt8) {
    bcnet::QuantizeInt8(rows, channels, zero_point, static_cast<const int8_t*>(input), output);
  } else {
    bcnet::QuantizeBool(rows, channels, static_cast<const uint8_t*>(input), output);
  }
  return nullptr;
}

BCNET_EXPORT const char* bcnet_dequantize(int32_t type, int32_t rows, int32_t channels, float scale,
                                          int32_t zero_point, const uint32_t* input, void* output) {
  if (type == kFloat32) {
    bcnet::DequantizeFloat(rows, channels, input, static_cast<float*>(output));
  } else if (type == kInt8) {
    bcnet::DequantizeInt8(rows, channels, bcnet::PrepareSignCodes(scale, zero_point), input,
                          static_cast<int8_t*>(output));
  } else {
    bcnet::DequantizeBool(rows, channels, input, static_cast<uint8_t*>(output));
  }
  return nullptr;
}

BCNET_EXPORT const char* bcnet_bmaxpool2d(const uint8_t* options, size_t options_size,
                                          const int32_t* input_dims, const int32_t* output_dims,
                                          const uint32_t* input, uint32_t* output) {
  bcnet::BMaxPool2dOptions parsed;
  bcnet::BMaxPool2dParams params;
  if (const char* reason = bcnet::ParseBMaxPool2dOptions(options, options_size, &parsed))
    return reason;
  if (const char* reason = bcnet::PrepareBMaxPool2d(parsed, input_dims, output_dims, &params))
    return reason;
  bcnet::BMaxPool2d(params, input, output);
  return nullptr;
}

// `kernel` is a Bconv2dKernel, or -1 for the one that fits `scratch_budget` best. `transform_type`
// is that of an int8 output: 0 float, 1 fixed-point, 2 linear.
BCNET_EXPORT const char* bcnet_bconv2d(const uint8_t* options, size_t options_size,
                                       const int32_t* input_dims, const int32_t* filter_dims,
                                       const int32_t* output_dims, int32_t output_type,
                                       int32_t kernel, int32_t scratch_budget,
                                       int32_t transform_type, float scale, int32_t zero_point,
                                       const uint32_t* input, const uint32_t* filter,
                                       const float* post_multiplier, const float* post_bias,
                                       const int32_t* thresholds, void* output) {
  bcnet::Bconv2dOptions parsed;
  bcnet::Bconv2dParams params;
  const auto type = static_cast<bcnet::Bconv2dOutput>(output_type);
  if (const char* reason = bcnet::ParseBconv2dOptions(options, options_size, &parsed))
    return reason;
  if (const char* reason =
          bcnet::PrepareBconv2d(parsed, input_dims, filter_dims, output_dims, type, &params)) {
    return reason;
  }
  bcnet::Bconv2dPlan plan = bcnet::PlanBconv2d(params, type, scratch_budget);
  if (kernel >= 0 && !bcnet::PlanBconv2d(params, type, scratch_budget,
                                         static_cast<bcnet::Bconv2dKernel>(kernel), &plan)) {
    return "the kernel cannot compute this convolution within the scratch budget";
  }
  std::vector<Aligned> memory(static_cast<size_t>(plan.scratch_bytes) / sizeof(Aligned) + 1);
  void* scratch = memory.data();
  if (type == bcnet::Bconv2dOutput::kBitpacked) {
    bcnet::Bconv2dBitpacked(params, plan, input, filter, thresholds, scratch,
                            static_cast<uint32_t*>(output));
    return nullptr;
  }
  std::vector<float> multiplier(static_cast<size_t>(params.channels_out));
  std::vector<float> bias(static_cast<size_t>(params.channels_out));
  bcnet::Bconv2dTransform transform;
  if (const char* reason =
          bcnet::PrepareBconv2dTransform(params, post_multiplier, post_bias, scale, zero_point,
                                         multiplier.data(), bias.data(), &transform)) {
    return reason;
  }
  if (type == bcnet::Bconv2dOutput::kFloat32) {
    bcnet::Bconv2dFloat(params, plan, input, filter, transform, scratch,
                        static_cast<float*>(output));
  } else if (transform_type == 0) {
    bcnet::Bconv2dInt8(params, plan, input, filter, transform, scratch,
                       static_cast<int8_t*>(output));
  } else if (transform_type == 1) {
    std::vector<bcnet::FixedPointChannel> channels(static_cast<size_t>(params.channels_out));
    bcnet::Bconv2dFixedTransform fixed;
    if (!bcnet::PrepareBconv2dFixedTransform(params, transform, channels.data(), &fixed)) {
      return "the numbers are too large for the fixed-point output transform";
    }
    bcnet::Bconv2dInt8(params, plan, input, filter, fixed, scratch, static_cast<int8_t*>(output));
  } else {
    std::vector<bcnet::LinearChannel> channels(static_cast<size_t>(params.channels_out));
    bcnet::Bconv2dLinearTransform linear;
    if (!bcnet::PrepareBconv2dLinearTransform(params, transform, channels.data(), &linear))
      return "there is no linear output transform for these numbers";
    bcnet::Bconv2dInt8(params, plan, input, filter, linear, scratch, static_cast<int8_t*>(output));
  }
  return nullptr;
}

// Plans for a core, by its number in the order of plan_costs.h. `plan` gets the kernel's number,
// the inputs of a table, and the scratch bytes.
BCNET_EXPORT const char* bcnet_plan_bconv2d(const uint8_t* options, size_t options_size,
                                            const int32_t* input_dims, const int32_t* filter_dims,
                                            const int32_t* output_dims, int32_t output_type,
                                            int32_t core, int32_t scratch_budget, int32_t* plan) {
  static const bcnet::Bconv2dCore* const kCores[] = {
      &bcnet::kCoreArmv6M,        &bcnet::kCoreArmv7M, &bcnet::kCoreArmv7EM,
      &bcnet::kCoreArmv7EMDouble, &bcnet::kCoreArmv8M, &bcnet::kCoreHelium};
  bcnet::Bconv2dOptions parsed;
  bcnet::Bconv2dParams params;
  const auto type = static_cast<bcnet::Bconv2dOutput>(output_type);
  if (const char* reason = bcnet::ParseBconv2dOptions(options, options_size, &parsed))
    return reason;
  if (const char* reason =
          bcnet::PrepareBconv2d(parsed, input_dims, filter_dims, output_dims, type, &params)) {
    return reason;
  }
  const bcnet::Bconv2dPlan found =
      bcnet::PlanBconv2dFor(*kCores[core], params, type, scratch_budget);
  plan[0] = static_cast<int32_t>(found.kernel);
  plan[1] = found.table_inputs;
  plan[2] = found.scratch_bytes;
  return nullptr;
}

BCNET_EXPORT const char* bcnet_thermometer(const int32_t* input_dims, const int32_t* output_dims,
                                           const int8_t* input, const int32_t* thresholds,
                                           int32_t count, uint32_t* output) {
  if (const char* reason = bcnet::CheckThermometer(input_dims, output_dims, thresholds, count))
    return reason;
  bcnet::Thermometer(input_dims[0] * input_dims[1] * input_dims[2], input_dims[3], input,
                     thresholds, count, output);
  return nullptr;
}

BCNET_EXPORT const char* bcnet_stem(const uint8_t* options, size_t options_size,
                                    const int32_t* input_dims, int32_t zero_point,
                                    const int32_t* filter_dims, int32_t count,
                                    const int32_t* output_dims, const int8_t* input,
                                    const int8_t* filter, const int32_t* thresholds,
                                    uint32_t* output) {
  bcnet::StemOptions parsed;
  bcnet::StemParams params;
  if (const char* reason = bcnet::ParseStemOptions(options, options_size, &parsed)) return reason;
  if (const char* reason = bcnet::PrepareStem(parsed, input_dims, zero_point, filter_dims, count,
                                              output_dims, &params)) {
    return reason;
  }
  std::vector<Aligned> scratch(
      static_cast<size_t>(bcnet::StemScratchSize(params)) / sizeof(Aligned) + 1);
  bcnet::Stem(params, input, filter, thresholds, scratch.data(), output);
  return nullptr;
}

// Logits are float32 or int8. With `thresholds` null those of the options apply.
BCNET_EXPORT const char* bcnet_gate(const uint8_t* options, size_t options_size, int32_t type,
                                    int32_t classes, float scale, const void* logits,
                                    const float* thresholds, size_t threshold_count,
                                    int32_t* predicted_class, float* confidence,
                                    int32_t* escalate) {
  bcnet::GateOptions parsed;
  bcnet::GateParams params;
  if (const char* reason = bcnet::ParseGateOptions(options, options_size, &parsed)) return reason;
  std::vector<float> numbers(bcnet::GateNumbers(parsed));
  if (const char* reason = bcnet::PrepareGate(parsed, classes, numbers.data(), &params))
    return reason;
  if (thresholds == nullptr) {
    thresholds = numbers.data();
    threshold_count = parsed.thresholds.size;
  }
  if (const char* reason = bcnet::CheckGateThresholds(thresholds, threshold_count, classes))
    return reason;
  const bcnet::GateDecision decision =
      type == kInt8 ? bcnet::GateInt8(params, static_cast<const int8_t*>(logits), scale, thresholds,
                                      threshold_count)
                    : bcnet::GateFloat(params, static_cast<const float*>(logits), thresholds,
                                       threshold_count);
  *predicted_class = decision.predicted_class;
  *confidence = decision.confidence;
  *escalate = decision.escalate;
  return nullptr;
}

// `options` holds the numbers of BudgetOptions.
BCNET_EXPORT const char* bcnet_prepare_budget(const int32_t* options, float threshold,
                                              bcnet::Budget* budget) {
  return bcnet::PrepareBudget({options[0], options[1], options[2], options[3]}, threshold, budget);
}

BCNET_EXPORT float bcnet_budget_threshold(const bcnet::Budget* budget) {
  return bcnet::BudgetThreshold(*budget);
}

// Decides as a gate does: escalates what is not at least the threshold.
BCNET_EXPORT const char* bcnet_run_budget(const float* confidences, size_t count,
                                          bcnet::Budget* budget, bool* escalated) {
  for (size_t i = 0; i < count; ++i) {
    escalated[i] = !(confidences[i] >= bcnet::BudgetThreshold(*budget));
    bcnet::UpdateBudget(escalated[i], budget);
  }
  return nullptr;
}

}  // extern "C"
