// The bench under QEMU: the layers come from the command line, and a plug-in counts instructions
// between the two marker functions.
#include "tflm_ops/bench/board.h"
#include "tflm_ops/emulator/semihosting.h"

namespace board {
namespace {

alignas(16) uint8_t bytes[1800 * 1024];

}  // namespace

uint8_t* const memory = bytes;
const size_t memory_size = sizeof(bytes);

const char* Layers() {
  static char line[1024];
  struct {
    char* text;
    uint32_t size;
  } command = {line, sizeof(line)};
  if (emulator::Call(0x15, &command) != 0) return "";
  const char* arguments = line;
  while (*arguments != 0 && *arguments != ' ') ++arguments;  // the name of the program
  return arguments;
}

// Nothing but the return: it is the instruction that the plug-in looks for.
__attribute__((naked)) void Start() { __asm__ volatile("bx lr"); }
__attribute__((naked)) uint32_t Stop() { __asm__ volatile("movs r0, #0\n bx lr"); }

void Write(const char* text) { emulator::Write(text); }

}  // namespace board
