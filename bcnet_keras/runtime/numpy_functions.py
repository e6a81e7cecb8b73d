"""NumPy kernels of functions of int8 codes, in the fixed-point arithmetic of TensorFlow Lite's reference kernels.

After gemmlowp's fixedpoint.h: a number with n integer bits is kept as whole number of 2^(n - 31). `One` of no integer
bits is 2^31 - 1.
"""

from __future__ import annotations

import numpy as np

from bcnet_keras.runtime.numpy_nodes import CODES, Kernel, Node, in_range, rescaled, table
from bcnet_keras.tflite import fixed_point
from bcnet_keras.tflite.fixed_point import divide_by_power, doubling_high_mul, round_away
from bcnet_keras.utils.types import Array

_ONE = (1 << 31) - 1
_HALVES = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)  # exp(-1/4), exp(-1/2), ... exp(-16)


def _saturated(values: Array, bits: int = 31) -> Array:
    return np.clip(values, -(1 << bits), (1 << bits) - 1)


def _exp(x: Array, integer_bits: int) -> Array:
    """exp(x) of no integer bits, for x <= 0 of `integer_bits`."""
    fraction = 31 - integer_bits
    quarter = 1 << (fraction - 2)
    rest = (x & (quarter - 1)) - quarter  # in [-1/4, 0)
    a = (rest << integer_bits) + (1 << 28)
    a2 = doubling_high_mul(a, a)
    a3, a4 = doubling_high_mul(a2, a), doubling_high_mul(a2, a2)
    third = doubling_high_mul(divide_by_power(a4, 2) + a3, 715827883)
    series = a + divide_by_power(third + a2, 1)
    result = 1895147668 + doubling_high_mul(1895147668, series)  # exp(-1/8) and what is above it
    for exponent, factor in enumerate(_HALVES, start=-2):
        if integer_bits > exponent:
            has = (rest - x) & (1 << (fraction + exponent)) != 0
            result = np.where(has, doubling_high_mul(result, factor), result)
    return np.where(x == 0, _ONE, result)


def _newton(x: Array) -> Array:
    """2 / (1 + x) of two integer bits, for x in [0, 1] of none."""
    half = (x + _ONE + 1) >> 1
    y = 1515870810 + doubling_high_mul(half, -1010580540)
    for _ in range(3):
        left = (1 << 29) - doubling_high_mul(half, y)
        y = y + _saturated(doubling_high_mul(y, left) << 2)
    return y


def _reciprocal(x: Array) -> Array:
    """1 / (1 + x) of no integer bits, for x in [0, 1] of none."""
    return _saturated(_newton(x) << 1)


def _logistic(x: Array) -> Array:
    positive = _reciprocal(_exp(-np.abs(x), 4))
    return np.where(x == 0, 1 << 30, np.where(x > 0, positive, _ONE - positive))


def _tanh(x: Array) -> Array:
    size = _saturated((_newton(_exp(-np.abs(x), 5)) - (1 << 29)) << 2)  # of twice x, which has one integer bit more
    return np.sign(x) * size


def _curve(node: Node, function, bits: int, zero_point: int) -> Kernel:
    """A function with four integer bits at its input, and `bits` of what it gives."""
    fraction, shift = np.frexp(node[0].scale * 2.0**27)
    reach = int(np.floor(15 * 2.0**27 / 2.0**shift))
    x = CODES - node[0].zero_point
    inner = fixed_point.multiply(np.clip(x, -reach, reach), int(round_away(fraction * 2.0**31)), int(shift))
    codes = in_range(divide_by_power(function(inner), 31 - bits) + zero_point)
    return table(node, np.where(x <= -reach, -128, np.where(x >= reach, 127, codes)))


def logistic(node: Node) -> Kernel:
    return _curve(node, _logistic, 8, -128)


def tanh(node: Node) -> Kernel:
    return _curve(node, _tanh, 7, 0)


def softmax(node: Node) -> Kernel:
    node.need("int8>int8")
    factor = min(node.options.beta * node[0].scale * 2.0**26, 2.0**31 - 1)
    multiplier, shift = fixed_point.quantized_multiplier(factor)
    least = -int(np.floor(31 * 2.0**26 / 2.0 ** int(shift)))
    differences = np.arange(-255, 1)
    powers = _exp(fixed_point.multiply(np.maximum(differences, least), multiplier, shift), 5)
    powers = np.where(differences >= least, powers, 0)
    parts = divide_by_power(powers, 12)  # of twelve integer bits

    def run(x):
        below = x.astype(np.int64) - x.max(axis=-1, keepdims=True) + 255
        sums = parts[below].sum(axis=-1, keepdims=True)
        zeros = 32 - np.frexp(sums.astype(np.float64))[1]  # leading ones of 32 bits
        scale = _reciprocal((sums << zeros) - (1 << 31))
        codes = divide_by_power(doubling_high_mul(scale, powers[below]), 12 - zeros + 23)
        return np.where(below - 255 >= least, in_range(codes - 128), -128).astype(np.int8)

    return run


def hard_swish(node: Node) -> Kernel:
    """In 16-bit arithmetic (reference/hard_swish.h)."""
    fine = np.float32(1 / 128) * np.float32(node[0].scale)
    (out, out_shift), (relu, relu_shift) = (
        fixed_point.quantized_multiplier(float(fine / np.float32(scale))) for scale in (node.output.scale, 3 / 32768)
    )
    out, relu = (_saturated((each + (1 << 15)) >> 16, 15) for each in (out, relu))
    x = (CODES - node[0].zero_point) << 7
    value = doubling_high_mul(x, out, 15)
    gate = _saturated(x << max(int(relu_shift) - 1, 0), 15)
    gate = doubling_high_mul(gate, relu, 15)
    gate = _saturated(gate << 1, 15) if relu_shift > 0 else divide_by_power(gate, max(-int(relu_shift), 0))
    product = ((gate + (1 << 15)) >> 1) * value
    codes = divide_by_power(np.sign(product) * (np.abs(product) >> 15), -int(out_shift))
    return table(node, in_range(codes + node.output.zero_point))


def relu(node: Node) -> Kernel:
    factor = np.float32(node[0].scale) / np.float32(node.output.scale)
    codes = rescaled(CODES - node[0].zero_point, factor) + node.output.zero_point
    return table(node, in_range(codes, max(-128, node.output.zero_point)))


def relu6(node: Node) -> Kernel:
    zero_point = node[0].zero_point
    return table(node, in_range(CODES, zero_point, min(127, zero_point + int(round_away(6.0 / node[0].scale)))))


def leaky_relu(node: Node) -> Kernel:
    x, (before, after) = CODES - node[0].zero_point, map(np.float32, (node[0].scale, node.output.scale))
    slope = before * np.float32(node.options.alpha) / after
    below = np.sign(slope).astype(int) * rescaled(x, abs(slope))
    return table(node, in_range(np.where(x >= 0, rescaled(x, before / after), below) + node.output.zero_point))


def prelu(node: Node) -> Kernel:
    node.need("int8>int8")
    slopes = node.constant(1).astype(np.int64) - node[1].zero_point
    factor = node[0].scale / node.output.scale
    below = fixed_point.quantized_multiplier(node[0].scale * node[1].scale / node.output.scale)
    above = fixed_point.quantized_multiplier(factor)

    def run(image, _):
        x = image.astype(np.int64) - node[0].zero_point
        values = np.where(x >= 0, fixed_point.multiply(x, *above), fixed_point.multiply(x * slopes, *below))
        return in_range(values + node.output.zero_point)

    return run
