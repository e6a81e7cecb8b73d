#!/usr/bin/env bash
# Guess: __ARM_FEATURE_SAT says whether the core has SSAT and USAT; for Cortex-M23 (Armv8-M Baseline)
# it is undefined.
# What happens: clang defines __ARM_FEATURE_SAT and __ARM_FEATURE_QBIT for Cortex-M23, then its own
# assembler refuses ssat. GCC defines neither.
# Version: clang 14.0.6 (Debian 1:14.0.6-12), GCC 12.2.1 (Debian 15:12.2.rel1-1).
# Misled: whoever picks a saturating kernel by these macros, as the Arm C language extensions advise.
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

cat > "$dir/saturate.c" <<'EOF'
int saturate(int x) {
#ifdef __ARM_FEATURE_SAT
  int y;
  __asm__("ssat %0, #8, %1" : "=r"(y) : "r"(x));
  return y;
#else
  return x > 127 ? 127 : x < -128 ? -128 : x;
#endif
}
EOF

clang=(clang-14 -target arm-none-eabi -fshort-enums -ffreestanding)
# macros COMMAND...: prints which of the two macros the compiler defines.
macros() {
  "$@" -mthumb -mcpu=cortex-m23 -dM -E -x c /dev/null | grep -E '__ARM_FEATURE_(SAT|QBIT) ' | sort | tr '\n' ' '
}
seen_clang=$(macros "${clang[@]}")
seen_gcc=$(macros arm-none-eabi-gcc || true)
echo "clang: ${seen_clang:-none}"
echo "GCC: ${seen_gcc:-none}"
arm-none-eabi-gcc -mthumb -mcpu=cortex-m23 -O2 -c "$dir/saturate.c" -o "$dir/saturate.o"
if "${clang[@]}" -mthumb -mcpu=cortex-m23 -O2 -c "$dir/saturate.c" -o "$dir/saturate.o" 2> "$dir/errors"; then
  echo "changed: clang compiles it"
  exit 1
fi
grep error: "$dir/errors" | sed "s|$dir/||"
test "$seen_clang" = "#define __ARM_FEATURE_QBIT 1 #define __ARM_FEATURE_SAT 1 " || { echo "changed"; exit 1; }
test -z "$seen_gcc" || { echo "changed: GCC defines them"; exit 1; }
