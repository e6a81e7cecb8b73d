"""The package as a user installs it: from a wheel, not from a checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bcnet_keras.export import FORMATS

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
        said = run("-c", program, *arguments, cwd=tmp_path, env=environment)
        assert str(installed) in said
        written = [path for path in (tmp_path / format).rglob("*") if path.is_file()]
        assert any(path.name == "net_net_model.h" for path in written)
        assert any(path.name.startswith("lce_bconv2d.c") for path in written)
        assert not [path for path in written if path.suffix == ".pyc" or "__pycache__" in path.parts]
