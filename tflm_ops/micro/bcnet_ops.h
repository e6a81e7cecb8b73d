// The operators of binary and cooperating networks for TensorFlow Lite Micro. This is the only
// header to include:
//
//   tflite::MicroMutableOpResolver<9> resolver;
//   bcnet::RegisterBcnetOps(resolver);              // all six, or those that the model has:
//   bcnet::RegisterBcnetOps<bcnet::kLceQuantize | bcnet::kLceBconv2d>(resolver);
#ifndef TFLM_OPS_MICRO_BCNET_OPS_H_
#define TFLM_OPS_MICRO_BCNET_OPS_H_

#include "tflm_ops/kernels/requirements.h"

#include <cstdint>

#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/micro/micro_common.h"
#include "tflm_ops/kernels/budget.h"

namespace bcnet {

// The operators by name in the flatbuffer. The first four are those of Larq Compute Engine.
TFLMRegistration Register_LCE_QUANTIZE();       // "LceQuantize"
TFLMRegistration Register_LCE_DEQUANTIZE();     // "LceDequantize"
TFLMRegistration Register_LCE_BCONV_2D();       // "LceBconv2d"
TFLMRegistration Register_LCE_BMAXPOOL_2D();    // "LceBMaxPool2d"
TFLMRegistration Register_BCNET_GATE();         // "BcnetGate"
TFLMRegistration Register_BCNET_THERMOMETER();  // "BcnetThermometer"

enum BcnetOps : uint32_t {
  kLceQuantize = 1,
  kLceDequantize = 2,
  kLceBconv2d = 4,
  kLceBMaxPool2d = 8,
  kBcnetGate = 16,
  kBcnetThermometer = 32,
  kAllBcnetOps = 63,
};

// The working memory that each binary convolution may take in the arena, in bytes; the arena's plan
// lets operators share it. With less memory convolutions are slower, with 0 about ten times. Counts
// from the next AllocateTensors on; 48 KB unless set.
void SetBconv2dScratchBudget(int32_t bytes);

// Adds operators to a MicroMutableOpResolver. Only those that `kOps` names are linked.
template <uint32_t kOps = kAllBcnetOps, typename Resolver>
TfLiteStatus RegisterBcnetOps(Resolver& resolver) {
  static_assert(kOps != 0 && (kOps & ~uint32_t{kAllBcnetOps}) == 0, "no such operator");
  TfLiteStatus status = kTfLiteOk;
  const auto add = [&](const char* name, const TFLMRegistration& registration) {
    if (status == kTfLiteOk) status = resolver.AddCustom(name, &registration);
  };
  // Conditions are constants: what is not asked for leaves nothing to link.
  if ((kOps & kLceQuantize) != 0) add("LceQuantize", Register_LCE_QUANTIZE());
  if ((kOps & kLceDequantize) != 0) add("LceDequantize", Register_LCE_DEQUANTIZE());
  if ((kOps & kLceBconv2d) != 0) add("LceBconv2d", Register_LCE_BCONV_2D());
  if ((kOps & kLceBMaxPool2d) != 0) add("LceBMaxPool2d", Register_LCE_BMAXPOOL_2D());
  if ((kOps & kBcnetGate) != 0) add("BcnetGate", Register_BCNET_GATE());
  if ((kOps & kBcnetThermometer) != 0) add("BcnetThermometer", Register_BCNET_THERMOMETER());
  return status;
}

// An application's view of the gates of a model. It is optional: without it a gate uses the
// thresholds of the model.
//
//   bcnet::GateControl gate;
//   interpreter.SetMicroExternalContext(&gate);  // before AllocateTensors
//   interpreter.AllocateTensors();
//   const float mine = 0.4f;
//   gate.thresholds = &mine;                     // from the next Invoke on
//   gate.threshold_count = 1;
//
// TensorFlow Lite Micro knows one external context: an application that has its own puts the
// GateControl first in it.
struct GateControl {
  static constexpr uint32_t kTag = 0x4763416e;
  uint32_t tag = kTag;  // tells the gate that the external context is a GateControl

  // Set by the application between two calls of Invoke: one number, or one for each class, each in
  // [0, 1]. Null stands for those of the model.
  const float* thresholds = nullptr;
  int32_t threshold_count = 0;

  // Set by AllocateTensors: the thresholds of the model (of its last gate, if there are several).
  const float* model_thresholds = nullptr;
  int32_t model_threshold_count = 0;

  // Set by Invoke.
  int32_t predicted_class = -1;
  float confidence = 0.0f;
  bool escalated = false;

  // Set by the application: the threshold is then that of the budget, and each Invoke moves it.
  Budget* budget = nullptr;
};

}  // namespace bcnet

#endif  // TFLM_OPS_MICRO_BCNET_OPS_H_
