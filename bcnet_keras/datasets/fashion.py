"""Fashion-MNIST, in the IDX files in which it is published."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from bcnet_keras.datasets.arrays import Dataset, missing
from bcnet_keras.datasets.public import with_public_test
from bcnet_keras.errors import DataError


def fashion_mnist(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """Fashion-MNIST (Xiao et al., arXiv 1708.07747): uint8 [28, 28, 1], IDX files with or without gzip."""
    names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    directories = (data_dir, data_dir / "fashion-mnist")
    paths = []
    for name in names:
        found = [p for d in directories for p in (d / name, d / f"{name}.gz") if p.is_file()]
        if not found:
            raise missing(
                "fashion_mnist",
                [f"{name}[.gz]", f"in {data_dir}", f"in {data_dir / 'fashion-mnist'}"],
                "https://github.com/zalandoresearch/fashion-mnist",
            )
        paths.append(found[0])
    parts = []
    for images_path, labels_path in (paths[:2], paths[2:]):
        images, labels = _read_idx(images_path, 3), _read_idx(labels_path, 1)
        if len(images) != len(labels):
            raise DataError(f"{images_path} has {len(images)} images, {labels_path} has {len(labels)} labels")
        parts.append((images[..., None], labels.astype(np.int64)))
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    train, test = parts
    return with_public_test("fashion_mnist", train, test, classes, seed, validation_fraction)


def _read_idx(path, dimensions):
    """An array from an IDX file of unsigned bytes: magic number, sizes (big-endian), values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or not a gzip file: {error}") from error
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise DataError(f"{path} is truncated: {len(content)} bytes, its header alone takes {header}")
    magic, expected = int.from_bytes(content[:4], "big"), 0x0800 + dimensions
    if magic != expected:
        raise DataError(f"{path} has the magic number {magic:#010x}, expected {expected:#010x}")
    shape = tuple(map(int, np.frombuffer(content, ">u4", dimensions, offset=4)))
    if len(content) - header != np.prod(shape):
        raise DataError(
            f"{path} has {len(content) - header} bytes of values, its header says {list(shape)}: truncated or foreign"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
