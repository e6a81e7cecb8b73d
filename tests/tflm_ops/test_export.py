"""Exports of a pair, of a binary net and of an int8 net, each checked by tools of the ecosystem that it is for."""

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor

import cases
import numpy as np
import pytest
import self_test
from bench import BOARDS
from flatbuffers_of import streaming_net
from lce_graphs import model as graph_of
from micro import include_flags, laid_out_tree
from packaging import licenses
from single_operators import net

from bcnet_keras.convert import Gate, merge
from bcnet_keras.device.arena import arena
from bcnet_keras.device.profile import STACK_BYTES, Profile
from bcnet_keras.export import formats as exports
from bcnet_keras.runtime import native, plugin, tflm
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.operators import MICRO_OPS, operator

OPERATORS = native.source_root() / "tflm_ops"
COMPILER = "arm-none-eabi-g++"
FLAGS = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-std=c++17", "-Os", "-c"]
FLAGS += ["-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"]
MODELS = ("pair", "binary", "int8", "streaming")
LABELS = ["cat", 'a "dog"', "Bär", "what??/"]
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed")
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed")


@pytest.fixture(scope="module")
def flatbuffers(make_part):
    """One of each kind: a pair with a gate, a net of Larq Compute Engine alone, an int8 net."""
    record = {"class_names": LABELS, "raw_range": [0, 255], "input_range": [-1.0, 127 / 128]}
    gate = Gate.create(4, "score_margin", [0.1, 0.2, 0.3, 1.0])
    rng = np.random.default_rng(3)
    node = cases.bconv2d(rng, output="int8", channels_in=40, channels_out=6, size=4, kernel=3, batches=1, groups=1)
    return {
        "pair": merge(make_part(1), make_part(2), gate, record=record),
        "binary": graph_of([node]),
        "int8": make_part(3),
        "streaming": streaming_net(),
    }


@pytest.fixture(scope="module")
def folders(flatbuffers, tmp_path_factory):
    """(kind of model, format) -> its export."""
    parent = tmp_path_factory.mktemp("exports")
    return {
        (kind, format): exports.export(data, format, parent / kind / format, name=f"{kind}_net")
        for kind, data in flatbuffers.items()
        for format in exports.FORMATS
    }


def compile_sources(sources, include, folder, *flags):
    def compiled(source):
        command = [COMPILER, *FLAGS, *flags, f"-I{include}", "-o", str(folder / f"{source.stem}.o"), "-x", "c++"]
        return subprocess.run([*command, str(source)], capture_output=True, text=True)

    with ThreadPoolExecutor(2) as pool:
        for run in pool.map(compiled, sources):
            assert run.returncode == 0, run.stderr[:3000]


SOURCES = {"arduino": "libraries/{}/src", "platformio": "lib/{}/src"}


def sources_of(folders, kind, format):
    """The folder of the net's sources, and that of the operators."""
    folder, place = folders[kind, format], SOURCES.get(format)
    if place is None:
        return folder / "src", folder / "bcnet_ops"
    return folder / place.format(f"{kind}_net"), folder / place.format("bcnet_ops")


def all_files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# --- what is written ---


@pytest.mark.parametrize("kind", MODELS)
def test_sources_are_the_same_in_every_format(folders, kind):
    """Arduino's end in .cpp; CMake's have the tools to build and test them on top."""
    for format in exports.FORMATS:
        suffix = ".cpp" if format == "arduino" else ".cc"
        for first, other in zip(sources_of(folders, kind, "c"), sources_of(folders, kind, format), strict=True):
            names = {name: re.sub(r"\.cc$", suffix, name) for name in all_files(first)}
            assert set(names.values()) <= all_files(other)
            for name, here in names.items():
                assert filecmp.cmp(first / name, other / here, shallow=False), here
    operators = sources_of(folders, kind, "c")[1]
    assert filecmp.cmp(operators / "bcnet_ops.h", sources_of(folders, "pair", "c")[1] / "bcnet_ops.h", shallow=False)
    for name in all_files(operators / "tflm_ops"):
        assert filecmp.cmp(operators / "tflm_ops" / name, OPERATORS / name, shallow=False), name


