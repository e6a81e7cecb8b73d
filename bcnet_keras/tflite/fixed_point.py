"""TensorFlow Lite's arithmetic on 8-bit codes, in NumPy, bit by bit as its reference kernels have it.

A real factor is kept as a multiplier of 31 bits and a shift. The product with the multiplier is rounded to a whole
number, and a shift to the right rounds that once more: 7 times 0.33 gives 2, but -7 times 0.33 gives -3. (After
tensorflow/lite/kernels/internal: common.h and quantization_util.cc, and gemmlowp's fixedpoint.h.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bcnet_keras.tflite.flatbuffer import schema
from bcnet_keras.utils.types import Array

Numbers = Any  # arrays and numbers


def quantized_multiplier(factor: Numbers) -> tuple[Array, Array]:
    """(int64 multiplier below 2^31, shift) of real factors: factor = multiplier / 2^31 * 2^shift."""
    fraction, shift = np.frexp(np.asarray(factor, np.float64))
    scaled = fraction * 2.0**31
    multiplier = (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)).astype(np.int64)
    whole = multiplier == 1 << 31
    multiplier, shift = np.where(whole, 1 << 30, multiplier), shift + whole
    vanishes = shift < -31
    return np.where(vanishes, 0, multiplier), np.where(vanishes, 0, shift).astype(np.int64)


def multiply(values: Numbers, multiplier: Numbers, shift: Numbers) -> Array:
    """Whole numbers times a factor as `quantized_multiplier` gives it, rounded; int64."""
    shift = np.asarray(shift)
    shifted = np.asarray(values, np.int64) << np.maximum(shift, 0)
    return divide_by_power(doubling_high_mul(shifted, multiplier), np.maximum(-shift, 0))


def doubling_high_mul(a: Numbers, b: Numbers, bits: int = 31) -> Array:
    """a * b / 2^bits, rounded to the nearest whole number, halves up."""
    return np.asarray((np.asarray(a, np.int64) * np.asarray(b, np.int64) + (1 << (bits - 1))) >> bits)


def divide_by_power(values: Numbers, exponent: Numbers) -> Array:
    """values / 2^exponent, halves rounded away from 0."""
    values, exponent = np.asarray(values, np.int64), np.asarray(exponent, np.int64)
    half = np.where(exponent > 0, np.left_shift(1, np.maximum(exponent - 1, 0)), 0)
    return np.asarray(np.sign(values) * ((np.abs(values) + half) >> exponent))


def round_away(values: Numbers) -> Array:
    """Real numbers rounded to whole ones, halves away from 0."""
    return np.asarray(np.sign(values) * np.floor(np.abs(values) + 0.5))


def activation_codes(activation: int, scale: float, zero_point: int) -> tuple[int, int] | None:
    """The lowest and the highest int8 code behind a fused activation; None for one that int8 operators lack.

    `activation` is a number of the schema's `ActivationFunctionType`; `scale` and `zero_point` are the output's.
    """

    def code(value: float) -> int:
        return zero_point + int(round_away(np.float32(value) / np.float32(scale)))

    kind = schema.ActivationFunctionType
    if activation == kind.NONE:
        return -128, 127
    ends: dict[int, tuple[float, float | None]] = {
        kind.RELU: (0.0, None),
        kind.RELU6: (0.0, 6.0),
        kind.RELU_N1_TO_1: (-1.0, 1.0),
    }
    if activation not in ends:
        return None
    low, high = ends[activation]
    return max(-128, code(low)), 127 if high is None else min(127, code(high))
