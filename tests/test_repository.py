"""The files around the package refer to things that exist."""

import importlib.util
import os
import re
import subprocess
from importlib.metadata import metadata, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import bcnet_keras

ROOT = Path(__file__).parent.parent


def make_targets():
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", ["docker/Dockerfile", "docker/README.md", ".ci/run", "Makefile"])
def test_scripts_and_targets_that_are_called_exist(path):
    text = (ROOT / path).read_text()
    scripts = re.findall(r"scripts/[\w-]+\.\w+", text)
    targets = re.findall(r"\bmake (demo|test|lint|bench|venv|packages)\b", text) + re.findall(
        r'"make", "([\w-]+)"', text
    )
    assert scripts or targets
    for script in scripts:
        assert os.access(ROOT / script, os.X_OK), script
    assert set(targets) <= make_targets()


def test_docker_image_builds_by_make_and_does_not_run_as_root():
    text = (ROOT / "docker/Dockerfile").read_text()
    steps = [step for line in re.findall(r"^RUN (.*)$", text, re.MULTILINE) for step in line.split(" && ")]
    allowed = ("apt-get ", "rm -rf /var/lib/apt/lists/", "useradd ", "install --directory ", "make ")
    assert [step for step in steps if not step.startswith(allowed)] == []
    called = [step.split()[1] for step in steps if step.startswith("make ")]
    assert called and set(called) <= make_targets()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["bcnet"]
    copied = [word for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert all((ROOT / word).exists() for word in copied if not word.startswith("--"))


def test_docker_readme_has_a_command_for_the_demo_the_tests_and_a_shell():
    commands = re.findall(r"^docker run (.*?)(?: +#.*)?$", (ROOT / "docker/README.md").read_text(), re.MULTILINE)
    ends = [command.partition(" bcnet")[2].strip() for command in commands]
    assert ends == ["", "make test", "bash"]
    home = re.search(r"--create-home (\w+)", (ROOT / "docker/Dockerfile").read_text())[1]
    mounted = [path for command in commands for path in re.findall(r":(/\S+?)(?::ro)?[\" ]", command + " ")]
    assert mounted == [f"/home/{home}/bcnet-keras/runs", f"/home/{home}/.cache/bcnet/tflm"]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md", "docker/README.md", "tflm_ops/README.md"])
def test_links_and_named_files_exist(name):
    text, folder = (ROOT / name).read_text(), (ROOT / name).parent
    links = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not (folder / link).exists()] == []
    named = re.findall(r"`((?:bcnet_keras|tflm_ops|tests|experiments)/[\w./]+)`", text)
    places = (ROOT, ROOT / "tflm_ops")
    assert [path for path in named if not any((place / path).exists() for place in places)] == []


def test_the_version_is_the_same_everywhere():
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    changed = re.search(r"^## ([\d.]+), \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert bcnet_keras.__version__ == cited == changed == metadata("bcnet-keras")["Version"]


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_every_dependency_is_pinned_within_its_range(version):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {}
    for pin in (Requirement(line) for line in lines if not line.startswith("#")):
        if pin.marker is None or pin.marker.evaluate({"python_version": version}):
            (exact,) = pin.specifier
            assert exact.operator == "==" and pin.name not in pins, pin
            pins[pin.name] = exact.version
    for requirement in map(Requirement, requires("bcnet-keras")):
        if requirement.marker and not any(
            requirement.marker.evaluate({"python_version": version, "extra": extra})
            for extra in ("", "docs", "experiments", "test")
        ):
            continue
        name = requirement.name.lower().replace("_", "-")
        assert requirement.specifier.contains(pins[name], prereleases=True), requirement


def test_pip_says_which_pythons_will_do():
    allowed = SpecifierSet(metadata("bcnet-keras")["Requires-Python"])
    assert [minor for minor in range(8, 16) if f"3.{minor}.1" in allowed] == [10, 11, 12, 13]


def test_unsuitable_interpreter_is_refused_in_one_line(tmp_path):
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\nexit 1\n")
    interpreter.chmod(0o755)
    result = subprocess.run([ROOT / "scripts/make_venv.sh", interpreter], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and "is not Python 3.10, 3.11, 3.12 or 3.13" in result.stderr


def test_missing_packages_are_named_where_they_cannot_be_installed(tmp_path):
    # A PATH without apt-get, sudo and dpkg-query: every package counts as missing and none can be installed.
    (tmp_path / "bash").symlink_to("/bin/bash")
    (tmp_path / "id").symlink_to("/usr/bin/id")
    result = subprocess.run(
        ["/bin/bash", ROOT / "scripts/debian_packages.sh", "qemu-system-arm", "cmake"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0
    assert result.stderr == "Missing packages; please run: sudo apt-get install qemu-system-arm cmake\n"


def test_wheels_are_asked_for_by_the_markers_of_the_machine_they_are_for(monkeypatch):
    spec = importlib.util.spec_from_file_location("check_platforms", ROOT / "scripts/check_platforms.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    asked = []
    monkeypatch.setattr(module, "versions", lambda name, tags, python: asked.append((name, tags, python)) or [])
    for machine, python, larq, engine, micro in (
        ("Linux, x86-64", "3.12", True, True, True),
        ("Linux, x86-64", "3.13", False, False, True),
        ("Linux, Arm 64", "3.11", True, False, False),
        ("macOS, Arm 64", "3.11", True, True, False),
        ("Windows, x86-64", "3.13", False, False, False),
    ):
        missing = module.lacking("train", machine, python)
        found = ["larq" in missing, "larq-compute-engine" in missing, "tflite-micro" in missing]
        assert found == [larq, engine, micro] and {"tensorflow", "numpy"} <= set(missing), machine
        assert "tensorflow" not in module.lacking("", machine, python)
    assert ("numpy", ("win_amd64",), "3.13") in asked


_COUNT, _SPEED = (
    re.compile(r"\binstructions\b", re.I),
    re.compile(r"\b(speed|speed-?ups?|fast(er|est)?|slow(er|est)?)\b", re.I),
)


def called_speed(text):
    """The sentences of a text that name a count of instructions and speed in one breath."""
    sentences = re.split(r"(?<=[.:;!?])\s|\n\s*\n|\|", text)
    return [" ".join(each.split()) for each in sentences if _COUNT.search(each) and _SPEED.search(each)]


def test_no_sentence_calls_instructions_speed():
    """They are counted; what a user waits for are cycles, which are estimated."""
    assert called_speed("It takes 18 times\nfewer instructions, so it is faster.\n\nInstructions. Speed.") == [
        "It takes 18 times fewer instructions, so it is faster."
    ]
    folders = ("bcnet_keras", "docs", "examples", "experiments", "findings", "scripts", "tflm_ops")
    files = [*ROOT.glob("*.md"), ROOT / "Makefile"]
    for suffix in ("md", "py", "h", "cc", "ipynb"):
        files += [path for folder in folders for path in (ROOT / folder).rglob(f"*.{suffix}")]
    assert len(files) > 150
    assert {path: found for path in files if (found := called_speed(path.read_text()))} == {}
