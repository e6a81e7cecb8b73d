"""Small public data sets and a user's own images, as arrays with fixed training, validation and test splits.

    dataset = load("fashion_mnist", data_dir="~/datasets")
    batches = as_tf_dataset(dataset.train, batch_size=64, shuffle=True, augmentation=dataset.augmentation)

Nothing is downloaded: a loader that misses its files says which ones it looks for, where, and where they can be had.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path

from bcnet_keras.datasets.arrays import Dataset, Split, Variation, as_tf_dataset, check_arrays
from bcnet_keras.datasets.cifar import cifar10, cifar100
from bcnet_keras.datasets.copies import warning
from bcnet_keras.datasets.fashion import fashion_mnist
from bcnet_keras.datasets.fer import fer2013
from bcnet_keras.datasets.folders import image_folder, sign_digits
from bcnet_keras.datasets.handwritten import digits, mnist_5k
from bcnet_keras.datasets.speech import speech_commands
from bcnet_keras.errors import DataError
from bcnet_keras.utils.types import StrPath

__all__ = ["NAMES", "Dataset", "Split", "Variation", "as_tf_dataset", "check_arrays", "load"]

log = logging.getLogger(__name__)

_LOADERS: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "speech_commands": speech_commands,
    "speech_commands_log_mel": functools.partial(speech_commands, features="log_mel"),
    "speech_commands_35": functools.partial(speech_commands, keywords=False),
    "fer2013": fer2013,
    "sign_digits": sign_digits,
    "mnist_5k": mnist_5k,
}
NAMES = (*_LOADERS, "folder:PATH")


def load(
    name: str,
    data_dir: StrPath | None = None,
    seed: int = 0,
    validation_fraction: float | None = None,
    resize: tuple[int, int] | None = None,
) -> Dataset:
    """Loads a data set.

    Arguments:
      name: one of `NAMES`; `folder:PATH` takes a user's own images, one folder per class.
      data_dir: the directory that holds the data sets; by default $BCNET_DATA_DIR, or ~/datasets when that is not set.
      seed: decides the splits that the data set itself leaves open; the same seed gives the same splits.
      validation_fraction: share of the training images that goes to validation, between 0 and 1, where the data set
        has no validation split of its own. By default a tenth; of the few of digits and mnist_5k more.
      resize: (height, width) to which the images of a folder are scaled; None where they have one size.

    Returns:
      Dataset.

    Raises:
      FileNotFoundError: the files are not there.
      ValueError: the name is unknown, or a file is broken or holds what cannot be trained on; it is named.
    """
    if validation_fraction is None:
        validation_fraction = {"digits": 0.25, "mnist_5k": 0.375}.get(name, 0.1)
    if not 0 < validation_fraction < 1:
        raise DataError(f"validation_fraction must be between 0 and 1, got {validation_fraction}")
    if data_dir is None:
        data_dir = os.environ.get("BCNET_DATA_DIR", "~/datasets")
    kind, _, path = name.partition(":")
    if resize is not None:
        if kind not in ("folder", "sign_digits"):
            raise DataError(f"resize is for images in folders; those of {name} have the size that their nets are for")
        if len(resize) != 2 or not all(isinstance(side, int) and 1 <= side <= 1024 for side in resize):
            raise DataError(f"resize must be (height, width), each from 1 to 1024, got {resize}")
    if kind == "folder" and path:
        dataset = image_folder(Path(path).expanduser(), seed, validation_fraction, resize)
    elif name == "sign_digits":
        dataset = sign_digits(Path(data_dir).expanduser(), seed, validation_fraction, resize)
    elif name in _LOADERS:
        dataset = _LOADERS[name](Path(data_dir).expanduser(), seed, validation_fraction)
    else:
        raise DataError(f"unknown data set {name!r}; there are {', '.join(NAMES)}")
    for split in ("train", "validation", "test"):
        try:
            images, labels = getattr(dataset, split)
            check_arrays(images, labels, len(dataset.class_names))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}, {split} split: {error}") from error
    shapes = [split.images.shape[1:] for split in (dataset.train, dataset.validation, dataset.test)]
    if len(set(shapes)) > 1:
        raise DataError(f"{name}: images differ in size between training, validation and test: {shapes}")
    if (dataset.files or name == "fer2013") and (line := warning(dataset)):
        log.warning("%s: %s.", name, line)
    return dataset
