#!/usr/bin/env bash
# Guess: a loop makes the passes that its condition says, and vctp32q() masks only what takes its predicate.
# What happens: where a loop counts vctp's operand down, clang may make a loop of DLSTP and LETP of it, which ends when
# that count is used up, whatever the loop's own condition says, and masks every vector instruction in it. Two passes
# over 22 elements store 22 of them, behind the end of a buffer for 8; a comparison of whole vectors misses the elements
# behind the end; and with clang 14 a store under vpnot(predicate) goes to the elements of the predicate.
# -mllvm -arm-loloops-disable-tailpred helps, -mllvm -tail-predication=disabled does not. GCC makes no such loops.
# Version: clang 14.0.6 (Debian 1:14.0.6-12) and clang 22.1.8 (PyPI ziglang 0.17.1), compared with GCC 12.2.1; run
# under QEMU 7.2, machine mps3-an547.
# Misled: whoever writes Helium kernels with intrinsics that work on a part of a row, such as a tile.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# check PACKAGE VERSION: stops unless Debian's package is installed in this version.
check() {
  installed=$(dpkg-query -W -f='${Version}' "$1")
  test "$installed" = "$2" || { echo "$1 is $installed, not $2"; exit 2; }
}
check clang-14 "1:14.0.6-12"
check gcc-arm-none-eabi "15:12.2.rel1-1"
check libnewlib-arm-none-eabi "3.3.0-1.3+deb12u1"
check qemu-system-arm "1:7.2+dfsg-7+deb12u18+b3"

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check ziglang==0.17.1
zig=$(echo "$dir"/venv/lib/python3*/site-packages/ziglang)

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

cat > "$dir/loops.c" <<'EOF'
#include <arm_mve.h>
void print(const char *text);
void print_int(int32_t value);
enum { kPlaces = 32 };
static int32_t x[kPlaces], y[kPlaces];
/* At most `passes` vectors of the `left` elements. */
__attribute__((noinline)) void store(int32_t *to, int passes, int left) {
  for (int i = 0; i < passes; i++, to += 4, left -= 4) vstrwq_p_s32(to, vdupq_n_s32(1), vctp32q(left));
}
/* The elements below the limit, and the zeros that the last vector has behind the end. */
__attribute__((noinline)) int count_below(const int32_t *from, int limit, int count) {
  int32x4_t sum = vdupq_n_s32(0);
  for (int left = count; left > 0; left -= 4, from += 4) {
    int32x4_t four = vldrwq_z_s32(from, vctp32q(left));
    sum = vaddq_m_n_s32(sum, sum, 1, vcmpltq_n_s32(four, limit));
  }
  return vaddvq_s32(sum);
}
/* Zeros, and ones in what the last vector has behind the end. */
__attribute__((noinline)) void pad(int32_t *to, int count) {
  for (int left = count; left > 0; left -= 4, to += 4) {
    const mve_pred16_t there = vctp32q(left);
    vstrwq_p_s32(to, vdupq_n_s32(0), there);
    vstrwq_p_s32(to, vdupq_n_s32(1), vpnot(there));
  }
}
static int take_stored(void) {
  int sum = 0;
  for (volatile int i = 0; i < kPlaces; i++) {
    sum += y[i];
    y[i] = 0;
  }
  return sum;
}
static void show(const char *what, int32_t value) {
  print(what);
  print_int(value);
}
int main(void) {
  volatile int passes = 2, left = 22, count = 7;
  for (volatile int i = 0; i < kPlaces; i++) x[i] = i + 1;
  store(y, passes, left);
  show("stored ", take_stored());
  show(", below ", count_below(x, 3, count));
  pad(y, count);
  show(", padded ", take_stored());
  print("\n");
  return 0;
}
EOF

# expect OUTPUT COMMAND...: compiles the loops so, runs them and compares what they print.
flags=(-mthumb -mcpu=cortex-m55 -mfloat-abi=hard)
arm-none-eabi-gcc "${flags[@]}" -O1 -c "$dir/start.c" -o "$dir/start.o"
expect() {
  local expected=$1 seen
  shift
  "$@" "${flags[@]}" -c "$dir/loops.c" -o "$dir/loops.o"
  arm-none-eabi-gcc "${flags[@]}" -nostartfiles -Wl,-z,noexecstack -T "$dir/link.ld" \
    "$dir/start.o" "$dir/loops.o" -o "$dir/loops.elf"
  seen=$(timeout 60 qemu-system-arm -M mps3-an547 -display none \
    -semihosting-config enable=on,target=native -kernel "$dir/loops.elf" 2>&1) || true
  echo "${*/#"$zig/"}: $seen"
  test "$seen" = "$expected" || { echo "changed: not $expected"; exit 1; }
}

options=(-target arm-none-eabi -fshort-enums -ffreestanding)
clang14=(clang-14 "${options[@]}")
clang22=("$zig/zig" clang "${options[@]}" -resource-dir "$zig/lib")
right="stored 8, below 3, padded 1"
whole=(-mllvm -arm-loloops-disable-tailpred)
expect "$right" arm-none-eabi-gcc -O2
expect "$right" "${clang14[@]}" -O0
expect "$right" "${clang22[@]}" -O0
expect "$right" "${clang14[@]}" -O2 "${whole[@]}"
expect "$right" "${clang22[@]}" -O2 "${whole[@]}"
for level in -O1 -O2 -O3 -Os; do
  expect "stored 22, below 2, padded 7" "${clang14[@]}" "$level"
  expect "stored 22, below 2, padded 1" "${clang22[@]}" "$level"
done
expect "stored 22, below 2, padded 7" "${clang14[@]}" -O2 -mllvm -tail-predication=disabled
expect "stored 22, below 2, padded 1" "${clang22[@]}" -O2 -mllvm -tail-predication=disabled
