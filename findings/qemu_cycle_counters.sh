#!/usr/bin/env bash
# Guess: with -icount shift=0 (one instruction a nanosecond) SysTick on the processor clock falls by one
# per instruction, and DWT_CYCCNT counts, or its NOCYCCNT bit says that there is no counter.
# What happens: SysTick counts the board's 25 MHz against virtual time, so one tick is 40 instructions
# (5 with shift=3), whatever the core. DWT is not there at all: DWT_CTRL reads 0, whose clear NOCYCCNT bit means
# "counter present", enabling it is accepted, and CYCCNT stays 0.
# Version: QEMU 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3), machine mps2-an386.
# Misled: whoever times kernels in QEMU by the usual register code: 40 times too little, or 0 cycles.
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

cat > "$dir/count.c" <<'EOF'
#include <stdint.h>
void print(const char *text);
void print_int(int32_t value);
static volatile uint32_t *const systick = (uint32_t *)0xE000E010; /* CSR, RVR, CVR */
static volatile uint32_t *const dwt = (uint32_t *)0xE0001000;     /* CTRL, CYCCNT */
static volatile uint32_t *const demcr = (uint32_t *)0xE000EDFC;
/* 4 million instructions. */
static void loop(void) {
  uint32_t rounds = 800000;
  asm volatile("1: nop\n\tnop\n\tnop\n\tsubs %0, %0, #1\n\tbne 1b" : "+r"(rounds)::"cc");
}
int main(void) {
  systick[1] = 0xffffff;
  systick[2] = 0;
  systick[0] = 5; /* on, processor clock, no interrupt */
  while (systick[2] == 0) {}
  uint32_t before = systick[2];
  loop();
  print("4000000 instructions: SysTick ");
  print_int(before - systick[2]);
  *demcr |= 1u << 24; /* TRCENA */
  print(", NOCYCCNT ");
  print_int(dwt[0] >> 25 & 1);
  dwt[0] |= 1;
  loop();
  print(", CYCCNT ");
  print_int(dwt[1]);
  print("\n");
  return 0;
}
EOF

arm-none-eabi-gcc -mthumb -mcpu=cortex-m4 -O1 -nostartfiles -Wl,-z,noexecstack -T "$dir/link.ld" \
  "$dir/start.c" "$dir/count.c" -o "$dir/count.elf"
for shift in 0 3; do
  timeout 60 qemu-system-arm -M mps2-an386 -icount "shift=$shift" -display none \
    -semihosting-config enable=on,target=native -kernel "$dir/count.elf" 2>&1 | tee "$dir/shift$shift"
done
grep -qE 'SysTick (99999|10000.), NOCYCCNT 0, CYCCNT 0$' "$dir/shift0" &&
  grep -qE 'SysTick (79999.|80000.), NOCYCCNT 0, CYCCNT 0$' "$dir/shift3" || { echo changed; exit 1; }
