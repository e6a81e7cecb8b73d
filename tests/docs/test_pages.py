"""The documentation: it builds without a warning, and what its pages name, show and tell to run is there."""

import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from bcnet_keras.cli import COMMANDS
from bcnet_keras.convert import Gate, merge
from bcnet_keras.runtime import plugin

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]}
HAND_WRITTEN = {name: text for name, text in PAGES.items() if "make_reference.py; change the code" not in text}
# Pages whose Python is a part of an example, and those whose Python runs in the names that an example leaves.
PARTS = {
    "docs/tutorials/own-model.md": "own_model",
    "docs/tutorials/larq-model.md": "larq_to_cortex_m",
    "docs/tutorials/budget.md": "budget_on_a_stream",
}
RUN = {
    "docs/tutorials/binary-net.md",
    "docs/howto/threshold.md",
    "docs/howto/distribute.md",
    "docs/reference/metadata.md",
}


def blocks(text, kind):
    """The fenced blocks of a kind."""
    return [
        body for found, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if found == kind
    ]


def commands(text):
    """The command lines in fenced blocks, each a list of words."""
    lines = "\n".join(body for kind in ("sh", "") for body in blocks(text, kind)).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r" && ", line)]
    return [words for words in (shlex.split(part, comments=True) for part in parts) if words]


def flag_values(name):
    """The flags of a command, not yet parsed."""
    module, define, _ = COMMANDS[name]
    values = flags.FlagValues()
    getattr(importlib.import_module(f"bcnet_keras.cli.{module}"), define)(values)
    flags.DEFINE_bool("help", False, "", flag_values=values)
    return values


def test_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="the site needs mkdocs-material: pip install -e '.[docs]'")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr[-3000:]
    page = (tmp_path / "site/reference/api.html").read_text()
    assert "max_binary_cost" in page and "Raises" in page  # docstrings are in it
    # Nothing comes from elsewhere when a page is opened.
    for path in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"?(https?://[^\s\">]+)", path.read_text())
        assert loaded == [], path.name


# The reference shows the interpreter that a full installation has.
@pytest.mark.parametrize("script", [pytest.param("make_reference", marks=pytest.mark.needs_lce), "draw_diagrams"])
def test_written_pages_are_what_the_code_gives(script):
    space = runpy.run_path(str(ROOT / f"scripts/{script}.py"))
    made = space["PAGES"] if script == "make_reference" else space["DRAWINGS"]
    suffix = "md" if script == "make_reference" else "svg"
    stale = []
    for name, make in made.items():
        text = make() if suffix == "md" else make().svg()
        if (space["FOLDER"] / f"{name}.{suffix}").read_text() != text:
            stale.append(name)
    assert stale == [], f"run python scripts/{script}.py"


def test_diagrams_are_drawings_with_a_description():
    from xml.etree import ElementTree

    for path in (DOCS / "images").glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        width, height = map(float, root.get("viewBox").split()[2:])
        assert len(root.find("{*}title").text) > 80
        for text in root.iter("{*}text"):
            assert 0 <= float(text.get("x")) <= width and 0 <= float(text.get("y")) <= height


@pytest.mark.parametrize("page", HAND_WRITTEN)
def test_named_files_exist(page):
    named = re.findall(
        r"`((?:bcnet_keras|tflm_ops|tests|experiments|examples|docs|findings|scripts)/[\w./-]+)`", PAGES[page]
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.fixture
def workplace(make_part, tmp_path, monkeypatch):
    """A folder with the files that commands of the pages begin with: small pairs, a net, images and their labels."""
    monkeypatch.chdir(tmp_path)
    record = {"class_names": list("abcd"), "raw_range": [0, 255], "input_range": [-1.0, 127 / 128]}
    pair = merge(make_part(1), make_part(2), Gate.create(4, "score_margin", 0.5), record=record)
    for name in ("pair", "faces", "words", "runs/photos/pair", "runs/demo/pair"):
        path = tmp_path / f"{name}.tflite"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pair)
    (tmp_path / "larq.tflite").write_bytes(make_part(3))
    random = np.random.default_rng(0)
    np.save("images.npy", random.integers(0, 256, (5, 3, 3, 2)).astype(np.uint8))
    np.save("labels.npy", random.integers(0, 4, 5))
    return tmp_path


@pytest.mark.parametrize("page", [name for name in HAND_WRITTEN if commands(PAGES[name])])
def test_commands_run(page, bcnet, workplace):
    """In order as they stand; of those that train for long, and of other tools, what they name is checked."""
    for words in commands(PAGES[page]):
        check_command(words, bcnet)


def has_tflm():
    try:
        return plugin.tflm_tree() is not None
    except FileNotFoundError:
        return False


