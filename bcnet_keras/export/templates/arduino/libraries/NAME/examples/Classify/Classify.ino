// Runs the net on a pattern, again and again, and prints what it answers.
#include <TensorFlowLite.h>  // the library of TensorFlow Lite Micro, see README.md
#include <@name@.h>
#include <tensorflow/lite/micro/cortex_m_generic/debug_log_callback.h>

bool ready = false;

void setup() {
  Serial.begin(115200);
  while (!Serial) {
  }
  // TensorFlow Lite Micro says here what is wrong.
  RegisterDebugLogCallback([](const char* text) { Serial.print(text); });
  ready = @name@::Begin();
  Serial.println(ready ? "ready" : "the net cannot run");
}

void loop() {
  if (!ready) return;
  TfLiteTensor* input = @name@::Input();
  for (size_t i = 0; i < input->bytes; ++i) {
    input->data.uint8[i] = static_cast<uint8_t>(37 * i);  // in its place: the codes of an image (@name@_model.h)
  }
  const unsigned long start = micros();
  if (!@name@::Run()) return;
  const unsigned long time = micros() - start;
  Serial.print("class ");
  Serial.print(@name@::BestClass());
  Serial.print(", from ");
  Serial.print(@print_from@);
  Serial.print(", microseconds ");
  Serial.println(time);
  delay(1000);
}
