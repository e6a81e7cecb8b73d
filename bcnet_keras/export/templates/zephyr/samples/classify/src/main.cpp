// Runs the net once on a pattern and says what it answers.
#include <zephyr/sys/printk.h>

#include "@name@.h"

int main() {
  if (!@name@::Begin()) return 1;
  printk("arena: %u of %u bytes\n", static_cast<unsigned>(@name@::ArenaUsed()),
         static_cast<unsigned>(@NAME@_ARENA_SIZE));
  TfLiteTensor* input = @name@::Input();
  for (size_t i = 0; i < input->bytes; ++i) {
    input->data.uint8[i] = static_cast<uint8_t>(37 * i);  // in its place: the codes of an image (@name@_model.h)
  }
  if (!@name@::Run()) return 1;
  printk("class %d, from %s\n", @name@::BestClass(), @print_from@);
  return 0;
}
