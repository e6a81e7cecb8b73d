"""Layers of int8 nets: quantisers, convolutions and dense layers whose weights are 8-bit codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from bcnet_keras.errors import ModelError
from bcnet_keras.layers.common import over_replicas, register, without
from bcnet_keras.layers.quantized import QuantConv2D, QuantDense
from bcnet_keras.utils.types import Range


@register
class FakeQuant(tf.keras.layers.Layer):
    """Rounds to one of 256 levels in the forward pass and lets gradients through inside the range.

    The range follows the batches of training by an exponential moving average (over the global batch under a
    `tf.distribute` strategy) and is frozen at inference and with `trainable=False`. With `fixed=True` it stays as
    given. Called on a list of tensors it gives a list, rounded with one common range, as `Concatenate` needs it.

    Arguments:
      minimum, maximum: start of the range; `minimum <= 0 <= maximum`, not both 0.
      fixed: keep the range as given.
      symmetric: keep `minimum = -maximum`, so that the zero point is 0.
      momentum: weight of the old range in the moving average, in [0, 1).

    Examples:
      >>> quantise = bc.FakeQuant(0.0, 255.0, fixed=True)
      >>> quantise(tf.constant([0.4, 0.6, 300.0])).numpy().tolist()
      [0.0, 1.0, 255.0]
    """

    def __init__(
        self,
        minimum: float = -3.0,
        maximum: float = 3.0,
        fixed: bool = False,
        symmetric: bool = False,
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not (minimum <= 0 <= maximum and minimum < maximum):
            raise ModelError(f"FakeQuant: the range must contain 0 and not be empty, got [{minimum}, {maximum}].")
        if not 0 <= momentum < 1:
            raise ModelError(f"FakeQuant: momentum must be in [0, 1), got {momentum}.")
        self.initial_range = (float(minimum), float(maximum))
        self.fixed, self.symmetric, self.momentum = fixed, symmetric, momentum

    def build(self, input_shape: Sequence[int | None]) -> None:
        if not self.fixed:
            self.minimum, self.maximum = (
                self.add_weight(
                    name=name,
                    shape=(),
                    initializer=tf.keras.initializers.Constant(value),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.MEAN,
                )
                for name, value in zip(("minimum", "maximum"), self.initial_range, strict=True)
            )
        super().build(input_shape)

    @property
    def range(self) -> Range:
        """(minimum, maximum) as floats, as they are now."""
        if self.fixed or not self.built:
            return self.initial_range
        return float(self.minimum.numpy()), float(self.maximum.numpy())  # also under a `tf.distribute` strategy

    @range.setter
    def range(self, value: Range) -> None:
        minimum, maximum = value
        self.minimum.assign(minimum)
        self.maximum.assign(maximum)

    def call(
        self, inputs: tf.Tensor | Sequence[tf.Tensor], training: bool | None = None
    ) -> tf.Tensor | Sequence[tf.Tensor]:
        if self.fixed:
            low, high = self.initial_range
            return tf.nest.map_structure(
                lambda tensor: tf.quantization.fake_quant_with_min_max_args(tensor, low, high), inputs
            )
        if training and self.trainable:
            self._follow(tf.nest.flatten(inputs))
        return tf.nest.map_structure(
            lambda tensor: tf.quantization.fake_quant_with_min_max_vars(tensor, self.minimum, self.maximum), inputs
        )

    def _follow(self, tensors):
        # The quantised range always contains 0, so that padding is exact.
        low = tf.reduce_min([0.0, *(tf.reduce_min(tensor) for tensor in tensors)])
        high = tf.reduce_max([0.0, *(tf.reduce_max(tensor) for tensor in tensors)])
        low, high = over_replicas(low, tf.reduce_min), over_replicas(high, tf.reduce_max)
        if self.symmetric:
            high = tf.maximum(high, -low)
            low = -high
        self.minimum.assign(self.momentum * self.minimum + (1 - self.momentum) * low)
        self.maximum.assign(self.momentum * self.maximum + (1 - self.momentum) * high)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "minimum": self.initial_range[0],
            "maximum": self.initial_range[1],
            "fixed": self.fixed,
            "symmetric": self.symmetric,
            "momentum": self.momentum,
        }


def global_average(tensor: tf.Tensor, quantiser: FakeQuant, pooling: tf.keras.layers.Layer | None = None) -> tf.Tensor:
    """The mean over height and width, rounded to the same levels as the map: [n, h, w, c] -> [n, c].

    `quantiser` is a new `FakeQuant`, whose range follows the map. With one scale for both the device runs average
    pooling instead of a mean that is some twenty times as slow. `pooling` is a layer such as MaxPooling2D that works
    on the rounded map, before the mean.
    """
    rounded = quantiser(tensor)
    if pooling is not None:
        rounded = pooling(rounded)
    averaged = tf.keras.layers.GlobalAveragePooling2D()(rounded)
    return quantiser(averaged, training=False)  # so that the range does not follow the means too


def _int8_kernel(kernel):
    """Symmetric 8-bit rounding of a kernel, with a scale for each output channel (the last axis)."""
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(kernel), axis=list(range(len(kernel.shape) - 1)))) + 1e-8
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -largest, largest, narrow_range=True)


def _int8_kernel_one_scale(kernel):
    """Symmetric 8-bit rounding of a kernel with one scale, as int8 fully connected and depthwise layers have it."""
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(kernel))) + 1e-8
    return tf.quantization.fake_quant_with_min_max_vars(kernel, -largest, largest, narrow_range=True)


@register
class Int8Conv2D(QuantConv2D):
    """`tf.keras.layers.Conv2D` with an int8 kernel, one scale per output channel. Put `FakeQuant` after its activation.

    Since every output channel has its own scale, batch normalisation behind it folds into the kernel exactly.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, kernel_quantizer=_int8_kernel, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return without(super().get_config(), "input_quantizer", "kernel_quantizer", "pad_values")


