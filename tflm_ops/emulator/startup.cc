// What runs before main, and what runs when the core meets a fault.
#include <cstdint>

#include "tflm_ops/emulator/semihosting.h"

extern "C" {

extern uint32_t stack_top[], data_start[], data_end[], data_load[], bss_start[], bss_end[];

// C++ lets no program name main; this is its symbol.
int Main() __asm__("main");

// Apart from Reset: link-time optimisation may put all of main here, which then saves
// floating-point registers before anything else.
[[noreturn]] __attribute__((noinline)) static void Start() {
  for (uint32_t *to = data_start, *from = data_load; to < data_end;) *to++ = *from++;
  for (uint32_t* to = bss_start; to < bss_end;) *to++ = 0;
  emulator::Exit(Main());
}

[[noreturn]] void Reset() {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  // Floating-point and vector instructions are off after reset: CPACR, coprocessors 10 and 11.
  auto* access = reinterpret_cast<volatile uint32_t*>(0xE000ED88);
  *access = *access | 0xFu << 20;
  __asm__ volatile("dsb\n isb" ::: "memory");
#endif
#ifndef __ARM_FEATURE_UNALIGNED
  // The board's core may bear unaligned accesses where the one that is built for does not: CCR,
  // UNALIGN_TRP makes them faults.
  auto* control = reinterpret_cast<volatile uint32_t*>(0xE000ED14);
  *control = *control | 1u << 3;
#endif
  Start();
}

[[noreturn]] void Fault() {
  emulator::Write("the core met a fault\n");
  emulator::Exit(70);
}

__attribute__((section(".vectors"), used)) const void* const vectors[16] = {
    stack_top,
    reinterpret_cast<const void*>(Reset),
    reinterpret_cast<const void*>(Fault),  // NMI
    reinterpret_cast<const void*>(Fault),  // HardFault
    reinterpret_cast<const void*>(Fault),  // MemManage
    reinterpret_cast<const void*>(Fault),  // BusFault
    reinterpret_cast<const void*>(Fault),  // UsageFault
    reinterpret_cast<const void*>(Fault),  // SecureFault
};

}  // extern "C"
