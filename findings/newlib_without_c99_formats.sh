#!/usr/bin/env bash
# Guess: only newlib-nano lacks formats such as %zu and %lld; full newlib knows C99.
# What happens: Debian builds newlib without its C99 formats. Full newlib prints "zu", "jd" and "td"
# for %zu, %jd and %td, and 511 for %hhu of 511; its sscanf stops at %hhd. nano prints "ld" for %lld and then
# takes the wrong words for every later argument; its sscanf("%hhd") stores two bytes into one, so that
# the neighbour is overwritten. -Wall -Wextra find nothing: the formats are right.
# Version: Debian's libnewlib-arm-none-eabi 3.3.0 (3.3.0-1.3+deb12u1); run under QEMU 7.2, mps2-an386.
# Misled: whoever prints sizes or 64-bit counts of cycles on a board, or parses bytes from a serial line.
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

cat > "$dir/formats.c" <<'EOF'
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
void print(const char *text);
void *_sbrk(int bytes) {
  extern char end[];
  static char *top = end;
  char *old = top;
  top += bytes;
  return old;
}
static char line[80];
#define SHOW(...) (snprintf(line, sizeof line, __VA_ARGS__), print(line), print("\n"))
int main(void) {
  SHOW("%%zu of 5, then 7: %zu %d", (size_t)5, 7);
  SHOW("%%jd of 5: %jd", (intmax_t)5);
  SHOW("%%td of 5: %td", (ptrdiff_t)5);
  SHOW("%%hhu of 511: %hhu", (unsigned char)255 + 256);
  SHOW("%%lld of 5, then 7: %lld %d", 5LL, 7);
  signed char bytes[2] = {9, 9};
  int stored = sscanf("5", "%hhd", &bytes[0]);
  SHOW("%%hhd read from 5: %d stored, byte %d, its neighbour (9 before) %d", stored, bytes[0], bytes[1]);
  return 0;
}
EOF

flags=(-mthumb -mcpu=cortex-m4 -O1 -Wall -Wextra -Werror)
# formats FLAGS...: links with these flags and prints what the program says.
formats() {
  arm-none-eabi-gcc "${flags[@]}" "$@" -nostartfiles -Wl,-z,noexecstack -T "$dir/link.ld" \
    "$dir/start.c" "$dir/formats.c" -o "$dir/formats.elf" \
    -specs=nosys.specs 2> "$dir/log" || { cat "$dir/log" >&2; exit 2; }
  timeout 60 qemu-system-arm -M mps2-an386 -display none \
    -semihosting-config enable=on,target=native -kernel "$dir/formats.elf" 2>&1
}

formats > "$dir/full"
formats -specs=nano.specs > "$dir/nano"
echo "newlib"
cat "$dir/full"
echo "newlib-nano"
cat "$dir/nano"
grep -q '^%zu of 5, then 7: zu 5$' "$dir/full" && grep -q '^%hhu of 511: 511$' "$dir/full" &&
  grep -q '0 stored, byte 9' "$dir/full" && grep -qE '^%lld of 5, then 7: ld -?[0-9]+$' "$dir/nano" &&
  grep -q '1 stored, byte 5, its neighbour (9 before) 0' "$dir/nano" || { echo changed; exit 1; }
