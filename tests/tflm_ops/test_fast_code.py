"""The innermost functions in a section of their own: where they lie, their size, and that answers stay the same."""

import re
import subprocess

import compilers
import pytest
import test_cores
from bench import BOARDS

from bcnet_keras.device import boards

FUNCTIONS = {"Row3x3", "Finish", "WriteLinear"}
ASSEMBLY = {"Row3x3", "bcnet_finish", "WriteLinear"}  # of cores without double precision


def functions(program):
    """{name of a function of the kernels: (in RAM?, bytes)}"""
    command = ["arm-none-eabi-nm", "--demangle", "--print-size", program]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    symbols = {line.split(maxsplit=1)[1]: int(line.split()[0], 16) for line in lines}
    start, end = (next(symbols[name] for name in symbols if name.endswith(edge)) for edge in ("data_start", "data_end"))
    found = {}
    for line in lines:
        name = r"(?:[\w ]+ )?bcnet::(?:\w+::|\(anonymous namespace\)::)*(\w+)|(bcnet_\w+)"
        match = re.match(rf"(\w+) (\w+) [tTwW] (?:{name})", line)
        if match:
            found[match[3] or match[4]] = start <= int(match[1], 16) < end, int(match[2], 16)
    return found


@pytest.mark.parametrize("core", [core for core in BOARDS if core != "cortex-m55"])  # which has vectors for these
def test_innermost_functions_lie_in_the_section_that_is_named(core, small_grid, tmp_path):
    compilers.compiler("gcc")
    program = test_cores.build(core, tmp_path, "-DBCNET_FAST_CODE=.ramfunc")
    found = functions(program)
    expected = FUNCTIONS if core == "cortex-m7" else ASSEMBLY
    assert {name for name, (in_ram, _) in found.items() if in_ram} == expected and len(found) > 40
    assert sum(found[name][1] for name in expected) <= boards.FAST_CODE_BYTES
    path, count = small_grid
    compilers.check(compilers.emulate(program, BOARDS[core], path), count)


def test_without_the_macro_all_code_lies_together(tmp_path):
    compilers.compiler("gcc")
    found = functions(test_cores.build("cortex-m4", tmp_path))
    assert set(found) >= ASSEMBLY and not any(in_ram for in_ram, _ in found.values())
