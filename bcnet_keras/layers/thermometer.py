"""Thermometer codes: a value as the signs of its differences from a row of thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from bcnet_keras.errors import ModelError
from bcnet_keras.layers.common import INPUT_RANGE, register
from bcnet_keras.utils.arguments import range_of
from bcnet_keras.utils.types import Array, Range


@register
class ThermometerEncoding(tf.keras.layers.Layer):
    """Compares each channel with `planes` evenly spaced levels, so that a binary layer can read real-valued input.

    Output channel `c * planes + p` is `x_c - level_p` in 8-bit codes; its sign is the thermometer digit, which the
    binary layer that follows takes. Levels lie on the input's 8-bit grid, so the digits on the device are exact.

    Arguments:
      planes: levels per channel, 1 to 255.
      input_range: (lowest, highest) value of the input; 0 must be inside. The default is that of `bcnet_keras` nets.

    Examples:
      >>> encode = bc.ThermometerEncoding(planes=4)
      >>> encode.levels.tolist()
      [-0.75, -0.25, 0.25, 0.75]
      >>> encode(tf.fill((1, 1, 1, 1), 0.5)).shape
      TensorShape([1, 1, 1, 4])
    """

    def __init__(self, planes: int = 8, input_range: Range = INPUT_RANGE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not (isinstance(planes, int) and 1 <= planes <= 255):
            raise ModelError(f"ThermometerEncoding: planes must be a whole number from 1 to 255, got {planes}.")
        low, high = range_of("ThermometerEncoding: input_range", input_range)
        if not low <= 0 <= high:
            raise ModelError(f"ThermometerEncoding: input_range must contain 0, got {tuple(input_range)}.")
        self.planes, self.input_range = planes, (low, high)

    @property
    def levels(self) -> Array:
        """float32 [planes]: the levels, in the input's unit."""
        low, high = self.input_range
        step = (high - low) / 255
        codes = np.ceil((np.arange(self.planes) + 0.5) * 255 / self.planes) + np.round(low / step)
        return (codes * step).astype(np.float32)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        channels = inputs.shape[-1]
        # One 1x1 convolution does it: a copy of channel c for each level, minus the level.
        kernel = np.repeat(np.eye(channels, dtype=np.float32), self.planes, axis=1)[np.newaxis, np.newaxis]
        kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            kernel, [-1.0] * (channels * self.planes), [1.0] * (channels * self.planes), narrow_range=True
        )
        planes = tf.nn.bias_add(tf.nn.conv2d(inputs, kernel, 1, "VALID"), -np.tile(self.levels, channels))
        # In the input's step, so no difference is rounded to another sign; and from below 0 to above it, wherever the
        # input's own range lies, so that none saturates to another sign either.
        low, high = self.input_range
        step = (high - low) / 255
        return tf.quantization.fake_quant_with_min_max_args(planes, -128 * step, 127 * step)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tf.TensorShape:
        shape = tf.TensorShape(input_shape).as_list()
        return tf.TensorShape([*shape[:-1], shape[-1] * self.planes])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "planes": self.planes, "input_range": self.input_range}


@register
class CalibratedThermometer(tf.keras.layers.Layer):
    """A `ThermometerEncoding` with levels of its own for each channel, set by `calibrate` and left alone by training.

    It stands behind a `FakeQuant`, on whose codes the levels lie, and in front of a binary layer.

    Arguments:
      planes: levels per channel, 1 to 255.
    """

    def __init__(self, planes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.planes = planes

    def build(self, input_shape: Sequence[int | None]) -> None:
        settings = dict(initializer="ones", trainable=False)
        channels = tf.TensorShape(input_shape).as_list()[-1]
        self.levels = self.add_weight(name="levels", shape=(channels * self.planes,), **settings)  # in codes
        self.step = self.add_weight(name="step", shape=(), **settings)
        super().build(input_shape)

    def calibrate(self, values: ArrayLike, step: float) -> None:
        """Sets the levels so that they part the values of each channel into sets of about equal size.

        Arguments:
          values: float [..., c], at least one per channel. The first level is above 0, where behind a ReLU most may be.
          step: difference of two codes of the `FakeQuant`.
        """
        array = np.asarray(values)
        codes = np.sort(array.reshape(-1, array.shape[-1]) / step, axis=0)
        least = np.maximum(np.mean(codes <= 0, axis=0), 1 / (self.planes + 1))
        shares = least[:, np.newaxis] + (1 - least[:, np.newaxis]) * np.arange(self.planes) / self.planes
        rows = np.minimum(shares * len(codes), len(codes) - 1).astype(int)
        levels = np.ceil(np.take_along_axis(codes, rows.T, axis=0) - 0.5)
        self.levels.assign(np.maximum(levels, 1).T.reshape(-1))
        self.step.assign(step)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if training:
            copies = tf.repeat(inputs, self.planes, axis=-1)
        else:  # the same values in one operator that flatbuffers have too, but a slow one where nets train
            ones = tf.ones((1, 1, inputs.shape[-1], self.planes))
            kernel = tf.quantization.fake_quant_with_min_max_args(ones, -1.0, 1.0, narrow_range=True)
            copies = tf.nn.depthwise_conv2d(inputs, kernel, [1, 1, 1, 1], "VALID")
        differences = tf.nn.bias_add(copies, -self.levels * self.step)
        # Codes of the same step, so that no difference is rounded to another sign.
        return tf.quantization.fake_quant_with_min_max_vars(differences, -128 * self.step, 127 * self.step)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tf.TensorShape:
        shape = tf.TensorShape(input_shape).as_list()
        return tf.TensorShape([*shape[:-1], shape[-1] * self.planes])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "planes": self.planes}
