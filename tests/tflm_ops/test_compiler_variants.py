"""The kernels by the compilers and flags of firmware, as in test_compilers.py, for more variants and ecosystems.

* Every variant but those of test_compilers.py by GCC and by one of the clangs, each at one level (``OTHER_VARIANTS``):
  not all levels, which would take hours.
* The usual flags of ecosystems, with the language standard and the ABI that they choose (``ECOSYSTEMS``).
* Both compilers with the innermost functions in RAM (``IN_RAM``).
* Both C libraries of Debian, and both compilers by the toolchain file, with CMake.
"""

import contextlib
import os
import re
import subprocess

import compilers
import pytest
import self_test
import test_compilers
import test_cores
from compilers import VARIANTS, row
from micro import include_flags

# The other variants: GCC's level, and that of one of the clangs.
OTHER_VARIANTS = {
    "m0plus": ("-O2", "clang", "-Os"),
    "m3": ("-O3", "ziglang", "-O2"),
    "m4-softfp": ("-O2", "clang", "-O3"),
    "m4-soft": ("-Os", "ziglang", "-O2"),
    "m7": ("-O2", "clang", "-O3"),
    "m7-sp": ("-Ofast", "ziglang", "-Os"),
    "m23": ("-Os", "clang", "-O2"),
    "m33": ("-O2", "ziglang", "-O3"),
    "m33+nodsp": ("-O3", "clang", "-O2"),
    "m33+nodsp-hard": ("-O2", "ziglang", "-O3"),
    "m55-soft": ("-O2", "clang", "-Os"),
    "m55+nomve": ("-O2", "ziglang", "-O3"),
    "m55+nomve.fp": ("-O2", "clang", "-O2"),
    "m55+nofp": ("-O3", "ziglang", "-O2"),
}
SECTIONS = "-ffunction-sections -fdata-sections -fno-exceptions -fno-rtti"
ZEPHYR = (
    f"-std=c++17 {SECTIONS} -fno-strict-aliasing -fno-common -g -gdwarf-4 -fno-pic -fno-pie -mfp16-format=ieee"
    " -fno-asynchronous-unwind-tables -ftls-model=local-exec -fno-reorder-functions -fno-defer-pop -fcheck-new"
    " --param=min-pagesize=0"
)
ECOSYSTEMS = {
    "zephyr": ("m33", f"-Os {ZEPHYR}"),
    "zephyr-m55": ("m55", f"-Os {ZEPHYR}"),
    "zephyr-speed": ("m55", f"-O2 {ZEPHYR} -fno-omit-frame-pointer -fstack-protector-strong"),
    "zephyr-canaries": ("m4", f"-O2 {ZEPHYR} -fstack-protector-all"),
    # ArduinoCore-mbed 4.6.0 (Nano 33 BLE), ArduinoCore-renesas 1.5.3 (UNO R4), ArduinoCore-samd 1.8.14
    "arduino-mbed": ("m4-softfp", f"-Os -g3 -std=gnu++14 {SECTIONS} -fmessage-length=0 -funsigned-char"),
    "arduino-renesas": (
        "m4",
        f"-Os -g3 -std=gnu++17 {SECTIONS} -fsigned-char -fmessage-length=0 -fno-builtin -fno-use-cxa-atexit",
    ),
    "arduino-samd": (
        "m0plus",
        f"-Os -g -std=gnu++17 {SECTIONS} -fno-threadsafe-statics --param max-inline-insns-single=500",
    ),
    "teensy": ("m7", f"-O2 -std=gnu++17 {SECTIONS} -felide-constructors -fpermissive -fno-strict-aliasing"),
    "pico-sdk": ("m0plus", f"-O3 -DNDEBUG -std=gnu++20 {SECTIONS} -fno-unwind-tables -fno-use-cxa-atexit"),
    "stm32cube": ("m7", f"-Os -g0 -std=gnu++17 {SECTIONS} -fstack-usage -fno-use-cxa-atexit"),
    "mcuxpresso": ("m33", f"-O1 -g -std=gnu++23 {SECTIONS} -fno-builtin -fmerge-constants -ffreestanding"),
}
# With the innermost functions in a section of its own: calls between flash and RAM are longer than a branch reaches.
FAST_CODE = "-DBCNET_FAST_CODE=.ramfunc"
IN_RAM = {
    "in RAM by gcc": ("gcc", "m4-softfp", f"-Os {SECTIONS} {FAST_CODE}"),
    "in RAM by gcc -O0": ("gcc", "m33", f"-O0 {FAST_CODE}"),
    "in RAM by gcc -flto": ("gcc", "m0plus", f"-O2 -flto {FAST_CODE}"),
    "in RAM by gcc with canaries": ("gcc", "m7", f"-O3 -fstack-protector-all {FAST_CODE}"),
    "in RAM by clang": ("clang", "m0plus", f"-O2 {FAST_CODE}"),
    "in RAM by clang -flto": ("clang", "m4", f"-Os -flto {FAST_CODE}"),
}


