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

#ifdef BCNET_WHEEL_INPUT_TENSOR
// Some wheels have nodes and tensors in the namespace tflite::micro, and so these two functions
// under names that the headers do not give.
TfLiteTensor* WheelInputTensor(tflite::MicroContext* context, const TfLiteNode* node,
                               int index) asm(BCNET_WHEEL_INPUT_TENSOR);
TfLiteTensor* WheelOutputTensor(tflite::MicroContext* context, const TfLiteNode* node,
                                int index) asm(BCNET_WHEEL_OUTPUT_TENSOR);

namespace tflite {

TfLiteTensor* MicroContext::AllocateTempInputTensor(const TfLiteNode* node, int index) {
  return WheelInputTensor(this, node, index);
}

TfLiteTensor* MicroContext::AllocateTempOutputTensor(const TfLiteNode* node, int index) {
  return WheelOutputTensor(this, node, index);
}

}  // namespace tflite
#endif

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

// Python cannot set the interpreter's external context: the operators that look at it do, with one
// that Python made for the interpreter that its thread makes next.
thread_local bcnet::Context* next_context = nullptr;

template <TFLMRegistration (*kRegister)()>
TFLMRegistration WithContext() {
  TFLMRegistration registration = kRegister();
  registration.init = [](TfLiteContext* context, const char* buffer, size_t length) -> void* {
    tflite::MicroContext* micro_context = tflite::GetMicroContext(context);
    if (micro_context->external_context() == nullptr && next_context != nullptr) {
      micro_context->set_external_context(next_context);
    }
    const TFLMRegistration registration = kRegister();
    return registration.init == nullptr ? nullptr : registration.init(context, buffer, length);
  };
  return registration;
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
  const TFLMRegistration convolution = WithContext<bcnet::Register_LCE_BCONV_2D>();
  const TFLMRegistration gate = WithContext<bcnet::Register_BCNET_GATE>();
  constexpr uint32_t kOthers = bcnet::kAllBcnetOps & ~bcnet::kLceBconv2d & ~bcnet::kBcnetGate;
  return bcnet::RegisterBcnetOps<kOthers>(resolver) == kTfLiteOk &&
         resolver.AddCustom("LceBconv2d", &convolution) == kTfLiteOk &&
         resolver.AddCustom("BcnetGate", &gate) == kTfLiteOk;
}

// Gives the interpreters that this thread makes from now on a context, which must outlive them;
// null for none.
BCNET_EXPORT void bcnet_use_context(bcnet::Context* context) { next_context = context; }

}  // extern "C"
