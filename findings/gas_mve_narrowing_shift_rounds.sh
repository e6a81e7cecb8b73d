#!/usr/bin/env bash
# Guess: vqshrnb.s16 q0, q1, #1 shifts right and drops the bits that fall off; rounding is vqrshrnb's.
# What happens: GNU as encodes vqshrnb, vqshrnt, vqshrunb and vqshrunt of MVE as the rounding instructions
# vqrshrnb and so on. 3 >> 1 becomes 2. GCC's intrinsics vqshrnbq_n_s16 etc. round accordingly; with
# clang's assembler they truncate. The rounding instructions themselves are right.
# Version: binutils 2.40 (Debian binutils-arm-none-eabi 2.40-2+18+b1) with GCC 12.2.1; clang 14.0.6.
# Misled: whoever requantises or packs results on Cortex-M55 and expects the bits of the portable code.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# check PACKAGE VERSION: stops unless Debian's package is installed in this version.
check() {
  installed=$(dpkg-query -W -f='${Version}' "$1")
  test "$installed" = "$2" || { echo "$1 is $installed, not $2"; exit 2; }
}
check binutils-arm-none-eabi "2.40-2+18+b1"
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

cat > "$dir/narrow.c" <<'EOF'
#include <arm_mve.h>
void print(const char *text);
void print_int(int32_t value);
__attribute__((noinline)) int truncate_half(int16x8_t x) {
  return vgetq_lane_s8(vqshrnbq_n_s16(vdupq_n_s8(0), x, 1), 0);
}
__attribute__((noinline)) int truncate_half_unsigned(int16x8_t x) {
  return vgetq_lane_u8(vqshrunbq_n_s16(vdupq_n_u8(0), x, 1), 0);
}
int main(void) {
  volatile int16_t three = 3;
  int a = truncate_half(vdupq_n_s16(three)), b = truncate_half_unsigned(vdupq_n_s16(three));
  print("3 >> 1, saturated to int8: ");
  print_int(a);
  print(", to uint8: ");
  print_int(b);
  print("\n");
  return 10 * a + b;
}
EOF

flags=(-mthumb -mcpu=cortex-m55 -mfloat-abi=hard)
arm-none-eabi-gcc "${flags[@]}" -O1 -c "$dir/start.c" -o "$dir/start.o"
# narrow_with COMMAND...: compiles the program so, runs it, returns both results as two digits.
narrow_with() {
  "$@" "${flags[@]}" -O2 -c "$dir/narrow.c" -o "$dir/narrow.o"
  arm-none-eabi-gcc "${flags[@]}" -nostartfiles -Wl,-z,noexecstack -T "$dir/link.ld" \
    "$dir/start.o" "$dir/narrow.o" -o "$dir/narrow.elf"
  echo "$*"
  timeout 60 qemu-system-arm -M mps3-an547 -display none \
    -semihosting-config enable=on,target=native -kernel "$dir/narrow.elf" 2>&1
}
gcc=0 clang=0
narrow_with arm-none-eabi-gcc || gcc=$?
narrow_with clang-14 -target arm-none-eabi -fshort-enums -ffreestanding || clang=$?
test "$gcc $clang" = "22 11" || { echo "changed: $gcc and $clang, not 22 and 11"; exit 1; }
