"""Merges the operators that two nets have in common from the image on, so that a file with both computes them once."""

from __future__ import annotations

import numpy as np

from bcnet_keras.moved import renamed
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import schema


def merge_common_prefix(net: schema.ModelT, other: schema.ModelT) -> list[int]:
    """Removes from `other` the operators that `net` has too, in place; both are `schema.ModelT` of one net.

    Two operators are the same if kind, options, constants, types, shapes and quantisation agree, and if both read the
    image or the outputs of operators that are the same. The inputs of `other` then become the tensors of the common
    part that the rest of it reads; without a common part this is the image.

    Returns:
      The indices in `net` of the tensors that became the inputs of `other`.
    """
    (graph,), (rest,) = net.subgraphs, other.subgraphs
    same = {-1: -1}  # tensor of `other` -> tensor of `net`; -1 stands for an input left out

    def alike(index, twin):
        """Whether a tensor of `other` and one of `net` have the same type, shape, quantisation and data."""
        one, two = rest.tensors[index], graph.tensors[twin]
        data = other.buffers[one.buffer].data, net.buffers[two.buffer].data
        return (one.type, flatbuffer.shape(one)) == (two.type, flatbuffer.shape(two)) and _equal(
            (_quantization(one), data[0]), (_quantization(two), data[1])
        )

    def read_alike(index, twin):
        if index in same or twin < 0:
            return same.get(index) == twin
        return flatbuffer.is_constant(other, rest.tensors[index]) and alike(index, twin)

    def same_operator(operator, twin):
        return (
            flatbuffer.op_name(other, operator) == flatbuffer.op_name(net, twin)
            and (len(operator.inputs), len(operator.outputs)) == (len(twin.inputs), len(twin.outputs))
            and all(map(read_alike, operator.inputs, twin.inputs))
            and all(map(alike, operator.outputs, twin.outputs))
            and _equal(operator.builtinOptions, twin.builtinOptions)
            and _equal(operator.customOptions, twin.customOptions)
        )

    (image,), (twin_image,) = rest.inputs, graph.inputs
    kept = []
    if alike(image, twin_image):
        same[image] = twin_image
    for operator in rest.operators:
        twin = next((twin for twin in graph.operators if same_operator(operator, twin)), None)
        if twin is None:
            kept.append(operator)
        else:
            same.update(zip(operator.outputs, twin.outputs, strict=True))
    same[image] = twin_image
    read = {*rest.outputs, *(index for operator in kept for index in operator.inputs)} - {-1}
    rest.operators = kept
    rest.inputs = np.array([index for index in same if index in read], np.int32)
    return [same[index] for index in rest.inputs]


__getattr__ = renamed(__name__, share_beginning=("merge_common_prefix", merge_common_prefix))


def _quantization(tensor):
    """Scales, zero points and the dimension that they go along, as the schema's object has them."""
    parameters = tensor.quantization
    return parameters and [parameters.scale, parameters.zeroPoint, parameters.quantizedDimension]


def _equal(one, other):
    """Whether two values of the schema's object API are equal in content."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if hasattr(one, "__dict__"):
        return type(one) is type(other) and _equal([*vars(one).values()], [*vars(other).values()])
    return np.array_equal(one, other)
