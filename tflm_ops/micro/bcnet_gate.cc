#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/gate.h"
#include "tflm_ops/kernels/number.h"
#include "tflm_ops/kernels/shape.h"
#include "tflm_ops/micro/bcnet_ops.h"
#include "tflm_ops/micro/tensors.h"

namespace bcnet {
namespace {

constexpr char kName[] = "BcnetGate";

// The thresholds and the other numbers follow in memory.
struct OpData {
  GateParams params;
  int32_t threshold_count;
  float scale;  // of int8 logits; 0 for float32 ones

  float* numbers() { return reinterpret_cast<float*>(this + 1); }
};

// The application's view of the gate, or null.
GateControl* Control(TfLiteContext* context) {
  Context* application = ApplicationContext(context);
  return application == nullptr ? nullptr : &application->gate;
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
  if (!HasTensors(node, 1, 1)) return Refuse(kName, node, "there must be one input and one output");
  const TempTensor logits = TempTensor::Input(context, node, 0);
  const TempTensor escalate = TempTensor::Output(context, node, 0);
  if (!logits || !escalate) return Refuse(kName, node, "input or output is missing");
  if (logits.IsCompressed()) return Refuse(kName, node, "compressed inputs are not supported");
  if (logits->type != kTfLiteInt8 && logits->type != kTfLiteFloat32) {
    return Refuse(kName, node, "the logits must be int8 or float32");
  }
  if (logits.rank() != 2 || logits.dims()[0] != 1 || ElementCount(logits.dims(), 2) == 0) {
    return Refuse(kName, node, "the logits must have the shape [1, classes]");
  }
  if (escalate->type != kTfLiteBool || escalate->bytes != sizeof(bool)) {
    return Refuse(kName, node, "the output must be one bool");
  }
  const int32_t classes = logits.dims()[1];
  const bool int8 = logits->type == kTfLiteInt8;
  const float scale = int8 ? logits->params.scale : 0.0f;
  if (int8 && (!IsFinite(scale) || scale <= 0.0f)) {
    return Refuse(kName, node, "int8 logits need a positive and finite scale");
  }

  GateOptions options;
  const auto* bytes = static_cast<const uint8_t*>(node->custom_initial_data);
  const char* reason =
      ParseGateOptions(bytes, static_cast<size_t>(node->custom_initial_data_size), &options);
  if (reason != nullptr) return Refuse(kName, node, reason);
  auto* data = static_cast<OpData*>(
      AllocatePersistent(context, sizeof(OpData) + GateNumbers(options) * sizeof(float)));
  if (data == nullptr) return Refuse(kName, node, "the arena is too small");
  reason = PrepareGate(options, classes, data->numbers(), &data->params);
  if (reason != nullptr) return Refuse(kName, node, reason);
  data->threshold_count = static_cast<int32_t>(options.thresholds.size);
  data->scale = scale;
  node->user_data = data;
  if (GateControl* control = Control(context)) {
    control->model_thresholds = data->numbers();
    control->model_threshold_count = data->threshold_count;
  }
  return kTfLiteOk;
}

TfLiteStatus Eval(TfLiteContext* context, TfLiteNode* node) {
  OpData& data = *static_cast<OpData*>(node->user_data);
  const float* thresholds = data.numbers();
  size_t count = static_cast<size_t>(data.threshold_count);
  GateControl* control = Control(context);
  float of_budget;
  if (control != nullptr && control->budget != nullptr) {
    of_budget = BudgetThreshold(*control->budget);
    thresholds = &of_budget;
    count = 1;
  } else if (control != nullptr && control->thresholds != nullptr) {
    thresholds = control->thresholds;
    count = static_cast<size_t>(control->threshold_count);
    const char* reason = CheckGateThresholds(thresholds, count, data.params.classes);
    if (reason != nullptr) return Refuse(kName, node, reason);
  }
  const GateDecision decision =
      data.scale > 0.0f
          ? GateInt8(data.params, InputData<int8_t>(context, node, 0), data.scale, thresholds,
                     count)
          : GateFloat(data.params, InputData<float>(context, node, 0), thresholds, count);
  *OutputData<bool>(context, node, 0) = decision.escalate;
  if (control != nullptr) {
    control->predicted_class = decision.predicted_class;
    control->confidence = decision.confidence;
    control->escalated = decision.escalate;
    if (control->budget != nullptr) UpdateBudget(decision.escalate, control->budget);
  }
  return kTfLiteOk;
}

}  // namespace

TFLMRegistration Register_BCNET_GATE() { return Registration(nullptr, Prepare, Eval); }

}  // namespace bcnet
