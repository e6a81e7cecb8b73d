"""CIFAR-10 and CIFAR-100, in the pickled batches in which they are published."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from pathlib import Path

import numpy as np

from bcnet_keras.datasets.arrays import Dataset, missing
from bcnet_keras.datasets.public import with_public_test
from bcnet_keras.errors import DataError


def cifar10(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """CIFAR-10 (Krizhevsky 2009): uint8 [32, 32, 3], the batches for Python, unpacked or in their archive."""
    files = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"]
    batches = _read_cifar("cifar10", data_dir / "cifar-10-batches-py", data_dir / "cifar-10-python.tar.gz", files)
    return _cifar("cifar10", batches, "labels", "label_names", seed, validation_fraction)


def cifar100(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """CIFAR-100 (Krizhevsky 2009) with its 100 fine classes; as `cifar10` otherwise."""
    files = ["train", "test", "meta"]
    batches = _read_cifar("cifar100", data_dir / "cifar-100-python", data_dir / "cifar-100-python.tar.gz", files)
    return _cifar("cifar100", batches, "fine_labels", "fine_label_names", seed, validation_fraction)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles plain containers and NumPy arrays and nothing that could run code."""

    _ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),  # as NumPy 2 writes it
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),  # how Python 3 pickles bytes
    }

    def find_class(self, module, name):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}")
        return super().find_class(module, name)


def _read_cifar(name, directory, archive, files):
    """{file name: unpickled dictionary} of the named files in the directory or, unpacked in memory, in the archive."""
    contents = {}
    if directory.is_dir():
        place = directory
        contents = {file: (directory / file).read_bytes() for file in files if (directory / file).is_file()}
    elif archive.is_file():
        place = archive
        try:
            with tarfile.open(archive, "r|*") as members:
                for member in members:
                    file = member.name.rpartition("/")[2]
                    if member.isfile() and file in files:
                        contents[file] = members.extractfile(member).read()
        except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
            raise DataError(f"{archive} is truncated or not a tar.gz archive: {error}") from error
    else:
        raise missing(name, [directory, archive], "https://www.cs.toronto.edu/~kriz/cifar.html")
    lacking = [file for file in files if file not in contents]
    if lacking:
        raise missing(name, [f"{file} in {place}" for file in lacking], "https://www.cs.toronto.edu/~kriz/cifar.html")
    batches = {}
    for file, content in contents.items():
        try:
            batches[file] = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        except (EOFError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError) as error:
            raise DataError(f"{file} in {place} is truncated or no CIFAR batch: {error}") from error
    return batches


def _cifar(name, batches, labels_key, names_key, seed, validation_fraction):
    """The Dataset of unpickled batches; the last but one is the test split and the last names the classes."""
    *train, test, meta = sorted(batches, key=lambda file: (file.endswith("meta"), file.startswith("test"), file))

    def read(file):
        batch = batches[file] if isinstance(batches[file], dict) else {}
        data, labels = batch.get(b"data"), batch.get(labels_key.encode())
        if not isinstance(data, np.ndarray) or not isinstance(labels, list):
            raise DataError(f"{name}: {file} has no b'data' array and no b'{labels_key}' list")
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
            raise DataError(f"{name}: {file} has data {data.dtype} {list(data.shape)}, expected uint8 [images, 3072]")
        if len(labels) != len(data):
            raise DataError(f"{name}: {file} has {len(data)} images and {len(labels)} labels")
        return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(labels, np.int64)

    parts = [read(file) for file in train]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    test_images, test_labels = read(test)
    class_names = batches[meta].get(names_key.encode()) if isinstance(batches[meta], dict) else None
    if not isinstance(class_names, list):
        raise DataError(f"{name}: {meta} has no b'{names_key}' list")
    class_names = tuple(class_name.decode() for class_name in class_names)
    test = np.ascontiguousarray(test_images), test_labels
    return with_public_test(name, (images, labels), test, class_names, seed, validation_fraction)
