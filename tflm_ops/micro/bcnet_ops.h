// The operators of binary and cooperating networks for TensorFlow Lite Micro. This is the only
// header to include:
//
//   tflite::MicroMutableOpResolver<10> resolver;
//   bcnet::RegisterBcnetOps(resolver);              // all seven, or those that the model has:
//   bcnet::RegisterBcnetOps<bcnet::kLceQuantize | bcnet::kLceBconv2d>(resolver);
#ifndef TFLM_OPS_MICRO_BCNET_OPS_H_
#define TFLM_OPS_MICRO_BCNET_OPS_H_

#include "tflm_ops/kernels/requirements.h"

#if __cplusplus < 201703L && defined(__has_include)
#if __has_include("tensorflow/lite/types/half.h")
#error "This tree of TensorFlow Lite Micro needs C++17 or later: compile with -std=gnu++17."
#include "stopped, see the error above"
#endif
#endif

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
TFLMRegistration Register_BCNET_STEM();         // "BcnetStem"

enum BcnetOps : uint32_t {
  kLceQuantize = 1,
  kLceDequantize = 2,
  kLceBconv2d = 4,
  kLceBMaxPool2d = 8,
  kBcnetGate = 16,
  kBcnetThermometer = 32,
  kBcnetStem = 64,
  kAllBcnetOps = 127,
};

// The scratch budget is the working memory that each binary convolution may take in the arena, in
// bytes; the arena's plan lets the convolutions share it. With less memory they are slower, with 0
// about ten times.
constexpr int32_t kDefaultScratchBudget = 48 * 1024;

// Prepares a binary convolution whose interpreter's Context sets no scratch budget.
TfLiteStatus PrepareBconv2dWithin(int32_t scratch_budget, TfLiteContext* context, TfLiteNode* node);

// LceBconv2d with another scratch budget than kDefaultScratchBudget.
template <int32_t kScratchBudget>
TFLMRegistration Register_LCE_BCONV_2D() {
  static_assert(kScratchBudget >= 0, "a scratch budget is a number of bytes, 0 or more");
  TFLMRegistration registration = Register_LCE_BCONV_2D();
  registration.prepare = [](TfLiteContext* context, TfLiteNode* node) {
    return PrepareBconv2dWithin(kScratchBudget, context, node);
  };
  return registration;
}

// Adds operators to a MicroMutableOpResolver. Only those that `kOps` names are linked. The scratch
// budget counts for the interpreters that have no other in their Context.
template <uint32_t kOps = kAllBcnetOps, int32_t kScratchBudget = kDefaultScratchBudget,
          typename Resolver>
TfLiteStatus RegisterBcnetOps(Resolver& resolver) {
  static_assert(kOps != 0 && (kOps & ~uint32_t{kAllBcnetOps}) == 0, "no such operator");
  TfLiteStatus status = kTfLiteOk;
  const auto add = [&](const char* name, const TFLMRegistration& registration) {
    if (status == kTfLiteOk) status = resolver.AddCustom(name, &registration);
  };
  // Conditions are constants: what is not asked for leaves nothing to link.
  if ((kOps & kLceQuantize) != 0) add("LceQuantize", Register_LCE_QUANTIZE());
  if ((kOps & kLceDequantize) != 0) add("LceDequantize", Register_LCE_DEQUANTIZE());
  if ((kOps & kLceBconv2d) != 0) add("LceBconv2d", Register_LCE_BCONV_2D<kScratchBudget>());
  if ((kOps & kLceBMaxPool2d) != 0) add("LceBMaxPool2d", Register_LCE_BMAXPOOL_2D());
  if ((kOps & kBcnetGate) != 0) add("BcnetGate", Register_BCNET_GATE());
  if ((kOps & kBcnetThermometer) != 0) add("BcnetThermometer", Register_BCNET_THERMOMETER());
  if ((kOps & kBcnetStem) != 0) add("BcnetStem", Register_BCNET_STEM());
  return status;
}

// An application's view of the gates of a model.
struct GateControl {
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

// What an application may tell the operators of one interpreter, and hear from them. It is
// optional: without it a gate uses the thresholds of the model, and binary convolutions the scratch
// budget that they were registered with.
//
//   bcnet::Context context;
//   context.scratch_budget = 16 * 1024;
//   interpreter.SetMicroExternalContext(&context);  // before AllocateTensors
//   interpreter.AllocateTensors();
//   const float mine = 0.4f;
//   context.gate.thresholds = &mine;                // from the next Invoke on
//   context.gate.threshold_count = 1;
//
// TensorFlow Lite Micro knows one external context: an application that has its own puts the
// Context first in it. Every interpreter needs a Context of its own.
struct Context {
  static constexpr uint32_t kTag = 0x42634e78;
  uint32_t tag = kTag;  // tells the operators that the external context is a Context

  // Read by AllocateTensors: bytes, or kRegistered for as many as the operators were registered
  // with.
  static constexpr int32_t kRegistered = -1;
  int32_t scratch_budget = kRegistered;

  GateControl gate;
};

}  // namespace bcnet

#endif  // TFLM_OPS_MICRO_BCNET_OPS_H_
