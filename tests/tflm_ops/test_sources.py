"""What the sources of the operators see to by themselves, whatever builds them."""

import re
import shutil
import subprocess

import pytest
from test_cores import SOURCES

GCC = "arm-none-eabi-g++"
M0, M4, M55 = "-mcpu=cortex-m0plus", "-mcpu=cortex-m4", "-mcpu=cortex-m55 -mfloat-abi=hard"
KERNELS = sorted(SOURCES.glob("kernels/**/*.cc"))
# Their loops run over tensors.
HOT = {
    *("carry_save", "helium", "bitsliced", "outputs", "transpose"),
    *("bmaxpool2d", "quantize", "stem", "thermometer"),
}
needs_gcc = pytest.mark.skipif(shutil.which(GCC) is None, reason=f"needs {GCC}")


def compile_with(flags, source, *more, compiler=GCC):
    command = [compiler, "-mthumb", "-std=gnu++17", *flags.split(), "-fno-exceptions", "-fno-rtti"]
    command += [f"-I{SOURCES.parent}", str(source), *more]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("source", [*KERNELS, *sorted(SOURCES.glob("micro/*.cc"))], ids=lambda path: path.stem)
def test_source_says_first_how_it_is_optimized(source):
    header = "optimize_for_speed.h" if source.stem in HOT else "optimize.h"
    assert re.search(r'^#include [<"](.*)[>"]', source.read_text(), re.MULTILINE)[1] == f"tflm_ops/kernels/{header}"


def test_no_header_says_how_its_users_are_optimized():
    for header in SOURCES.glob("*/**/*.h"):
        if not header.stem.startswith("optimize"):
            text = re.sub(r'//.*|optimize\("no-stack-protector"\)', "", header.read_text())
            assert "optimize" not in text, header


@needs_gcc
@pytest.mark.parametrize("core", (M0, M4))
def test_old_gcc_gets_no_header_of_its_own(core):
    """GCC 7 to 9, which Arduino's cores are built with, lack the intrinsics of <arm_acle.h>."""
    for source in KERNELS:
        run = compile_with(f"{core} -U__GNUC__ -D__GNUC__=9", source, "-M")
        assert run.returncode == 0 and "optimize" in run.stdout, run.stderr
        assert "/arm_" not in run.stdout, source


@needs_gcc
@pytest.mark.parametrize("level", ("-O2", "-O3"))
def test_gcc_vectorizes_nothing_for_helium(level):
    """GCC 12.2 makes wrong code of loops that select by a constant pattern, at -O2 by default."""
    for source in KERNELS:
        run = compile_with(f"{M55} {level} -fopt-info-vec", source, "-S", "-o", "/dev/null")
        assert run.returncode == 0 and "vectorized" not in run.stderr, run.stderr


@needs_gcc
@pytest.mark.parametrize("core", (M0, M4, M55))
def test_kernels_are_cpp14_without_a_warning(core):
    for source in KERNELS:
        run = compile_with(f"{core} -std=gnu++14 -Wall -Wextra -Werror", source, "-fsyntax-only")
        assert run.returncode == 0, run.stderr


@needs_gcc
@pytest.mark.parametrize(
    "flags, needs",
    [
        (f"{M4} -std=gnu++11", "needs C++14 or later"),
        (f"{M4} -mbig-endian", "needs a little-endian core"),
        (f"{M4} -U__SIZEOF_INT__ -D__SIZEOF_INT__=2", "needs an int of 32 bits"),
        (f"{M4} -U__CHAR_BIT__ -D__CHAR_BIT__=16", "needs bytes of 8 bits"),
        (f"{M4} -U__GNUC__ -D__GNUC__=6", "needs GCC 7 or later"),
        (f"{M55} -nostdinc", "needs <arm_mve.h>"),
    ],
)
def test_compiler_that_cannot_work_is_told_in_one_sentence(flags, needs):
    run = compile_with(flags, SOURCES / "kernels/bconv2d/bconv2d.cc", "-fsyntax-only")
    errors = [line for line in run.stderr.splitlines() if "error:" in line]
    assert run.returncode != 0 and needs in errors[0] and "#error" in errors[0]
    assert len(errors) == 2 and "see the error above" in errors[1]  # which ends the compilation


def written_registers(listing):
    """The registers that a listing of objdump writes: first operands, and lists that are loaded or saved."""
    registers = set()
    for instruction in re.findall(r"^\s*[0-9a-f]+:\t(.*)$", listing, re.MULTILINE):
        name, _, operands = instruction.partition("\t")
        if name.startswith(("push", "pop", "ldm", "stm")):
            registers |= set(re.findall(r"\w+", operands))
        elif not name.startswith(("str", "cmp", "cmn", "tst", "teq", "b")):
            registers |= set(re.findall(r"\w+", operands)[:1])
    return registers


@needs_gcc
@pytest.mark.parametrize("core", (M0, M4))
@pytest.mark.parametrize("flags", ("-fpic -msingle-pic-base -mpic-register=r9", "-ffixed-r9 -DBCNET_ASSEMBLY=0"))
def test_reserved_register_is_left_alone(core, flags, tmp_path):
    bitsliced = (f"bconv2d/bitsliced/{each}" for each in ("bitsliced", "outputs", "transpose"))
    for name in (*bitsliced, "bconv2d/carry_save", "stem"):
        run = compile_with(f"{core} -Os {flags}", SOURCES / "kernels" / f"{name}.cc", "-c", "-o", tmp_path / "o")
        assert run.returncode == 0, run.stderr
        command = ["arm-none-eabi-objdump", "-d", "--no-show-raw-insn", tmp_path / "o"]
        written = written_registers(subprocess.run(command, capture_output=True, text=True).stdout)
        assert "r4" in written and not written & {"r9", "sb"}


def functions_of(path):
    """{name of a function: its instructions} of an object, as objdump lists them."""
    command = ["arm-none-eabi-objdump", "-dC", "--no-show-raw-insn", "--no-addresses", path]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"^<(.*)>:\n((?:\t.*\n)+)", listing, re.MULTILINE))


@needs_gcc
@pytest.mark.parametrize("flag", ("-fstack-protector-all", "-finstrument-functions", "-fprofile-arcs", "-pg"))
def test_nothing_is_put_into_functions_of_assembly(flag, tmp_path):
    """GCC writes canaries and calls of profilers into naked functions too, over their caller's stack and registers."""
    for name, functions in (
        ("bconv2d/bitsliced/transpose", ("bcnet_transpose_r4_to_r11", "TransposeBytes")),
        ("bconv2d/bitsliced/outputs", ("WriteLinear",)),
        ("stem", ("RunPairs",)),
    ):
        found = []
        for flags in ("", flag):
            source = SOURCES / "kernels" / f"{name}.cc"
            run = compile_with(f"{M4} -O2 {flags}", source, "-c", "-o", tmp_path / "o")
            assert run.returncode == 0, run.stderr
            found.append(functions_of(tmp_path / "o"))
        changed = {function for function, body in found[0].items() if found[1].get(function) != body}
        plain = {function for function in found[0] if any(re.search(rf"\b{each}\b", function) for each in functions)}
        assert changed and len(plain) == len(functions) and not changed & plain
