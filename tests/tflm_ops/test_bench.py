"""The bench: that it counts exactly, that its results are whole, and that no kernel got slower than they say.

The counts of a compiler are exact, so a rise of instructions or of estimated cycles of more than 2 % over the committed
results is a slower kernel and fails.
Where that is meant, or the kernels got faster, `make bench` writes new results.
"""

import json
import re
import shutil
import subprocess

import bench
import fit
import flags
import pytest
import tables
from test_cores import SOURCES

from bcnet_keras.layers import BinaryConv2D
from bcnet_keras.models.networks import NETWORKS
from bcnet_keras.runtime import native

needs_emulator = pytest.mark.skipif(
    not all(map(shutil.which, ("cmake", "arm-none-eabi-g++", "qemu-system-arm"))),
    reason="needs cmake, arm-none-eabi-g++ and qemu-system-arm",
)
GUARDED_CORES = ("cortex-m0plus", "cortex-m4", "cortex-m55")
# Sizes of the data sets' images.
IMAGES = {
    "digits": (8, 8, 1),
    "fashion_mnist": (28, 28, 1),
    "speech_commands": (49, 10, 1),
    "mnist_5k": (10, 10, 1),
    "images": (32, 32, 3),
}

# Functions to count: name -> (body, instructions with the branch back). Each is called between the markers.
BODIES = {
    "empty": ("", 1),
    "one": ("nop", 2),
    "wide": ("mov.w r0, #0x01010101\n ldr.w r1, [sp]", 3),
    "loop": ("movs r0, #100\n 1: subs r0, #1\n bne 1b", 202),
    "skipped": ("movs r0, #0\n cmp r0, #1\n itt eq\n addeq r0, #1\n addeq r0, #1", 6),
    "long": (".rept 3000\n nop\n .endr", 3001),
    "debugger": ("movs r0, #0x11\n bkpt 0xab", 3),  # the time
    "nested": ("push {lr}\n bl one\n bl one\n pop {pc}", 8),
}


@pytest.fixture(scope="module")
def results():
    return json.loads((SOURCES / "bench" / "results.json").read_text())


