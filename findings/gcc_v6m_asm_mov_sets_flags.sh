#!/usr/bin/env bash
# Guess: inside asm("...") the assembler writes the instruction that stands there: mov copies a register
# and leaves the flags alone, as the Thumb manual says.
# What happens: for Cortex-M0, M0+ and M23 GCC hands inline assembly to the assembler in the divided
# syntax, where mov between low registers means adds rd, rn, #0, which sets the flags. A branch after it
# tests the wrong flags. For Cortex-M3 and above, and with clang, the same line leaves them alone.
# Version: Debian's gcc-arm-none-eabi 12.2.1 (15:12.2.rel1-1), clang 14.0.6; run under QEMU 7.2, microbit.
# Misled: whoever writes assembly kernels for several cores and tests them on M3 or M4, or with clang.
# ".syntax unified" at the start of the assembly mends it (then ".syntax divided" must follow).
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
  RAM (rw) : ORIGIN = 0x20000000, LENGTH = 16K
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

cat > "$dir/larger.c" <<'EOF'
#include <stdint.h>
void print(const char *text);
void print_int(int32_t value);
__attribute__((noinline)) int larger(int a, int b) {
  int result;
  asm("cmp %1, %2\n\t"
      "mov %0, %1\n\t"
      "bge 1f\n\t"
      "mov %0, %2\n"
      "1:" : "=&l"(result) : "l"(a), "l"(b) : "cc");
  return result;
}
int main(void) {
  int result = larger(3, 5);
  print("larger(3, 5) = ");
  print_int(result);
  print("\n");
  return result;
}
EOF

# larger_with COMMAND...: compiles the function so, shows its first moves, runs it, returns its result.
arm-none-eabi-gcc -mthumb -mcpu=cortex-m0 -O1 -c "$dir/start.c" -o "$dir/start.o"
larger_with() {
  "$@" -c "$dir/larger.c" -o "$dir/larger.o"
  echo "$*"
  arm-none-eabi-objdump -d "$dir/larger.o" | sed -n '/<larger>:/,/<main>:/p' | grep -E '(mov|add)' || true
  arm-none-eabi-gcc -mthumb -mcpu=cortex-m0 -nostartfiles -Wl,-z,noexecstack -T "$dir/link.ld" \
    "$dir/start.o" "$dir/larger.o" -o "$dir/larger.elf"
  timeout 60 qemu-system-arm -M microbit -display none \
    -semihosting-config enable=on,target=native -kernel "$dir/larger.elf" 2>&1
}

status=0
larger_with clang-14 -target arm-none-eabi -fshort-enums -ffreestanding -mthumb -mcpu=cortex-m0 -O2 || status=$?
test "$status" -eq 5 || { echo "changed: clang gives $status, not 5"; exit 1; }
status=0
larger_with arm-none-eabi-gcc -mthumb -mcpu=cortex-m0 -O2 || status=$?
test "$status" -eq 3 || { echo "changed: GCC gives $status, not 3"; exit 1; }
