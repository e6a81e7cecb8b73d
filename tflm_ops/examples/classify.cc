// Classifies the images that lie in flash beside the model, and writes a line for each: its class,
// which net answered, what the inference took, and the logits.
#include <cstring>

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tflm_ops/examples/board.h"
#include "tflm_ops/examples/operators.h"

extern "C" {
// data.S: the files that BCNET_MODEL and BCNET_IMAGES name.
extern const uint8_t model_begin[];
extern const int8_t images_begin[], images_end[];
}

namespace {

alignas(16) uint8_t arena[BCNET_ARENA_BYTES];

void Write(int32_t number) {
  char text[12];
  char* digit = text + sizeof(text) - 1;
  *digit = 0;
  uint32_t rest = number < 0 ? 0u - static_cast<uint32_t>(number) : static_cast<uint32_t>(number);
  do {
    *--digit = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  if (number < 0) *--digit = '-';
  board::Write(digit);
}

int Fail(const char* why) {
  board::Write("error: ");
  board::Write(why);
  board::Write("\n");
  return 1;
}

}  // namespace

int main() {
  Resolver resolver;
  if (RegisterOperators(resolver) != kTfLiteOk)
    return Fail("the operators do not fit the resolver");
  tflite::MicroInterpreter interpreter(tflite::GetModel(model_begin), resolver, arena,
                                       sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk)
    return Fail("the model has an operator that is not registered, or the arena is too small");
  TfLiteTensor* input = interpreter.input(0);
  const TfLiteTensor* logits = interpreter.output(0);
  if (interpreter.inputs_size() != 1 || input->type != kTfLiteInt8 || logits->type != kTfLiteInt8)
    return Fail("the model must have one input, of int8, and logits of int8");
  const bool is_pair =
      interpreter.outputs_size() == 2 && interpreter.output(1)->type == kTfLiteBool;
  const size_t size = input->bytes, total = static_cast<size_t>(images_end - images_begin);
  if (total == 0 || total % size != 0) return Fail("the images do not have the size of the input");
  board::Write("arena ");
  Write(static_cast<int32_t>(interpreter.arena_used_bytes()));
  board::Write(" bytes\n");
  for (size_t i = 0; i < total / size; ++i) {
    memcpy(input->data.int8, images_begin + i * size, size);
    board::Start();
    const TfLiteStatus status = interpreter.Invoke();
    const uint32_t count = board::Stop();
    if (status != kTfLiteOk) return Fail("an operator failed");
    int best = 0;
    for (int k = 1; k < static_cast<int>(logits->bytes); ++k) {
      if (logits->data.int8[k] > logits->data.int8[best]) best = k;
    }
    board::Write("image ");
    Write(static_cast<int32_t>(i));
    board::Write(": class ");
    Write(best);
    if (is_pair) board::Write(interpreter.output(1)->data.b[0] ? ", both nets" : ", binary net");
    board::Write(", ");
    if (count != 0) {
      Write(static_cast<int32_t>(count));
    } else {
      board::Write("more than the timer counts of");
    }
    board::Write(" ");
    board::Write(board::unit);
    board::Write(", logits");
    for (int k = 0; k < static_cast<int>(logits->bytes); ++k) {
      board::Write(" ");
      Write(logits->data.int8[k]);
    }
    board::Write("\n");
  }
  return 0;
}
