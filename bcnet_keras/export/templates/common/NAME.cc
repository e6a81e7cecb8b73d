// Written by bcnet export (bcnet-keras @version@) from @origin@.
#include "@name@.h"

#include <cstdint>
#include <new>

#include "@name@_ops.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
@variables_header@#include "tensorflow/lite/schema/schema_generated.h"

namespace @name@ {
namespace {

alignas(16) uint8_t arena[@NAME@_ARENA_SIZE];
tflite::MicroInterpreter* interpreter = nullptr;
@context_defined@
template <typename T>
int ArgMax(const T* values, size_t count) {
  size_t best = 0;
  for (size_t i = 1; i < count; ++i) {
    if (values[i] > values[best]) best = i;
  }
  return static_cast<int>(best);
}

}  // namespace
@gate_defined@
bool Begin() {
  if (interpreter != nullptr) return true;
  // Both objects stay in memory of their own: static ones would register destructors.
  alignas(OpResolver) static uint8_t resolver_memory[sizeof(OpResolver)];
  OpResolver& resolver = *new (resolver_memory) OpResolver;
  if (RegisterOps(resolver) != kTfLiteOk) return false;
  alignas(tflite::MicroInterpreter) static uint8_t memory[sizeof(tflite::MicroInterpreter)];
@interpreter_made@@gate_context@  if (made->AllocateTensors() != kTfLiteOk) return false;
  interpreter = made;
  return true;
}

TfLiteTensor* Input(int index) { return interpreter->input(static_cast<size_t>(index)); }

const TfLiteTensor* Output(int index) { return interpreter->output(static_cast<size_t>(index)); }

bool Run() { return interpreter->Invoke() == kTfLiteOk; }

int BestClass() {
  const TfLiteTensor* logits = Output();
  switch (logits->type) {
    case kTfLiteInt8:
      return ArgMax(logits->data.int8, logits->bytes);
    case kTfLiteUInt8:
      return ArgMax(logits->data.uint8, logits->bytes);
    case kTfLiteFloat32:
      return ArgMax(logits->data.f, logits->bytes / sizeof(float));
    default:
      return -1;
  }
}
@escalated_defined@
size_t ArenaUsed() { return interpreter->arena_used_bytes(); }

}  // namespace @name@
