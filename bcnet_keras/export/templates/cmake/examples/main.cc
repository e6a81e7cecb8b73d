// Runs the net once on a pattern and says what it answers, through the debugger: here QEMU.
#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "@name@.h"
#include "tensorflow/lite/micro/cortex_m_generic/debug_log_callback.h"
#include "tflm_ops/emulator/semihosting.h"

namespace {

// On a board: to its serial port.
void Write(const char* text) { emulator::Write(text); }

__attribute__((format(printf, 1, 2))) void Say(const char* format, ...) {
  char line[80];
  va_list values;
  va_start(values, format);
  vsnprintf(line, sizeof(line), format, values);
  va_end(values);
  Write(line);
}

}  // namespace

int main() {
  RegisterDebugLogCallback(Write);
  if (!@name@::Begin()) return 1;
  Say("arena: %d of %d bytes\n", static_cast<int>(@name@::ArenaUsed()), @NAME@_ARENA_SIZE);

  TfLiteTensor* input = @name@::Input();
  for (size_t i = 0; i < input->bytes; ++i) {
    input->data.uint8[i] = static_cast<uint8_t>(37 * i);  // in its place: the codes of an image (@name@_model.h)
  }
  if (!@name@::Run()) return 1;
  Say("class %d, from %s\n", @name@::BestClass(), @print_from@);
  const TfLiteTensor* output = @name@::Output();
  for (size_t i = 0; i < output->bytes && output->type == kTfLiteInt8; ++i) {
    Say("code %d: %d\n", static_cast<int>(i), output->data.int8[i]);
  }
  return 0;
}
