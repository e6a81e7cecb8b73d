#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/bconv2d/bconv2d.h"
#include "tflm_ops/micro/bcnet_ops.h"
#include "tflm_ops/micro/tensors.h"

// Cores without floating-point unit compute int8 outputs in integers.
#ifndef BCNET_FIXED_POINT
#if defined(__arm__) && !defined(__ARM_FP)
#define BCNET_FIXED_POINT 1
#else
#define BCNET_FIXED_POINT 0
#endif
#endif

namespace bcnet {
namespace {

constexpr char kName[] = "LceBconv2d";
constexpr bool kHasFixedPoint = BCNET_FIXED_POINT != 0;

// The node's inputs. The transform is there for float32 and int8 outputs, the thresholds for
// bitpacked ones.
enum Inputs { kInput, kFilter, kPostMultiplier, kPostBias, kThresholds, kInputs };

struct OpData {
  Bconv2dParams params;
  Bconv2dPlan plan;
  Bconv2dOutput output;
  enum : uint8_t { kFloat, kFixedPoint, kLinear } transform_type;
  int16_t scratch;  // index of the scratch buffer, -1 for none
  union {
    Bconv2dTransform transform;
    Bconv2dFixedTransform fixed_transform;
    Bconv2dLinearTransform linear_transform;
  };
};

void* Init(TfLiteContext* context, const char*, size_t) {
  return AllocatePersistent(context, sizeof(OpData));
}

// Prepares the output transform and keeps it: in integers where those give the same int8 outputs,
// in integers of 64 bits on cores without floating-point unit where those come close, or in floats.
const char* PrepareTransform(TfLiteContext* context, const TempTensor& multiplier,
                             const TempTensor& bias, float scale, int32_t zero_point,
                             OpData* data) {
  const Bconv2dParams& params = data->params;
  const size_t channels = static_cast<size_t>(params.channels_out);
  // Two floats or a LinearChannel for each channel.
  void* kept = AllocatePersistent(context, channels * sizeof(LinearChannel));
  uint8_t* temporary = AllocateTemporary(context, 2 * channels * sizeof(float));
  static_assert(sizeof(LinearChannel) == 2 * sizeof(float), "they share memory");
  if (kept == nullptr || temporary == nullptr) {
    if (temporary != nullptr) DeallocateTemporary(context, temporary);
    return "the arena is too small";
  }
  float* numbers = reinterpret_cast<float*>(temporary);
  Bconv2dTransform transform;
  const char* reason =
      PrepareBconv2dTransform(params, multiplier.data<float>(), bias.data<float>(), scale,
                              zero_point, numbers, numbers + channels, &transform);
  const bool is_int8 = data->output == Bconv2dOutput::kInt8;
  data->transform_type = OpData::kFloat;
  if (reason == nullptr && is_int8 &&
      PrepareBconv2dLinearTransform(params, transform, static_cast<LinearChannel*>(kept),
                                    &data->linear_transform)) {
    data->transform_type = OpData::kLinear;
  } else if (reason == nullptr && is_int8 && kHasFixedPoint) {
    auto* fixed = static_cast<FixedPointChannel*>(
        AllocatePersistent(context, channels * sizeof(FixedPointChannel)));
    if (fixed == nullptr) {
      reason = "the arena is too small";
    } else if (PrepareBconv2dFixedTransform(params, transform, fixed, &data->fixed_transform)) {
      data->transform_type = OpData::kFixedPoint;
    }
  }
  DeallocateTemporary(context, temporary);
  if (reason != nullptr || data->transform_type != OpData::kFloat) return reason;
  float* floats = static_cast<float*>(kept);
  return PrepareBconv2dTransform(params, multiplier.data<float>(), bias.data<float>(), scale,
                                 zero_point, floats, floats + channels, &data->transform);
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, int32_t scratch_budget) {
  if (node->user_data == nullptr) return Refuse(kName, node, "the arena is too small");
  if (!HasTensors(node, kInputs, 1))
    return Refuse(kName, node, "there must be five inputs and one output");
  OpData* data = static_cast<OpData*>(node->user_data);
  const TempTensor input = TempTensor::Input(context, node, kInput);
  const TempTensor filter = TempTensor::Input(context, node, kFilter);
  const TempTensor output = TempTensor::Output(context, node, 0);
  if (!input || !filter || !output)
    return Refuse(kName, node, "input, filter or output is missing");
  if (input->type != kTfLiteInt32 || filter->type != kTfLiteInt32) {
    return Refuse(kName, node, "input and filter must be int32");
  }
  if (input.IsCompressed()) return Refuse(kName, node, "compressed inputs are not supported");
  if (!filter.IsConstant())
    return Refuse(kName, node, "the filter must be a constant, and not compressed");
  if (input.rank() != 4 || filter.rank() != 4 || output.rank() != 4) {
    return Refuse(kName, node, "input, filter and output must have 4 dimensions");
  }
  if (output->type == kTfLiteFloat32) {
    data->output = Bconv2dOutput::kFloat32;
  } else if (output->type == kTfLiteInt8) {
    data->output = Bconv2dOutput::kInt8;
  } else if (output->type == kTfLiteInt32) {
    data->output = Bconv2dOutput::kBitpacked;
  } else {
    return Refuse(kName, node, "the output must be float32, int8 or int32 (bitpacked)");
  }

  Bconv2dOptions options;
  const auto* bytes = static_cast<const uint8_t*>(node->custom_initial_data);
  const char* reason =
      ParseBconv2dOptions(bytes, static_cast<size_t>(node->custom_initial_data_size), &options);
  if (reason != nullptr) return Refuse(kName, node, reason);
  reason = PrepareBconv2d(options, input.dims(), filter.dims(), output.dims(), data->output,
                          &data->params);
  if (reason != nullptr) return Refuse(kName, node, reason);

  const int32_t channels = data->params.channels_out;
  if (data->output == Bconv2dOutput::kBitpacked) {
    const TempTensor thresholds = TempTensor::Input(context, node, kThresholds);
    if (!thresholds || !thresholds.IsConstantVector(kTfLiteInt32, channels)) {
      return Refuse(kName, node,
                    "a bitpacked output needs a constant int32 threshold for each output channel");
    }
  } else {
    const TempTensor multiplier = TempTensor::Input(context, node, kPostMultiplier);
    const TempTensor bias = TempTensor::Input(context, node, kPostBias);
    if (!multiplier || !bias || !multiplier.IsConstantVector(kTfLiteFloat32, channels) ||
        !bias.IsConstantVector(kTfLiteFloat32, channels)) {
      return Refuse(
          kName, node,
          "the output needs a constant float32 multiplier and bias for each output channel");
    }
    const bool int8 = data->output == Bconv2dOutput::kInt8;
    const float scale = int8 ? output->params.scale : 1.0f;
    const int32_t zero_point = int8 ? output->params.zero_point : 0;
    reason = PrepareTransform(context, multiplier, bias, scale, zero_point, data);
    if (reason != nullptr) return Refuse(kName, node, reason);
  }

  data->scratch = -1;
  data->plan = PlanBconv2d(data->params, data->output, scratch_budget);
  if (data->plan.scratch_bytes == 0) return kTfLiteOk;
  int scratch = -1;
  const TfLiteStatus status = RequestScratch(context, data->plan.scratch_bytes, &scratch);
  data->scratch = static_cast<int16_t>(scratch);
  return status;
}

TfLiteStatus Eval(TfLiteContext* context, TfLiteNode* node) {
  const OpData& data = *static_cast<const OpData*>(node->user_data);
  const auto* input = InputData<uint32_t>(context, node, kInput);
  const auto* filter = InputData<uint32_t>(context, node, kFilter);
  void* output = OutputData<void>(context, node, 0);
  void* scratch = data.scratch < 0 ? nullptr : Scratch(context, data.scratch);
  if (data.output == Bconv2dOutput::kBitpacked) {
    const auto* thresholds = InputData<int32_t>(context, node, kThresholds);
    Bconv2dBitpacked(data.params, data.plan, input, filter, thresholds, scratch,
                     static_cast<uint32_t*>(output));
  } else if (data.output == Bconv2dOutput::kFloat32) {
    Bconv2dFloat(data.params, data.plan, input, filter, data.transform, scratch,
                 static_cast<float*>(output));
  } else if (data.transform_type == OpData::kLinear) {
    Bconv2dInt8(data.params, data.plan, input, filter, data.linear_transform, scratch,
                static_cast<int8_t*>(output));
  } else if (kHasFixedPoint && data.transform_type == OpData::kFixedPoint) {
    Bconv2dInt8(data.params, data.plan, input, filter, data.fixed_transform, scratch,
                static_cast<int8_t*>(output));
  } else {
    Bconv2dInt8(data.params, data.plan, input, filter, data.transform, scratch,
                static_cast<int8_t*>(output));
  }
  return kTfLiteOk;
}

TfLiteStatus PrepareWithinDefault(TfLiteContext* context, TfLiteNode* node) {
  return PrepareBconv2dWithin(kDefaultScratchBudget, context, node);
}

}  // namespace

TfLiteStatus PrepareBconv2dWithin(int32_t scratch_budget, TfLiteContext* context,
                                  TfLiteNode* node) {
  const Context* application = ApplicationContext(context);
  if (application != nullptr && application->scratch_budget != Context::kRegistered) {
    if (application->scratch_budget < 0)
      return Refuse(kName, node, "the scratch budget in the Context must be 0 bytes or more");
    scratch_budget = application->scratch_budget;
  }
  return Prepare(context, node, scratch_budget);
}

TFLMRegistration Register_LCE_BCONV_2D() { return Registration(Init, PrepareWithinDefault, Eval); }

}  // namespace bcnet
