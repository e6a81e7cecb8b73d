"""Short runs of the libFuzzer targets, from the inputs that long runs found to reach new code."""

import shutil
import subprocess
from pathlib import Path

import pytest
from test_cores import SOURCES, needs_sanitizers

from bcnet_keras.runtime import plugin

CORPUS = Path(__file__).parent / "corpus"


def build(folder, target, tree):
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    needs_sanitizers(folder.parent)
    for command in (
        ["cmake", "--preset", "host-fuzz", "-B", str(folder), f"-DTFLM_DIR={tree}"],
        ["cmake", "--build", str(folder), "--parallel", "2", "--target", target],
    ):
        run = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    return folder / target


def fuzz(target, tree, tmp_path, runs=30000):
    inputs = tmp_path / "corpus"
    inputs.mkdir()
    lines = (CORPUS / f"{target}.txt").read_text().split()
    assert len(lines) > 50
    for number, line in enumerate(lines):
        (inputs / str(number)).write_bytes(bytes.fromhex(line))
    program = build(tmp_path / "build", target, tree)
    # Single allocations are bounded, not the resident set: what counts as resident of the sanitizers' shadow memory
    # differs by kernel and has reached 2.9 GB for a corpus of 20 KB.
    limits = ["-max_len=400", "-malloc_limit_mb=256", "-rss_limit_mb=0"]
    command = [str(program), f"-runs={runs}", "-seed=1", *limits, f"-artifact_prefix={tmp_path}/", str(inputs)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, errors="replace")
    assert run.returncode == 0 and f"Done {runs} runs" in run.stderr, run.stderr[-4000:]


@pytest.mark.slow
def test_parsers_and_kernels(tmp_path):
    fuzz("fuzz_kernels", "none", tmp_path)


@pytest.mark.needs_tflm
@pytest.mark.slow
def test_prepare_and_eval(tmp_path):
    fuzz("fuzz_micro", plugin.tflm_tree(), tmp_path)
