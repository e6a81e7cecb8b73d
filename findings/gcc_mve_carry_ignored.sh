#!/usr/bin/env bash
# Guess: vadcq_u32(a, b, &carry) adds the carry that is passed in; the intrinsic is made for long numbers.
# What happens: GCC at -O1 and above does not know that the instruction depends on the carry flag. Two
# additions of the same vectors with carry 1 and carry 0 are merged into one: both give the sum with
# carry 1. At -O0, and with clang at every level, they differ by 1.
# Version: Debian's gcc-arm-none-eabi 12.2.1 (15:12.2.rel1-1), clang 14.0.6; run under QEMU 7.2, mps3-an547.
# Misled: whoever writes wide sums, accumulators of 128 bits or carry-save counters with MVE intrinsics.
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
check clang-14 "1:14.0.6-12"
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

cat > "$dir/carry.c" <<'EOF'
#include <arm_mve.h>
void print(const char *text);
void print_int(int32_t value);
__attribute__((noinline)) void add_twice(uint32x4_t a, uint32x4_t b, uint32_t *with, uint32_t *without) {
  unsigned carry = 1;
  vst1q_u32(with, vadcq_u32(a, b, &carry));
  carry = 0;
  vst1q_u32(without, vadcq_u32(a, b, &carry));
}
int main(void) {
  uint32_t with[4], without[4];
  add_twice(vdupq_n_u32(10), vdupq_n_u32(20), with, without);
  print("10 + 20 with carry ");
  print_int(with[0]);
  print(", without ");
  print_int(without[0]);
  print("\n");
  return with[0] - without[0];
}
EOF

flags=(-mthumb -mcpu=cortex-m55 -mfloat-abi=hard)
arm-none-eabi-gcc "${flags[@]}" -O1 -c "$dir/start.c" -o "$dir/start.o"
# difference COMMAND...: compiles the two additions so, runs them, returns the difference.
difference() {
  "$@" "${flags[@]}" -c "$dir/carry.c" -o "$dir/carry.o"
  arm-none-eabi-gcc "${flags[@]}" -nostartfiles -Wl,-z,noexecstack -T "$dir/link.ld" \
    "$dir/start.o" "$dir/carry.o" -o "$dir/carry.elf"
  echo "$*"
  timeout 60 qemu-system-arm -M mps3-an547 -display none \
    -semihosting-config enable=on,target=native -kernel "$dir/carry.elf" 2>&1
}
low=0 high=0 clang=0
difference arm-none-eabi-gcc -O0 || low=$?
difference arm-none-eabi-gcc -O2 || high=$?
difference clang-14 -target arm-none-eabi -fshort-enums -ffreestanding -O2 || clang=$?
test "$low $high $clang" = "1 0 1" || { echo "changed: $low $high $clang, not 1 0 1"; exit 1; }
