#!/usr/bin/env bash
# Guess: a function in a RAM section runs without the flash: a switch is code, after all.
# What happens: GCC turns a switch that picks constants into a table lookup and puts the table (CSWTCH) into
# .rodata, whatever section the function is in. The function reads flash while it runs from RAM.
# -fno-tree-switch-conversion mends it.
# Version: Debian's gcc-arm-none-eabi 12.2.1 (15:12.2.rel1-1), from -Os to -O3.
# Misled: whoever erases or writes flash from RAM (model updates in place), or counts on the timing of
# tightly coupled memory.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# check PACKAGE VERSION: stops unless Debian's package is installed in this version.
check() {
  installed=$(dpkg-query -W -f='${Version}' "$1")
  test "$installed" = "$2" || { echo "$1 is $installed, not $2"; exit 2; }
}
check gcc-arm-none-eabi "15:12.2.rel1-1"

cat > "$dir/scale.c" <<'EOF'
__attribute__((section(".ram_code"))) int scale_of(int layer) {
  switch (layer) {
    case 0: return 17;
    case 1: return 5;
    case 2: return 99;
    case 3: return 1;
    case 4: return 1000;
    default: return 0;
  }
}
EOF

# flash_bytes FLAGS...: prints how many bytes of .rodata the function brings along.
flash_bytes() {
  arm-none-eabi-gcc -mthumb -mcpu=cortex-m7 -Wall -Wextra "$@" -c "$dir/scale.c" -o "$dir/scale.o"
  arm-none-eabi-objdump -h "$dir/scale.o" | awk '$2 ~ /^\.rodata/ { print $3 }'
}
seen="$(flash_bytes -O1) $(flash_bytes -Os) $(flash_bytes -O2) $(flash_bytes -O2 -fno-tree-switch-conversion)"
echo "bytes of .rodata at -O1, -Os, -O2, -O2 -fno-tree-switch-conversion: $seen"
arm-none-eabi-gcc -mthumb -mcpu=cortex-m7 -O2 -c "$dir/scale.c" -o "$dir/scale.o"
arm-none-eabi-readelf -r "$dir/scale.o" | grep R_ARM_ABS32
for level in -Os -O2; do
  test -n "$(flash_bytes "$level")" || { echo changed; exit 1; }
done
test -z "$(flash_bytes -O2 -fno-tree-switch-conversion)" || { echo changed; exit 1; }
