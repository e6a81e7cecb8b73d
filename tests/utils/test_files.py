"""Atomic writing: whole or not at all, also when the process is killed."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from bcnet_keras.utils.atomic_files import replace_when_done, write_atomic


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@contextlib.contextmanager
def without_root():
    """Permissions do not bind root: become nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(("content", "written"), [(b"\x00\xff", b"\x00\xff"), ("tür\n", "tür\n".encode()), (b"", b"")])
def test_write_atomic_makes_parents_and_replaces(tmp_path, content, written):
    path = tmp_path / "runs" / "demo" / "pair.tflite"
    write_atomic(path, b"older and longer")
    write_atomic(path, content)
    assert path.read_bytes() == written
    assert names(path.parent) == ["pair.tflite"]


def test_content_of_another_type_is_refused(tmp_path):
    with pytest.raises(TypeError, match="must be bytes or str, got list"):
        write_atomic(tmp_path / "results.json", [1, 2])
    assert names(tmp_path) == []


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "curve.png"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="no"), replace_when_done(path) as temporary:
        assert temporary.name == "curve.png"
        temporary.write_text("half")
        raise RuntimeError("no")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["curve.png"]


def test_directory_replaces_a_directory_that_is_not_empty(tmp_path):
    for content in ("first", "second"):
        with replace_when_done(tmp_path / "model") as temporary:
            (temporary / "variables").mkdir(parents=True)
            (temporary / "variables" / content).write_text(content)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model" / "variables") == ["second"]


def test_name_may_be_a_pattern(tmp_path):
    other = tmp_path / ".pair1.999999999.partial"
    other.mkdir()
    write_atomic(tmp_path / "pair[1]", "x")
    assert names(tmp_path) == [".pair1.999999999.partial", "pair[1]"]


def test_unwritable_places_are_named_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "directory").mkdir()
    (tmp_path / "closed").mkdir(mode=0o500)

    def message(path):
        with pytest.raises(OSError, match="cannot write") as caught:
            write_atomic(path, b"content")
        text = str(caught.value)
        assert "\n" not in text and str(path) in text and "partial" not in text
        return text

    assert "file is not a directory" in message(tmp_path / "file" / "pair.tflite")
    assert "Is a directory" in message(tmp_path / "directory")
    assert "File name too long" in message(tmp_path / ("x" * 300))
    with without_root():
        assert "Permission denied" in message(tmp_path / "closed" / "pair.tflite")
    with pytest.raises(FileNotFoundError, match="nothing was written"), replace_when_done(tmp_path / "empty"):
        pass
    assert names(tmp_path) == ["closed", "directory", "file"]


WRITER = """
import sys
from bcnet_keras.utils.atomic_files import replace_when_done
with replace_when_done(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("half", flush=True)
    sys.stdin.read()
"""


def start_writer(path):
    command = [sys.executable, "-c", WRITER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "half\n"
    return process


def test_killed_writer_leaves_no_result_and_the_next_one_cleans_up(tmp_path):
    path = tmp_path / "pair.tflite"
    process = start_writer(path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not path.exists()
    assert len(names(tmp_path)) == 1  # its temporary directory
    write_atomic(path, b"whole")
    assert names(tmp_path) == ["pair.tflite"]
    assert path.read_bytes() == b"whole"


def test_another_writer_at_work_is_left_alone(tmp_path):
    path = tmp_path / "pair.tflite"
    process = start_writer(path)
    write_atomic(path, b"first")
    assert path.read_bytes() == b"first"
    process.communicate()  # ends its input: it finishes
    assert process.returncode == 0
    assert path.read_text() == "half"
    assert names(tmp_path) == ["pair.tflite"]
