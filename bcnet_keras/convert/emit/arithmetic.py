"""The numbers of a flatbuffer: scales and codes, folded normalisation, thresholds, words of bits.

Sources: quantisation of ranges and kernels as in TensorFlow's fake quantisation and TensorFlow Lite's specification
(int8 codes, biases of scale input x kernel); batch normalisation y = multiplier x + bias with multiplier = gamma /
sqrt(variance + epsilon), bias = beta - mean x multiplier; thresholds of binary sums as Larq Compute Engine has them
(larq_compute_engine/core/bconv2d/output_transform.h and mlir/transforms/optimize.cc).

The inverse square root is computed in double precision and rounded once, so that a net gives the same file on every
machine. Converters round it by the processor's approximation; a threshold may differ by one where the exact one lies
within a rounding error of a whole number.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from bcnet_keras.tflite.flatbuffer import schema
from bcnet_keras.utils.types import Array

NONE, RELU, RELU6 = (getattr(schema.ActivationFunctionType, name) for name in ("NONE", "RELU", "RELU6"))
_float = np.float32


def words(channels: int) -> int:
    """Words of 32 bits that hold as many channels."""
    return -(-channels // 32)


def packed(negative: Array) -> Array:
    """bool [..., c] -> int32 [..., words]: bit c % 32 of word c // 32."""
    *rest, channels = negative.shape
    padded = np.zeros((*rest, words(channels) * 32), bool)
    padded[..., :channels] = negative
    return np.packbits(padded, axis=-1, bitorder="little").view("<i4").reshape(*rest, words(channels))


def range_quantization(low: float, high: float) -> tuple[float, int]:
    """(scale, zero point) of the int8 codes of a range, as TensorFlow Lite's converter has them."""
    low, high = float(_float(low)), float(_float(high))
    scale = (high - low) / 255
    # Halves, as those of a symmetric range, are rounded in codes from 0 to 255, as in fake quantisation.
    return scale, int(np.clip(np.floor(0.5 - low / scale) - 128, -128, 127))


def kernel_codes(kernel: Array, one_scale: bool = False) -> tuple[Array, Array]:
    """(codes from -127 to 127, of the kernel's shape; float64 scales [size of the last axis]) of a float32 kernel.

    Each index of the last axis has a scale of its own, or all have one. As `layers.int8` rounds kernels in training.
    """
    axes = None if one_scale else tuple(range(kernel.ndim - 1))
    largest = np.max(np.abs(kernel), axis=axes).astype(_float) + _float(1e-8)
    scales = np.broadcast_to(largest.astype(np.float64) * 2 / 254, kernel.shape[-1:])
    return np.clip(np.round(kernel / scales), -127, 127), scales


def inverse_root(values: Array) -> Array:
    """float32 1 / sqrt of float32 values, correctly rounded."""
    return (1 / np.sqrt(values.astype(np.float64))).astype(_float)


def affine(layer: tf.keras.layers.BatchNormalization) -> tuple[Array, Array]:
    """(multiplier, bias) of a batch normalisation at inference, float32 [c]."""
    weights = {variable.name.split("/")[-1].split(":")[0]: variable.numpy() for variable in layer.weights}
    multiplier = inverse_root(weights["moving_variance"] + _float(layer.epsilon))
    if "gamma" in weights:
        multiplier = multiplier * weights["gamma"].astype(_float)
    return multiplier, weights.get("beta", _float(0)) - weights["moving_mean"] * multiplier


def sum_thresholds(multiplier: Array, bias: Array, products: int, activation: int = NONE) -> Array:
    """int32 thresholds of sums of `products` products of signs: LceBconv2d writes the bit 1 where they are exceeded.

    In the sums of the kernel times the multiplier's sign, and in the count of differing bits that the kernel has.
    `activation` works on the sums, before multiplier and bias.
    """
    size = np.abs(multiplier)
    low, high = {NONE: (-products, products), RELU: (0, products), RELU6: (0, 6)}[activation]
    turned = multiplier < 0  # with the kernel's signs turned, the activation cuts off at the other end
    lowest = np.where(turned, -high, low).astype(_float) * size + bias
    highest = np.where(turned, -low, high).astype(_float) * size + bias
    with np.errstate(all="ignore"):
        thresholds = np.floor(0.5 * (bias / size + _float(products)).astype(np.float64))
    thresholds = np.where((lowest < 0) & (highest < 0), -(2.0**31), thresholds)
    thresholds = np.where((lowest >= 0) & (highest >= 0), 2.0**31 - 1, thresholds)
    thresholds = np.where(multiplier == 0, np.where(bias < 0, -(2.0**31), 2.0**31 - 1), thresholds)
    return thresholds.astype(np.int64).astype(np.int32)


def level_thresholds(levels: ArrayLike, step: float, scale: float, zero_point: int) -> Array:
    """int32 thresholds [levels]: the sign of x - level is negative for the codes of x below them.

    Arguments:
      levels: float [levels], in the unit of x.
      step: of the codes to which the differences are rounded.
      scale, zero_point: of the codes of x.
    """
    values = (np.arange(-128, 128)[:, np.newaxis] - zero_point) * np.float64(scale)
    negative = np.floor((values - np.asarray(levels, np.float64)) / step + 0.5) < 0
    return negative.sum(axis=0, dtype=np.int32) - 128
