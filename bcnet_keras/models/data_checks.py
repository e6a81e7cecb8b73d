"""Checks of the data that a pair or a net is trained on."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import ArgumentTypeError, ModelError
from bcnet_keras.utils.arguments import check_number
from bcnet_keras.utils.types import Range
from bcnet_keras.utils.value_range import check_range

_LOOKED_AT = 10  # batches


@contextlib.contextmanager
def trainable_data(input_shape: tuple[int | None, ...], *sets: Any) -> Iterator[None]:
    """Wraps a `fit`; reports data that it cannot train on in one line, where TensorFlow prints many.

    Arguments:
      input_shape: that of the net, (None, h, w, c).
      sets: batched `tf.data.Dataset`s of (images, labels), or tuples of arrays. Other kinds are not checked beforehand.

    Raises:
      TypeError: a wrong dtype.
      ValueError: empty data, another shape, NaN, or labels that name no class.
    """
    for data in sets:
        if isinstance(data, tf.data.Dataset | tuple | list):
            _check_data(input_shape, data)
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        known = re.search(
            r"labels must be whole numbers from 0 to \d+|images hold NaN or infinite values"
            r"|label value of -?\d+ which is outside the valid range of \[0, \d+\)",
            error.message,
        )
        if known is None:
            raise
        raise ModelError(f"cannot train: {known[0]}.") from None


def check_before_training(input_shape: tuple[int | None, ...], input_range: Range, *sets: Any) -> None:
    """Raises the errors of `trainable_data` and `check_values`, and for data of another kind than theirs.

    Arguments:
      sets: training data, then validation data or None, whose values are looked at where there are some.
    """
    sets = tuple(data for data in sets if data is not None)
    for data in sets:
        if not isinstance(data, tf.data.Dataset | tuple | list):
            raise ArgumentTypeError(
                "cannot train: the data must be a batched tf.data.Dataset or a tuple of arrays, (images, labels); got "
                f"{type(data).__name__}, of which tf.data.Dataset.from_generator makes one."
            )
        _check_data(input_shape, data)
    check_values(input_range, sets[-1])


def check_class_weight(classes: int, weights: Any) -> None:
    """Raises an error in one line for a `class_weight` of `fit` that Keras reports from inside TensorFlow, or not.

    Arguments:
      classes: their number. weights: dict of class number -> weight, or None.
    """
    if weights is None:
        return
    if not isinstance(weights, dict):
        raise ArgumentTypeError(f"class_weight must be a dict of class number -> weight, got {type(weights).__name__}.")
    missing = [number for number in range(classes) if number not in weights]
    if missing:
        raise ModelError(
            f"class_weight must have a weight for each class from 0 to {classes - 1}; there is none for "
            f"{', '.join(map(str, missing[:5]))}{', ...' if len(missing) > 5 else ''}."
        )
    for number, weight in weights.items():
        check_number(f"class_weight: that of class {number!r}", weight)
        if not 0 <= weight < math.inf:
            raise ModelError(f"class_weight: that of class {number!r} must be finite and at least 0, got {weight:g}.")


def check_values(input_range: Range, data: Any) -> None:
    """Refuses, or warns of, images that are in another range than the net's input; see `check_range`.

    Arguments:
      input_range: (lowest, highest) value at the input.
      data: as for `trainable_data`. Of a data set the first batches are looked at.
    """
    if isinstance(data, tf.data.Dataset):
        batches = [part[0].numpy() for part in data.take(_LOOKED_AT) if isinstance(part, tuple)]
        images = np.concatenate(batches) if batches else np.empty(0)
    elif isinstance(data, tuple | list) and data:
        images = np.asarray(data[0])
    else:
        return
    if images.size and images.dtype.kind == "f" and np.isfinite(images).all():
        remedy = "scale them by pair.preprocess, or tell BCNet.from_keras what your model takes by input_range"
        check_range(images, *input_range, remedy)


def _check_data(input_shape, data):
    arrays = not isinstance(data, tf.data.Dataset)
    parts = data if arrays else data.element_spec
    if not isinstance(parts, tuple | list) or len(parts) < 2:
        raise ModelError("cannot train: the data must be (images, labels).")
    images, labels = parts[:2]
    if arrays:
        try:
            images, labels = (each if tf.is_tensor(each) else np.asarray(each) for each in (images, labels))
        except ValueError:
            raise ModelError("cannot train: images or labels differ in size.") from None
        if len(images) != len(labels):
            raise ModelError(f"cannot train: {len(images)} images need as many labels, got {len(labels)}.")
    if (len(images) if arrays else data.cardinality()) == 0:
        raise ModelError("the training data is empty; at least one labelled sample is needed.")
    dtype, label_dtype = tf.as_dtype(images.dtype), tf.as_dtype(labels.dtype)
    if not dtype.is_floating:
        raise ArgumentTypeError(
            f"cannot train: images must be floats in the input range (pair.preprocess), got {dtype.name}."
        )
    if not (label_dtype.is_floating or label_dtype.is_integer):
        raise ArgumentTypeError(f"cannot train: labels must be class numbers or one-hot rows, got {label_dtype.name}.")
    shape = tf.TensorShape(images.shape)
    if not shape.is_compatible_with(input_shape):
        raise ModelError(f"cannot train: images must have the shape {input_shape}, got {tuple(shape)}.")
    if arrays and not np.isfinite(images).all():
        raise ModelError("cannot train: images hold NaN or infinite values.")
