"""Files that appear whole or not at all: written beside their place under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bcnet_keras.errors import ArgumentTypeError
from bcnet_keras.utils.types import StrPath


@contextlib.contextmanager
def replace_when_done(path: StrPath) -> Iterator[Path]:
    """Yields a temporary path to write a file or a directory to; it takes the place of `path` when the block ends.

    The temporary path has the name of `path` (savers choose their format by the suffix) and lies in a hidden directory
    beside it, which is removed when the block raises. What a killed process left is removed by the next write to the
    same path. Missing parent directories are made. An existing file or directory of that name is replaced.

    Raises:
        OSError: of the fitting subclass, with a one-line message, when `path` cannot be written or nothing was written.
    """
    path = Path(path)
    with _errors_name(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, f"{path.parent} is not a directory") from error
        _remove_leftovers(path)
        directory = path.with_name(f".{path.name}.{os.getpid()}.partial")
        directory.mkdir()
    temporary = directory / path.name
    try:
        try:
            yield temporary
        except (OSError, RuntimeError) as error:  # the latter is what h5py makes of some
            _name_full_disk(path, error)
            raise
        with _errors_name(path):
            if not temporary.exists():
                raise FileNotFoundError(errno.ENOENT, "nothing was written")
            if path.is_dir() and temporary.is_dir():  # a rename replaces only an empty directory
                os.rename(path, directory / "replaced")
            os.replace(temporary, path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def write_atomic(path: StrPath, content: str | bytes) -> None:
    """Writes `content` (bytes or str, the latter as UTF-8) to the file `path`; other readers see all of it or nothing.

    Raises:
        TypeError: when `content` is neither bytes nor str.
        OSError: of the fitting subclass, with a one-line message, when `path` cannot be written.
    """
    if isinstance(content, str):
        content = content.encode()
    if not isinstance(content, bytes | bytearray | memoryview):
        raise ArgumentTypeError(f"the content of {path} must be bytes or str, got {type(content).__name__}")
    with replace_when_done(path) as temporary, _errors_name(path):
        temporary.write_bytes(content)


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _name_full_disk(path, error):
    """Raises an OSError of one line with the path where `error`, or what led to it, says that there is no room."""
    while error is not None:
        for number in _NO_ROOM:
            told = isinstance(error, OSError) and error.errno == number
            if told or f"errno = {number}," in str(error) or os.strerror(number).lower() in str(error).lower():
                raise OSError(number, f"cannot write {path}: {os.strerror(number)}") from None
        error = error.__cause__ or error.__context__


@contextlib.contextmanager
def _errors_name(path):
    """Puts the path that the caller asked for, rather than a temporary one, into the message of an OSError."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, f"cannot write {path}: {error.strerror}") from error


def _remove_leftovers(path):
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        process = leftover.name.split(".")[-2]
        if process == str(os.getpid()) or not _is_running(process):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_running(process):
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
