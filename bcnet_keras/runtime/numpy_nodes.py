"""Operators of a flatbuffer as NumPy sees them, and what all kernels of the NumPy runtime need."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import fixed_point, flatbuffer
from bcnet_keras.tflite.flatbuffer import schema
from bcnet_keras.utils.types import Array

Kernel = Callable[..., Array]  # arrays of the inputs -> array of the output
CODES = np.arange(-128, 128)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of the flatbuffer.

    Attributes:
      type: name of its type, such as "int8".
      shape: tuple of ints.
      scales: float64, one or one for each channel; none where it is not quantised.
      zero_point: int.
      value: constant array, or None.
    """

    type: str
    shape: tuple[int, ...]
    scales: Array
    zero_point: int
    value: Array | None

    @classmethod
    def read(cls, model: schema.ModelT, tensor: schema.TensorT) -> Tensor:
        parameters = tensor.quantization or schema.QuantizationParametersT()
        scales: Any = [] if parameters.scale is None else parameters.scale
        zeros: Any = [] if parameters.zeroPoint is None else parameters.zeroPoint
        return cls(
            flatbuffer.type_name(tensor),
            flatbuffer.shape(tensor),
            np.asarray(scales, np.float32).astype(np.float64),  # what kernels in C++ read
            int(zeros[0]) if len(zeros) else 0,
            flatbuffer.constant(model, tensor),
        )

    @property
    def scale(self) -> float:
        if not len(self.scales):
            raise FlatbufferError(f"an {self.type} tensor of the shape {list(self.shape)} has no scale")
        return float(self.scales[0])


@dataclasses.dataclass(frozen=True)
class Node:
    """An operator: inputs may be None; `options` are the builtin's object, or the dict of a custom operator."""

    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any

    def __getitem__(self, index: int) -> Tensor:
        """An input that must be there."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise self.refused(f"input {index} is missing")
        return tensor

    @property
    def output(self) -> Tensor:
        return self.outputs[0]

    def constant(self, index: int) -> Array:
        value = self[index].value
        if value is None:
            raise self.refused(f"input {index} must be a constant")
        return value

    def optional(self, index: int) -> Array | None:
        return None if index >= len(self.inputs) or self.inputs[index] is None else self.constant(index)

    def need(self, *types: str) -> None:
        """Refuses other types of the data that are read and of what is written."""
        found = self[0].type, self.output.type
        if found not in [tuple(each.split(">")) for each in types]:
            raise self.refused(f"it is here on {' and '.join(types).replace('>', ' to ')}, got {' to '.join(found)}")

    def refused(self, reason: str) -> FlatbufferError:
        return FlatbufferError(f"the NumPy runtime cannot run {self.name}: {reason}; use --runtime=tflm or tflite")


def in_range(values: Array, low: int = -128, high: int = 127) -> Array:
    return np.clip(values, low, high).astype(np.int8)


def activation_range(node: Node) -> tuple[int, int]:
    """The lowest and the highest code of the output of an operator with a fused activation."""
    activation, output = node.options.fusedActivationFunction, node.output
    # Without an activation nothing depends on the scale, which a tensor may lack.
    codes = fixed_point.activation_codes(activation, output.scale if activation else 1.0, output.zero_point)
    if codes is None:
        raise node.refused(f"its activation has the number {activation}")
    return codes


def table(node: Node, codes: Array) -> Kernel:
    """A kernel that looks up int8 codes in [256] `codes`."""
    node.need("int8>int8")
    found = np.asarray(codes, np.int8)
    return lambda x: found[x.astype(np.int16) + 128]


def rescaled(values: Array, factor: Any) -> Array:
    """Whole numbers times a real factor, as fixed-point arithmetic has it."""
    return fixed_point.multiply(values, *fixed_point.quantized_multiplier(factor))
