#!/usr/bin/env bash
# Guess: a plug-in that registers a callback for reads of memory (QEMU_PLUGIN_MEM_R) is called for loads, one for
# writes (QEMU_PLUGIN_MEM_W) for stores.
# What happens: the callback for reads is called for stores alone and never for a load; the one for writes is called for
# loads and stores. Only QEMU_PLUGIN_MEM_RW is what it says, and qemu_plugin_mem_is_store() tells them apart.
# Version: QEMU 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3), machine mps2-an386.
# Misled: whoever counts reads or models a data cache: no access at all, or the stores.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# check PACKAGE VERSION: stops unless Debian's package is installed in this version.
check() {
  installed=$(dpkg-query -W -f='${Version}' "$1")
  test "$installed" = "$2" || { echo "$1 is $installed, not $2"; exit 2; }
}
check gcc-arm-none-eabi "15:12.2.rel1-1"
check qemu-system-arm "1:7.2+dfsg-7+deb12u18+b3"

cat > "$dir/plugin.c" <<'EOF'
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* What is used of qemu-plugin.h, which is not installed. */
#define EXPORTED __attribute__((visibility("default")))
struct tb;
struct insn;
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct tb *));
void qemu_plugin_register_atexit_cb(uint64_t, void (*)(uint64_t, void *), void *);
void qemu_plugin_register_vcpu_mem_cb(struct insn *, void (*)(unsigned, uint32_t, uint64_t, void *), int, int, void *);
size_t qemu_plugin_tb_n_insns(const struct tb *);
struct insn *qemu_plugin_tb_get_insn(const struct tb *, size_t);
_Bool qemu_plugin_mem_is_store(uint32_t);
EXPORTED int qemu_plugin_version = 1;
static int asked;
static long loads, stores;
static void on_access(unsigned cpu, uint32_t info, uint64_t address, void *data) {
  ++*(qemu_plugin_mem_is_store(info) ? &stores : &loads);
}
static void on_translation(uint64_t id, struct tb *block) {
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++)
    qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(block, i), on_access, 0, asked, NULL);
}
static void on_exit_(uint64_t id, void *data) {
  fprintf(stderr, "asked for %d: %ld loads, %ld stores\n", asked, loads, stores);
}
EXPORTED int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
  asked = atoi(argv[0] + 6); /* asked=1: QEMU_PLUGIN_MEM_R, 2: _W, 3: _RW */
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, on_exit_, NULL);
  return 0;
}
EOF
cat > "$dir/loop.S" <<'EOF'
  .syntax unified
  .thumb
  .section .vectors, "a"
  .word 0x20010000, reset
  .text
  .global reset
  .thumb_func
reset:
  mov r0, #0x20000000
  movs r7, #100
1: ldr r1, [r0]      @ three loads and one store a round
  ldr r2, [r0, #4]
  ldr r3, [r0, #8]
  str r1, [r0, #12]
  subs r7, #1
  bne 1b
  movs r0, #0x18     @ semihosting: the program has ended
  movw r1, #0x0026
  movt r1, #0x2
  bkpt 0xab
EOF
cat > "$dir/link.ld" <<'EOF'
ENTRY(reset)
SECTIONS { .text 0 : { KEEP(*(.vectors)) *(.text*) } }
EOF
gcc -shared -fPIC -O1 "$dir/plugin.c" -o "$dir/plugin.so"
arm-none-eabi-gcc -mthumb -mcpu=cortex-m4 -nostdlib -Wl,-z,noexecstack -T "$dir/link.ld" "$dir/loop.S" -o "$dir/loop.elf"
for asked in 1 2 3; do
  timeout 60 qemu-system-arm -M mps2-an386 -display none -plugin "$dir/plugin.so,asked=$asked" \
    -semihosting-config enable=on,target=native -kernel "$dir/loop.elf" 2>&1
done | tee "$dir/said"
grep -q 'asked for 1: 0 loads, 100 stores' "$dir/said" && grep -q 'asked for 2: 300 loads, 100 stores' "$dir/said" &&
  grep -q 'asked for 3: 300 loads, 100 stores' "$dir/said" || { echo changed; exit 1; }