@register
class Int8DepthwiseConv2D(tf.keras.layers.DepthwiseConv2D):
    """`tf.keras.layers.DepthwiseConv2D` with an int8 kernel of one scale. Put `FakeQuant` behind its activation."""

    @property
    def quantized_kernel(self) -> tf.Tensor:
        """The kernel as the layer computes with it."""
        return _int8_kernel(tf.convert_to_tensor(self.depthwise_kernel))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        form = dict(strides=self.strides, padding=self.padding, dilation_rate=self.dilation_rate)
        unequal = self.strides[0] != self.strides[1]
        if unequal:  # TensorFlow takes these on some processors only: at every position, of which some are kept
            inputs = tf.pad(inputs, self._same_padding(inputs.shape)) if self.padding == "same" else inputs
            form.update(strides=(1, 1), padding="valid")
        outputs = tf.keras.backend.depthwise_conv2d(inputs, self.quantized_kernel, data_format=self.data_format, **form)
        if unequal:
            outputs = outputs[:, :: self.strides[0], :: self.strides[1]]
        if self.use_bias:
            outputs = tf.keras.backend.bias_add(outputs, self.bias, data_format=self.data_format)
        return outputs if self.activation is None else self.activation(outputs)

    def _same_padding(self, shape: tf.TensorShape) -> list[tuple[int, int]]:
        """Rows and columns of zeros that padding SAME puts around images [n, h, w, c]."""
        around = [(0, 0)]
        for size, window, stride in zip(shape[1:3], self.kernel_size, self.strides, strict=True):
            missing = max((-(-size // stride) - 1) * stride + window - size, 0)
            around.append((missing // 2, missing - missing // 2))
        return [*around, (0, 0)]


@register
class Int8Dense(QuantDense):
    """`tf.keras.layers.Dense` with an int8 kernel of one scale. Put `FakeQuant` before and behind it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, kernel_quantizer=_int8_kernel_one_scale, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return without(super().get_config(), "input_quantizer", "kernel_quantizer")


@register
class HardSwish(tf.keras.layers.Layer):
    """x * relu6(x + 3) / 6 (Howard et al., arXiv 1905.02244), one operator on the device. Put `FakeQuant` around it."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * tf.nn.relu6(inputs + 3.0) * (1 / 6)


def front_of(net: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """The layers between a net's input and the `FakeQuant` of its image: Reshape and Rescaling; [] where others are.

    They only say what the 8-bit codes of the image stand for, so converted nets begin behind them.
    """
    layers = [layer for layer in net.layers if not isinstance(layer, tf.keras.layers.InputLayer)]
    kinds = tf.keras.layers.Reshape, tf.keras.layers.Rescaling
    number = next((number for number, layer in enumerate(layers) if not isinstance(layer, kinds)), 0)
    return layers[:number] if layers and isinstance(layers[number], FakeQuant) else []


def front_affine(net: tf.keras.Model) -> Range:
    """(scale, offset) of what a net's front does to the values of its input."""
    scale, offset = 1.0, 0.0
    for layer in front_of(net):
        if isinstance(layer, tf.keras.layers.Rescaling):
            scale, offset = scale * layer.scale, offset * layer.scale + layer.offset
    return scale, offset
