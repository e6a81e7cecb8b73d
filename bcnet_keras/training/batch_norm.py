"""Recalibration of batch statistics and 8-bit ranges once the weights are final."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.layers import FakeQuant


def recalibrate_batch_norm(net: tf.keras.Model, data: Any, batches: int | None = None) -> None:
    """Estimates a net's batch statistics and 8-bit ranges anew, from its present weights.

    Training leaves moving averages over weights that still changed; after few steps they are close to their start
    values. Measured on 1,487 photos of hands, 240 steps: an int8 net had 80.8 % with moving averages and 95.4 % after
    recalibration. On Fashion-MNIST, six epochs, a binary net had 83.9 and 86.6 %.

    Means and variances become those of all images seen, whatever the momentum of `BatchNormalization`. A range of
    `FakeQuant` becomes the mean over batches. Frozen layers keep theirs.

    Arguments:
      net: Keras model.
      data: training data as `fit` takes them, batches of (images, ...) or a tuple of arrays.
      batches: number of batches to see; by default one pass, but at least 50 and at most 300 batches.
    """
    layers = [layer for layer in net.submodules if isinstance(layer, tf.keras.layers.Layer) and layer.trainable]
    norms = [layer for layer in layers if isinstance(layer, tf.keras.layers.BatchNormalization) and layer.built]
    ranges = [layer for layer in layers if isinstance(layer, FakeQuant) and layer.built and not layer.fixed]
    if not norms and not ranges:
        return
    # The first and second variable of each layer: mean and variance, or minimum and maximum.
    firsts = [*(norm.moving_mean for norm in norms), *(each.minimum for each in ranges)]
    seconds = [*(norm.moving_variance for norm in norms), *(each.maximum for each in ranges)]
    images = image_batches(data)
    if batches is None:
        known = int(images.cardinality())
        batches = 300 if known < 0 else min(max(known, 50), 300)
    strategy = net.distribute_strategy

    @tf.function(reduce_retracing=True)
    def batch_statistics(batch):
        strategy.run(lambda part: net(part, training=True), args=(batch,))
        return [tf.identity(variable) for variable in firsts], [tf.identity(variable) for variable in seconds]

    momenta = {layer: layer.momentum for layer in (*norms, *ranges)}
    samples, totals = 0, [0.0 for _ in firsts]
    try:
        for layer in momenta:
            layer.momentum = 0.0  # so that each batch leaves its own statistics
        passes = _passes(data, images, strategy)
        for batch in itertools.islice(passes, batches):
            number = sum(int(tf.shape(part)[0]) for part in strategy.experimental_local_results(batch))
            statistics = [
                np.stack([first.numpy(), second.numpy()]).astype(np.float64)
                for first, second in zip(*batch_statistics(batch), strict=True)
            ]
            for each in statistics[: len(norms)]:
                each[1] += each[0] ** 2  # the mean square: its mean over batches is that over all images
            totals = [total + number * each for total, each in zip(totals, statistics, strict=True)]
            samples += number
    finally:
        for layer, momentum in momenta.items():
            layer.momentum = momentum
    for index, (first, second, total) in enumerate(zip(firsts, seconds, totals, strict=True)):
        one, other = np.asarray(total) / samples
        first.assign(one)
        second.assign(np.maximum(other - one**2, 0) if index < len(norms) else other)


def image_batches(data: Any) -> tf.data.Dataset:
    """Returns the images of training data as a `tf.data.Dataset` of batches."""
    if not isinstance(data, tf.data.Dataset):
        data = tf.data.Dataset.from_tensor_slices(tuple(data)).batch(128)
    return data.map(lambda images, *rest: images)


def show_epoch(data: Any, epoch: int) -> None:
    """Has a data set whose order follows from the epoch show that of `epoch`; others stay as they are."""
    if getattr(data, "epoch", None) is not None:
        data.epoch.assign(epoch)


def _passes(data, images, strategy):
    """Batches of `images` again and again, each time in the order of another epoch where `data` knows them."""
    first = int(data.epoch) if getattr(data, "epoch", None) is not None else 0
    try:
        for number in itertools.count(first):
            show_epoch(data, number)
            empty = True
            for batch in strategy.experimental_distribute_dataset(images):
                empty = False
                yield batch
            if empty:
                return
    finally:
        show_epoch(data, first)
