"""JSON and binary files that carry a checksum, so that a truncated file or a flipped byte is found."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bcnet_keras.errors import BcnetError
from bcnet_keras.utils.atomic_files import write_atomic
from bcnet_keras.utils.types import StrPath

_CHECKSUM = "checksum"


class DamagedError(BcnetError):
    """A file that is truncated, or whose checksum is not that of its content."""


def digest(value: Any) -> str:
    """SHA-256 of bytes, or of what JSON makes of another value, as hexadecimal text."""
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(value).hexdigest()


def write_record(path: StrPath, record: Any) -> None:
    """Writes a dict as JSON with its checksum."""
    write_atomic(path, json.dumps({**record, _CHECKSUM: digest(record)}, indent=1))


def read_record(path: StrPath) -> tuple[Any, bool]:
    """(the dict in a JSON file, whether a checksum says that it is whole). Raises DamagedError, FileNotFoundError."""
    try:
        record = json.loads(Path(path).read_text())
        checksum = record.pop(_CHECKSUM, None)
    except (ValueError, AttributeError, TypeError):
        raise DamagedError(f"{path} is damaged") from None
    if checksum not in (None, digest(record)):
        raise DamagedError(f"{path} is damaged")
    return record, checksum is not None


def write_arrays(path: StrPath, arrays: dict[str, np.ndarray]) -> None:
    """Writes a dict of arrays with their checksum."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    content = buffer.getvalue()
    write_atomic(path, bytes.fromhex(digest(content)) + content)


def read_arrays(path: StrPath) -> dict[str, np.ndarray]:
    """The dict of arrays in a file of `write_arrays`. Raises DamagedError."""
    content = Path(path).read_bytes()
    if content[:32] != bytes.fromhex(digest(content[32:])):
        raise DamagedError(f"{path} is damaged")
    try:
        return dict(np.load(io.BytesIO(content[32:]), allow_pickle=False))
    except (ValueError, EOFError, OSError, zipfile.BadZipFile):
        raise DamagedError(f"{path} is damaged") from None


def set_aside(path: StrPath) -> Path:
    """Renames a file so that nothing reads it again; returns its new path. What an earlier call left is replaced."""
    path = Path(path)
    aside = path.with_name(f"{path.name}.damaged")
    os.replace(path, aside)
    return aside
