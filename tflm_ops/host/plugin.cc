// Adds the operators to the interpreter of the tflite-micro wheel, which looks this function up by
// name.
#include <cstdint>

#include "tensorflow/lite/micro/micro_context.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_op_resolver.h"
#include "tflm_ops/micro/bcnet_ops.h"

namespace tflite {
class PythonOpsResolver;
}

namespace {

// The wheel's resolver is a MicroMutableOpResolver<BCNET_RESOLVER_CAPACITY>, but the wheel has no
// header for it: this is the start of its memory.
struct ResolverMemory {
  void* virtual_table;
  TFLMRegistration registrations[BCNET_RESOLVER_CAPACITY];
  unsigned int count;
};

class WheelResolver {
 public:
  explicit WheelResolver(tflite::PythonOpsResolver* resolver)
      : interface_(reinterpret_cast<tflite::MicroOpResolver*>(resolver)),
        memory_(reinterpret_cast<ResolverMemory*>(resolver)) {}

  // Whether the wheel's own look-up leads to where the registrations are expected.
  bool IsLaidOutAsExpected() const {
    const TFLMRegistration* add = interface_->FindOp(tflite::BuiltinOperator_ADD);
    if (memory_->count > BCNET_RESOLVER_CAPACITY) return false;
    for (unsigned int i = 0; i < memory_->count; ++i) {
      if (&memory_->registrations[i] == add)
        return add->builtin_code == tflite::BuiltinOperator_ADD;
    }
    return false;
  }

  TfLiteStatus AddCustom(const char* name, const TFLMRegistration* registration) {
    if (memory_->count == BCNET_RESOLVER_CAPACITY || interface_->FindOp(name) != nullptr)
      return kTfLiteError;
    TFLMRegistration* added = &memory_->registrations[memory_->count];
    *added = *registration;
    added->builtin_code = tflite::BuiltinOperator_CUSTOM;
    added->custom_name = name;
    ++memory_->count;
    return interface_->FindOp(name) == added ? kTfLiteOk : kTfLiteError;
  }

 private:
  const tflite::MicroOpResolver* interface_;
  ResolverMemory* memory_;
};

// Python cannot set the interpreter's external context: the gate does, with a control that Python
// made.
bcnet::GateControl* next_control = nullptr;

void* InitGate(TfLiteContext* context, const char*, size_t) {
  tflite::MicroContext* micro_context = tflite::GetMicroContext(context);
  if (micro_context->external_context() == nullptr && next_control != nullptr) {
    micro_context->set_external_context(next_control);
  }
  return nullptr;
}

}  // namespace

#define BCNET_EXPORT __attribute__((visibility("default")))

extern "C" {

BCNET_EXPORT bool RegisterBcnetOps(tflite::PythonOpsResolver* python_resolver) {
  WheelResolver resolver(python_resolver);
  if (!resolver.IsLaidOutAsExpected()) {
    MicroPrintf(
        "the wheel's resolver is laid out otherwise than in the headers the operators were built "
        "with");
    return false;
  }
  TFLMRegistration gate = bcnet::Register_BCNET_GATE();
  gate.init = InitGate;
  return bcnet::RegisterBcnetOps<bcnet::kAllBcnetOps & ~bcnet::kBcnetGate>(resolver) == kTfLiteOk &&
         resolver.AddCustom("BcnetGate", &gate) == kTfLiteOk;
}

BCNET_EXPORT void bcnet_set_bconv2d_scratch_budget(int32_t bytes) {
  bcnet::SetBconv2dScratchBudget(bytes);
}

// Gives the gates of the interpreters that are made from now on a control, which must outlive them;
// null for none.
BCNET_EXPORT void bcnet_use_gate_control(bcnet::GateControl* control) { next_control = control; }

}  // extern "C"
