#!/usr/bin/env bash
# Guess: an assembler takes the registers that are written: vcvtb.f32.f16 q0, q1 reads q1.
# What happens: for the MVE conversions between f16 and f32 (vcvtb, vcvtt, both directions) GNU as doubles the
# register numbers: q1 becomes q2, q3 becomes q6, and only q0, q0 is right. No message. GCC's intrinsics
# vcvtbq_f32_f16, vcvttq_f16_f32 and so on come out wrong with it; clang's assembler is right.
# Version: binutils 2.40 (Debian binutils-arm-none-eabi 2.40-2+18+b1) with GCC 12.2.1; clang 14.0.6.
# Misled: whoever keeps weights or audio in half precision on Cortex-M55: the numbers are of another register.
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

cat > "$dir/half.c" <<'EOF'
#include <arm_mve.h>
void print(const char *text);
void print_int(int32_t value);
/* Arguments come in q0 and q1; the second one is widened. */
__attribute__((noinline)) float32x4_t widen(float16x8_t unused, float16x8_t half) {
  (void)unused;
  return vcvtbq_f32_f16(half);
}
int main(void) {
  float32x4_t wide = widen(vdupq_n_f16((float16_t)3), vdupq_n_f16((float16_t)5));
  print("5.0 widened: ");
  print_int(vgetq_lane_f32(wide, 0));
  print("\n");
  return vgetq_lane_f32(wide, 0) == 5.0f;
}
EOF

flags=(-mthumb -mcpu=cortex-m55 -mfloat-abi=hard)
arm-none-eabi-gcc "${flags[@]}" -O1 -c "$dir/start.c" -o "$dir/start.o"
# run_with COMMAND...: compiles the program so and runs it; status 1 means that 5.0 came out.
run_with() {
  "$@" "${flags[@]}" -O2 -c "$dir/half.c" -o "$dir/half.o"
  arm-none-eabi-gcc "${flags[@]}" -nostartfiles -Wl,-z,noexecstack -T "$dir/link.ld" \
    "$dir/start.o" "$dir/half.o" -o "$dir/half.elf"
  echo "$*"
  timeout 60 qemu-system-arm -M mps3-an547 -display none \
    -semihosting-config enable=on,target=native -kernel "$dir/half.elf" 2>&1
}
gcc=0 clang=0
run_with arm-none-eabi-gcc || gcc=$?
run_with clang-14 -target arm-none-eabi -fshort-enums -ffreestanding || clang=$?

printf '.syntax unified\n.thumb\nvcvtb.f32.f16 q0, q1\n' > "$dir/one.s"
arm-none-eabi-as -march=armv8.1-m.main+mve.fp "$dir/one.s" -o "$dir/gnu.o"
clang-14 -target arm-none-eabi "${flags[@]}" -c "$dir/one.s" -o "$dir/llvm.o"
for from in gnu llvm; do
  arm-none-eabi-objcopy -O binary -j .text "$dir/$from.o" "$dir/$from.bin"
  echo "vcvtb.f32.f16 q0, q1 by $from: $(od -An -tx2 "$dir/$from.bin")"
done
if test "$gcc" -ne 0 || test "$clang" -ne 1 || cmp -s "$dir/gnu.bin" "$dir/llvm.bin"; then
  echo changed
  exit 1
fi