@pytest.mark.parametrize("kind", MODELS)
def test_nothing_is_left_to_fill_in(folders, kind):
    for format in exports.FORMATS:
        for path in folders[kind, format].rglob("*"):
            assert "NAME" not in path.name and ".partial" not in path.name
            if path.is_file() and "tflm_ops" not in path.parts and path.name != "tflm_library.py":
                assert not re.search(r"@\w+@", path.read_text()), path


def test_readme_says_how_code_comes_into_ram_where_there_is_a_binary_convolution(folders):
    words = {"zephyr": "CONFIG_BCNET_FAST_CODE=y"}
    for format in exports.FORMATS:
        with_it, without = ((folders[kind, format] / "README.md").read_text() for kind in ("binary", "int8"))
        assert words.get(format, "-DBCNET_FAST_CODE=.") in with_it and "BCNET_FAST_CODE" not in without, format


@pytest.mark.parametrize("format", sorted(set(exports.FORMATS) - {"c"}))
def test_examples_write_the_input_before_every_run(folders, format):
    """The arena reuses its memory, so that a second inference without a new input answers otherwise."""
    examples = [
        text
        for path in folders["pair", format].rglob("*")
        if path.suffix in (".ino", ".cc", ".cpp") and "Run())" in (text := path.read_text()) and "Begin()" in text
    ]
    assert examples
    for text in examples:
        written, run = (text.index(part) for part in ("input->data.uint8[i] = ", "Run())"))
        assert text.count("Run()") == 1 and written < run
        for loop in re.finditer(r"void loop\(\) \{|\bfor \(;;\)|\bwhile \(true\)", text):
            assert not written < loop.start() < run


@pytest.mark.parametrize("kind", MODELS)
def test_array_is_the_flatbuffer_and_the_header_tells_of_it(folders, flatbuffers, kind):
    source = folders[kind, "c"] / "src"
    text = (source / f"{kind}_net_model.cc").read_text()
    data = bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2}),", text))
    written, original = flatbuffer.read(data), flatbuffer.read(flatbuffers[kind])
    assert flatbuffer.write(written) == flatbuffer.write(original) == data and "alignas(16)" in text
    defined = dict(re.findall(rf"#define {kind.upper()}_NET_(\w+) (.+)", (source / f"{kind}_net_model.h").read_text()))
    graph = original.subgraphs[0]
    for what, indices in (("INPUT", graph.inputs), ("OUTPUT", graph.outputs)):
        for number, index in enumerate(indices):
            tensor, prefix = graph.tensors[index], f"{what}{number or ''}"
            shape = flatbuffer.shape(tensor)
            assert defined[f"{prefix}_SHAPE"] == "{" + ", ".join(map(str, shape)) + "}"
            assert int(defined[f"{prefix}_SIZE"]) == np.prod(shape)
            if quantization := flatbuffer.quantization(tensor):
                assert np.float32(defined[f"{prefix}_SCALE"].rstrip("f")) == np.float32(quantization[0])
                assert int(defined[f"{prefix}_ZERO_POINT"].strip("()")) == quantization[1]
    assert int(defined["MODEL_SIZE"]) == len(data)
    if kind == "pair":
        thresholds = [float(value.rstrip("f")) for value in defined["THRESHOLD"].strip("{}").split(", ")]
        np.testing.assert_array_equal(np.float32(thresholds), np.float32([0.1, 0.2, 0.3, 1.0]))
        assert (defined["CODE_SLOPE"], defined["CODE_OFFSET"]) == ("1.0f", "-128.0f")
    else:
        assert "THRESHOLD" not in defined and "CODE_SLOPE" not in defined