def check_command(words, bcnet):
    program, *rest = words
    if program == "bcnet":
        if rest == ["--version"]:
            assert bcnet(*rest)[0] == 0
        elif (
            rest[0] in ("train", "demo", "calibrate")
            or ("--runtime=tflm" in rest and not has_tflm())
            or any(word.endswith(".keras") for word in rest)  # a pair that nothing here has trained
        ):
            flag_values(rest[0])(rest)
        else:
            status, _, err = bcnet(*rest)
            assert status == 0, f"{shlex.join(words)}: {err}"
    elif program == "make":
        targets = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in rest if "=" not in word and word not in targets] == []
    elif program == "python" and rest[0] == "-m":
        source = Path(importlib.util.find_spec(rest[1]).origin).read_text()
        named = [re.match(r"--(?:no)?(\w+)", word)[1] for word in rest[2:]]
        assert [name for name in named if f'"{name}"' not in source] == []
    elif program == "python":
        assert (ROOT / rest[0]).is_file()
    elif program in ("cmake", "qemu-system-arm"):
        shown = (ROOT / "bcnet_keras/export/templates/cmake/README.md").read_text().replace("\\\n", " ")
        assert " ".join(words) in re.sub(r" +", " ", shown)
    elif program == "pip":
        extras = set(re.findall(r"\[([\w,]+)\]", " ".join(rest)))
        known = re.findall(r'^        "(\w+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE)
        assert {extra for group in extras for extra in group.split(",")} <= set(known)
    else:
        assert program in ("cd", ".", "my_photos/", "cat/", "dog/"), f"no check for the command {shlex.join(words)}"


@pytest.mark.parametrize("page", HAND_WRITTEN)
def test_commands_in_sentences_have_these_flags(page):
    for line in re.findall(r"`bcnet (\w+(?: [^`\n]+)?)`", PAGES[page]):
        name, *rest = shlex.split(line)
        if name == "COMMAND":
            continue
        assert name in COMMANDS, line
        values = flag_values(name)
        known = set(values) | {f"no{flag}" for flag in values}
        assert [word for word in rest if word.startswith("--") and re.match(r"--(\w+)", word)[1] not in known] == [], (
            line
        )


def test_python_on_pages_is_run_somewhere():
    shown = {name for name, text in PAGES.items() if blocks(text, "python")} - {"README.md"}
    assert shown == set(PARTS) | RUN


@pytest.mark.parametrize("page", PARTS)
def test_python_is_a_part_of_its_example(page):
    script = (ROOT / f"examples/{PARTS[page]}.py").read_text()
    assert [block for block in blocks(PAGES[page], "python") if block not in script] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(RUN))
def test_python_runs(page, examples, tmp_path):
    import bcnet_keras as bc

    space = dict(examples.run("own_model"))
    space["flatbuffer"] = bc.convert(space["pair"])
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(PAGES[page], "python")))
    exec(compile(script.read_text(), str(script), "exec"), space)


def test_cpp_is_that_of_the_operators_own_page():
    shown = (ROOT / "tflm_ops/README.md").read_text()
    for page, text in HAND_WRITTEN.items():
        assert [block for block in blocks(text, "cpp") if block not in shown] == [], page


def test_messages_of_troubleshooting_are_those_of_the_sources():
    sources = [*ROOT.glob("bcnet_keras/**/*.py"), *ROOT.glob("scripts/*.sh")]
    text = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text() for path in sources))  # messages over several lines
    rows = re.findall(r"^\| (.*?) \|", PAGES["docs/troubleshooting.md"], re.MULTILINE)
    messages = [row[1:-1] for row in rows if re.fullmatch("`[^`]+`", row)]
    assert len(messages) > 15
    assert [message for message in messages if message not in text] == []


def test_every_finding_is_told_with_what_is_done_about_it():
    entries = re.split(r"^### ", PAGES["docs/surprises.md"], flags=re.MULTILINE)[1:]
    told = [re.findall(r"`findings/(\w+\.sh)`", entry) for entry in entries]
    assert all(len(names) == 1 for names in told)
    assert sorted(name for (name,) in told) == sorted(path.name for path in (ROOT / "findings").glob("*.sh"))
    assert [entry.splitlines()[0] for entry in entries if "\n*Here:* " not in entry] == []


def test_every_fact_of_the_comparison_has_a_source():
    text = PAGES["docs/comparison.md"]
    facts, _, sources = text.partition("## Sources")
    listed = set(re.findall(r"^(\d+)\. ", sources, re.MULTILINE))
    cited = {number for group in re.findall(r"\[([\d, ]+)\]", facts) for number in group.split(", ")}
    assert cited == listed and sources.count("<https://") >= len(listed)
    assert re.search(r"Checked on \d+ \w+ 20\d\d", facts)
