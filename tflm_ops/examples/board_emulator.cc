// The example under QEMU. With `-icount shift=0` QEMU's clock goes on by a nanosecond an
// instruction, so that the SysTick timer, which runs at BCNET_CLOCK_HZ, tells instructions to
// within a few dozen. A plug-in that counts between the two functions is exact.
#include "tflm_ops/emulator/semihosting.h"
#include "tflm_ops/examples/board.h"

namespace board {
namespace {

constexpr uint32_t kTop = 0xFFFFFF;

volatile uint32_t& Register(uint32_t address) {
  return *reinterpret_cast<volatile uint32_t*>(address);
}

uint64_t InstructionsOf(uint32_t ticks) { return ticks * uint64_t{1000000000} / BCNET_CLOCK_HZ; }

}  // namespace

// Nothing but the return: these are the instructions that the plug-in looks for.
extern "C" __attribute__((naked, noinline)) void count_start() { __asm__ volatile("bx lr"); }
extern "C" __attribute__((naked, noinline)) void count_stop() { __asm__ volatile("bx lr"); }

const char* const unit = "instructions";

void Start() {
  Register(0xE000E010) = 0;
  Register(0xE000E014) = kTop;  // reload
  Register(0xE000E018) = 0;     // any value clears the counter
  Register(0xE000E010) = 5;     // counts down with the core's clock, without interrupts
  count_start();
}

uint32_t Stop() {
  count_stop();
  const uint32_t left = Register(0xE000E018);
  if ((Register(0xE000E010) >> 16 & 1) != 0) return 0;  // COUNTFLAG: the timer has begun anew
  return static_cast<uint32_t>(InstructionsOf(kTop - left));
}

void Write(const char* text) { emulator::Write(text); }

}  // namespace board
