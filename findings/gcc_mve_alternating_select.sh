#!/usr/bin/env bash
# Guess: at -O3 GCC gives a loop that treats odd and even elements differently the same results as at -O1.
# What happens: for Cortex-M55 (MVE) the loop is vectorised, but the predicate that should pick every
# other element becomes all ones: every element takes one branch. No warning; -fno-tree-vectorize mends it.
# Version: Debian's gcc-arm-none-eabi 12.2.1 (15:12.2.rel1-1); run under QEMU 7.2, machine mps3-an547.
# Misled: whoever builds window, twiddle or sign-pattern code for Helium at -O3 and tests it on the host.
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

cat > "$dir/loop.c" <<'EOF'
#include <stdint.h>
void print(const char *text);
void print_int(int32_t value);
enum { kCount = 32 };
static int32_t in[kCount], out[kCount];
__attribute__((noipa)) void alternate(int32_t *restrict y, const int32_t *restrict x) {
  for (int i = 0; i < kCount; i++) y[i] = (i & 1) ? x[i] : -x[i];
}
int main(void) {
  int wrong = 0;
  for (volatile int i = 0; i < kCount; i++) in[i] = i + 1;
  alternate(out, in);
  for (volatile int i = 0; i < kCount; i++) wrong += out[i] != ((i & 1) ? in[i] : -in[i]);
  print("wrong elements of 32: ");
  print_int(wrong);
  print(", the first four: ");
  for (volatile int i = 0; i < 4; i++) { print_int(out[i]); print(" "); }
  print("\n");
  return wrong;
}
EOF

# wrong_at FLAGS...: builds the loop with these flags, runs it, returns the number of wrong elements.
wrong_at() {
  local flags=(-mthumb -mcpu=cortex-m55 -mfloat-abi=hard)
  arm-none-eabi-gcc "${flags[@]}" -O1 -c "$dir/start.c" -o "$dir/start.o"
  arm-none-eabi-gcc "${flags[@]}" "$@" -c "$dir/loop.c" -o "$dir/loop.o"
  arm-none-eabi-gcc "${flags[@]}" -nostartfiles -Wl,-z,noexecstack -T "$dir/link.ld" \
    "$dir/start.o" "$dir/loop.o" -o "$dir/loop.elf"
  echo "$*"
  timeout 60 qemu-system-arm -M mps3-an547 -display none \
    -semihosting-config enable=on,target=native -kernel "$dir/loop.elf" 2>&1
}

wrong_at -O1
wrong_at -O3 -fno-tree-vectorize
status=0
wrong_at -O3 || status=$?
test "$status" -eq 16 || { echo "changed: $status elements are wrong at -O3, not 16"; exit 1; }
