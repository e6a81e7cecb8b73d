// Calls to the debugger, here QEMU, as Arm's "Semihosting for AArch32 and AArch64" defines them.
#ifndef TFLM_OPS_EMULATOR_SEMIHOSTING_H_
#define TFLM_OPS_EMULATOR_SEMIHOSTING_H_

#include <cstddef>
#include <cstdint>

namespace emulator {

inline int32_t Call(int32_t operation, const void* arguments) {
  register int32_t r0 __asm__("r0") = operation;
  register const void* r1 __asm__("r1") = arguments;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

inline void Write(const char* text) { Call(0x04, text); }

[[noreturn]] inline void Exit(int32_t status) {
  const uint32_t arguments[2] = {0x20026,
                                 static_cast<uint32_t>(status)};  // the application has ended
  Call(0x20, arguments);
  for (;;) {
  }
}

}  // namespace emulator

#endif  // TFLM_OPS_EMULATOR_SEMIHOSTING_H_
