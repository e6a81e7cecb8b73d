"""Layers with a quantised input and kernel, with the names and arguments of `larq.layers`.

Larq's layers read quantised weights through a switch of the whole process, which a failure leaves on; these quantise in
their call alone, so `layer.kernel` is always the latent kernel, and `layer.quantized_kernel` what is computed with.
Nets may hold layers of both packages side by side.
"""

from __future__ import annotations

import sys
from typing import Any

import tensorflow as tf

from bcnet_keras.layers.common import register
from bcnet_keras.layers.quantizers import (
    ApproxSign,
    MagnitudeAwareSign,
    SteSign,
    SwishSign,
    WeightClip,
    constraint,
    quantizer,
)


class _Quantized(tf.keras.layers.Layer):
    """Adds the two quantisers to the Keras layer that comes next in the order of bases."""

    def __init__(
        self,
        *args: Any,
        input_quantizer: Any = None,
        kernel_quantizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, kernel_constraint=constraint(kernel_constraint), **kwargs)
        self.input_quantizer = quantizer(input_quantizer)
        self.kernel_quantizer = quantizer(kernel_quantizer)

    def add_weight(self, name: str | None = None, *args: Any, **kwargs: Any) -> tf.Variable:
        if name != "kernel" or self.kernel_quantizer is None:
            return super().add_weight(name, *args, **kwargs)
        # Quantised before it is cast: in float16 a small negative weight would be 0, and its sign +1.
        kernel = super().add_weight(name, *args, experimental_autocast=False, **kwargs)
        kernel.precision = getattr(self.kernel_quantizer, "precision", None)  # which Larq's `Bop` asks for
        return kernel

    @property
    def quantized_kernel(self) -> tf.Tensor:
        """The kernel as the layer computes with it, in its compute dtype."""
        kernel = tf.convert_to_tensor(self.kernel)
        return kernel if self.kernel_quantizer is None else tf.cast(self.kernel_quantizer(kernel), self.compute_dtype)

    def _quantized_inputs(self, inputs: tf.Tensor) -> tf.Tensor:
        if self.input_quantizer is not None:
            inputs = self.input_quantizer(inputs)
        return tf.cast(inputs, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        serialize = tf.keras.utils.serialize_keras_object
        names = ("input_quantizer", "kernel_quantizer")
        return {**super().get_config(), **{name: serialize(getattr(self, name)) for name in names}}


@register
class QuantConv2D(_Quantized, tf.keras.layers.Conv2D):
    """`tf.keras.layers.Conv2D` of a quantised input with a quantised kernel.

    Arguments, besides those of `Conv2D`:
      input_quantizer, kernel_quantizer: names such as "ste_sign", quantisers, other functions of a tensor, or None.
      pad_values: the number that `padding="same"` pads with; +1 and -1 have a sign, 0 does not.
    """

    def __init__(self, *args: Any, pad_values: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pad_values = pad_values

    @property
    def _pads(self) -> bool:
        return self.padding == "same" and self.pad_values != 0

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.convolution(
            inputs,
            kernel,
            strides=list(self.strides),
            padding="VALID" if self._pads else self.padding.upper(),
            dilations=list(self.dilation_rate),
            data_format=self._tf_data_format,
            name=type(self).__name__,
        )

    @tf.function(jit_compile=True)
    def _compiled_convolution(self, inputs: tf.Tensor, kernel: tf.Tensor):
        return self.convolution_op(inputs, kernel)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        shape = self.compute_output_shape(inputs.shape)
        inputs = self._quantized_inputs(inputs)
        if self._pads:
            inputs = tf.pad(inputs, self._paddings(inputs), constant_values=self.pad_values)
        # Processors have no other gradients of grouped convolutions.
        convolve = self._compiled_convolution if self.groups > 1 else self.convolution_op
        outputs = convolve(inputs, self.quantized_kernel)
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, self.bias, data_format=self._tf_data_format)
        outputs = tf.ensure_shape(outputs, shape) if None in inputs.shape[1:] else outputs
        return outputs if self.activation is None else self.activation(outputs)

    def _paddings(self, inputs: tf.Tensor):
        """[4, 2] numbers, or scalars where the size is not known: what TensorFlow pads with zeros for "same"."""
        first = 2 if self.data_format == "channels_first" else 1
        paddings = [[0, 0] for _ in range(4)]
        for axis, (kernel, stride, dilation) in enumerate(
            zip(self.kernel_size, self.strides, self.dilation_rate, strict=True), first
        ):
            known = inputs.shape[axis] is not None
            size = inputs.shape[axis] if known else tf.shape(inputs)[axis]
            total = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size
            total = max(total, 0) if known else tf.maximum(total, 0)
            paddings[axis] = [total // 2, total - total // 2]
        return paddings

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pad_values": self.pad_values}


@register
class QuantDense(_Quantized, tf.keras.layers.Dense):
    """`tf.keras.layers.Dense` of a quantised input with a quantised kernel.

    `input_quantizer` and `kernel_quantizer` as in `QuantConv2D`. It has no binary operator on the device: `BinaryDense`
    has.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        inputs, kernel = self._quantized_inputs(inputs), self.quantized_kernel
        outputs = tf.matmul(inputs, kernel) if inputs.shape.rank == 2 else tf.tensordot(inputs, kernel, 1)
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)


def binary_convolutions() -> tuple[Any, ...]:
    """The classes that are convolutions with quantisers: `QuantConv2D`, and Larq's where that is imported."""
    larq = sys.modules.get("larq")
    return (QuantConv2D,) if larq is None else (QuantConv2D, larq.layers.QuantConv2D)


# Files that Larq wrote name its classes alone: where Larq is not imported, they load as these.
for _kind in (QuantConv2D, QuantDense, SteSign, ApproxSign, SwishSign, MagnitudeAwareSign, WeightClip):
    tf.keras.utils.get_custom_objects().setdefault(_kind.__name__, _kind)
tf.keras.utils.get_custom_objects().setdefault("weight_clip", WeightClip)
