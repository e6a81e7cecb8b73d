"""The kernels on Cortex-M cores under QEMU, and on the host under sanitizers, against Larq Compute Engine's outputs."""

import shutil
import subprocess
from pathlib import Path

import cases
import compilers
import golden
import numpy as np
import pytest
from bench import BOARDS
from test_kernels_numpy import MEASURES, confidence

from bcnet_keras.tflite import flatbuffer

SOURCES = Path(__file__).parents[2] / "tflm_ops"
TYPES = ("float32", "int8", "bool")


def operators(convolutions, others, seed):
    rng = np.random.default_rng(seed)
    nodes = cases.bconv2d_grid(convolutions, seed)
    nodes += [f(rng, dtype) for _ in range(others) for f in (cases.quantize, cases.dequantize) for dtype in TYPES]
    nodes += [cases.bmaxpool2d(rng) for _ in range(3 * others)]
    return nodes + [cases.bconv2d_of_large_sums(rng, 32 << i % 4, 64, cases.SAME, i % 2) for i in range(others)]


def gates(count, seed):
    rng = np.random.default_rng(seed)
    result = []
    for i in range(count):
        classes, measure = int(rng.integers(2, 40)), MEASURES[i % 4]
        int8 = bool(i // 4 % 2)
        scale = float(np.float32(rng.uniform(0.01, 0.2)))
        logits = rng.integers(-128, 128, classes).astype(np.int8) if int8 else rng.normal(0, 3, classes).astype("f4")
        weights, bias = rng.normal(size=classes + 3).astype("f4"), float(np.float32(rng.normal()))
        options = {"measure": measure, "threshold": rng.random(classes if i % 3 else 1)}
        if measure == "learned":
            options |= {"weights": weights, "bias": bias}
        expected = confidence(logits * scale if int8 else logits.astype(float), measure, weights.astype(float), bias)
        result.append(golden.gate_record(logits, scale, flatbuffer.encode_options(options), expected))
    return b"".join(result)


def thermometers(count, seed):
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        x = rng.integers(-128, 128, rng.integers(1, 6, 4)).astype(np.int8)
        planes = int(rng.choice([1, 7, 8, 10, 15, 16, 31, 32, 33, 70]))
        result.append(golden.thermometer_record(x, rng.integers(-128, 129, x.shape[-1] * planes)))
    return b"".join(result)


def stems(count, seed, largest=1 << 20):
    """Cases of the stem of up to `largest` bytes, of all numbers of planes in turn."""
    rng = np.random.default_rng(seed)
    result = []
    while len(result) < count:
        planes = cases.PLANES[len(result) % len(cases.PLANES)]
        record = golden.stem_record(*cases.stem(rng, planes=planes))
        if len(record) <= largest:
            result.append(record)
    return b"".join(result)


def stems_in_groups(seed):
    """Cases of more filters than a group has, of which the last one is alone."""
    rng = np.random.default_rng(seed)
    result = []
    for planes in (1, 2, 3, 4, 6, 8):
        x, weights = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((1, 2, 3, 3), (257, 1, 2, 3)))
        thresholds = rng.integers(-30000, 30000, 257 * planes).astype(np.int32)
        result.append(golden.stem_record(x, weights, thresholds, -5, (1, 1), 0))
    return b"".join(result)


def build(preset, folder, *options):
    """Builds the test program with CMake, in a folder of its own."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    for command in (
        ["cmake", "--preset", preset, "-B", str(folder), "-DTFLM_DIR=none", *options],
        ["cmake", "--build", str(folder), "--parallel", "2"],
    ):
        run = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    return folder / "kernel_test"


def small_grid():
    """(number of cases, bytes of the file): a few of each kind."""
    data = golden.records(operators(240, 5, seed=11)) + gates(24, seed=12) + thermometers(30, seed=14)
    return 240 + 5 * 10 + 24 + 30 + 120 + 6, data + stems(120, seed=16) + stems_in_groups(seed=18)


@pytest.mark.parametrize("core", BOARDS)
def test_kernels_on_a_core(core, small_grid, tmp_path):
    compilers.compiler("gcc")
    path, count = small_grid
    compilers.check(compilers.emulate(build(core, tmp_path), BOARDS[core], path), count)


def needs_sanitizers(folder):
    """Skips the test where clang++ is missing or comes without its sanitizers, a package of its own on Debian."""
    if shutil.which("clang++") is None:
        pytest.skip("clang++ is not installed")
    command = ["clang++", "-fsanitize=address,undefined,fuzzer-no-link", "-x", "c++", "-", "-o", str(folder / "empty")]
    if subprocess.run(command, input=b"int main() {}", capture_output=True).returncode != 0:
        pytest.skip("clang++ has no sanitizers; on Debian they are in libclang-rt-dev")


def test_whole_grid_under_sanitizers(tmp_path):
    needs_sanitizers(tmp_path)
    program = build("host-sanitized", tmp_path)
    data = golden.records(operators(4800, 60, seed=0)) + gates(200, seed=13) + thermometers(200, seed=15)
    data += stems(400, seed=17)
    run = subprocess.run([program], input=data, capture_output=True, timeout=300)
    compilers.check((run.returncode, (run.stdout + run.stderr).decode()), 4800 + 60 * 10 + 200 + 200 + 400)
