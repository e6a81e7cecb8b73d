"""Exports linked with TensorFlow Lite Micro into firmware, and run under QEMU: alone, and two in one program."""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cases
import numpy as np
import pytest
from bench import BOARDS
from lce_graphs import model as graph_of
from micro import laid_out_tree

import bcnet_keras
from bcnet_keras.convert import Gate, merge
from bcnet_keras.export import formats as exports
from bcnet_keras.runtime import native, tflm
from bcnet_keras.tflite import flatbuffer

OPERATORS = native.source_root() / "tflm_ops"
CORES = {
    "cortex-m4": ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"],
    "cortex-m0plus": ["-mcpu=cortex-m0plus", "-mthumb"],
}
# As Arduino's cores and PlatformIO build C++, but for the standard, which README.md says how to set.
CPP_FLAGS = ["-std=gnu++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"]
FLAGS = ["-Os", "-ffunction-sections", "-fdata-sections", "-DARDUINO=10607"]
LINK = ["-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"]
LINK += ["-Wl,--defsym=ROM_START=0", "-Wl,--defsym=RAM_START=0x20000000", f"-T{OPERATORS / 'emulator/link.ld'}"]
TOOLS = ("arm-none-eabi-g++", "qemu-system-arm", "cmake")
missing = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs_tflm,
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
]


