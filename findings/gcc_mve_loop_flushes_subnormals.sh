#!/usr/bin/env bash
# Guess: GCC vectorises float arithmetic on Cortex-M55 only where the results stay the same, as its manual
# promises for NEON: there -funsafe-math-optimizations is needed because NEON flushes subnormals to zero.
# What happens: plain -O3 vectorises float loops for MVE (-O2 too where the count is known). Its vector
# arithmetic always flushes subnormals and replaces NaN by the default NaN. Elements in the vector part
# become 0; the leftover elements at the end of the same array keep their value.
# Version: Debian's gcc-arm-none-eabi 12.2.1 (15:12.2.rel1-1); run under QEMU 7.2, machine mps3-an547.
# Misled: whoever compares float results of the board with those of the host, or -O1 with -O3, bit for bit.
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

cat > "$dir/twice.c" <<'EOF'
#include <stdint.h>
void print(const char *text);
void print_hex(uint32_t value);
enum { kCount = 7 }; /* four elements of a vector, then three alone */
static union { uint32_t bits; float value; } in[kCount], out[kCount];
__attribute__((noinline)) void twice(float *restrict y, const float *restrict x, int count) {
  for (int i = 0; i < count; i++) y[i] = x[i] + x[i];
}
int main(void) {
  volatile int count = kCount;
  for (volatile int i = 0; i < kCount; i++) in[i].bits = 0x00400000; /* 2^-127, subnormal */
  twice(&out[0].value, &in[0].value, count);
  print("2^-127 + 2^-127 in seven equal elements:");
  int flushed = 0;
  for (volatile int i = 0; i < kCount; i++) {
    print(" ");
    print_hex(out[i].bits);
    flushed += out[i].bits == 0;
  }
  print("\n");
  return flushed;
}
EOF

# flushed_at LEVEL: builds at that level, runs, returns how many elements became 0.
flags=(-mthumb -mcpu=cortex-m55 -mfloat-abi=hard)
arm-none-eabi-gcc "${flags[@]}" -O1 -c "$dir/start.c" -o "$dir/start.o"
flushed_at() {
  arm-none-eabi-gcc "${flags[@]}" "$1" -c "$dir/twice.c" -o "$dir/twice.o"
  arm-none-eabi-gcc "${flags[@]}" -nostartfiles -Wl,-z,noexecstack -T "$dir/link.ld" \
    "$dir/start.o" "$dir/twice.o" -o "$dir/twice.elf"
  echo "$1"
  timeout 60 qemu-system-arm -M mps3-an547 -display none \
    -semihosting-config enable=on,target=native -kernel "$dir/twice.elf" 2>&1
}

flushed_at -O1
status=0
flushed_at -O3 || status=$?
test "$status" -eq 4 || { echo "changed: $status elements became 0 at -O3, not 4"; exit 1; }
