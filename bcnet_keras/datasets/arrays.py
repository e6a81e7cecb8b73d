"""What a data set is, checks of its arrays, splits, and batches for training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bcnet_keras.errors import ArgumentTypeError, DataError

if TYPE_CHECKING:
    import tensorflow as tf

TEST_FRACTION = 0.2  # of the images, where a data set has no test split of its own


class Split(NamedTuple):
    """Images [n, h, w, c] as the data set gives them (uint8 or float32) and their labels, int64 [n]."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Variation:
    """How training may vary an image that then still shows its class.

    Attributes:
      mirror, flip: whether half of the images are mirrored left to right, and turned upside down.
      shift: most that an image moves, as a part of its height and width, both ways; a pixel at least, unless it is 0.
      zeros: whether zeros move in, instead of the image's border repeated.
    """

    mirror: bool = False
    flip: bool = False
    shift: float = 0.0
    zeros: bool = False


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes:
      name: as `load` takes it.
      train, validation, test: `Split`s that share no image.
      class_names: tuple of str; label i means class_names[i].
      raw_range: (lowest, highest) value of the images, to be mapped linearly to the input range of a net.
      source: what the splits are, for tables of results.
      augmentation: "photo", "sound", a `Variation` or None: how training may vary a sample that then still shows its
        class, see `as_tf_dataset`. "probe": nobody knows; `bcnet_keras.training.probe.probe` finds it out.
      front_end: dict of what turns the recorded signal into `images`, for a device to do the same; None where `images`
        are the recording itself.
      files: {path within the data set's folder: hash of its content}; None where images are no files of their own.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple
    raw_range: tuple
    source: str
    augmentation: str | None = None
    front_end: dict | None = None
    files: dict | None = None


def check_arrays(images: Any, labels: Any, num_classes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Checks images and labels that a net shall be trained on.

    Arguments:
      images: array [n, h, w, c], uint8 or floating point, or a sequence of n such images.
      labels: integer array or sequence [n], from 0 to num_classes - 1.
      num_classes: int, or None when the labels say it.

    Returns:
      (images, labels) as arrays, floating point as float32 and labels as int64; not copied when they are so already.

    Raises:
      TypeError: wrong dtype.
      ValueError: no images, images of differing sizes, wrong number of dimensions, NaN or infinite pixels, another
        number of labels than images, labels out of range, or one class only.
    """
    if not isinstance(images, np.ndarray):
        images = _stack(images)
    labels = np.asarray(labels)
    if images.dtype == object:
        images = _stack(images)
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ArgumentTypeError(f"images must be uint8 or floating point, got {images.dtype}")
    if images.ndim != 4:
        raise DataError(f"images must have the shape [images, height, width, channels], got {list(images.shape)}")
    if images.size == 0:
        raise DataError(f"there are no images: the shape is {list(images.shape)}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ArgumentTypeError(f"labels must be integers, got {labels.dtype}")
    if labels.shape != images.shape[:1]:
        raise DataError(f"{len(images)} images need labels of shape [{len(images)}], got {list(labels.shape)}")
    if images.dtype != np.uint8:
        wrong = ~np.isfinite(images).all(axis=(1, 2, 3))
        if wrong.any():
            raise DataError(f"{wrong.sum()} images have NaN or infinite pixels, the first is image {wrong.argmax()}")
        images = images.astype(np.float32, copy=False)
    limit = labels.max() + 1 if num_classes is None else num_classes
    wrong = (labels < 0) | (labels >= limit)
    if wrong.any():
        first = wrong.argmax()
        raise DataError(f"label {labels[first]} of image {first} is out of range: labels go from 0 to {limit - 1}")
    if (labels == labels[0]).all():
        raise DataError(f"all {len(labels)} images have the label {labels[0]}; at least two classes are needed")
    return images, labels.astype(np.int64, copy=False)


def _stack(images):
    images = [np.asarray(image) for image in images]
    for index, image in enumerate(images):
        if image.shape != images[0].shape:
            raise DataError(
                f"images differ in size: image 0 is {list(images[0].shape)}, image {index} is {list(image.shape)}"
            )
    return np.stack(images) if images else np.zeros((0, 0, 0, 0), np.uint8)


def stratified(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits indices 0..n-1 so that `fraction` of every class, and at least one image, is held out.

    Returns:
      (kept, held_out): int64 arrays in ascending order.

    Raises:
      ValueError: a class has but one image.
    """
    random = np.random.default_rng(seed)
    parts = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise DataError(f"class {label} has one image, which cannot be split into two parts")
        parts.append(members[: min(max(1, round(fraction * len(members))), len(members) - 1)])
    held_out = np.sort(np.concatenate(parts))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def split_off(images: np.ndarray, labels: np.ndarray, fraction: float, seed: int) -> tuple[Split, Split]:
    """Splits images and labels into two `Split`s by `stratified`."""
    kept, held_out = stratified(labels, fraction, seed)
    return Split(images[kept], labels[kept]), Split(images[held_out], labels[held_out])


def missing(name: str, looked_for: Any, origin: str) -> FileNotFoundError:
    """FileNotFoundError that says which files were looked for and where they can be had."""
    places = ", ".join(str(place) for place in looked_for)
    return FileNotFoundError(f"the data set {name} is not there: looked for {places}; it can be had at {origin}")


def as_tf_dataset(
    split: Split,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    augmentation: Any = None,
    epoch: tf.Variable | None = None,
    passes: int = 1,
) -> tf.data.Dataset:
    """Batches of a split for `fit`, `evaluate` or a loop.

    Arguments:
      split: `Split`, or any pair (images [n, h, w, c], labels [n]).
      batch_size: int; the last batch of an epoch may be smaller.
      shuffle: whether every epoch has an order of its own.
      seed: of the order and the augmentation; the same seed gives the same batches.
      augmentation: "photo": every image is mirrored with probability 1/2 and shifted by up to a fourteenth of its size
        both ways, with zeros moving in. "sound": every map of [time, frequency] is shifted in time by up to a tenth,
        its first or last row moving in. A `Variation`: what it says. None: nothing.
      epoch: scalar int64 `tf.Variable` on the CPU. With it, order and augmentation follow from the seed and its value
        when the first batch is asked for, so that any epoch can be had again; without it, each time that the batches
        are asked for is another epoch.
      passes: how often the batches show each image, each time in another order; more than one needs `epoch`.

    Returns:
      tf.data.Dataset of (images float32 [batch, h, w, c] in the raw range, labels int64 [batch]).
    """
    import tensorflow as tf

    if not isinstance(augmentation, Variation) and augmentation not in (*_AUGMENTATIONS, None):
        known = (*_AUGMENTATIONS, None)
        raise DataError(f"augmentation must be one of {known} or a Variation, got {augmentation!r}")
    if isinstance(augmentation, Variation):
        varied: Callable | None = functools.partial(vary, variation=augmentation)
    else:
        varied = _AUGMENTATIONS.get(augmentation)
    shape = split[0].shape[1:]
    with tf.device("CPU:0"):  # the whole set stays in main memory
        images, labels = tf.constant(split[0]), tf.constant(split[1], tf.int64)

    def take(indices):
        return tf.cast(tf.gather(images, indices), tf.float32), tf.gather(labels, indices)

    def varied_batch(batch, random_seed):
        pixels, classes = batch
        seeds = tf.random.experimental.stateless_split(random_seed, 4)
        return tf.ensure_shape(varied(pixels, seeds), [None, *shape]), classes

    count = len(split[1])
    if epoch is None:
        batches = tf.data.Dataset.range(count)
        if shuffle:
            batches = batches.shuffle(count, seed=seed)
        batches = batches.batch(batch_size)
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
    else:
        fold_in = tf.random.experimental.stateless_fold_in

        def one_pass(number):
            key = fold_in([seed, 0], epoch * passes + number)
            order = tf.range(count, dtype=tf.int64)
            if shuffle:
                numbers = tf.random.stateless_uniform([count], key, minval=None, maxval=None, dtype=tf.int32)
                order = tf.cast(tf.argsort(numbers, stable=True), tf.int64)
            starts = tf.data.Dataset.range(0, count, batch_size)
            return starts.map(lambda start: (order[start : start + batch_size], fold_in(key, start + 1)))

        both = tf.data.Dataset.range(passes).flat_map(one_pass)
        both = both.apply(tf.data.experimental.assert_cardinality(passes * -(-count // batch_size)))
        batches, seeds = both.map(lambda indices, _: indices), both.map(lambda _, key: key)
    batches = batches.map(take, num_parallel_calls=tf.data.AUTOTUNE)
    if augmentation:
        batches = tf.data.Dataset.zip(batches, seeds).map(varied_batch, num_parallel_calls=tf.data.AUTOTUNE)
    # The thread that tunes a pipeline sleeps 10 ms, then 20, 40 and so on, and the end of an epoch may wait for it: an
    # epoch of 13 s took 20.
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(2).with_options(options)


def _whole_numbers(count, seed, limit):
    """int32 [count] from 0 to limit - 1."""
    import tensorflow as tf

    return tf.random.stateless_uniform([count], seed, 0, limit, tf.int32)


def vary(pixels: tf.Tensor, seeds: tf.Tensor, variation: Variation) -> tf.Tensor:
    """A batch of images [n, h, w, c], each moved by amounts of its own as the `Variation` has it.

    `seeds`: int32 tensor [4, 2]; the same seeds give the same images.
    """
    import tensorflow as tf

    count, sizes = tf.shape(pixels)[0], pixels.shape[1:3]
    most = [max(1, int(variation.shift * size + 1e-6)) if variation.shift else 0 for size in sizes]
    if variation.zeros:
        pixels = tf.pad(pixels, [[0, 0], *([most_here] * 2 for most_here in most), [0, 0]])
    turned = variation.flip, variation.mirror
    for axis, (size, limit) in enumerate(zip(sizes, most, strict=True)):
        moved = _whole_numbers(count, seeds[axis], 2 * limit + 1) - limit
        places = tf.range(size)[tf.newaxis]
        if turned[axis]:
            half = tf.random.stateless_uniform([count], seeds[3 - axis]) < 0.5
            places = tf.where(half[:, None], places[:, ::-1], places)
        places += moved[:, None]
        places = places + limit if variation.zeros else tf.clip_by_value(places, 0, size - 1)
        pixels = tf.gather(pixels, places, axis=axis + 1, batch_dims=1)
    return pixels


def _vary_sounds(features, seeds):
    import tensorflow as tf

    count, length = tf.shape(features)[0], features.shape[1]
    most = max(1, length // 10)
    shift = _whole_numbers(count, seeds[0], 2 * most + 1) - most
    times = tf.clip_by_value(tf.range(length) + shift[:, None], 0, length - 1)
    return tf.gather(features, times, axis=1, batch_dims=1)


_AUGMENTATIONS: dict[Any, Callable] = {
    "photo": functools.partial(vary, variation=Variation(mirror=True, shift=1 / 14, zeros=True)),
    "sound": _vary_sounds,
}
