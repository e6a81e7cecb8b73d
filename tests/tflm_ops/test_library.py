"""The operators as a library for each core, and the program of the README that uses it."""

import re
import shutil
import subprocess

import pytest
from bench import BOARDS
from micro import include_flags
from test_cores import SOURCES

from bcnet_keras.runtime import plugin

pytestmark = [
    pytest.mark.needs_tflm,
    pytest.mark.skipif(shutil.which("arm-none-eabi-g++") is None, reason="arm-none-eabi-g++ is not installed"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed"),
]
SLOW_CORES = [core if core == "cortex-m4" else pytest.param(core, marks=pytest.mark.slow) for core in BOARDS]


@pytest.mark.parametrize("core", SLOW_CORES)
def test_library_has_no_heap_exceptions_or_static_constructors(core, tmp_path):
    for command in (
        ["cmake", "--preset", core, "-B", str(tmp_path), f"-DTFLM_DIR={plugin.tflm_tree()}", "-DBCNET_TESTS=OFF"],
        ["cmake", "--build", str(tmp_path), "--parallel", "2"],
    ):
        run = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    library = str(tmp_path / "libbcnet_ops.a")
    undefined = subprocess.run(["arm-none-eabi-nm", "-uC", library], capture_output=True, text=True, check=True).stdout
    assert "MicroPrintf" in undefined  # the list is one of undefined names
    for name in ("malloc", "free", "operator new", "operator delete", "__cxa", "__aeabi_unwind", "typeinfo"):
        assert name not in undefined, name
    sections = subprocess.run(["arm-none-eabi-objdump", "-h", library], capture_output=True, text=True, check=True)
    assert ".init_array" not in sections.stdout and ".text" in sections.stdout


def test_program_of_the_readme_compiles(tmp_path):
    program, *parts = re.findall(r"```cpp\n(.*?)```", (SOURCES / "README.md").read_text(), re.DOTALL)
    assert len(program.splitlines()) < 30 and len(parts) == 2
    control = "".join(parts).replace("...\n", "")  # of a program with an interpreter
    program += f"void Control(tflite::MicroInterpreter& interpreter) {{\n{control}}}\n"
    (tmp_path / "program.cc").write_text(program)
    command = ["arm-none-eabi-g++", "-mcpu=cortex-m4", "-mthumb", "-std=c++17", "-fno-exceptions", "-fno-rtti"]
    command += ["-fno-threadsafe-statics", "-DTF_LITE_STATIC_MEMORY", "-fsyntax-only"]
    command += [f"-isystem{SOURCES.parent}", *include_flags(tmp_path)]
    run = subprocess.run([*command, str(tmp_path / "program.cc")], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[:3000]