def rows():
    for variant, (level, clang, clangs_level) in OTHER_VARIANTS.items():
        yield row("gcc", variant, level)
        yield row(clang, variant, clangs_level)
    yield from (row("gcc", variant, flags, name) for name, (variant, flags) in ECOSYSTEMS.items())
    yield from (row(compiler, variant, flags, name) for name, (compiler, variant, flags) in IN_RAM.items())


@pytest.mark.parametrize(("compiler", "variant", "flags"), list(rows()))
def test_compiler(compiler, variant, flags, all_cases, tmp_path):
    compilers.check_row(compiler, variant, flags, all_cases, tmp_path)


def test_rows_cover_what_they_should():
    """Each variant by GCC and by a clang, and no row twice."""
    table = [row.values for row in (*test_compilers.rows(), *rows())]
    assert len(set(table)) == len(table)
    assert {(compiler == "gcc", variant) for compiler, variant, _ in table} == {
        (is_gcc, variant) for is_gcc in (False, True) for variant in VARIANTS
    }


TOOLCHAINS = {  # preset of CMake, and options of cmake/arm-none-eabi.cmake
    "picolibc": ("cortex-m4", {"BCNET_LIBC": "picolibc"}),
    "clang picolibc": ("cortex-m4", {"BCNET_CLANG": "clang", "BCNET_LIBC": "picolibc", "BCNET_FLOAT_ABI": "softfp"}),
    "ziglang": ("cortex-m55", {"BCNET_CLANG": "ziglang", "CMAKE_BUILD_TYPE": "RelWithDebInfo"}),
    "m33+nodsp": ("cortex-m33", {"BCNET_CORE": "cortex-m33+nodsp", "BCNET_FLOAT_ABI": "soft"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOOLCHAINS)
def test_toolchain_file(name, tmp_path):
    preset, options = TOOLCHAINS[name]
    if "picolibc" in options.values() and not compilers.has_picolibc():
        pytest.skip("picolibc.specs is not installed; on Debian it is in picolibc-arm-none-eabi")
    if "BCNET_CLANG" in options:
        options = options | {"BCNET_CLANG": ";".join(map(str, compilers.compiler(options["BCNET_CLANG"]).command))}
    program = test_cores.build(preset, tmp_path, *(f"-D{key}={value}" for key, value in options.items()))
    answer = compilers.emulate(program, compilers.BOARDS[preset], self_test.PATH)
    compilers.check(answer, self_test.cases()[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-DBCNET_CORE=cortex-a9", "BCNET_CORE must be cortex-m0plus, .* got 'cortex-a9'"),
        ("-DBCNET_CORE=cortex-m3 -DBCNET_FLOAT_ABI=hard", "soft for a core without .* got 'hard' for cortex-m3"),
        ("-DBCNET_FLOAT_ABI=fast", "must be hard, softfp or soft, .* got 'fast'"),
        ("-DBCNET_LIBC=glibc", "BCNET_LIBC must be newlib or picolibc, got 'glibc'"),
    ],
)
def test_toolchain_file_refuses(options, message, tmp_path):
    compilers.compiler("gcc")
    command = ["cmake", "--preset", "cortex-m4", "-B", str(tmp_path), *options.split()]
    run = subprocess.run(command, cwd=compilers.SOURCES, capture_output=True, text=True)
    assert run.returncode != 0 and re.search(message, " ".join(run.stderr.split())), run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("standard", ["gnu++14", "gnu++2b"])
@pytest.mark.parametrize("compiler", test_compilers.LEVELS)
def test_language_standards(compiler, standard, tmp_path):
    """No warning by the oldest and the newest. TensorFlow Lite Micro needs C++17: C++14 is for the kernels alone."""
    flags, sources = [f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"], compilers.FILES
    flags.append("-Wno-unused-command-line-argument")  # a -c beside -fsyntax-only; GCC knows no such warning
    with contextlib.suppress(FileNotFoundError):  # without a tree, the kernels alone
        if standard != "gnu++14":
            flags += include_flags(tmp_path)
            sources = [*sources, *sorted(compilers.SOURCES.glob("micro/*.cc"))]
    compilers.compiler(compiler).compile(VARIANTS["m55"], flags, tmp_path, sources)


@pytest.mark.skipif("BCNET_OLD_TFLM_DIR" not in os.environ, reason="BCNET_OLD_TFLM_DIR names no tree of 2023-06-21")
def test_operators_compile_with_the_oldest_tree(tmp_path, monkeypatch):
    """Before 2023-06-21 (commit f22888af6) a resolver's AddCustom took no constant registration."""
    monkeypatch.setenv("TFLM_DIR", os.environ["BCNET_OLD_TFLM_DIR"])
    program = tmp_path / "program.cc"
    program.write_text(
        """#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
        #include "tflm_ops/micro/bcnet_ops.h"
        TfLiteStatus Register(tflite::MicroMutableOpResolver<6>& r) { return bcnet::RegisterBcnetOps(r); }"""
    )
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *include_flags(tmp_path)]
    sources = [program, *sorted(compilers.SOURCES.glob("micro/*.cc"))]
    compilers.compiler("gcc").compile(VARIANTS["m4"], flags, tmp_path, sources)
