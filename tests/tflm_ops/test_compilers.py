"""The kernels by the compilers and flags of firmware, under QEMU, against Larq Compute Engine's outputs.

A row is (compiler, variant of a core, flags). All files of the test program are built with these flags and no others;
then it runs the self-test that exports carry and the small grid of test_cores.py, so that a wrong instruction is a
failed case. Compilers: Debian's GCC and clang, and the clang of the PyPI package ziglang, whose version is pinned.

Here are Cortex-M4 and Cortex-M55, whose code differs most: every level of optimisation, link-time optimisation and the
flags that keep functions apart, by GCC and by Debian's clang (not slow), the main levels by the newer clang. The other
variants and the flags of ecosystems are in test_compiler_variants.py.
"""

import compilers
import pytest

LEVELS = {
    "gcc": [
        *("-O0 -g", "-Og -g", "-O1", "-Os -DNDEBUG", "-O2 -g -DNDEBUG", "-O3 -DNDEBUG", "-Ofast"),
        *("-O2 -flto", "-O1 -fno-inline", "-O2 -fno-inline", "-O2 -fno-omit-frame-pointer"),
    ],
    "clang": ["-O0 -g", "-O1", "-Os -DNDEBUG", "-Oz", "-O2 -g -DNDEBUG", "-O3 -DNDEBUG", "-Ofast -w", "-O2 -flto"],
    "ziglang": ["-Os", "-O2", "-O3", "-O2 -flto"],
}


def rows():
    for compiler, levels in LEVELS.items():
        for variant in ("m4", "m55"):
            yield from (compilers.row(compiler, variant, level, slow=compiler == "ziglang") for level in levels)


@pytest.mark.parametrize(("compiler", "variant", "flags"), list(rows()))
def test_compiler(compiler, variant, flags, all_cases, tmp_path):
    compilers.check_row(compiler, variant, flags, all_cases, tmp_path)
