#!/usr/bin/env bash
# Guess: __attribute__((section(".ram_code"))) puts a function template's instances where it says, as
# with any function; if it could not, there would be a warning.
# What happens: GCC ignores the attribute on templates, silently with -Wall -Wextra. The instances land in
# .text and a templated table in .rodata; a plain function beside them goes where it was told. clang
# obeys in both cases.
# Version: Debian's gcc-arm-none-eabi 12.2.1 (15:12.2.rel1-1), clang 14.0.6 (Debian 1:14.0.6-12).
# Misled: whoever keeps templated kernels in tightly coupled memory: they run from flash, only slower.
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

cat > "$dir/kernel.cc" <<'EOF'
template <int kTaps>
__attribute__((section(".ram_code"), noinline)) int fir(const int *x) {
  int sum = 0;
  for (int i = 0; i < kTaps; i++) sum += x[i] * i;
  return sum;
}
template <int kStep>
struct Table {
  static const int values[4];
};
template <int kStep>
__attribute__((section(".fast_data"))) const int Table<kStep>::values[4] = {0, kStep, 2 * kStep, 3 * kStep};
int call(const int *x) { return fir<5>(x) + Table<3>::values[x[0]]; }
EOF
cat > "$dir/plain.cc" <<'EOF'
__attribute__((section(".ram_code"), noinline)) int fir(const int *x) { return x[0] + x[3]; }
EOF

# sections FILE COMMAND...: prints the sections of fir and of the table.
sections() {
  local source=$1
  shift
  "$@" -Wall -Wextra -Werror -mthumb -mcpu=cortex-m7 -O2 -c "$dir/$source" -o "$dir/out.o"
  arm-none-eabi-objdump -t "$dir/out.o" | awk '/ [FO] / && /(fir|Table)/ { print $(NF - 2) }' | sort | tr '\n' ' '
}
gcc_plain=$(sections plain.cc arm-none-eabi-g++)
gcc_template=$(sections kernel.cc arm-none-eabi-g++)
clang_template=$(sections kernel.cc clang++-14 -target arm-none-eabi)
echo "GCC, plain function:   $gcc_plain"
echo "GCC, templates:        $gcc_template"
echo "clang, templates:      $clang_template"
test "$gcc_plain" = ".ram_code "
test "$clang_template" = ".fast_data .ram_code "
case "$gcc_template" in
  *.ram_code* | *.fast_data*) echo "changed: GCC obeys"; exit 1 ;;
  *.rodata*.text*) ;;
  *) echo changed; exit 1 ;;
esac
