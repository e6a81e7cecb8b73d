"""The README's Python runs as it stands, and its commands and paths exist."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_python_blocks_run_one_after_the_other(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 7
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=_environment(), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    accuracy = float(re.search(r"^accuracy ([\d.]+) escalated", done.stdout, re.MULTILINE)[1])
    assert accuracy > 0.8  # chance is 0.1
    assert done.stdout.strip().endswith("0.2") or re.search(r"^0\.2\d*$", done.stdout, re.MULTILINE)


def test_links_and_folders_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_commands_exist():
    from bcnet_keras.cli import COMMANDS

    for name in re.findall(r"^bcnet (\w+)", README, re.MULTILINE):
        assert name in COMMANDS


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
