#!/usr/bin/env bash
# Guess: a naked function holds its assembly and nothing else, whatever the build's flags are.
# What happens: with -fstack-protector-all GCC stores a canary at [sp, #4], which is the caller's stack, as
# there is no frame; with -finstrument-functions it overwrites r4 and r5 unsaved and calls the profiler;
# with -fprofile-arcs it counts in r1 to r3, which hold arguments. There is no warning. clang leaves
# canaries out, but calls the profiler too.
# no_stack_protector, no_instrument_function and no_profile_instrument_function keep them out.
# Version: Debian's gcc-arm-none-eabi 12.2.1 (15:12.2.rel1-1), clang 14.0.6 (Debian 1:14.0.6-12).
# Misled: whoever has context switches or kernels in naked functions and turns canaries on for all
# functions, as Zephyr's CONFIG_STACK_CANARIES_ALL does: the core faults, or a caller's variable changes.
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

cat > "$dir/naked.c" <<'EOF'
#ifdef KEEP_OUT
__attribute__((no_stack_protector, no_instrument_function, no_profile_instrument_function))
#endif
__attribute__((naked)) int
third(int a, int b, int c) {
  __asm__("mov r0, r2\n\tbx lr");
}
EOF

# instructions COMMAND...: prints how many a compiler makes of the two.
instructions() {
  "$@" -mthumb -mcpu=cortex-m4 -O2 -c "$dir/naked.c" -o "$dir/out.o"
  arm-none-eabi-objdump -d --no-show-raw-insn "$dir/out.o" | grep -cP '^ +[0-9a-f]+:\t(?!\.word|nop)'
}
for flag in -fstack-protector-all -finstrument-functions -fprofile-arcs; do
  gcc=$(instructions arm-none-eabi-gcc -Wall -Wextra -Werror -Wno-unused-parameter "$flag")
  echo "GCC $flag: $gcc instructions of 2"
  arm-none-eabi-objdump -d --no-show-raw-insn "$dir/out.o" | grep -P '^ +[0-9a-f]+:\t(str|bl|adds)' || true
  test "$gcc" -gt 2 || { echo changed; exit 1; }
  test "$(instructions arm-none-eabi-gcc -DKEEP_OUT "$flag")" = 2 || { echo "changed: attributes"; exit 1; }
done
for flag in -fstack-protector-all -finstrument-functions; do
  clang="${clang-}$(instructions clang-14 -target arm-none-eabi "$flag") "
done
echo "clang, the first two flags: $clang"
test "$clang" = "2 6 " || { echo changed; exit 1; }
