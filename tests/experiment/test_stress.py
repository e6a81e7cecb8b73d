"""Kills, full disks, damaged files and other data, by a seed: see `support/stress.py`, which takes more of them."""

import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[1] / "support" / "stress.py"


@pytest.mark.slow
def test_situations_end_right_or_in_one_line(tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), "4", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    counts = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines()[-8:] if line.count(", ") == 1)
    assert int(counts["kill, killed"]) >= 2  # else nothing was disturbed
