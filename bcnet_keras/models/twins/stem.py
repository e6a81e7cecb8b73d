"""A first block that both nets of a pair have in common."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import ModelError
from bcnet_keras.layers import CalibratedThermometer, FakeQuant, Int8Conv2D
from bcnet_keras.utils.types import Array


def share_stem(binary: tf.keras.Model, int8: tf.keras.Model, images: Iterable[tf.Tensor] | Array) -> None:
    """Gives `binary` the first block of `int8`, its weights and 8-bit range, and freezes it in both, in place.

    Converted, such a pair computes the block once, see `bcnet_keras.convert.pair`. Levels of a
    `CalibratedThermometer` straight behind the block are set, too.

    Arguments:
      binary, int8: Keras nets that begin with the same layers, up to the first `FakeQuant` behind a convolution.
      images: batches float32 [n, h, w, c], over which that range is taken, or an array of all.

    Raises ValueError where the nets begin with other layers.
    """
    images = [images] if isinstance(images, np.ndarray) else images
    stems = [stem_of(net) for net in (binary, int8)]
    described = [
        [(type(layer), layer.get_config() | dict.fromkeys(("name", "trainable"))) for layer in stem] for stem in stems
    ]
    if not described[0] or described[0] != described[1]:
        names = [", ".join(type(layer).__name__ for layer in stem) for stem in stems]
        raise ModelError(
            f"the nets cannot share a stem: binary begins with {names[0]}; int8 with {names[1]}; "
            "build both with the same settings up to the first FakeQuant behind a convolution."
        )
    end = stems[1][-1]
    real = tf.keras.Model(int8.inputs, end.input)
    if not end.fixed:
        reach = [(tf.reduce_min(tensor), tf.reduce_max(tensor)) for tensor in map(real, images)]
        end.range = min(0.0, *(low for low, _ in reach)), max(high for _, high in reach)
    for ours, theirs in zip(*stems, strict=True):
        ours.set_weights(theirs.get_weights())
        ours.trainable = theirs.trainable = False
    low, high = end.range
    for layer in binary.layers:
        if isinstance(layer, CalibratedThermometer) and layer.input is stems[0][-1].output:
            layer.calibrate(real(next(iter(images))), (high - low) / 255)


def stem_of(net: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """The layers of a net behind its input, up to the first `FakeQuant` behind a convolution; [] without one."""
    layers = [layer for layer in net.layers if not isinstance(layer, tf.keras.layers.InputLayer)]
    first = next((i for i, layer in enumerate(layers) if isinstance(layer, Int8Conv2D)), len(layers))
    ends = [i for i, layer in enumerate(layers) if i > first and isinstance(layer, FakeQuant)]
    return layers[: ends[0] + 1] if ends else []
