"""The package as a user installs it: from a wheel, not from a checkout."""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bcnet_keras import get_threshold, set_threshold
from bcnet_keras.convert import Gate, merge
from bcnet_keras.export import FORMATS
from bcnet_keras.runtime import tflm

ROOT = Path(__file__).parents[1]
PACKED = ("bcnet_keras", "tflm_ops", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def run(*command, **keywords):
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, **keywords)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package, installed from a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "build", "results*")
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / "source" / name)
    pip = ("-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, folder / "source")
    (wheel,) = folder.glob("bcnet_keras-*.whl")
    run(*pip, "install", "--no-deps", "--no-index", "--compile", "--target", folder / "site", wheel)
    return folder / "site"


@pytest.mark.slow
def test_an_installed_package_exports_every_format(installed, make_part, tmp_path):
    assert list((installed / "bcnet_keras/export/templates").rglob("*.pyc"))  # pip compiles what ends in .py
    (tmp_path / "net.tflite").write_bytes(make_part(1))
    program = "import bcnet_keras, sys; from bcnet_keras.cli import main; print(bcnet_keras.__file__); main()"
    environment = {**os.environ, "PYTHONPATH": str(installed), "TF_CPP_MIN_LOG_LEVEL": "3"}
    for format in FORMATS:
        arguments = ("export", "net.tflite", f"--format={format}", f"--output={format}")
        output = run("-c", program, *arguments, cwd=tmp_path, env=environment)
        assert str(installed) in output
        written = [path for path in (tmp_path / format).rglob("*") if path.is_file()]
        assert any(path.name == "net_net_model.h" for path in written)
        assert any(path.name.startswith("lce_bconv2d.c") for path in written)
        assert not [path for path in written if path.suffix == ".pyc" or "__pycache__" in path.parts]


def closure(names):
    """Names of distributions with all that they require, less their extras."""
    found, pending = {}, list(names)
    while pending:
        name = canonicalize_name(pending.pop())
        if name not in found:
            found[name] = metadata.distribution(name)
            wanted = map(Requirement, found[name].requires or ())
            pending += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def base(installed, tmp_path_factory):
    """A folder of links to the packages that the wheel requires without an extra, and to what these require."""
    folder = tmp_path_factory.mktemp("base")
    (info,) = installed.glob("bcnet_keras-*.dist-info")
    wanted = [Requirement(text) for text in metadata.PathDistribution(info).requires]
    names = [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    for distribution in closure(names).values():
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(distribution.locate_file(top))
    return folder


@pytest.mark.slow
def test_profile_export_run_and_threshold_need_no_tensorflow(installed, base, make_part, tmp_path):
    pair = merge(make_part(1), make_part(2), Gate.create(4, "score_margin", 0.5), kind="builtin")
    (tmp_path / "pair.tflite").write_bytes(pair)
    images = np.random.default_rng(0).uniform(-1, 0.99, (20, 3, 3, 2)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{installed}{os.pathsep}{base}"}
    program = """
import sys
import bcnet_keras as bc
from bcnet_keras import cli
data = bc.set_threshold(open("pair.tflite", "rb").read(), 0.25)
open("pair.tflite", "wb").write(data)
for line in (
    "profile pair.tflite --board=nucleo-f446re",
    "export pair.tflite --format=arduino --output=arduino",
    "run pair.tflite --input=images.npy --output=answers.npz",
    "convert pair.tflite --threshold=0.5 --output=other.tflite",
    "demo",
):
    sys.argv = ["bcnet", *line.split()]
    try:
        cli.main()
    except SystemExit as ended:
        print(line.split()[0], ended.code or 0)
try:
    bc.BCNet
except ImportError as error:
    print(error)
print(sorted(name for name in ("tensorflow", "larq", "scipy", "matplotlib") if name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    output = done.stdout.splitlines()
    assert [f"{name} 0" in output for name in ("profile", "export", "run", "convert")] == [True] * 4, done.stderr[
        -3000:
    ]
    assert "demo 1" in output and output[-1] == "[]"
    message = 'tensorflow, which this needs, is not installed: pip install ".[train]" in a clone of bcnet-keras brings'
    assert output[-2].startswith(message) and f"bcnet demo: {message}" in done.stderr
    assert get_threshold((tmp_path / "pair.tflite").read_bytes()) == 0.25
    assert get_threshold((tmp_path / "other.tflite").read_bytes()) == 0.5
    expected = tflm.Interpreter(set_threshold(pair, 0.25)).predict(images)
    with np.load(tmp_path / "answers.npz") as answers:
        np.testing.assert_array_equal(answers["logits"], expected.logits)
        assert 0 < answers["escalated"].sum() < len(images)
