// The example on a NUCLEO-F767ZI: 216 MHz from the debugger's 8 MHz clock, caches on, text through
// the debugger's serial port (115200 baud, USART3 on PD8), cycles by the debug unit's counter.
// Registers are those of ST's reference manual RM0410.
#include <cstdint>

#include "tflm_ops/examples/board.h"

extern "C" {
extern uint32_t stack_top[], data_start[], data_end[], data_load[], bss_start[], bss_end[];
extern uint32_t itcm_start[], itcm_end[], itcm_load[];
int main();
}

namespace {

volatile uint32_t& Register(uint32_t address) {
  return *reinterpret_cast<volatile uint32_t*>(address);
}

constexpr uint32_t kRcc = 0x40023800, kPower = 0x40007000, kFlash = 0x40023C00;
constexpr uint32_t kPortD = 0x40020C00, kUsart3 = 0x40004800;

void WaitFor(uint32_t address, uint32_t bits) {
  while ((Register(address) & bits) != bits) {
  }
}

void StartClocks() {
  Register(kRcc + 0x40) |= 1u << 28;      // APB1ENR: power controller
  Register(kPower) |= 3u << 14;           // CR.VOS: scale 1
  Register(kRcc) |= 1u << 18 | 1u << 16;  // CR: HSEBYP, HSEON
  WaitFor(kRcc, 1u << 17);
  // PLLCFGR: 8 MHz / 4 * 216 / 2, Q 9.
  Register(kRcc + 0x04) = 4u | 216u << 6 | 0u << 16 | 1u << 22 | 9u << 24;
  Register(kRcc) |= 1u << 24;    // PLLON
  Register(kPower) |= 1u << 16;  // overdrive, which 216 MHz need
  WaitFor(kPower + 0x04, 1u << 16);
  Register(kPower) |= 1u << 17;
  WaitFor(kPower + 0x04, 1u << 17);
  WaitFor(kRcc, 1u << 25);
  Register(kFlash) = 7u | 1u << 8 | 1u << 9;  // ACR: 7 wait states, prefetch, ART
  // CFGR: APB1 at a quarter, APB2 at half of the clock; then the PLL.
  Register(kRcc + 0x08) = 5u << 10 | 4u << 13 | 2u;
  while ((Register(kRcc + 0x08) >> 2 & 3u) != 2u) {
  }
}

void EnableCaches() {
  __asm__ volatile("dsb\n isb" ::: "memory");
  Register(0xE000EF50) = 0;  // ICIALLU
  // The data cache holds nothing valid after reset once each set and way is invalidated.
  Register(0xE000ED84) = 0;  // CSSELR: level 1, data
  __asm__ volatile("dsb" ::: "memory");
  const uint32_t size = Register(0xE000ED80);  // CCSIDR
  const uint32_t sets = (size >> 13 & 0x7FFF) + 1, ways = (size >> 3 & 0x3FF) + 1;
  for (uint32_t set = 0; set < sets; ++set) {
    for (uint32_t way = 0; way < ways; ++way) Register(0xE000EF60) = way << 30 | set << 5;
  }
  __asm__ volatile("dsb\n isb" ::: "memory");
  Register(0xE000ED14) |= 1u << 17 | 1u << 16;  // CCR: instruction and data cache
  __asm__ volatile("dsb\n isb" ::: "memory");
}

void StartSerial() {
  Register(kRcc + 0x30) |= 1u << 3;                                  // AHB1ENR: port D
  Register(kRcc + 0x40) |= 1u << 18;                                 // APB1ENR: USART3
  Register(kPortD) = (Register(kPortD) & ~(3u << 16)) | 2u << 16;    // PD8: alternate function
  Register(kPortD + 0x24) = (Register(kPortD + 0x24) & ~0xFu) | 7u;  // AFRH: USART3
  Register(kUsart3 + 0x0C) = (54000000 + 57600) / 115200;            // BRR, from APB1's 54 MHz
  Register(kUsart3) = 1u << 3 | 1u;                                  // CR1: TE, UE
}

}  // namespace

extern "C" {

[[noreturn]] void Reset() {
  Register(0xE000ED88) |= 0xFu << 20;  // CPACR: floating-point unit
  __asm__ volatile("dsb\n isb" ::: "memory");
  for (uint32_t *to = data_start, *from = data_load; to < data_end;) *to++ = *from++;
  for (uint32_t *to = itcm_start, *from = itcm_load; to < itcm_end;) *to++ = *from++;
  for (uint32_t* to = bss_start; to < bss_end;) *to++ = 0;
  StartClocks();
  EnableCaches();
  StartSerial();
  main();
  for (;;) {
  }
}

[[noreturn]] void Fault() {
  board::Write("the core met a fault\n");
  for (;;) {
  }
}

__attribute__((section(".vectors"), used)) const void* const vectors[16] = {
    stack_top,
    reinterpret_cast<const void*>(Reset),
    reinterpret_cast<const void*>(Fault),  // NMI
    reinterpret_cast<const void*>(Fault),  // HardFault
    reinterpret_cast<const void*>(Fault),  // MemManage
    reinterpret_cast<const void*>(Fault),  // BusFault
    reinterpret_cast<const void*>(Fault),  // UsageFault
};

}  // extern "C"

namespace board {

const char* const unit = "cycles";

void Start() {
  Register(0xE000EDFC) |= 1u << 24;   // DEMCR.TRCENA
  Register(0xE0001FB0) = 0xC5ACCE55;  // DWT_LAR: the counter is locked on this core
  Register(0xE0001004) = 0;           // DWT_CYCCNT
  Register(0xE0001000) |= 1u;         // DWT_CTRL.CYCCNTENA
}

uint32_t Stop() { return Register(0xE0001004); }

void Write(const char* text) {
  for (; *text != 0; ++text) {
    if (*text == '\n') {
      WaitFor(kUsart3 + 0x1C, 1u << 7);
      Register(kUsart3 + 0x28) = '\r';
    }
    WaitFor(kUsart3 + 0x1C, 1u << 7);  // ISR.TXE
    Register(kUsart3 + 0x28) = static_cast<uint8_t>(*text);
  }
}

}  // namespace board
