"""Keras layers for nets that run on integers and bits: binary, int8, and the gate between them.

A binary net is built from `BinaryConv2D` and `BinaryDense`, each followed by batch normalisation; an int8 net from
`Int8Conv2D`, `Int8DepthwiseConv2D` and `Int8Dense`; `FakeQuant` marks every place where a real number becomes an 8-bit
code. Nets built so convert without a float operation left:

    >>> x = inputs = tf.keras.Input((32, 32, 3))            # pixels in [-1, 127/128]
    >>> x = ThermometerEncoding(planes=10)(x)               # 30 planes, so that the first layer can be binary
    >>> x = tf.keras.layers.BatchNormalization()(BinaryConv2D(64, 3, strides=2)(x))
    >>> x = tf.keras.layers.BatchNormalization()(BinaryConv2D(64, 3)(x))
    >>> x = global_average(x, FakeQuant())
    >>> logits = FakeQuant()(Int8Dense(10)(x))

All layers take NHWC float32 tensors. The binary ones may compute in mixed precision, see `with_precision`.
"""

import bcnet_keras.legacy_keras  # noqa: F401 (before TensorFlow)
from bcnet_keras.layers.batch_norm import batch_norm
from bcnet_keras.layers.binary import BinaryConv2D, BinaryDense, fastest_precision, with_precision
from bcnet_keras.layers.common import INPUT_RANGE, leave_quantized_scope
from bcnet_keras.layers.gate import MEASURES, ConfidenceGate, entropy, max_probability, score_margin
from bcnet_keras.layers.int8 import (
    FakeQuant,
    HardSwish,
    Int8Conv2D,
    Int8Dense,
    Int8DepthwiseConv2D,
    front_affine,
    front_of,
    global_average,
)
from bcnet_keras.layers.quantized import QuantConv2D, QuantDense
from bcnet_keras.layers.quantizers import (
    ApproxSign,
    MagnitudeAwareSign,
    SteSign,
    SwishSign,
    WeightClip,
)
from bcnet_keras.layers.thermometer import CalibratedThermometer, ThermometerEncoding

__all__ = [
    "ApproxSign",
    "BinaryConv2D",
    "BinaryDense",
    "CalibratedThermometer",
    "ConfidenceGate",
    "FakeQuant",
    "HardSwish",
    "INPUT_RANGE",
    "Int8Conv2D",
    "Int8Dense",
    "Int8DepthwiseConv2D",
    "MEASURES",
    "MagnitudeAwareSign",
    "QuantConv2D",
    "QuantDense",
    "SteSign",
    "SwishSign",
    "ThermometerEncoding",
    "WeightClip",
    "batch_norm",
    "entropy",
    "fastest_precision",
    "front_affine",
    "front_of",
    "global_average",
    "leave_quantized_scope",
    "max_probability",
    "score_margin",
    "with_precision",
]
