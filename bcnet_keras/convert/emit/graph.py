"""The flatbuffer under construction: tensors, constants and operators of one subgraph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bcnet_keras.convert.emit.values import INT8, INT32, Bits, Codes, Layer, Quantization, Shape
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import schema
from bcnet_keras.utils.types import Array


class Graph:
    """Appends to `graph`, subgraph 0 of `builder.model`, and names tensors after Keras layers."""

    def __init__(self) -> None:
        self.builder = flatbuffer.Builder("bcnet-keras")
        self.graph = self.builder.subgraph("main")
        self.names: dict[str, int] = {}

    def tensor(
        self, name: str, shape: Shape, quantization: Quantization | None = None, type: int = INT8, data: Any = None
    ) -> int:
        number = self.names[name] = self.names.get(name, 0) + 1
        unique = name if number == 1 else f"{name}_{number}"
        return self.builder.tensor(self.graph, unique, type, shape, quantization, data)

    def weights(
        self, layer: Layer, name: str, type: int, data: Array, scales: ArrayLike | None = None, axis: int = 0
    ) -> int:
        """A constant; float64 `scales` along `axis`, or one for all."""
        index = self.tensor(f"{layer.name}/{name}", data.shape, None, type, np.ascontiguousarray(data))
        if scales is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale = np.asarray(scales, np.float32)
            parameters.zeroPoint = np.zeros(len(parameters.scale), np.int64)
            parameters.quantizedDimension = axis if len(parameters.scale) > 1 else 0
            self.graph.tensors[index].quantization = parameters
        return index

    def constant(self, layer: Layer, name: str, numbers: ArrayLike) -> int:
        return self.tensor(f"{layer.name}/{name}", np.shape(numbers), None, INT32, np.asarray(numbers, np.int32))

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        layer: Layer,
        shape: Shape,
        quantization: Quantization | None,
        options: Any = None,
        version: int = 1,
    ) -> int:
        """Appends a builtin operator with one output, int8, or of bits without `quantization`; returns its index."""
        output = self.tensor(layer.name, shape, quantization, INT32 if quantization is None else INT8)
        self.builder.operator(self.graph, name, inputs, [output], options, version)
        return output

    def custom(
        self,
        name: str,
        inputs: Sequence[int],
        layer: Layer,
        shape: Shape,
        quantization: Quantization | None = None,
        options: dict[str, Any] | None = None,
    ) -> int:
        """The same with a custom operator."""
        output = self.tensor(layer.name, shape, quantization, INT32 if quantization is None else INT8)
        encoded = None if options is None else flatbuffer.encode_options(options)
        self.builder.operator(self.graph, name.encode(), inputs, [output], custom_options=encoded)
        return output

    def reshaped(self, value: Codes, form: Shape | None = None) -> Codes:
        """`Codes` whose tensor has the shape of the value, or `form`."""
        form = value.shape if form is None else form
        if value.form == form:
            return value
        index = self._reshape(value.index, value.layer, form, value.quantization)
        return dataclasses.replace(value, index=index, form=form)

    def reshaped_words(self, bits: Bits, layer: Layer, form: Shape) -> int:
        """Index of the tensor of `Bits` in the shape `form`."""
        return bits.index if bits.form == form else self._reshape(bits.index, layer, form, None)

    def _reshape(self, index, layer, form, quantization):
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(form, np.int32)
        inputs = [index, self.constant(layer, "shape", form)]
        return self.operator("RESHAPE", inputs, layer, form, quantization, options)
