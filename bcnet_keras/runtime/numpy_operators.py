"""The operators of the NumPy runtime: one function per name, which prepares a kernel; and the simple kernels.

A function takes a `numpy_nodes.Node`, reads all that does not change from run to run, and gives a function of the
arrays of its inputs (None for one that is left out).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bcnet_keras.runtime import numpy_functions as functions
from bcnet_keras.runtime import numpy_windows as windows
from bcnet_keras.runtime.numpy_gate import gate
from bcnet_keras.runtime.numpy_nodes import CODES, Kernel, Node, activation_range, in_range, rescaled, table
from bcnet_keras.tflite import fixed_point
from bcnet_keras.tflite.operators import OPERATORS

_SHIFT = 20  # of sums, for precision


def _sum(node: Node, first: Any, second: Any, third: Any, sign: int) -> Kernel:
    """A sum or a difference; the numbers are the factors of both inputs and of the output."""
    node.need("int8>int8")
    tables = [
        rescaled((CODES - node[index].zero_point) << _SHIFT, factor) for index, factor in ((0, first), (1, second))
    ]
    multiplier, (low, high) = fixed_point.quantized_multiplier(third), activation_range(node)

    def run(a, b):
        total = tables[0][a.astype(np.int16) + 128] + sign * tables[1][b.astype(np.int16) + 128]
        return in_range(fixed_point.multiply(total, *multiplier) + node.output.zero_point, low, high)

    return run


def add(node: Node) -> Kernel:
    twice = 2 * max(node[0].scale, node[1].scale)
    factors = node[0].scale / twice, node[1].scale / twice, twice / ((1 << _SHIFT) * node.output.scale)
    return _sum(node, *factors, sign=1)


def subtract(node: Node) -> Kernel:
    one, other, output = (np.float32(each.scale) for each in (node[0], node[1], node.output))
    twice = np.float32(2) * max(one, other)  # in single precision, unlike those of a sum
    return _sum(node, one / twice, other / twice, twice / (np.float32(1 << _SHIFT) * output), sign=-1)


def multiply(node: Node) -> Kernel:
    node.need("int8>int8")
    factor = fixed_point.quantized_multiplier(node[0].scale * node[1].scale / node.output.scale)
    low, high = activation_range(node)

    def run(a, b):
        product = (a.astype(np.int64) - node[0].zero_point) * (b.astype(np.int64) - node[1].zero_point)
        return in_range(fixed_point.multiply(product, *factor) + node.output.zero_point, low, high)

    return run


def quantize(node: Node) -> Kernel:
    scale, zero_point = node.output.scale, node.output.zero_point
    if node[0].type == "float32":
        node.need("float32>int8")
        return lambda x: in_range(fixed_point.round_away(x / np.float32(scale)) + zero_point)
    return table(node, in_range(rescaled(CODES - node[0].zero_point, node[0].scale / scale) + zero_point))


def dequantize(node: Node) -> Kernel:
    node.need("int8>float32")
    scale, zero_point = node[0].scale, node[0].zero_point
    return lambda x: (scale * (x.astype(np.int64) - zero_point)).astype(np.float32)


def mean(node: Node) -> Kernel:
    node.need("int8>int8")
    axes = tuple(int(axis) % len(node[0].shape) for axis in node.constant(1).reshape(-1))
    count = int(np.prod([node[0].shape[axis] for axis in set(axes)]))
    multiplier, shift = (int(each) for each in fixed_point.quantized_multiplier(node[0].scale / node.output.scale))
    more = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier, shift = (multiplier << more) // count, shift - more  # the mean's divisor is part of the factor

    def run(image, _):
        sums = image.astype(np.int64).sum(axis=axes) - node[0].zero_point * count
        codes = fixed_point.multiply(sums, multiplier, shift) + node.output.zero_point
        return in_range(codes).reshape(node.output.shape)

    return run


def _extreme(node: Node, function: Callable) -> Kernel:
    node.need("int8>int8")
    axes = tuple(int(axis) for axis in node.constant(1).reshape(-1))
    return lambda image, _: function(image, axis=axes).reshape(node.output.shape)


def reduce_max(node: Node) -> Kernel:
    return _extreme(node, np.max)


def reduce_min(node: Node) -> Kernel:
    return _extreme(node, np.min)


def _of_two(node: Node, function: Callable) -> Kernel:
    node.need("int8>int8", "int32>int32")
    return lambda a, b: function(a, b)


def maximum(node: Node) -> Kernel:
    return _of_two(node, np.maximum)


def minimum(node: Node) -> Kernel:
    return _of_two(node, np.minimum)


def concatenate(node: Node) -> Kernel:
    return lambda *parts: np.concatenate(parts, axis=node.options.axis)


def reshape(node: Node) -> Kernel:
    return lambda image, *_: image.reshape(node.output.shape)


def pad(node: Node) -> Kernel:
    node.need("int8>int8", "int32>int32")
    fill = node.output.zero_point if node.output.type == "int8" else 0
    paddings = [tuple(map(int, each)) for each in node.constant(1)]
    return lambda image, _: np.pad(image, paddings, constant_values=fill)


def strided_slice(node: Node) -> Kernel:
    options, (begin, end, strides) = node.options, (node.constant(index) for index in (1, 2, 3))
    if options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask:
        raise node.refused("it has masks of other kinds than begin and end")
    parts = tuple(
        slice(
            None if options.beginMask >> axis & 1 else int(first),
            None if options.endMask >> axis & 1 else int(last),
            int(step),
        )
        for axis, (first, last, step) in enumerate(zip(begin, end, strides, strict=True))
    )
    return lambda image, *_: image[parts]


def dequantize_signs(node: Node) -> Kernel:
    channels, kind = node.output.shape[-1], node.output.type
    if kind == "bool":
        return lambda words: windows.unpacked(words, channels) > 0
    if kind == "float32":
        return lambda words: windows.unpacked(words, channels)
    offset = min(255, int(np.float32(1) / np.float32(node.output.scale) + np.float32(0.5)))
    zero_point = node.output.zero_point
    return lambda words: in_range(windows.unpacked(words, channels) * offset + zero_point)


# By the names that records of operators have for them.
RULES: Mapping[str, Callable[[Node], Kernel]] = {
    rule.__name__: rule
    for rule in (
        add,
        concatenate,
        dequantize,
        dequantize_signs,
        gate,
        maximum,
        mean,
        minimum,
        multiply,
        pad,
        quantize,
        reduce_max,
        reduce_min,
        reshape,
        strided_slice,
        subtract,
        functions.hard_swish,
        functions.leaky_relu,
        functions.logistic,
        functions.prelu,
        functions.relu,
        functions.relu6,
        functions.softmax,
        functions.tanh,
        windows.average_pool,
        windows.binary_convolution,
        windows.binary_max_pool,
        windows.convolution,
        windows.depthwise_convolution,
        windows.fully_connected,
        windows.max_pool,
        windows.quantize_signs,
        windows.stem,
        windows.thermometer,
    )
}
KERNELS = {name: RULES[record.kernel] for name, record in OPERATORS.items() if record.kernel is not None}
