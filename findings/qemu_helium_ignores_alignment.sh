#!/usr/bin/env bash
# Guess: on the emulated Cortex-M55 a vector load or store from an unaligned address faults as it does on
# the core. QEMU is exact about this elsewhere: ldrd, ldm and vldr raise the fault that the manual asks for.
# What happens: vldrw, vldrh, vstrw and vstrh at an odd address pass silently. The architecture raises a
# UsageFault unless the address is a multiple of the element's size.
# Version: QEMU 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3), machine mps3-an547.
# Misled: whoever tests Helium kernels or buffers in QEMU alone: the first board stops in a fault.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# check PACKAGE VERSION: stops unless Debian's package is installed in this version.
check() {
  installed=$(dpkg-query -W -f='${Version}' "$1")
  test "$installed" = "$2" || { echo "$1 is $installed, not $2"; exit 2; }
}
check gcc-arm-none-eabi "15:12.2.rel1-1"
check libnewlib-arm-none-eabi "3.3.0-1.3+deb12u1"
check qemu-system-arm "1:7.2+dfsg-7+deb12u18+b3"

cat > "$dir/link.ld" <<'EOF'
ENTRY(reset)
MEMORY {
  CODE (rx) : ORIGIN = 0, LENGTH = 256K
  RAM (rw) : ORIGIN = 0x20000000, LENGTH = 256K
}
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } > CODE
  .ARM.exidx : { *(.ARM.exidx*) } > CODE
  .data : { *(.data*) *(.bss*) *(COMMON) . = ALIGN(8); end = .; } > RAM
  stack_top = ORIGIN(RAM) + LENGTH(RAM);
}
EOF

cat > "$dir/start.c" <<'EOF'
#include <stdint.h>
extern char stack_top[];
int main(void);
void fault(void);
/* Arm semihosting: 4 writes a string, 0x20 ends the emulator with an exit status. */
static void semihosting(int operation, const void *argument) {
  register int r0 asm("r0") = operation;
  register const void *r1 asm("r1") = argument;
  asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}
void print(const char *text) { semihosting(4, text); }
void print_hex(uint32_t value) {
  char text[9] = {0};
  for (int i = 0; i < 8; i++) text[i] = "0123456789abcdef"[value >> (28 - 4 * i) & 15];
  print(text);
}
void print_int(int32_t value) {
  char text[12], *p = text + 11;
  uint32_t rest = value < 0 ? -(uint32_t)value : (uint32_t)value;
  *p = 0;
  do *--p = '0' + rest % 10; while (rest /= 10);
  if (value < 0) *--p = '-';
  print(p);
}
static void quit(int status) {
  uint32_t block[2] = {0x20026, status};
  semihosting(0x20, block);
}
__attribute__((weak)) void fault(void) { quit(3); }
void reset(void) {
#ifdef __ARM_FP
  *(volatile uint32_t *)0xE000ED88 |= 0xf << 20; /* CPACR: the FPU on */
  asm volatile("dsb\n\tisb");
#endif
  quit(main());
}
__attribute__((section(".vectors"), used)) const void *const vectors[16] = {
    stack_top, reset, fault, fault, fault, fault, fault};
EOF

cat > "$dir/align.c" <<'EOF'
#include <stdint.h>
void print(const char *text);
static volatile int faults;
static uint8_t buffer[64] __attribute__((aligned(16)));
/* Counts the fault and goes on behind the instruction of four bytes that raised it. */
__attribute__((used)) void skip(uint32_t *frame) {
  faults++;
  frame[6] += 4;
  *(volatile uint32_t *)0xE000ED28 = ~0u; /* clears the fault's status */
}
__attribute__((naked)) void fault(void) {
  asm volatile("mov r0, sp\n\tpush {r4, lr}\n\tbl skip\n\tpop {r4, pc}");
}
#define TRY(instruction)                                                           \
  ({                                                                               \
    faults = 0;                                                                    \
    asm volatile(instruction ::"r"(buffer + 1) : "r2", "r3", "q0", "memory");      \
    print(instruction);                                                            \
    print(faults ? "  fault\n" : "  no fault\n");                                  \
    faults;                                                                        \
  })
int main(void) {
  int status = 0;
  status |= TRY("ldrd r2, r3, [%0]") << 0;
  status |= TRY("ldm.w %0, {r2, r3}") << 1;
  status |= TRY("vldr s0, [%0]") << 2;
  status |= TRY("vldrw.u32 q0, [%0]") << 3;
  status |= TRY("vldrh.u16 q0, [%0]") << 4;
  status |= TRY("vstrw.32 q0, [%0]") << 5;
  status |= TRY("vstrh.16 q0, [%0]") << 6;
  return status;
}
EOF

arm-none-eabi-gcc -mthumb -mcpu=cortex-m55 -mfloat-abi=hard -O1 -nostartfiles -Wl,-z,noexecstack -T "$dir/link.ld" \
  "$dir/start.c" "$dir/align.c" -o "$dir/align.elf"
status=0
timeout 60 qemu-system-arm -M mps3-an547 -display none \
  -semihosting-config enable=on,target=native -kernel "$dir/align.elf" 2>&1 || status=$?
test "$status" -eq 7 || { echo "changed: mask of faults $status, not 7"; exit 1; }
