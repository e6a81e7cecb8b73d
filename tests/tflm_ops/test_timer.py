"""The example's timer under QEMU: it tells instructions, and 0 where it has begun anew meanwhile."""

import shutil
import subprocess

import pytest
from test_cores import SOURCES

CLOCK = 25_000_000  # of this board: the timer takes a step every 40 instructions, and has 2^24 of them
TURNS = 2_000_000, 250_000_000  # of a loop of three instructions

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-g++", "qemu-system-arm"))),
    reason="needs arm-none-eabi-g++ and qemu-system-arm",
)


def test_the_timer_tells_nothing_once_it_has_begun_anew(tmp_path):
    (tmp_path / "main.cc").write_text(f"""
#include <cstdio>
#include <initializer_list>

#include "tflm_ops/emulator/semihosting.h"
#include "tflm_ops/examples/board.h"

int main() {{
  for (uint32_t turns : {{{TURNS[0]}u, {TURNS[1]}u, {TURNS[0]}u}}) {{
    board::Start();
    __asm__ volatile("1: nop; subs %0, #1; bne 1b" : "+r"(turns) : : "cc");
    char line[16];
    snprintf(line, sizeof(line), "%lu\\n", static_cast<unsigned long>(board::Stop()));
    board::Write(line);
  }}
  emulator::Exit(0);
}}
""")
    sources = [tmp_path / "main.cc", SOURCES / "examples/board_emulator.cc", SOURCES / "emulator/startup.cc"]
    flags = ["-mcpu=cortex-m3", "-mthumb", "-O2", f"-DBCNET_CLOCK_HZ={CLOCK}", f"-I{SOURCES.parent}", "-nostartfiles"]
    flags += ["--specs=nano.specs", "--specs=nosys.specs", f"-T{SOURCES}/emulator/link.ld"]
    flags += ["-Wl,--defsym=ROM_START=0", "-Wl,--defsym=RAM_START=0x20000000", "-Wl,--no-warn-rwx-segments"]
    subprocess.run(["arm-none-eabi-g++", *flags, *map(str, sources), "-o", str(tmp_path / "timer")], check=True)
    machine = ["qemu-system-arm", "-M", "mps2-an385", "-nographic", "-monitor", "none", "-serial", "null"]
    machine += ["-semihosting-config", "enable=on,target=native", "-icount", "shift=0"]
    result = subprocess.run([*machine, "-kernel", str(tmp_path / "timer")], capture_output=True, text=True, timeout=300)
    found = [int(line) for line in (result.stdout + result.stderr).split()]
    few = 3 * TURNS[0]
    assert found == [pytest.approx(few, rel=1e-3), 0, pytest.approx(few, rel=1e-3)]
    assert 3 * TURNS[1] > 40 * 2**24 > few
