"""Binary layers: +1 and -1 at their input and in their weights, trained through the sign."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import ModelError
from bcnet_keras.layers.common import register, without
from bcnet_keras.layers.quantized import QuantConv2D, binary_convolutions
from bcnet_keras.utils.types import Array

CPU_INFO = pathlib.Path("/proc/cpuinfo")


@register
class BinaryConv2D(QuantConv2D):
    """Convolution of the signs of its input with the signs of its weights: +1 or -1, where sign(0) = +1.

    Output: whole numbers in [-N, N] with N = kernel height x kernel width x input channels / groups. Put
    `BatchNormalization` straight behind it (it becomes a threshold on the device) and pooling behind that. Padding is
    with +1. The latent weights stay in [-1, 1].

    Arguments are those of `tf.keras.layers.Conv2D` less bias and activation, and Larq's `input_quantizer` and
    `kernel_quantizer`. With `dtype="mixed_bfloat16"` it trains faster where bfloat16 does; signs, and sums up to 256,
    are exact in it.

    Examples:
      >>> layer = bc.BinaryConv2D(32, 3, strides=2)
      >>> layer(tf.ones((1, 8, 8, 1))).shape
      TensorShape([1, 4, 4, 32])
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: str = "same",
        input_quantizer: str | Callable[[tf.Tensor], tf.Tensor] | None = "approx_sign",
        kernel_quantizer: str | Callable[[tf.Tensor], tf.Tensor] | None = "ste_sign",
        kernel_constraint: str | tf.keras.constraints.Constraint | None = "weight_clip",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            pad_values=1.0,
            use_bias=False,
            input_quantizer=input_quantizer,
            kernel_quantizer=kernel_quantizer,
            kernel_constraint=kernel_constraint,
            **kwargs,
        )

    def get_config(self) -> dict[str, Any]:
        return without(super().get_config(), "pad_values", "use_bias", "activation")


@register
class BinaryDense(QuantConv2D):
    """Fully connected layer on signs; on the device a binary convolution with one output position.

    Input [n, features] gives [n, units]; a feature map [n, h, w, c] is connected as a whole and gives
    [n, 1, 1, units], so that `BinaryDense` layers follow each other without a reshape (close with
    `GlobalAveragePooling2D`). Larq's `input_quantizer` and `kernel_quantizer` as in `BinaryConv2D`.
    """

    def __init__(
        self,
        units: int,
        input_quantizer: str | Callable[[tf.Tensor], tf.Tensor] | None = "approx_sign",
        kernel_quantizer: str | Callable[[tf.Tensor], tf.Tensor] | None = "ste_sign",
        kernel_constraint: str | tf.keras.constraints.Constraint | None = "weight_clip",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            kernel_size=1,
            padding="valid",
            use_bias=False,
            input_quantizer=input_quantizer,
            kernel_quantizer=kernel_quantizer,
            kernel_constraint=kernel_constraint,
            **kwargs,
        )
        self.input_spec = None  # that of a convolution would refuse [n, features]

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape = tf.TensorShape(input_shape).as_list()
        if len(shape) not in (2, 4) or None in shape[1:]:
            raise ModelError(f"BinaryDense: input must be [n, features] or [n, h, w, c] of known size, got {shape}.")
        rank = len(shape)
        if rank == 2:
            shape = [shape[0], 1, 1, shape[1]]
        self.kernel_size = (shape[1], shape[2])
        super().build(shape)
        self.input_spec = tf.keras.layers.InputSpec(ndim=rank)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if inputs.shape.rank == 4:
            return super().call(inputs)
        outputs = super().call(inputs[:, tf.newaxis, tf.newaxis, :])
        # The mean over one position is the value itself, and unlike a reshape it stays int8 on the device.
        return tf.reduce_mean(outputs, axis=[1, 2])

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tf.TensorShape:
        shape = tf.TensorShape(input_shape).as_list()
        return tf.TensorShape([shape[0], *([1, 1] if len(shape) == 4 else []), self.filters])

    def get_config(self) -> dict[str, Any]:
        fixed = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups", "pad_values")
        config = without(super().get_config(), *fixed, "use_bias", "activation")
        return {**config, "units": self.filters}


