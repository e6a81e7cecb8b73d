// The bench on a real board: cycles by the counter of the debug unit, which Cortex-M3 and later
// have (a Cortex-M0+ takes its SysTick timer or another one instead). Fill in Write and the size of
// the memory; start-up code, clocks and linker script are the board's own.
#include "tflm_ops/bench/board.h"

namespace board {
namespace {

alignas(16) uint8_t bytes[128 * 1024];

volatile uint32_t& Register(uint32_t address) {
  return *reinterpret_cast<volatile uint32_t*>(address);
}

}  // namespace

uint8_t* const memory = bytes;
const size_t memory_size = sizeof(bytes);

const char* Layers() { return "design networks"; }

void Start() {
  Register(0xE000EDFC) |= 1u << 24;  // DEMCR.TRCENA: the unit is on
  Register(0xE0001004) = 0;          // DWT_CYCCNT
  Register(0xE0001000) |= 1u;        // DWT_CTRL.CYCCNTENA
}

uint32_t Stop() { return Register(0xE0001004); }

void Write(const char* text) {
  // To be filled in: send the characters to a serial port, ITM or semihosting.
  (void)text;
}

}  // namespace board
