#!/usr/bin/env bash
# Guess: __builtin_popcount becomes a dozen instructions in line: these cores have no such instruction, the
# shifts and masks are known, and clang writes them in line.
# What happens: at every level, -O3 included, GCC calls __popcountsi2 of libgcc for each word. The call
# costs its branches and the registers that the loop around it must save, and the masks are built anew
# each time: 20 instructions per word, where clang's loop takes 15.
# Version: Debian's gcc-arm-none-eabi 12.2.1 (15:12.2.rel1-1), clang 14.0.6; counted under QEMU 7.2.
# Misled: whoever writes xor and popcount for a binary network and takes the builtin for the fast way.
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

cat > "$dir/dot.c" <<'EOF'
int binary_dot(const unsigned *a, const unsigned *b, int words) {
  int differing = 0;
  for (int i = 0; i < words; i++) differing += __builtin_popcount(a[i] ^ b[i]);
  return 32 * words - 2 * differing;
}
EOF
cat > "$dir/main.c" <<'EOF'
#include <stdint.h>
void print(const char *text);
void print_int(int32_t value);
int binary_dot(const unsigned *a, const unsigned *b, int words);
static volatile uint32_t *const systick = (uint32_t *)0xE000E010;
static unsigned a[4000], b[4000];
int main(void) {
  systick[1] = 0xffffff;
  systick[2] = 0;
  systick[0] = 5;
  while (systick[2] == 0) {}
  uint32_t before = systick[2];
  binary_dot(a, b, 4000);
  print("instructions a word: ");
  print_int((before - systick[2]) * 40 / 4000); /* QEMU's SysTick: 40 instructions a tick */
  print("\n");
  return (before - systick[2]) * 40 / 4000;
}
EOF

flags=(-mthumb -mcpu=cortex-m4)
# words_with COMMAND...: compiles the loop so, runs it, returns the instructions that a word takes.
words_with() {
  "$@" "${flags[@]}" -O3 -c "$dir/dot.c" -o "$dir/dot.o"
  echo "$* -O3"
  echo "calls: $(arm-none-eabi-nm -u "$dir/dot.o" | grep popcount || echo none)"
  arm-none-eabi-gcc "${flags[@]}" -O1 -nostartfiles -Wl,-z,noexecstack -T "$dir/link.ld" \
    "$dir/start.c" "$dir/main.c" "$dir/dot.o" -o "$dir/dot.elf"
  timeout 60 qemu-system-arm -M mps2-an386 -icount shift=0 -display none \
    -semihosting-config enable=on,target=native -kernel "$dir/dot.elf" 2>&1
}

gcc=0 clang=0
words_with arm-none-eabi-gcc || gcc=$?
words_with clang-14 -target arm-none-eabi -fshort-enums -ffreestanding || clang=$?
test "$gcc $clang" = "20 15" || { echo "changed: 20 and 15 were expected"; exit 1; }
