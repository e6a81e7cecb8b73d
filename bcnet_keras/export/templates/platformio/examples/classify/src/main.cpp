// Runs the net on a pattern, again and again, and prints what it answers.
#include <Arduino.h>
#include <TensorFlowLite.h>  // the library of TensorFlow Lite Micro, see README.md
#include <@name@.h>

static bool ready = false;

void setup() {
  Serial.begin(115200);
  ready = @name@::Begin();
  Serial.println(ready ? "ready" : "the net cannot run");
}

void loop() {
  if (!ready) return;
  TfLiteTensor* input = @name@::Input();
  for (size_t i = 0; i < input->bytes; ++i) {
    input->data.uint8[i] = static_cast<uint8_t>(37 * i);  // in its place: the codes of an image
  }
  if (!@name@::Run()) return;
  Serial.print("class ");
  Serial.print(@name@::BestClass());
  Serial.print(", from ");
  Serial.println(@print_from@);
  delay(1000);
}
