#!/usr/bin/env bash
# Guess: lrintf is one instruction on a core with an FPU, vcvtr.s32.f32, at the latest with -ffast-math. That is
# what it was made for, and lroundf becomes vcvta.s32.f32 with GCC and -fno-math-errno.
# What happens: GCC and clang call the library's lrintf for Cortex-M4, M7, M33 and M55 at -O3 -ffast-math.
# The cast (int)rintf(x) gives two instructions from M7 on.
# Version: Debian's gcc-arm-none-eabi 12.2.1 (15:12.2.rel1-1), clang 14.0.6 (Debian 1:14.0.6-12).
# Misled: whoever quantises an input or an activation with lrintf, a sample at a time.
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

cat > "$dir/round.c" <<'EOF'
long nearest(float x) { return __builtin_lrintf(x); }
long nearest_cast(float x) { return (long)__builtin_rintf(x); }
EOF

calls=0
for core in cortex-m4 cortex-m7 cortex-m33 cortex-m55; do
  for compiler in arm-none-eabi-gcc "clang-14 -target arm-none-eabi -ffreestanding"; do
    # shellcheck disable=SC2086
    $compiler -mthumb -mcpu=$core -mfloat-abi=hard -O3 -ffast-math -S "$dir/round.c" -o "$dir/round.s"
    called=$(grep -oE '\s(lrintf|rintf)$' "$dir/round.s" | sort | tr -d '\t\n' || true)
    echo "$core, ${compiler%% *}: calls $called"
    case "$called" in *lrintf*) calls=$((calls + 1)) ;; esac
  done
done
test "$calls" -eq 8 || { echo "changed: $calls of 8 call lrintf"; exit 1; }
