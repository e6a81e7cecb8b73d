"""A run's folder belongs to one process at a time, and to one set of data."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bcnet_keras.errors import BcnetError
from bcnet_keras.utils.sealed_files import DamagedError, digest, read_record, set_aside, write_record
from bcnet_keras.utils.types import StrPath

if TYPE_CHECKING:
    from bcnet_keras.datasets import Dataset

DATA, _LOCK = "data.json", "lock"
_SPLITS = ("train", "validation", "test")

log = logging.getLogger(__name__)


@contextlib.contextmanager
def made(folder: StrPath) -> Iterator[pathlib.Path]:
    """Makes the folder and those above it; what is still empty of these at the end is removed."""
    folder = pathlib.Path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(error.errno, f"cannot make the folder {folder}: {error.strerror}") from None
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()


@contextlib.contextmanager
def locked(folder: StrPath) -> Iterator[None]:
    """Holds the folder for this process, having made it and those above it; what stays empty of these is removed.

    The lock is the operating system's, so that it ends with the process, however that ends. Raises ValueError, with the
    process that has the folder, where that is another one, or another thread.
    """
    with made(folder) as path, _held(place := path / _LOCK):
        try:
            yield
        finally:
            place.unlink(missing_ok=True)  # still held: who has opened it meanwhile sees that it is gone


def _held(place):
    """The file `place`, open and locked."""
    while True:
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(open(place, "a+b", buffering=0))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                who = " ".join(file.read().decode(errors="replace").split()) or "another process"
                raise BcnetError(
                    f"{place.parent} is in use by {who}; wait for it to end, or use another name."
                ) from None
            except OSError as error:
                # Where a file system knows no locks, the run is not kept from starting.
                log.warning("%s: %s; take care that no other process uses this folder.", place, error.strerror)
            if not place.exists() or os.fstat(file.fileno()).st_ino != place.stat().st_ino:
                continue  # its holder ended between the two
            with contextlib.suppress(OSError):  # on a full disk the lock holds, without a name
                file.truncate(0)
                began = time.strftime("%Y-%m-%d %H:%M")
                file.write(f"process {os.getpid()} on {socket.gethostname()}, since {began}".encode())
            opened.pop_all()
            return file


def fingerprint(data: Dataset) -> dict[str, Any]:
    """What tells the data of a run from others, as a dict for JSON: a hash of each split, its images by class, files.

    `data` is a `datasets.Dataset`.
    """
    splits = {}
    for name in _SPLITS:
        images, labels = getattr(data, name)
        counts = np.bincount(labels, minlength=len(data.class_names))
        splits[name] = {
            "hash": digest([images.dtype.str, list(images.shape), digest(_bytes(images)), digest(_bytes(labels))]),
            "images": dict(zip(data.class_names, map(int, counts), strict=True)),
        }
    about = {"shape": list(data.train.images.shape[1:]), "raw_range": list(data.raw_range)}
    return {**about, "front_end": data.front_end, "splits": splits, "files": data.files}


def _bytes(array):
    return np.ascontiguousarray(array).tobytes()


def changed(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """What differs between two fingerprints, in words; None where nothing does."""
    before, now = (json.loads(json.dumps(each)) for each in (before, now))
    if before == now:
        return None
    found = [f"the images' {name} is no longer {before[name]} but {now[name]}"
             for name in ("shape", "raw_range", "front_end") if before[name] != now[name]]  # fmt: skip
    classes = [set(each["splits"]["train"]["images"]) for each in (before, now)]
    for word, names in (("new", classes[1] - classes[0]), ("missing", classes[0] - classes[1])):
        if names:
            found.append(f"{word} class {_listed(sorted(names))}")
    totals = [{name: sum(each["splits"][split]["images"].get(name, 0) for split in _SPLITS)
               for name in classes[0] & classes[1]} for each in (before, now)]  # fmt: skip
    for name in sorted(totals[0]):
        difference = totals[1][name] - totals[0][name]
        if difference:
            word = "more" if difference > 0 else "fewer"
            images = "image" if abs(difference) == 1 else "images"
            found.append(f"{abs(difference)} {images} {word} in class {name}")
    if before["files"] and now["files"]:
        both = before["files"].keys() & now["files"].keys()
        altered = sorted(path for path in both if before["files"][path] != now["files"][path])
        gone, new = (sorted(one.keys() - both) for one in (before["files"], now["files"]))
        found += [f"{word}: {_listed(paths)}" for word, paths in
                  (("other content", altered), ("gone", gone), ("new", new)) if paths]  # fmt: skip
    if not found:
        splits = [name for name in _SPLITS if before["splits"][name]["hash"] != now["splits"][name]["hash"]]
        found.append(f"other values or another order in the {' and '.join(splits)} images")
    return "; ".join(found)


def _listed(names, most=3):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_data(folder: pathlib.Path, data: Dataset) -> str:
    """The hash of the run's data, having refused others than those that it began with. Writes them down if it is new.

    Raises ValueError with what changed.
    """
    place, now = folder / DATA, fingerprint(data)
    if place.exists():
        try:
            before, _ = read_record(place)
            difference = changed(before, now)
        except (DamagedError, KeyError, AttributeError, TypeError):
            log.warning("%s is damaged: set aside as %s.", place, set_aside(place).name)
        else:
            if difference:
                raise BcnetError(
                    f"the data are not those that {folder} began with: {difference}; use another --name, or bring them "
                    "back."
                )
            return digest(now)
    elif (folder / "settings.json").exists():
        log.warning("%s does not say which data it began with; from now on it is today's.", folder)
    write_record(place, now)
    return digest(now)