@pytest.mark.parametrize("kind", MODELS)
def test_registered_operators_are_those_of_the_model(folders, flatbuffers, kind):
    text = (folders[kind, "c"] / "src" / f"{kind}_net_ops.h").read_text()
    model = flatbuffer.read(flatbuffers[kind])
    names = {flatbuffer.op_name(model, operator) for graph in model.subgraphs for operator in graph.operators}
    methods = {method for method in re.findall(r"resolver\.(Add\w+)\(\)", text)}
    custom = set(re.findall(r"bcnet::k(\w+)", text))
    assert methods == {operator(name).resolver_method for name in names & MICRO_OPS} and custom == names - MICRO_OPS
    assert f"MicroMutableOpResolver<{len(names)}>" in text


@pytest.mark.needs_tflm
def test_resolver_has_a_method_for_every_operator():
    header = (plugin.tflm_tree() / "tensorflow/lite/micro/micro_mutable_op_resolver.h").read_text()
    methods = set(re.findall(r"TfLiteStatus (Add\w+)\(", header))
    assert {operator(name).resolver_method for name in MICRO_OPS} <= methods


def test_arena_of_one_core_is_enough_for_it(bcnet, flatbuffers, tmp_path):
    (tmp_path / "net.tflite").write_bytes(net("CONV_2D", "int8"))

    def size_of(*arguments):
        folder = tmp_path / "_".join(arguments or ("all",))
        assert bcnet("export", tmp_path / "net.tflite", "--format=c", f"--output={folder}", *arguments)[0] == 0
        return int(re.search(r"ARENA_SIZE (\d+)", (folder / "src" / "net_net_model.h").read_text())[1])

    sizes = {core: size_of(f"--core={core}") for core in ("cortex-m4", "cortex-m55")}
    assert sizes["cortex-m4"] == size_of("--board=nucleo-f446re") < sizes["cortex-m55"] == size_of()
    for core, size in sizes.items():
        needed = arena(tmp_path / "net.tflite", core).bytes
        assert needed <= size <= 1.04 * needed + 16


def test_what_micro_does_otherwise_is_told(bcnet, tmp_path, caplog):
    model = flatbuffer.read(net("TRANSPOSE", "int8"))
    model.subgraphs[0].tensors[-1].quantization.scale[0] *= 2
    (tmp_path / "net.tflite").write_bytes(flatbuffer.write(model))
    status, *_ = bcnet("export", tmp_path / "net.tflite", "--format=c", f"--output={tmp_path / 'firmware'}")
    assert status == 0 and "TRANSPOSE copies codes" in caplog.text
    assert "| remark | TRANSPOSE copies codes" in (tmp_path / "firmware" / "README.md").read_text()


def test_readme_tells_flash_and_codes(make_part, tmp_path):
    """Code and stack count too, as in the profile; pixels of the data set, -100 to 155, have the codes v - 28."""
    record = {"raw_range": [-100, 155], "input_range": [-1.0, 127 / 128]}
    pair = merge(make_part(1), make_part(2), Gate.create(4, "score_margin", 0.5), record=record)
    needed = f"{Profile.of(pair).flash_bytes / 1024:.0f} KiB"
    for format in ("arduino", "platformio"):
        readme = (exports.export(pair, format, tmp_path / format, name="net") / "README.md").read_text()
        assert f"| flash | {needed}: the model's {len(pair):,} bytes" in readme
        arena_size = int(re.search(r"\| arena \| ([\d,]+) bytes of RAM", readme)[1].replace(",", ""))
        ram = f"{(arena_size + STACK_BYTES) / 1024:.0f} KiB of RAM"
        assert re.search(rf"\b{ram} and {needed} of flash\s+to\s+spare", readme)
        assert "| codes of the input | round(v - 28) for a value v from -100 to 155 |" in readme
        assert "| output `escalated` | bool [1] |" in readme


# --- what compiles ---


@needs_compiler
@pytest.mark.needs_tflm
@pytest.mark.parametrize("kind", ["pair", "int8", "streaming"])  # with operators of ours, without, with variables
def test_net_compiles(folders, tmp_path, kind):
    source, operators = sources_of(folders, kind, "c")
    flags = ["-DTF_LITE_STATIC_MEMORY", f"-I{operators}", *include_flags(tmp_path)]
    compile_sources([source / f"{kind}_net.cc", source / f"{kind}_net_model.cc"], source, tmp_path, *flags)
    sections = subprocess.run(
        ["arm-none-eabi-readelf", "-SW", tmp_path / f"{kind}_net_model.o"], capture_output=True, text=True, check=True
    )
    assert re.search(r"\.rodata\.?\w* .* 16$", sections.stdout, re.MULTILINE)  # the flatbuffer's alignment


