#!/usr/bin/env bash
# Guess: "#pragma GCC unroll 4" stands for the programmer's decision, so it holds at every level above -O0.
# What happens: at -Os GCC drops it without a warning and keeps the loop rolled. At -O2 and -O3 it
# unrolls, and clang unrolls at -Os as well.
# Version: Debian's gcc-arm-none-eabi 12.2.1 (15:12.2.rel1-1), clang 14.0.6 (Debian 1:14.0.6-12).
# Misled: whoever tunes a kernel by pragma in firmware that is built with -Os, as most is.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# check PACKAGE VERSION: stops unless Debian's package is installed in this version.
check() {
  installed=$(dpkg-query -W -f='${Version}' "$1")
  test "$installed" = "$2" || { echo "$1 is $installed, not $2"; exit 2; }
}
check gcc-arm-none-eabi "15:12.2.rel1-1"
check clang-14 "1:14.0.6-12"

cat > "$dir/scale.c" <<'EOF'
void scale(int *restrict y, const int *restrict x) {
#pragma GCC unroll 4
  for (int i = 0; i < 64; i++) y[i] = x[i] * 3;
}
EOF

# products LEVEL COMMAND...: prints how many products (x + 2x) the loop body has.
products() {
  local level=$1
  shift
  "$@" -Wall -Wextra -mthumb -mcpu=cortex-m4 "$level" -S "$dir/scale.c" -o "$dir/scale.s"
  grep -cE 'add.*lsl #1' "$dir/scale.s"
}

gcc_small=$(products -Os arm-none-eabi-gcc)
gcc_fast=$(products -O2 arm-none-eabi-gcc)
clang_small=$(products -Os clang-14 -target arm-none-eabi -fshort-enums -ffreestanding)
echo "products in the loop body: GCC -Os $gcc_small, GCC -O2 $gcc_fast, clang -Os $clang_small"
test "$gcc_small $gcc_fast $clang_small" = "1 4 4" || { echo "changed: 1 4 4 were expected"; exit 1; }
