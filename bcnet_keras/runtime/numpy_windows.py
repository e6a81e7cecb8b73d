"""NumPy kernels that move a window over a map: convolutions of codes and of signs, and pooling; and matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bcnet_keras.runtime.numpy_nodes import Kernel, Node, activation_range, in_range
from bcnet_keras.tflite import fixed_point
from bcnet_keras.tflite.flatbuffer import schema
from bcnet_keras.utils.types import Array

Size = Sequence[int]  # height and width
_SAME = schema.Padding.SAME


class Window:
    """Where a window lies on a padded map.

    Arguments:
      size: height and width of the map that is read, and of the one that is written.
      window, strides, dilations: (height, width) each.
      padded: whether zeros are put around the map, as TensorFlow Lite's padding SAME has it.
    """

    def __init__(self, size: Size, written: Size, window: Size, strides: Size, dilations: Size, padded: bool) -> None:
        self.pads, rows = [], []
        for before, after, taps, stride, dilation in zip(size, written, window, strides, dilations, strict=True):
            covered = (after - 1) * stride + (taps - 1) * dilation + 1
            total = max(0, covered - before) if padded else 0
            self.pads.append((total // 2, total - total // 2))
            rows.append(np.arange(after)[:, np.newaxis] * stride + np.arange(taps) * dilation)
        self.rows, self.columns = rows[0][:, np.newaxis, :, np.newaxis], rows[1][np.newaxis, :, np.newaxis]

    def __call__(self, image: Array, fill: float) -> Array:
        """[1, h, w, c] -> what each window sees: [h', w', window h, window w, c]."""
        padded = np.pad(image[0], (*self.pads, (0, 0)), constant_values=fill)
        return padded[self.rows, self.columns]


def _window(node: Node, size: tuple[int, ...]) -> Window:
    options = node.options
    dilations = getattr(options, "dilationHFactor", 1), getattr(options, "dilationWFactor", 1)
    strides, padded = (options.strideH, options.strideW), options.padding == _SAME
    return Window(node[0].shape[1:3], node.output.shape[1:3], size, strides, dilations, padded)


def _requantized(node: Node, channels: int) -> Kernel:
    """A function of int64 sums [..., channels] that adds the bias and gives codes."""
    bias, (low, high), output = node.optional(2), activation_range(node), node.output
    factors = node[0].scale * np.broadcast_to(node[1].scales, channels) / output.scale
    multiplier, shift = fixed_point.quantized_multiplier(factors)
    more = 0 if bias is None else bias.astype(np.int64)

    def finish(sums):
        return in_range(fixed_point.multiply(sums + more, multiplier, shift) + output.zero_point, low, high)

    return finish


def convolution(node: Node) -> Kernel:
    node.need("int8>int8")
    kernel = node.constant(1)
    filters, *size, depth = kernel.shape
    window, finish, zero_point = _window(node, tuple(size)), _requantized(node, filters), node[0].zero_point
    groups = node[0].shape[3] // depth
    # Products of codes and their sums are whole numbers below 2^53, which 64-bit floats hold and multiply fast.
    matrices = kernel.astype(np.float64).reshape(groups, filters // groups, -1).transpose(0, 2, 1)

    def run(image, *_):
        seen = window(image.astype(np.float64) - zero_point, 0)
        parts = np.split(seen, groups, axis=-1) if groups > 1 else [seen]
        sums = [each.reshape(*seen.shape[:2], -1) @ matrix for each, matrix in zip(parts, matrices, strict=True)]
        return finish(np.concatenate(sums, axis=-1).astype(np.int64))[np.newaxis]

    return run


def depthwise_convolution(node: Node) -> Kernel:
    node.need("int8>int8")
    kernel, channels = node.constant(1), node[0].shape[3]
    _, *size, filters = kernel.shape
    window, finish, zero_point = _window(node, tuple(size)), _requantized(node, filters), node[0].zero_point
    taps = kernel.astype(np.float64).reshape(*size, channels, -1)  # filter channel * multiplier + m

    def run(image, *_):
        seen = window(image.astype(np.float64) - zero_point, 0)
        sums = np.einsum("yxhwc,hwcm->yxcm", seen, taps)
        return finish(sums.reshape(1, *sums.shape[:2], filters).astype(np.int64))

    return run


def fully_connected(node: Node) -> Kernel:
    node.need("int8>int8")
    kernel, zero_point, shape = node.constant(1), node[0].zero_point, node.output.shape
    finish = _requantized(node, len(kernel))
    matrix = (kernel.astype(np.float64) - node[1].zero_point).T

    def run(image, *_):
        sums = (image.astype(np.float64) - zero_point).reshape(-1, len(matrix)) @ matrix
        return finish(sums.astype(np.int64)).reshape(shape)

    return run


def _pool(node: Node) -> Window:
    node.need("int8>int8")
    return _window(node, (node.options.filterHeight, node.options.filterWidth))


def max_pool(node: Node) -> Kernel:
    window, (low, high) = _pool(node), activation_range(node)
    return lambda image: in_range(window(image, -128).max(axis=(2, 3)), low, high)[np.newaxis]


def average_pool(node: Node) -> Kernel:
    window, (low, high) = _pool(node), activation_range(node)
    inside = window(np.ones((1, *node[0].shape[1:]), np.int64), 0).sum(axis=(2, 3))

    def run(image):
        sums = window(image.astype(np.int64), 0).sum(axis=(2, 3))
        return in_range(np.sign(sums) * ((np.abs(sums) + inside // 2) // inside), low, high)[np.newaxis]

    return run


# Of Larq Compute Engine, on words of 32 signs.


def _custom_window(node: Node, size) -> Window:
    options = node.options
    strides = options["stride_height"], options["stride_width"]
    dilations = options.get("dilation_height_factor", 1), options.get("dilation_width_factor", 1)
    return Window(
        node[0].shape[1:3], node.output.shape[1:3], size, strides, dilations, options.get("padding", 1) == _SAME
    )


def unpacked(words: Array, channels: int) -> Array:
    """int32 [..., words] -> float32 [..., channels] of +1 and -1: bit c % 32 of word c // 32 is 1 for -1."""
    bits = np.unpackbits(np.ascontiguousarray(words).astype("<i4").view(np.uint8), axis=-1, bitorder="little")
    return 1 - 2 * bits[..., :channels].astype(np.float32)