class Compiler:
    """Compiles for a core with one set of include folders; `check` leaves the objects out.

    What TensorFlow Lite Micro's sources share, the flatbuffer's schema, is compiled beforehand: it takes two thirds of
    the time.
    """

    def __init__(self, core, folder, includes, check=False):
        self.folder, self.check = folder, check
        self.flags = [*CORES[core], *FLAGS, *(f"-I{include}" for include in includes)]
        folder.mkdir(parents=True, exist_ok=True)
        self.prefix = folder / "schema.h"
        self.prefix.write_text('#include "tensorflow/lite/schema/schema_generated.h"\n')
        command = ["arm-none-eabi-g++", *CPP_FLAGS, *self.flags, "-w", "-x", "c++-header", self.prefix]
        run = subprocess.run([*command, "-o", f"{self.prefix}.gch"], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[:3000]

    def compile(self, sources, *flags):
        """The objects of sources in C and C++; where some do not compile, the first error of each is shown."""
        jobs = [(source, self.folder / f"{number}_{source.stem}.o") for number, source in enumerate(sources)]
        with ThreadPoolExecutor(2) as pool:
            problems = [problem for problem in pool.map(lambda job: self._compile(*job, flags), jobs) if problem]
        assert not problems, "\n".join(problems)
        return [target for _, target in jobs]

    def _compile(self, source, target, flags):
        command = ["arm-none-eabi-gcc", "-std=gnu11"]
        if source.suffix != ".c":
            # Not for the operators: behind a precompiled header GCC 12 takes the width of their __ssat for a variable.
            shared = [] if OPERATORS.name in source.parts else ["-include", self.prefix]
            command = ["arm-none-eabi-g++", *CPP_FLAGS, *shared, "-x", "c++"]
        command += [*self.flags, *flags, *(["-fsyntax-only"] if self.check else ["-o", target]), "-c", source]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode == 0:
            return None
        return next((line for line in run.stderr.splitlines() if "error" in line), run.stderr[:500])


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return laid_out_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def two(make_part):
    """Flatbuffers of a pair and of a net of Larq Compute Engine alone."""
    gate = Gate.create(4, "score_margin", [0.1, 0.2, 0.3, 1.0])
    node = cases.bconv2d(
        np.random.default_rng(8), output="int8", channels_in=40, channels_out=6, size=4, kernel=3, batches=1, groups=1
    )
    return {"pair_net": merge(make_part(1), make_part(2), gate), "binary_net": graph_of([node])}


@pytest.fixture(scope="module")
def folders(two, tmp_path_factory):
    parent = tmp_path_factory.mktemp("exports")
    return {
        (name, format): exports.export(data, format, parent / format / name, name=name)
        for name, data in two.items()
        for format in exports.FORMATS
    }


@pytest.fixture(scope="module")
def library(tree, folders, tmp_path_factory):
    """TensorFlow Lite Micro as README.md says to make it a library of Arduino's: its src folder."""
    folder = tmp_path_factory.mktemp("library") / "TensorFlowLite"
    script = folders["pair_net", "arduino"] / "extras" / "tflm_library.py"
    run = subprocess.run([sys.executable, script, tree, folder], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder / "src"


def library_sources(library):
    return sorted(path for path in library.rglob("*.*") if path.suffix in (".c", ".cpp"))


@pytest.fixture(scope="module")
def archive(library, tmp_path_factory):
    """The whole library, compiled for a Cortex-M4."""
    folder = tmp_path_factory.mktemp("archive")
    objects = Compiler("cortex-m4", folder, [library]).compile(library_sources(library), "-w")
    subprocess.run(["arm-none-eabi-ar", "rcs", folder / "tflm.a", *objects], check=True)
    return folder / "tflm.a"


@pytest.fixture(scope="module")
def operators(library, folders, tmp_path_factory):
    """Objects of the operators of an export: the sources are the same in all of them, as test_export.py checks."""
    operators = folders["pair_net", "c"] / "bcnet_ops"
    compiler = Compiler("cortex-m4", tmp_path_factory.mktemp("operators"), [operators, library])
    return compiler.compile(sorted(operators.rglob("*.cc")))


def link(objects, archive, folder):
    startup = folder / "startup.o"
    flags = [*CPP_FLAGS, *CORES["cortex-m4"], "-Os", f"-I{native.source_root()}"]
    subprocess.run(["arm-none-eabi-g++", *flags, "-c", OPERATORS / "emulator/startup.cc", "-o", startup], check=True)
    elf = folder / "firmware.elf"
    command = ["arm-none-eabi-g++", *CORES["cortex-m4"], *LINK, "-o", elf, startup, *objects, archive]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[:3000]
    return elf


def run_qemu(elf):
    command = ["qemu-system-arm", "-M", BOARDS["cortex-m4"], "-nographic", "-monitor", "none", "-serial", "null"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", elf]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    output = run.stdout + run.stderr
    assert run.returncode == 0, output
    return output


def answer(data):
    """The outputs of a flatbuffer on the host, for the pattern of the programs here and of the examples."""
    net = tflm.Model(data)
    graph = flatbuffer.read(data).subgraphs[0]
    dtype = flatbuffer.type_name(graph.tensors[graph.inputs[0]])
    shape = flatbuffer.shape(graph.tensors[graph.inputs[0]])
    codes = (37 * np.arange(np.prod(shape) * np.dtype(dtype).itemsize)).astype(np.uint8).view(dtype)
    return net.run([codes.reshape(shape)])


SAY = f"""
#include <cstdio>
#include "{OPERATORS / "emulator/semihosting.h"}"
#include "tensorflow/lite/micro/cortex_m_generic/debug_log_callback.h"

void Fill(TfLiteTensor* input) {{
  for (size_t i = 0; i < input->bytes; ++i) input->data.uint8[i] = static_cast<uint8_t>(37 * i);
}}

void Say(const char* name, const TfLiteTensor* output) {{
  emulator::Write(name);
  char text[8];
  for (size_t i = 0; i < output->bytes; ++i) {{
    snprintf(text, sizeof(text), " %d", output->data.int8[i]);
    emulator::Write(text);
  }}
  emulator::Write("\\n");
}}
"""
TWO_NETS = f"""
#include "binary_net.h"
#include "pair_net.h"
{SAY}
int main() {{
  RegisterDebugLogCallback(emulator::Write);
  if (!pair_net::Begin() || !binary_net::Begin()) return 1;
  for (int round = 0; round < 2; ++round) {{
    Fill(pair_net::Input());
    Fill(binary_net::Input());
    if (!binary_net::Run() || !pair_net::Run()) return 1;
    Say("pair", pair_net::Output());
    Say("pair escalated", pair_net::Output(1));
    Say("binary", binary_net::Output());
  }}
  if (pair_net::ArenaUsed() > PAIR_NET_ARENA_SIZE || binary_net::ArenaUsed() > BINARY_NET_ARENA_SIZE) return 1;
  return 0;
}}
"""


def assert_as_alone(printed, two):
    pair, binary = (answer(two[name]) for name in ("pair_net", "binary_net"))
    expected = [("pair", pair[0]), ("pair escalated", pair[1].astype(int)), ("binary", binary[0])]
    lines = [" ".join(map(str, (name, *output.reshape(-1)))) for name, output in expected]
    assert printed.splitlines() == 2 * lines


# --- the library ---


def test_whole_library_compiles_for_a_cortex_m4(archive, library):
    listed = subprocess.run(["arm-none-eabi-ar", "t", archive], capture_output=True, text=True, check=True).stdout
    assert len(listed.split()) == len(library_sources(library)) > 100


def test_whole_library_compiles_for_a_cortex_m0plus(library, tmp_path):
    Compiler("cortex-m0plus", tmp_path, [library], check=True).compile(library_sources(library), "-w")


# --- two nets in one program ---


def merged(folders, format, folder):
    """The folder of two exports' libraries; the one that both have is the same."""
    target = folder / format
    for name in ("pair_net", "binary_net"):
        source = folders[name, format] / ("libraries" if format == "arduino" else "lib")
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            copy = target / path.relative_to(source)
            assert not copy.exists() or copy.read_bytes() == path.read_bytes()
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    assert sorted(path.name for path in target.iterdir()) == ["bcnet_ops", "binary_net", "pair_net"]
    return target


@pytest.mark.parametrize("format", ["c", "arduino", "platformio"])
def test_two_nets_answer_as_alone(format, folders, two, library, archive, operators, tmp_path):
    if format == "c":
        net_folders = [folders[name, "c"] / "src" for name in two]
        shared = folders["pair_net", "c"] / "bcnet_ops"
    else:
        libraries = merged(folders, format, tmp_path)
        net_folders, shared = [libraries / name / "src" for name in two], libraries / "bcnet_ops" / "src"
    program = tmp_path / "two.cc"
    program.write_text(TWO_NETS)
    compiler = Compiler("cortex-m4", tmp_path / "build", [*net_folders, shared, library])
    sources = [path for folder in net_folders for path in sorted(folder.glob("*.c*"))]
    objects = compiler.compile([program, *sources], "-Wall", "-Werror")
    assert_as_alone(run_qemu(link([*objects, *operators], archive, tmp_path)), two)


def run_cmake(source, build, *options):
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={OPERATORS / 'cmake/arm-none-eabi.cmake'}"
    options = [toolchain, "-DBCNET_CORE=cortex-m4", "-DCMAKE_BUILD_TYPE=MinSizeRel", *options]
    for command in (["cmake", "-S", source, "-B", build, *options], ["cmake", "--build", build, "--parallel", "2"]):
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, (run.stdout + run.stderr)[-3000:]


def test_two_nets_answer_as_alone_by_cmake(folders, two, tree, archive, tmp_path):
    added = "\n".join(f"add_subdirectory({folders[name, 'cmake']} {name})" for name in two)
    (tmp_path / "CMakeLists.txt").write_text(f"""
        cmake_minimum_required(VERSION 3.21)
        project(two CXX)
        {added}
        add_executable(two two.cc)
        target_link_libraries(two pair_net binary_net)
        for_emulator(two)
    """)
    (tmp_path / "two.cc").write_text(TWO_NETS)
    run_cmake(tmp_path, tmp_path / "build", f"-DTFLM_DIR={tree}", f"-DTFLM_LIBRARY={archive}")
    assert_as_alone(run_qemu(tmp_path / "build" / "two"), two)


# Zephyr's functions that the modules call, as its documentation of CMake commands says what they do.
ZEPHYR = """
cmake_minimum_required(VERSION 3.20)
project(two CXX)
set(CMAKE_CXX_STANDARD 17)
add_library(everywhere INTERFACE)
target_include_directories(everywhere INTERFACE {library})
macro(zephyr_library_named library)
  set(ZEPHYR_CURRENT_LIBRARY ${{library}})
  add_library(${{library}} STATIC)
  target_link_libraries(${{library}} PUBLIC everywhere)
  set_property(GLOBAL APPEND PROPERTY MADE ${{library}})
endmacro()
function(zephyr_library_sources)
  foreach(source IN LISTS ARGN)
    target_sources(${{ZEPHYR_CURRENT_LIBRARY}} PRIVATE ${{CMAKE_CURRENT_SOURCE_DIR}}/${{source}})
  endforeach()
endfunction()
function(zephyr_library_compile_definitions)
  target_compile_definitions(${{ZEPHYR_CURRENT_LIBRARY}} PRIVATE ${{ARGN}})
endfunction()
function(zephyr_include_directories)
  foreach(folder IN LISTS ARGN)
    target_include_directories(everywhere INTERFACE ${{CMAKE_CURRENT_SOURCE_DIR}}/${{folder}})
  endforeach()
endfunction()
add_compile_options(-fno-exceptions -fno-rtti -fno-threadsafe-statics)
set(CONFIG_PAIR_NET y)
set(CONFIG_BINARY_NET y)
set(CONFIG_BCNET_FAST_CODE y)
{modules}
get_property(libraries GLOBAL PROPERTY MADE)
add_executable(app two.cc {startup})
target_include_directories(app PRIVATE {root})
target_link_libraries(app -Wl,--whole-archive ${{libraries}} -Wl,--no-whole-archive {archive})
target_link_options(app PRIVATE {options})
"""


def test_two_nets_answer_as_alone_by_zephyrs_cmake(folders, two, library, archive, tmp_path):
    modules = "\n".join(f"add_subdirectory({folders[name, 'zephyr']} {name})" for name in two)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "tflm_ops").symlink_to(OPERATORS)
    text = ZEPHYR.format(
        library=library,
        modules=modules,
        startup=OPERATORS / "emulator/startup.cc",
        root=tmp_path / "root",
        archive=archive,
        options=" ".join(flag for flag in LINK if not flag.startswith("--specs")),  # the toolchain file has them
    )
    (tmp_path / "CMakeLists.txt").write_text(text)
    (tmp_path / "two.cc").write_text(TWO_NETS)
    run_cmake(tmp_path, tmp_path / "build")
    assert_as_alone(run_qemu(tmp_path / "build" / "app"), two)


def test_operators_of_another_version_are_refused(folders, two, library, tmp_path, monkeypatch):
    monkeypatch.setattr(bcnet_keras, "__version__", "9.8.7")
    other = exports.export(two["pair_net"], "c", tmp_path / "other", name="other_net")
    command = ["arm-none-eabi-g++", *CPP_FLAGS, *CORES["cortex-m4"], "-fsyntax-only", f"-I{library}"]
    for operators, errors in ((other, 0), (folders["binary_net", "c"], 1)):
        includes = [f"-I{other / 'src'}", f"-I{operators / 'bcnet_ops'}"]
        run = subprocess.run([*command, *includes, other / "src/other_net.cc"], capture_output=True, text=True)
        found = [line for line in run.stderr.splitlines() if "error:" in line]
        assert (run.returncode, len(found)) == (errors, errors), run.stderr
    assert "other_net needs the bcnet_ops of bcnet-keras 9.8.7 that it was exported with: export all nets" in found[0]


# --- scratch budgets ---

BUDGETS = (
    """
#include <cstring>
#include <new>

#include "roomy_net.h"
#include "roomy_net_ops.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "tight_net.h"
#include "tight_net_ops.h"
"""
    + SAY
    + """
constexpr size_t kGuard = 64;

// An interpreter in an arena of the tight net's size, with bytes behind it that must stay.
template <typename Resolver>
struct Own {
  alignas(Resolver) uint8_t resolver_memory[sizeof(Resolver)];  // the emulator's start-up calls no constructors
  alignas(16) uint8_t arena[TIGHT_NET_ARENA_SIZE + kGuard];
  alignas(tflite::MicroInterpreter) uint8_t memory[sizeof(tflite::MicroInterpreter)];
  tflite::MicroInterpreter* made;

  bool Begin(TfLiteStatus (*register_ops)(Resolver&), const uint8_t* model, bcnet::Context* context) {
    memset(arena, 0xa5, sizeof(arena));
    Resolver& resolver = *new (resolver_memory) Resolver;
    if (register_ops(resolver) != kTfLiteOk) return false;
    made = new (memory) tflite::MicroInterpreter(tflite::GetModel(model), resolver, arena, TIGHT_NET_ARENA_SIZE);
    if (context != nullptr && made->SetMicroExternalContext(context) != kTfLiteOk) return false;
    return made->AllocateTensors() == kTfLiteOk;
  }
  bool Run(const char* name) {
    Fill(made->input(0));
    if (made->Invoke() != kTfLiteOk) return false;
    Say(name, made->output(0));
    for (size_t i = 0; i < kGuard; ++i) {
      if (arena[TIGHT_NET_ARENA_SIZE + i] != 0xa5) return false;
    }
    return true;
  }
};

static Own<tight_net::OpResolver> own;
static Own<roomy_net::OpResolver> with_context, without;
static bcnet::Context context;

int main() {
  if (!roomy_net::Begin() || !tight_net::Begin()) return 1;
  context.scratch_budget = TIGHT_NET_SCRATCH_BUDGET;
  if (!own.Begin(tight_net::RegisterOps, tight_net_model, nullptr)) return 2;
  if (!with_context.Begin(roomy_net::RegisterOps, roomy_net_model, &context)) return 3;
  if (without.Begin(roomy_net::RegisterOps, roomy_net_model, nullptr)) return 4;  // too large a budget for it
  for (int round = 0; round < 2; ++round) {
    Fill(roomy_net::Input());
    Fill(tight_net::Input());
    if (!roomy_net::Run() || !own.Run("own") || !tight_net::Run() || !with_context.Run("with context")) return 5;
    Say("roomy", roomy_net::Output());
    Say("tight", tight_net::Output());
  }
  if (roomy_net::ArenaUsed() > ROOMY_NET_ARENA_SIZE || tight_net::ArenaUsed() > TIGHT_NET_ARENA_SIZE) return 6;
  return roomy_net::ArenaUsed() > TIGHT_NET_ARENA_SIZE ? 0 : 7;
}
"""
)


def test_interpreters_keep_to_the_scratch_budgets_of_their_nets(library, archive, operators, tmp_path):
    node = cases.bconv2d(
        np.random.default_rng(4), output="int8", channels_in=64, channels_out=32, size=8, kernel=3, batches=1, groups=1
    )
    data = graph_of([node])
    net_folders = []
    for name, budget in (("roomy_net", 48 << 10), ("tight_net", 1 << 10)):
        folder = exports.export(data, "c", tmp_path / name, name=name, scratch_budget=budget)
        net_folders.append(folder / "src")
    program = tmp_path / "budgets.cc"
    program.write_text(BUDGETS)
    compiler = Compiler("cortex-m4", tmp_path / "build", [*net_folders, tmp_path / "tight_net" / "bcnet_ops", library])
    objects = compiler.compile([program, *(path for folder in net_folders for path in sorted(folder.glob("*.cc")))])
    output = run_qemu(link([*objects, *operators], archive, tmp_path))
    codes = " ".join(map(str, answer(data)[0].reshape(-1)))
    assert output.splitlines() == 2 * [f"{name} {codes}" for name in ("own", "with context", "roomy", "tight")]


# --- sketches ---

ARDUINO = f"""
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include "{OPERATORS / "emulator/semihosting.h"}"
struct Port {{
  void begin(long) {{}}
  operator bool() {{ return true; }}
  void print(const char* text) {{ emulator::Write(text); }}
  void print(int number) {{ print(static_cast<unsigned long>(number)); }}
  void print(unsigned long number) {{
    char text[16];
    snprintf(text, sizeof(text), "%lu", number);
    print(text);
  }}
  template <typename T>
  void println(T value) {{
    print(value);
    print("\\n");
  }}
}};
[[maybe_unused]] static Port Serial;
inline void delay(unsigned long) {{}}
inline unsigned long micros() {{ return 0; }}
"""
CALLER = "void setup();\nvoid loop();\nint main() {\n  setup();\n  loop();\n}\n"
SKETCHES = {
    "arduino": ("libraries", "libraries/pair_net/examples/Classify/Classify.ino"),
    "platformio": ("lib", "src/main.cpp"),
}


@pytest.mark.parametrize("format", SKETCHES)
def test_sketch_answers_and_shows_why_a_net_cannot_run(format, folders, two, library, archive, operators, tmp_path):
    (tmp_path / "Arduino.h").write_text(ARDUINO)
    (tmp_path / "caller.cc").write_text(CALLER)
    libraries, sketch = (folders["pair_net", format] / part for part in SKETCHES[format])
    source = tmp_path / "src"
    shutil.copytree(libraries / "pair_net" / "src", source)
    includes = [tmp_path, source, libraries / "bcnet_ops" / "src", library]
    compiler = Compiler("cortex-m4", tmp_path / "build", includes)
    # The Arduino tools put this include before a sketch.
    program = compiler.compile([sketch, tmp_path / "caller.cc"], "-include", tmp_path / "Arduino.h", "-Wall", "-Werror")
    subfolder = Compiler("cortex-m4", tmp_path / "net", includes)
    net = subfolder.compile(sorted(source.glob("*.c*")), "-Wall", "-Werror")
    outputs = answer(two["pair_net"])
    who = "both nets" if outputs[1][0] else "the binary net"
    output = run_qemu(link([*program, *net, *operators], archive, tmp_path))
    assert output == f"ready\nclass {outputs[0].argmax()}, from {who}, microseconds 0\n"

    header = source / "pair_net_model.h"
    header.write_text(re.sub(r"(ARENA_SIZE) \d+", r"\1 1024", header.read_text()))
    net = subfolder.compile(sorted(source.glob("*.c*")), "-Wall", "-Werror")
    output = run_qemu(link([*program, *net, *operators], archive, tmp_path))
    assert output.endswith("the net cannot run\n") and re.search("(?i)failed|requested|arena|memory", output), output