@pytest.fixture(scope="module")
def counted_program(tmp_path_factory):
    """A program that calls the BODIES in turn, and the counts that are right."""
    functions = "".join(f".thumb_func\n{name}:\n {body}\n bx lr\n" for name, (body, _) in BODIES.items())
    functions = functions.replace("pop {pc}\n bx lr", "pop {pc}")
    calls = "".join(f"ldr r4, ={name}\n bl measure\n" for name in BODIES)
    source = f"""
      .syntax unified
      .thumb
      .section .vectors, "a"
      .word stack_top, Reset
      .text
      .global Reset, first, last
      .thumb_func
      Reset: {calls}
      ldr r0, =0x20
      ldr r1, =ended
      bkpt 0xab
      .ltorg
      ended: .word 0x20026, 0
      .thumb_func
      measure: mov r5, lr
      first: nop
      blx r4
      last: nop
      bx r5
      .ltorg
      {functions}
      nop
    """
    folder = tmp_path_factory.mktemp("counted")
    (folder / "counted.S").write_text(source)
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", "-nostdlib", f"-T{SOURCES}/emulator/link.ld"]
    command += ["-Wl,--defsym=ROM_START=0", "-Wl,--defsym=RAM_START=0x20000000", "-Wl,--no-warn-rwx-segments"]
    elf = folder / "counted"
    run = subprocess.run([*command, str(folder / "counted.S"), "-o", str(elf)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return elf, [1 + instructions for _, instructions in BODIES.values()]


@needs_emulator
def test_count_of_known_code_is_exact(counted_program):
    elf, expected = counted_program
    for _ in range(2):
        traces = bench.count(elf, "mps2-an385", markers=("first", "last"))[1]
        assert [trace.instructions for trace in traces] == expected


@needs_emulator
def test_emulator_that_refuses_the_counter_is_named(counted_program):
    plugin = native.build("block_count", ["tflm_ops/emulator/block_count.cc"], ["-DBCNET_PLUGIN_API=99"])
    with pytest.raises(RuntimeError, match="QEMU emulator version .* does not load the plug-in"):
        bench.count(counted_program[0], "mps2-an385", markers=("first", "last"), plugin=plugin)


def test_old_emulator_is_refused(tmp_path, monkeypatch):
    program = tmp_path / "qemu-system-arm"
    program.write_text("#!/bin/sh\necho 'QEMU emulator version 5.2.0 (Debian 1:5.2)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(RuntimeError, match="needs QEMU 7 or later, found: QEMU emulator version 5.2.0"):
        bench.qemu_version.__wrapped__()


def test_folder_without_cmsis_nn_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no tree of CMSIS-NN"):
        bench.cmsis_nn_version(tmp_path)


@needs_emulator
def test_bench_for_a_board_links(tmp_path):
    bench.build("cortex-m4", tmp_path, ["bcnet_kernels"])
    command = ["arm-none-eabi-g++", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-std=c++17"]
    command += ["-fno-exceptions", "-fno-rtti", "-Wall", "-Werror", f"-I{SOURCES.parent}", "--specs=nosys.specs"]
    command += [SOURCES / "bench" / "bench.cc", SOURCES / "bench" / "board_cyccnt.cc", tmp_path / "libbcnet_kernels.a"]
    run = subprocess.run([*map(str, command), "-o", str(tmp_path / "bench")], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_committed_files_are_what_the_bench_writes(results):
    folder = SOURCES / "bench"
    assert bench.as_json(results) == (folder / "results.json").read_text()
    assert tables.report(results) == (folder / "results.md").read_text()
    assert json.loads(bench.CYCLES.read_text()) == {
        "cycles of an instruction": fit.cycles_of_instruction(results["operators"])
    }


def test_results_are_whole(results):
    keys = {"core", "layer", "shape", "output", "kernel", "scratch_bytes", "budgets", "macs", "instructions", "cycles"}
    for record in results["records"]:
        assert set(record) == keys
        low, high = record["cycles"]
        assert 0 < low <= high
        height, width, channels, filters, kernel, stride = map(int, re.findall(r"\d+", record["shape"]))
        pixels = -(-height // stride) * -(-width // stride)
        assert record["macs"] == pixels * channels * filters * kernel**2 and record["instructions"] > 0
        assert all(record["scratch_bytes"] <= budget for budget in record["budgets"])
    for core in bench.BOARDS:
        assert results["code_bytes"][core]
        for output in ("bitpacked", "int8", "float32"):
            chosen = [r for r in results["records"] if (r["core"], r["output"]) == (core, output) and r["budgets"]]
            for budget in tables.BUDGETS:
                layers = [record["layer"] for record in chosen if budget in record["budgets"]]
                assert len(layers) == len(set(layers)) and {"L1", "L2", "L3", "P1"} < set(layers)
                assert len(layers) > (200 if core == "cortex-m4" else 40)
    for key in ("counted", "command", "compiler", "qemu"):
        assert results[key]


def test_table_shows_the_results(results):
    assert (SOURCES / "bench" / "results.md").read_text() == tables.report(results)


def test_readme_has_the_measured_code_size(results):
    size = tables.operator_bytes(results["code_bytes"]["cortex-m4"])["all"]
    assert f"All operators take {size / 1024:.1f} KB of code on Cortex-M4" in (SOURCES / "README.md").read_text()


def test_page_on_the_kernel_tells_what_was_counted(results):
    """3x3, 32 to 128 channels, maps of 8x8 and more: an eighth of the portable kernel's instructions or less."""
    text = " ".join((SOURCES.parent / "docs" / "explanation" / "kernel.md").read_text().split())
    claim = "On 3x3 layers of 32 to 128 channels and maps of 8x8 and more, the kernel here takes an eighth or less"
    assert claim in text
    packed = [record for record in results["records"] if record["output"] == "bitpacked"]
    portable = {(r["core"], r["layer"]): r["instructions"] for r in packed if r["kernel"] == "portable"}
    compared = 0
    for record in packed:
        height, width, channels, filters, kernel, _ = map(int, re.findall(r"\d+", record["shape"]))
        if max(tables.BUDGETS) in record["budgets"] and kernel == 3 and min(height, width) >= 8:
            place = record["core"], record["layer"]
            if 32 <= channels <= 128 and 32 <= filters <= 128 and place in portable:
                assert record["instructions"] <= portable[place] / 8, place
                compared += 1
    assert compared >= 5 * len(bench.BOARDS)


def test_network_layers_are_those_of_the_networks(results):
    expected = {}
    for network, build in NETWORKS.items():
        _, binary = build(input_shape=IMAGES[network], classes=10)
        layers = [layer for layer in binary.layers if isinstance(layer, BinaryConv2D)]
        for number, layer in enumerate(layers, 1):
            _, height, width, channels = layer.input_shape
            (kernel, _), (stride, _) = layer.kernel_size, layer.strides
            expected[f"{network}-{number}"] = f"{height}x{width}x{channels}-{layer.filters}-k{kernel}-s{stride}"
    measured = {record["layer"]: record["shape"] for record in results["records"]}
    assert {layer: shape for layer, shape in measured.items() if layer.rsplit("-", 1)[0] in NETWORKS} == expected


def test_no_choice_is_slower_than_another_kernel_or_table(results):
    cases, slower, compared = {}, [], 0
    for record in results["records"]:
        if record["kernel"] != bench.CMSIS_NN:
            cases.setdefault((record["core"], record["layer"], record["output"]), []).append(record)
    for records in cases.values():
        for budget in tables.BUDGETS:
            chosen = tables.find(records, budget=budget)
            best = min((r for r in records if r["scratch_bytes"] <= budget), key=tables.middle)
            compared += len(records) > 2
            if tables.middle(chosen) > 1.02 * tables.middle(best):
                slower.append((tables.middle(chosen) / tables.middle(best), budget, chosen, best))
    assert not slower
    assert compared > 2000


def test_kernels_are_small(results):
    # 16 KB, and what the checks of a plan for any core came with.
    assert 8 * 1024 < tables.kernel_bytes(results["code_bytes"]["cortex-m4"]) <= 16 * 1024 + 256


def _costs(record):
    """Instructions, and twice the middle of the estimated cycles."""
    return record["instructions"], sum(record["cycles"])


@needs_emulator
@pytest.mark.parametrize("core", GUARDED_CORES)
def test_kernels_are_as_fast_as_committed(core, results, tmp_path):
    if bench.compiler_version() != results["compiler"]:
        pytest.skip(f"the committed counts are those of {results['compiler']}, not of {bench.compiler_version()}")
    committed = {
        (record["layer"], record["output"], budget): _costs(record)
        for record in results["records"]
        if record["core"] == core
        for budget in record["budgets"]
    }
    bench.build(core, tmp_path)
    slower, compared = [], 0
    for record in bench.measure(core, tmp_path / "bench", ("design", "networks")):
        for budget in record["budgets"]:
            before = committed[record["layer"], record["output"], budget]
            compared += 1
            if any(now > 1.02 * then for now, then in zip(_costs(record), before, strict=True)):
                slower.append(f"{record['layer']} {record['output']}, {budget} bytes: {before} -> {record}")
    layers = {layer for layer, *_ in committed if layer[0].isalpha()}  # those of the sweep are named after their shapes
    assert {"L1", "digits-1"} <= layers and compared == 2 * 3 * len(layers)
    assert not slower, "\n".join(slower)


@pytest.fixture(scope="module")
def flag_results():
    return json.loads((SOURCES / "bench" / "flags.json").read_text())


def test_flags_of_ecosystems_stay_within_their_limits(flag_results):
    measured = [(record["core"], record["build"]) for record in flag_results["records"]]
    assert measured == [(core, build.name) for core in flags.CORES for build in flags.BUILDS]
    assert not flags.above_limit(flag_results["records"])
    assert (SOURCES / "bench" / "flags.md").read_text() == flags.report(flag_results)


def test_other_cores_keep_their_flag_results(flag_results):
    records = flag_results["records"]
    again = [record | {"code_bytes": 1} for record in records if record["core"] == "cortex-m4"]
    found = flags.merged(flag_results | {"records": again}, flag_results)["records"]
    assert [(each["core"], each["build"]) for each in found] == [(each["core"], each["build"]) for each in records]
    assert all((each in again) == (each["core"] == "cortex-m4") for each in found)
    assert all(each in records or each in again for each in found)
    other = flag_results | {"records": again, "qemu": "another"}
    assert flags.merged(other, flag_results)["records"] == again  # counts of other tools do not mix


def test_limit_of_flags_is_one_of_its_compiler_and_core():
    counts = dict.fromkeys(flags.LAYERS, 1000)
    slower = counts | {"L3": 1050}
    records = [{"core": "cortex-m4", "build": flags.REFERENCE.name, "instructions": counts}]
    records += [
        {"core": "cortex-m4", "build": build.name, "instructions": slower}
        for build in flags.BUILDS
        if build != flags.REFERENCE
    ]
    assert flags.above_limit(records) == [
        f"{build.name} on cortex-m4, L3: 1.0500 is above 1.01"
        for build in flags.BUILDS[1:]
        if build.compiler == "gcc" and "-Os" in build.flags
    ]
    records[1]["instructions"] = counts | {"P1": 1101}
    records[1]["build"] = "clang, for speed"
    assert flags.above_limit(records[:2]) == ["clang, for speed on cortex-m4, P1: 1.1010 is above 1.1"]


@needs_emulator
@pytest.mark.parametrize(
    "core, names",
    [("cortex-m4", ("Arduino, mbed cores", "clang, for size")), ("cortex-m55", ("Zephyr, for size",))],
)
def test_flags_of_ecosystems_cost_no_speed(core, names):
    if any(name.startswith("clang") for name in names) and shutil.which("clang++") is None:
        pytest.skip("clang++ is not installed")
    chosen = [build for build in flags.BUILDS if build.name in names]
    assert len(chosen) == len(names)
    assert not flags.above_limit([flags.measure(core, build) for build in (flags.REFERENCE, *chosen)])