def binary_problem(layer: tf.keras.layers.Layer) -> str | None:
    """Why a layer that quantises its input is no binary convolution of signs, with what to use; None where it is.

    None for other layers, too. Larq Compute Engine's converter says nothing about any of these: it takes other
    quantisers for signs, or leaves the layer in float.
    """
    quantizer = getattr(layer, "input_quantizer", None)
    if quantizer is None:
        return None
    probes = tf.constant([[-3.0, -1.0, -0.3, -0.01, 0.0, 0.01, 0.3, 1.0, 3.0]])
    values = np.asarray(quantizer(probes))
    if not np.array_equal(values, [[-1, -1, -1, -1, 1, 1, 1, 1, 1]]):
        numbers = ", ".join(f"{value:g}" for value in np.unique(values))
        return f"its input quantizer {_name(quantizer)} gives {numbers}; use one that gives signs, such as 'ste_sign'"
    if not isinstance(layer, binary_convolutions()):
        kind = type(layer).__name__
        instead = {"QuantDense": "BinaryDense", "QuantConv1D": "BinaryConv2D on a map [t, 1, c]"}
        return f"there is no binary operator for {kind}; use {instead.get(kind, 'BinaryConv2D')}"
    if layer.kernel_quantizer is None:
        return "its kernel is not quantised; give it a kernel_quantizer, such as 'ste_sign'"
    kernel, sizes = binary_kernel(layer)
    dead = np.flatnonzero(sizes == 0)
    if len(dead):
        return f"its kernel has nothing but 0 for filter {dead[0]}; leave that filter out, or train it anew"
    if not (np.abs(kernel) == sizes).all():
        return f"its kernel quantizer {_name(layer.kernel_quantizer)} gives more than two numbers; use 'ste_sign'"
    if layer.padding == "same" and layer.pad_values not in (0, 1):
        return f"it pads with {layer.pad_values:g}; pad with +1 (pad_values=1)"
    if layer.data_format != "channels_last":
        return "its channels come first; put them last"
    if layer.groups > 1 and kernel.shape[2] % 32:
        return f"its groups have {kernel.shape[2]} channels, expected a multiple of 32, whole words of bits"
    return None


def binary_kernel(layer: tf.keras.layers.Layer) -> tuple[Array, Array]:
    """(quantised kernel [h, w, c, filters], largest size of each filter's numbers [filters]), float32."""
    kernel = np.asarray(layer.kernel_quantizer(tf.convert_to_tensor(layer.kernel)), np.float32)
    return kernel, np.max(np.abs(kernel), axis=(0, 1, 2))


def _name(quantizer):
    return getattr(quantizer, "__name__", type(quantizer).__name__)


def fastest_precision() -> str:
    """The policy for `with_precision` in which binary layers train fastest on this machine.

    "mixed_bfloat16" where the hardware multiplies bfloat16: GPUs of compute capability 8.0 or later, x86 processors
    with AVX512_BF16 or AMX, as Linux tells. "float32" elsewhere, for there each product would be converted one by one:
    on two cores with AVX2 a step of CIFAR-10's binary net then took thirteen times as long.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        native = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0)) >= (8, 0)
    else:
        native = CPU_INFO.is_file() and re.search(r"\b(avx512_bf16|amx_bf16)\b", CPU_INFO.read_text())
    return "mixed_bfloat16" if native else "float32"


def with_precision(model: tf.keras.Model, policy: str) -> tf.keras.Model:
    """A Keras net with the weights of `model`, whose binary layers have the Keras dtype policy `policy`.

    So has batch normalisation and pooling of which the signs alone are read; all else stays in float32.

    `policy`: "float32", or "mixed_bfloat16" (or "mixed_float16") for faster training on processors that have it, see
      `fastest_precision`.
    Gives `model` itself where all these layers have it already.
    """

    def concerned(layer):
        return isinstance(layer, BinaryConv2D | BinaryDense) or _signs_are_read(layer)

    if all(layer.dtype_policy.name == policy for layer in model.submodules if concerned(layer)):
        return model

    def clone(layer):
        config = layer.get_config()
        return type(layer).from_config({**config, "dtype": policy} if concerned(layer) else config)

    copy = tf.keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def _signs_are_read(layer):
    """Is it normalisation or pooling of whose output nothing but signs is read?"""
    if not isinstance(layer, tf.keras.layers.BatchNormalization | tf.keras.layers.MaxPooling2D):
        return False
    readers = [node.outbound_layer for node in layer.outbound_nodes]
    return bool(readers) and all(
        isinstance(reader, BinaryConv2D | BinaryDense) or _signs_are_read(reader) for reader in readers
    )