def packed(negative: Array) -> Array:
    """bool [..., channels] -> int32 [..., words]."""
    missing = -negative.shape[-1] % 32
    padded = np.pad(negative, [(0, 0)] * (negative.ndim - 1) + [(0, missing)])
    return np.packbits(padded, axis=-1, bitorder="little").view("<i4").astype(np.int32)


def binary_convolution(node: Node) -> Kernel:
    kernel, options = node.constant(1), node.options
    filters, *size, words = kernel.shape
    window, groups = _custom_window(node, size), node[0].shape[3] // words
    channels = options["channels_in"] if groups == 1 else 32 * words
    matrices = unpacked(kernel, channels).reshape(groups, filters // groups, -1).transpose(0, 2, 1)
    products = matrices.shape[1]
    fill = 1 if options.get("pad_values", 0) == 1 else 0
    finish = _binary_output(node, filters, products)

    def run(image, *_):
        seen = window(unpacked(image, groups * channels), fill)
        parts = np.split(seen, groups, axis=-1) if groups > 1 else [seen]
        sums = [each.reshape(*seen.shape[:2], -1) @ matrix for each, matrix in zip(parts, matrices, strict=True)]
        # Twice the number of signs that differ, in which the kernels compute.
        return finish(products - np.concatenate(sums, axis=-1).astype(np.int64))[np.newaxis]

    return run


def _binary_output(node: Node, filters: int, products: int) -> Kernel:
    if node.output.type == "int32":
        thresholds = node.constant(4)
        return lambda twice: packed(twice // 2 > thresholds)
    factors, biases = (node.constant(index).astype(np.float64) for index in (2, 3))
    kind, activation = schema.ActivationFunctionType, node.options["fused_activation_function"]
    low, high = {
        kind.NONE: (-products, products),
        kind.RELU: (0, products),
        kind.RELU6: (0, min(6, products)),
        kind.RELU_N1_TO_1: (-1, 1),
    }[activation]
    is_int8 = node.output.type == "int8"
    scale, zero_point = (node.output.scale, node.output.zero_point) if is_int8 else (1.0, 0)
    # In double precision, then rounded to single, as the converter's numbers are.
    multiplier = (-factors / scale).astype(np.float32)
    bias = ((biases + products * factors) / scale + zero_point).astype(np.float32)

    def finish(twice):
        values = np.clip(twice, products - high, products - low).astype(np.float32) * multiplier + bias
        return in_range(fixed_point.round_away(values)) if is_int8 else values

    return finish


def binary_max_pool(node: Node) -> Kernel:
    window = _custom_window(node, (node.options["filter_height"], node.options["filter_width"]))
    return lambda image: np.bitwise_and.reduce(window(image, -1), axis=(2, 3))[np.newaxis]


def quantize_signs(node: Node) -> Kernel:
    zero_point = node[0].zero_point
    if node[0].type == "bool":
        return lambda x: packed(~x)
    return lambda x: packed(x < zero_point if x.dtype == np.int8 else x < 0)


def stem(node: Node) -> Kernel:
    kernel, thresholds, zero_point = node.constant(1), node.constant(2), node[0].zero_point
    window, planes = _custom_window(node, kernel.shape[1:3]), len(thresholds) // len(kernel)
    matrix = kernel.astype(np.float64).reshape(len(kernel), -1).T

    def run(image, *_):
        seen = window(image.astype(np.float64), zero_point)
        sums = seen.reshape(*seen.shape[:2], -1) @ matrix
        return packed(np.repeat(sums, planes, axis=-1) < thresholds)[np.newaxis]

    return run


def thermometer(node: Node) -> Kernel:
    thresholds = node.constant(1)
    planes = len(thresholds) // node[0].shape[-1]
    return lambda x, _: packed(np.repeat(x, planes, axis=-1) < thresholds)
