"""Compilers of firmware: how each builds the kernels' test program for a variant of a core, without a build system.

The flags are those of a row of the matrix, those that name the core, and warnings as errors, and no others: an
answer must not be right by what CMakeLists.txt adds.
"""

import functools
import importlib.util
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from bench import BOARDS

SOURCES = Path(__file__).parents[2] / "tflm_ops"
FILES = sorted(SOURCES.glob("kernels/**/*.cc")) + [
    SOURCES / name for name in ("tests/kernel_test.cc", "emulator/platform.cc", "emulator/startup.cc")
]
GCC = "arm-none-eabi-g++"


class Variant(NamedTuple):
    """A core as a product has it.

    `flags` are GCC's; `board` is the one of QEMU whose core understands its code: there is none with a Cortex-M0+ or a
    Cortex-M23, whose instructions are some of those of Cortex-M3 and Cortex-M33, and none that lacks an extension.
    """

    flags: str
    board: str


def _variant(core, flags, extensions=""):
    return Variant(f"-mcpu={core}{extensions} -mthumb {flags}", BOARDS[core])


_M4, _M33, _M55 = "-mfpu=fpv4-sp-d16", "-mfpu=fpv5-sp-d16", "-mfpu=auto"
VARIANTS = {
    "m0plus": _variant("cortex-m0plus", "-mfloat-abi=soft"),
    "m3": _variant("cortex-m3", "-mfloat-abi=soft"),
    "m4": _variant("cortex-m4", f"-mfloat-abi=hard {_M4}"),
    "m4-softfp": _variant("cortex-m4", f"-mfloat-abi=softfp {_M4}"),
    "m4-soft": _variant("cortex-m4", "-mfloat-abi=soft"),
    "m7": _variant("cortex-m7", "-mfloat-abi=hard -mfpu=fpv5-d16"),
    "m7-sp": _variant("cortex-m7", "-mfloat-abi=hard -mfpu=fpv5-sp-d16"),
    "m23": Variant("-mcpu=cortex-m23 -mthumb -mfloat-abi=soft", BOARDS["cortex-m33"]),
    "m33": _variant("cortex-m33", f"-mfloat-abi=hard {_M33}"),
    "m33+nodsp": _variant("cortex-m33", "-mfloat-abi=soft", "+nodsp"),
    "m33+nodsp-hard": _variant("cortex-m33", f"-mfloat-abi=hard {_M33}", "+nodsp"),
    "m55": _variant("cortex-m55", f"-mfloat-abi=hard {_M55}"),
    "m55-soft": _variant("cortex-m55", "-mfloat-abi=soft"),
    "m55+nomve": _variant("cortex-m55", f"-mfloat-abi=hard {_M55}", "+nomve"),
    "m55+nomve.fp": _variant("cortex-m55", f"-mfloat-abi=hard {_M55}", "+nomve.fp"),
    "m55+nofp": _variant("cortex-m55", f"-mfloat-abi=hard {_M55}", "+nofp"),
}


def _run(command, folder):
    run = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, f"{command[0]}: {run.stderr[-4000:]}"
    return run


def _gnu_folders(variant):
    """Folders of the headers of GNU Arm Embedded for a variant, without GCC's own."""
    output = _run([GCC, *variant.flags.split(), "-E", "-v", "-x", "c++", "/dev/null"], None).stderr
    folders = re.search(r"#include <\.\.\.>.*\n((?: .*\n)+)End of search list", output)[1].split()
    return [path for path in map(Path, folders) if "/lib/gcc/" not in str(path.resolve())]


