"""The README's Python runs as it stands, and its commands and paths exist."""

import pathlib
import re
import subprocess
import sys

import pytest
from absl import flags

from bcnet_keras.cli import COMMANDS
from bcnet_keras.cli.train import define
from bcnet_keras.convert import Gate, merge
from bcnet_keras.utils.atomic_files import write_atomic

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


def test_deploy_leads_from_images_to_an_arduino_library(bcnet, make_part, tmp_path, monkeypatch):
    """The commands as they stand, with two small nets in the place of those that `bcnet train` trains in its time."""
    monkeypatch.chdir(tmp_path)
    section = README.partition("## Deploy")[2].partition("\n## ")[0]
    train, export = [line.split()[1:] for line in re.findall(r"^bcnet .*", section, re.MULTILINE)]
    assert (train[0], export[0]) == ("train", "export")
    values = flags.FlagValues()
    define(values)
    assert values(train) == ["train"] and values.dataset == "folder:my_photos"
    record = {"class_names": ["cat", "dog"], "raw_range": [0, 255], "input_range": [-1.0, 127 / 128]}
    gate = Gate.create(2, "score_margin", 0.5)
    parts = make_part(1, classes=2), make_part(2, classes=2)
    write_atomic(tmp_path / values.runs_dir / values.name / "pair.tflite", merge(*parts, gate, record=record))
    status, _, err = bcnet(*export)
    assert (status, err) == (0, "")
    library = tmp_path / "photos_library" / "libraries" / "photos"
    assert "name=photos\n" in (library / "library.properties").read_text()
    assert '"cat",\n    "dog"' in (library / "src" / "photos_model.cpp").read_text()
    assert (library / "examples" / "Classify" / "Classify.ino").is_file()


def test_first_screen_is_short():
    assert README[: README.index("\n## Install\n")].count("\n") <= 60


def test_links_and_folders_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_commands_exist():
    for name in re.findall(r"^bcnet (\w+)", README, re.MULTILINE):
        assert name in COMMANDS


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