@needs_compiler
def test_labels_and_header_are_c(folders, tmp_path):
    """The header serves C, and labels come out as they went in, trigraphs and all."""
    source = folders["pair", "c"] / "src"
    program = tmp_path / "program.c"
    program.write_text('#include "pair_net_model.h"\nconst char* label(int i) { return pair_net_labels[i]; }\n')
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{source}", "-c"]
    run = subprocess.run(["arm-none-eabi-gcc", *flags, program, "-o", tmp_path / "c.o"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    compile_sources([source / "pair_net_model.cc"], source, tmp_path)
    data = (tmp_path / "pair_net_model.o").read_bytes()
    assert all(label.encode() + b"\0" in data for label in LABELS)


STAND_INS = {  # what the examples use of their ecosystem, beside TensorFlow Lite Micro
    "TensorFlowLite.h": "",
    "Arduino.h": """
        struct Port { void begin(long); operator bool(); void print(const char*); void print(int);
                      void println(const char*); void println(unsigned long); };
        extern Port Serial;
        void delay(unsigned long);
        unsigned long micros();
    """,
    "zephyr/sys/printk.h": "void printk(const char* format, ...) __attribute__((format(printf, 1, 2)));",
}
EXAMPLES = {
    "cmake": "examples/main.cc",
    "arduino": "libraries/{}/examples/Classify/Classify.ino",
    "zephyr": "samples/classify/src/main.cpp",
    "platformio": "src/main.cpp",
}


@needs_compiler
@pytest.mark.needs_tflm
@pytest.mark.parametrize("format", EXAMPLES)
def test_examples_compile(folders, tmp_path, format):
    for name, text in STAND_INS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#pragma once\n{text}\n")
    for kind in MODELS:
        source, operators = sources_of(folders, kind, format)
        flags = [f"-I{operators}", f"-I{tmp_path}", *include_flags(tmp_path / "tree")]
        if format == "arduino":
            flags += ["-include", "Arduino.h"]  # as the Arduino tools do with a sketch
        example = folders[kind, format] / EXAMPLES[format].format(f"{kind}_net")
        compile_sources([example], source, tmp_path, *flags)


@needs_compiler
@pytest.mark.needs_tflm
@pytest.mark.slow
def test_operators_compile_without_macros(folders, tmp_path):
    """Arduino and Zephyr define no TF_LITE_STATIC_MEMORY."""
    source, operators = sources_of(folders, "pair", "arduino")
    sources = [source / "pair_net.cpp", *sorted((operators / "tflm_ops" / "micro").glob("*.cpp"))]
    compile_sources(sources, source, tmp_path, f"-I{operators}", *include_flags(tmp_path))


@pytest.mark.needs_tflm
def test_library_for_arduino_is_made_of_a_tree(folders, tmp_path):
    """What extras/tflm_library.py writes; test_firmware.py compiles it."""
    library = tmp_path / "TensorFlowLite"
    script = folders["pair", "arduino"] / "extras" / "tflm_library.py"
    tree = laid_out_tree(tmp_path / "tree")

    def run(tree):
        return subprocess.run([sys.executable, script, tree, library], capture_output=True, text=True)

    assert run(tree).returncode == 0
    check_properties(library / "library.properties")
    assert json.loads((library / "library.json").read_text())["name"] == "TensorFlowLite"
    folders = {path.name for path in (library / "src").iterdir()}
    assert {"tensorflow", "flatbuffers", "tflm_config.h", "TensorFlowLite.h"} <= folders
    assert not list(library.rglob("*.cc"))
    again = run(tree)
    assert again.returncode == 1 and "exists; give another folder" in again.stderr
    shutil.rmtree(library)
    clone, other, empty = (tmp_path / name for name in ("clone", "other", "empty"))
    for folder, files in (
        (clone, ["micro_common.h", "tools/make/Makefile"]),
        (other, ["micro_common.h"]),
        (empty, []),
    ):
        folder.mkdir()
        for name in files:
            path = folder / "tensorflow/lite/micro" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    for folder, message in (
        (clone, "is TensorFlow Lite Micro's repository; give the tree that its create_tflm_tree.py writes"),
        (other, "is a tree for another target: make it with TARGET=cortex_m_generic"),
        (empty, "is no tree of TensorFlow Lite Micro: tensorflow/lite/micro/micro_common.h is missing"),
    ):
        refused = run(folder)
        assert refused.returncode == 1 and message in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not library.exists()


# --- CMake, under QEMU ---


def run_cmake(folder, build, *options, includes=""):
    environment = {**os.environ, "CPLUS_INCLUDE_PATH": str(includes)}
    for command in (
        ["cmake", "--preset", "cortex-m4", "-B", str(build), *options],
        ["cmake", "--build", str(build), "--parallel", "2"],
    ):
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


def run_qemu(elf, arguments=""):
    command = ["qemu-system-arm", "-M", BOARDS["cortex-m4"], "-nographic", "-monitor", "none", "-serial", "null"]
    command += ["-semihosting-config", f"enable=on,target=native{arguments}", "-kernel", str(elf)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


@needs_cmake
@needs_compiler
@needs_qemu
def test_cmake_runs_the_self_test_without_a_tree(folders, tmp_path):
    folder = folders["int8", "cmake"]
    run_cmake(folder, tmp_path, "-DTFLM_DIR=none", "-DBCNET_FAST_CODE=.ramfunc")
    arguments = f",arg=kernel_test,arg={folder / 'bcnet_ops/tflm_ops/tests/cases.bin'}"
    output = run_qemu(tmp_path / "bcnet_ops/tflm_ops/kernel_test", arguments)
    assert f"{self_test.cases()[0]} cases, 0 failed" in output


def test_self_test_is_as_its_program_writes_it():
    assert self_test.cases()[1] == self_test.PATH.read_bytes()


def tflm_library():
    name = "cortex_m_generic_cortex-m4*/lib/libtensorflow-microlite.a"
    try:
        return next(iter(sorted(plugin.tflm_tree().glob(f"gen/{name}"))), None)
    except FileNotFoundError:
        return None


@needs_cmake
@needs_compiler
@needs_qemu
@pytest.mark.skipif(tflm_library() is None, reason="no library of TensorFlow Lite Micro for cortex-m4 in its tree")
def test_cmake_runs_the_net_with_a_tree(folders, flatbuffers, tmp_path):
    include_flags(tmp_path / "headers")
    options = [f"-DTFLM_DIR={plugin.tflm_tree()}", f"-DTFLM_LIBRARY={tflm_library()}", "-DBCNET_TESTS=OFF"]
    run_cmake(folders["pair", "cmake"], tmp_path, *options, includes=tmp_path / "headers")
    output = run_qemu(tmp_path / "pair_net_example")
    model = tflm.Model(flatbuffers["pair"])
    shape = model._inputs[0]
    codes = (37 * np.arange(np.prod(shape))).astype(np.uint8).view(np.int8).reshape(shape)
    outputs = model.run([codes])
    assert [int(code) for code in re.findall(r"code \d+: (-?\d+)", output)] == outputs[0].reshape(-1).tolist()
    who = "both nets" if outputs[1][0] else "the binary net"
    assert f"class {outputs[0].argmax()}, from {who}" in output
    used, size = map(int, re.search(r"arena: (\d+) of (\d+) bytes", output).groups())
    assert used <= size <= 1.5 * used + 1024


# --- PlatformIO, Zephyr, Arduino ---


# PlatformIO with the licences of its first argument in the place of SPDX's list, which it fetches from the network.
PLATFORMIO = """
import sys
from platformio.__main__ import main
from platformio.package.manifest.schema import ManifestSchema
licences = {"licenses": [{"licenseId": name} for name in sys.argv.pop(1).split()]}
ManifestSchema.load_spdx_licenses = staticmethod(lambda: licences)
sys.exit(main())
"""


def pack(folder, licences, package):
    command = [sys.executable, "-c", PLATFORMIO, licences, "pkg", "pack", str(folder), "-o", str(package)]
    settings = {"PLATFORMIO_CORE_DIR": str(package.parent), "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no"}
    return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name", ["pair_net", "bcnet_ops"])
def test_platformio_packs_the_libraries(folders, tmp_path, name):
    folder, package = folders["pair", "platformio"] / "lib" / name, tmp_path / "package.tar.gz"
    manifest = json.loads((folder / "library.json").read_text())
    assert manifest["name"] == name and (folder / "src" / manifest["headers"]).is_file()
    assert licenses.canonicalize_license_expression(manifest["license"]) == manifest["license"]  # one of SPDX's
    run = pack(folder, manifest["license"], package)
    assert run.returncode == 0, run.stdout + run.stderr
    with tarfile.open(package) as archive:
        assert all_files(folder) <= set(archive.getnames())
    refused = pack(folder, "MIT", tmp_path / "refused.tar.gz")
    assert refused.returncode != 0 and "Invalid SPDX license" in refused.stdout + refused.stderr


def test_platformio_library_needs_the_operators_of_its_version(folders):
    libraries = folders["pair", "platformio"] / "lib"
    net, operators = (json.loads((libraries / name / "library.json").read_text()) for name in ("pair_net", "bcnet_ops"))
    assert net["dependencies"] == [{"name": operators["name"], "version": operators["version"]}]


# The keys of zephyr/module.yml and their types, as Zephyr documents them (doc/develop/modules.rst).
MODULE_KEYS = {"name": str, "tests": list, "samples": list, "boards": list, "blobs": list}
MODULE_BUILD_KEYS = {
    **dict.fromkeys(("cmake", "kconfig", "sysbuild-cmake", "sysbuild-kconfig"), str),
    **dict.fromkeys(("cmake-ext", "kconfig-ext", "sysbuild-cmake-ext", "sysbuild-kconfig-ext"), bool),
    "depends": list,
    "settings": dict,
}
# Zephyr's options and commands of CMake that an export uses, and the file of Zephyr's repository that declares them.
# Read at its commits 0202bd860cbf (version 4.0.99; lib/cpp), 79cdeb6ecd67 and 58df80d17c8c (modules/tflite-micro, first
# and newest with the option of CMSIS-NN) and 0080ad1e4b2d (2026; cmake).
ZEPHYR_OPTIONS = {
    "CPP": "lib/cpp/Kconfig",
    "STD_CPP17": "lib/cpp/Kconfig",
    "REQUIRES_FULL_LIBCPP": "lib/cpp/Kconfig",
    "TENSORFLOW_LITE_MICRO": "modules/tflite-micro/Kconfig",
    "TENSORFLOW_LITE_MICRO_CMSIS_NN_KERNELS": "modules/tflite-micro/Kconfig",
    "MAIN_STACK_SIZE": "kernel/Kconfig",
    "ARCH_HAS_RAMFUNC_SUPPORT": "arch/Kconfig",
}
ZEPHYR_COMMANDS = {
    "zephyr_library_named": "cmake/modules/extensions.cmake",
    "zephyr_library_sources": "cmake/modules/extensions.cmake",
    "zephyr_library_compile_definitions": "cmake/modules/extensions.cmake",
    "zephyr_include_directories": "cmake/modules/extensions.cmake",
}


@pytest.mark.parametrize("kind", MODELS)
def test_zephyr_knows_the_names_that_an_export_uses(folders, kind):
    yaml = pytest.importorskip("yaml")
    folder = folders[kind, "zephyr"]
    module = yaml.safe_load((folder / "zephyr" / "module.yml").read_text())
    build = module.pop("build")
    for found, known in ((module, MODULE_KEYS), (build, MODULE_BUILD_KEYS)):
        assert all(isinstance(value, known[key]) for key, value in found.items())
    assert all(isinstance(path, str) for path in module["samples"])
    texts = {path: path.read_text() for path in folder.rglob("*") if path.name in ("README.md", "prj.conf", "Kconfig")}
    texts |= {path: path.read_text() for path in folder.rglob("CMakeLists.txt")}
    options = set(re.findall(r"CONFIG_(\w+)", "".join(texts.values())))
    options |= set(re.findall(r"depends on (\w+)", texts[folder / "Kconfig"]))
    assert options == {*ZEPHYR_OPTIONS, f"{kind.upper()}_NET", "BCNET_FAST_CODE"}
    assert set(re.findall(r"\bzephyr_\w+(?=\()", "".join(texts.values()))) == set(ZEPHYR_COMMANDS)


def test_zephyr_reads_the_module(folders, tmp_path):
    kconfiglib, yaml = pytest.importorskip("kconfiglib"), pytest.importorskip("yaml")
    folder = folders["pair", "zephyr"]
    module = yaml.safe_load((folder / "zephyr" / "module.yml").read_text())
    assert (folder / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    assert all((folder / path).is_dir() for path in module["samples"])
    sample = folder / "samples" / "classify"
    described = yaml.safe_load((sample / "sample.yaml").read_text())
    assert described["sample"]["name"] == "pair_net" and described["tests"]

    # Two modules in one application, with the options of Zephyr that they and the sample use.
    other = folders["binary", "zephyr"]
    options = [name for name in ZEPHYR_OPTIONS if name != "MAIN_STACK_SIZE"]
    text = "".join(f'config {name}\n\tbool "{name}"\n' for name in options)
    text += 'config MAIN_STACK_SIZE\n\tint "stack"\n\tdefault 1024\n'
    text += "".join(f'source "{each / module["build"]["kconfig"]}"\n' for each in (folder, other))
    (tmp_path / "Kconfig").write_text(text)
    settings = kconfiglib.Kconfig(str(tmp_path / "Kconfig"), warn_to_stderr=False)
    assert settings.syms["PAIR_NET"].visibility == 0  # not without TensorFlow Lite Micro
    settings.load_config(str(sample / "prj.conf"))
    assert settings.warnings == [] and settings.syms["PAIR_NET"].str_value == "y"
    assert settings.syms["BINARY_NET"].str_value == "n" and settings.syms["BINARY_NET"].visibility == 2
    listed = re.findall(r"^\s+(\S+?\.cc)\b", (folder / "CMakeLists.txt").read_text(), re.MULTILINE)
    assert set(listed) == {name for name in all_files(folder) if name.endswith(".cc")}
    assert "CONFIG_PAIR_NET" in (folder / "CMakeLists.txt").read_text()


def check_properties(path):
    """library.properties by Arduino's library specification, revision 2.2."""
    lines = path.read_text().splitlines()
    assert all(re.fullmatch(r"[a-z_]+=\S.*", line) for line in lines)
    fields = dict(line.split("=", 1) for line in lines)
    assert len(fields) == len(lines)
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert required <= set(fields) <= required | {"depends", "dot_a_linkage", "includes", "precompiled", "ldflags"}
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_ .\-]{0,62}", fields["name"])
    assert not fields["name"].lower().startswith("arduino")
    assert re.fullmatch(r"\d+\.\d+\.\d+", fields["version"]) and fields["category"] == "Data Processing"
    assert all((path.parent / "src" / name).is_file() for name in fields["includes"].split(","))
    return fields


@pytest.mark.parametrize("kind", MODELS)
def test_arduino_library_follows_its_specification(folders, kind):
    folder = folders[kind, "arduino"] / "libraries" / f"{kind}_net"
    for library in (folder, folder.with_name("bcnet_ops")):
        assert check_properties(library / "library.properties")["name"] == library.name
        suffixes = {path.suffix for path in (library / "src").rglob("*") if path.is_file()}
        assert suffixes == {".cpp", ".h"}
    sketches = [path.parent for path in folder.glob("examples/*/*.ino")]
    assert [path.name for path in sketches] == ["Classify"] and (sketches[0] / "Classify.ino").is_file()


# --- what is refused ---


def refused(error, message, *arguments, **options):
    with pytest.raises(error, match=message) as caught:
        exports.export(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_bad_input_leaves_nothing_behind(flatbuffers, tmp_path):
    pair, output = flatbuffers["pair"], tmp_path / "new" / "folder"
    refused(ValueError, "unknown format 'mbed': expected one of c, cmake, arduino", pair, "mbed", output)
    refused(ValueError, "must be a C identifier .* got 'my-net'", pair, "c", output, name="my-net")
    refused(ValueError, "must be a C identifier .* got '3d'", pair, "c", output, name="3d")
    for name in ("class", "bcnet", "Math", "test"):
        refused(ValueError, f"the name '{name}' is taken, .* such as {name.lower()}_net", pair, "c", output, name=name)
    refused(ValueError, "truncated or damaged TensorFlow Lite flatbuffer", pair[: len(pair) // 2], "c", output)
    refused(ValueError, "not a TensorFlow Lite flatbuffer", b"nothing of that kind", "c", output)
    refused(FileNotFoundError, "there is no file", tmp_path / "absent.tflite", "c", output)
    refused(ValueError, "arena of 100 bytes is too small .* which takes up to", pair, "c", output, arena_size=100)
    refused(ValueError, "must be a whole number of bytes above 0, got -1", pair, "c", output, arena_size=-1)
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    tensors = [builder.tensor(graph, name, flatbuffer.schema.TensorType.FLOAT32, [1, 4]) for name in "ab"]
    builder.operator(graph, "TOPK_V2", tensors[:1], tensors[1:])
    builder.operator(graph, b"FlexErf", tensors[:1], tensors[1:])
    graph.inputs, graph.outputs = np.array(tensors[:1], np.int32), np.array(tensors[1:], np.int32)
    refused(ValueError, "TensorFlow Lite Micro lacks .* FlexErf, TOPK_V2, ", builder.finish(), "c", output)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_exists_is_not_overwritten(flatbuffers, tmp_path, kind):
    output = tmp_path / "there"
    if kind == "file":
        output.write_text("mine")
    elif kind == "link":
        output.symlink_to("nowhere")
    else:
        output.mkdir()
        (output / "mine").write_text("mine")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    refused(FileExistsError, "exists; give another folder, or delete it", flatbuffers["int8"], "c", output)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_failure_halfway_leaves_nothing_behind(flatbuffers, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exports.shutil, "copytree", fail)
    with pytest.raises(OSError, match="No space left"):
        exports.export(flatbuffers["int8"], "c", tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "name"),
    [("pair.tflite", "pair_net"), ("Keyword Spotting-2.tflite", "keyword_spotting_2_net"), ("8bit.tflite", "net_8bit")],
)
def test_name_follows_from_the_file(flatbuffers, tmp_path, file, name):
    path = tmp_path / file
    path.write_bytes(flatbuffers["int8"])
    folder = exports.export(path, "c", tmp_path / "out")
    assert (folder / "src" / f"{name}.h").is_file() and f"from `{file}`" in (folder / "README.md").read_text()


@needs_compiler
def test_file_names_and_labels_may_hold_anything(make_part, tmp_path):
    """Where they are written into comments, strings and tables they end none of these."""
    names = [*LABELS[:2], "a|b\nc", "*/ @version@"]
    path = tmp_path / 'odd "*\n#error @model_bytes@ ?\\'
    gate = Gate.create(4, "score_margin", [0.1, 0.2, 0.3, 1.0])
    path.write_bytes(merge(make_part(1), make_part(2), gate, record={"class_names": names}))
    folder = exports.export(path, "c", tmp_path / "out")
    compile_sources([folder / "src/odd_error_model_bytes_net_model.cc"], folder / "src", tmp_path)
    readme = (folder / "README.md").read_text()
    assert '| classes | cat, a "dog", a\\|b c, */ @version@ |\n' in readme and "from `odd" in readme