class Compiler(NamedTuple):
    """`command` compiles C++; a clang takes the headers, the libraries and the linker of GNU Arm Embedded."""

    name: str
    command: tuple
    linker: tuple = ()  # of a clang's intermediate code

    @property
    def is_clang(self):
        return self.name != "gcc"

    def compile(self, variant, flags, folder, sources=FILES):
        """Compiles the sources with the same flags, two at a time."""
        target = variant.flags.split()
        if self.is_clang:
            target = [flag for flag in target if flag != "-mfpu=auto"]  # clang has no such word for what -mcpu says
            target += ["--target=arm-none-eabi", "-fshort-enums", "-nostdlibinc", "-nostdinc++"]
            target += [f"-isystem{path}" for path in _gnu_folders(variant)]
        command = [*self.command, *target, *flags, f"-I{SOURCES.parent}", "-c"]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda half: _run([*command, *sources[half::2]], folder), range(2)))

    def build(self, variant, flags, folder):
        """Builds the test program with the same flags for every file; returns its path."""
        flags = flags.split()
        self.compile(variant, ["-Wall", "-Wextra", "-Werror", *flags], folder)
        objects, program = sorted(folder.glob("*.o")), folder / "kernel_test"
        rom, ram = _MEMORY.get(variant.board, (0, 0x20000000))
        layout = [f"-T{SOURCES}/emulator/link.ld", "--gc-sections", f"--defsym=ROM_START={rom}"]
        layout.append(f"--defsym=RAM_START={ram}")
        if self.is_clang and "-flto" in flags:
            libraries = [_gnu_library(name, variant) for name in ("libm.a", "libc_nano.a", "libgcc.a", "libnosys.a")]
            link = [*self.linker, *layout, *objects, "--start-group", *libraries, "--end-group"]
        else:
            link = [GCC, *variant.flags.split(), *(() if self.is_clang else flags), *objects, "-nostartfiles"]
            link += ["--specs=nano.specs", "--specs=nosys.specs"]
            link += [f"-Wl,{word}" for word in (*layout, "--no-warn-rwx-segments")]
        _run([*link, "-o", program], folder)
        return program


def _gnu_library(name, variant):
    return _run([GCC, *variant.flags.split(), f"-print-file-name={name}"], None).stdout.strip()


# Where a board has code and data, if not at 0 and 0x20000000. Cortex-M33 starts in its secure state: secure aliases.
_MEMORY = {BOARDS["cortex-m33"]: (0x10000000, 0x38000000), BOARDS["cortex-m55"]: (0, 0x21000000)}


def _installed(program, package):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed; on Debian it is in {package}")
    return program


@functools.cache
def compiler(name):
    """The compiler of that name: gcc, clang (Debian's) or ziglang (that of the PyPI package); skips without."""
    _installed(GCC, "gcc-arm-none-eabi")
    if name == "gcc":
        return Compiler(name, (GCC,))
    if name == "clang":
        return Compiler(name, (_installed("clang++", "clang"),), (_installed("ld.lld", "lld"),))
    found = importlib.util.find_spec("ziglang")
    if found is None:
        pytest.skip("the Python package ziglang is not installed")
    folder = Path(found.origin).parent
    command = (folder / "zig", "clang", f"-resource-dir={folder}/lib")
    return Compiler(name, command, (folder / "zig", "ld.lld"))


def has_picolibc():
    found = _run([GCC, "-print-file-name=picolibc.specs"], None).stdout.strip()
    return Path(found).is_absolute()


def emulate(program, board, cases):
    """(exit status, what was written) of the test program on a board of QEMU, for a file of test cases."""
    qemu = _installed("qemu-system-arm", "qemu-system-arm")
    command = [qemu, "-M", board, "-nographic", "-monitor", "none", "-serial", "null"]
    command += ["-semihosting-config", f"enable=on,target=native,arg=kernel_test,arg={cases}", "-kernel", str(program)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return run.returncode, run.stdout + run.stderr  # QEMU writes what the core says to its standard error


def check(answer, count):
    status, output = answer
    assert status == 0 and f"{count} cases, 0 failed" in output, output[-4000:]


def row(compiler, variant, flags, name=None, slow=True):
    """pytest's parameters (compiler, variant, flags) of a row of the matrix."""
    if "-std=" not in flags:
        flags = f"-std=c++17 {flags}"
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(compiler, variant, flags, id=name or f"{compiler} {variant} {flags[11:]}", marks=marks)


def check_row(name, variant, flags, all_cases, folder):
    path, count = all_cases
    program = compiler(name).build(VARIANTS[variant], flags, folder)
    check(emulate(program, VARIANTS[variant].board, path), count)
