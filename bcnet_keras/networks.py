"""Named networks: float CNNs whose int8 twins are today's standard on microcontrollers, and binary nets beside them.

    float_net, binary_net = NETWORKS["fashion_mnist"](input_shape=(28, 28, 1), classes=10)
    pair = BCNet(binary_net, int8_twin(float_net))

All map images in `INPUT_RANGE` to logits. With `shared_stem=True` the binary net begins with the float net's first
block, for `twins.share_stem`; `binary_width` multiplies the filters of its convolutions; `binary_blocks` puts others in
their place, with the first layer that goes with them, see `parse_blocks`.
"""

import re

import tensorflow as tf

from bcnet_keras.layers import (
    INPUT_RANGE,
    BinaryConv2D,
    CalibratedThermometer,
    FakeQuant,
    Int8Conv2D,
    Int8Dense,
    ThermometerEncoding,
    batch_norm,
    global_average,
)

_keras = tf.keras.layers
POOL = "pool"


def _convolution(tensor, filters, kernel_size=3, strides=1, relu=True):
    tensor = _keras.Conv2D(filters, kernel_size, strides, padding="same", use_bias=False)(tensor)
    tensor = batch_norm()(tensor)
    return _keras.ReLU()(tensor) if relu else tensor


def resnet8(input_shape, classes, filters=16):
    """Float ResNet-8: the image classification net of MLPerf Tiny (Banbury et al., arXiv 2106.07597) at 32x32x3.

    Three stages of one residual block with `filters`, 2 x and 4 x `filters`; strides 1, 2, 2.
    """
    inputs = tf.keras.Input(input_shape)
    tensor = _convolution(inputs, filters)
    for width, strides in ((filters, 1), (2 * filters, 2), (4 * filters, 2)):
        branch = _convolution(tensor, width, strides=strides)
        branch = _convolution(branch, width, relu=False)
        if strides > 1:
            tensor = _keras.Conv2D(width, 1, strides, padding="same")(tensor)
        tensor = _keras.ReLU()(_keras.Add()([tensor, branch]))
    tensor = _keras.GlobalAveragePooling2D()(tensor)
    return tf.keras.Model(inputs, _keras.Dense(classes)(tensor), name="resnet8")


def ds_cnn(input_shape, classes, filters=64):
    """Float DS-CNN: the keyword spotting net of MLPerf Tiny (Zhang et al., arXiv 1711.07128) at 49x10x1."""
    inputs = tf.keras.Input(input_shape)
    tensor = _convolution(inputs, filters, kernel_size=(10, 4), strides=2)
    tensor = _keras.Dropout(0.2)(tensor)
    for _ in range(4):
        tensor = _keras.DepthwiseConv2D(3, padding="same", use_bias=False)(tensor)
        tensor = _keras.ReLU()(batch_norm()(tensor))
        tensor = _convolution(tensor, filters, kernel_size=1)
    tensor = _keras.Dropout(0.4)(tensor)
    tensor = _keras.GlobalAveragePooling2D()(tensor)
    return tf.keras.Model(inputs, _keras.Dense(classes)(tensor), name="ds_cnn")


def binary_cnn(input_shape, classes, blocks, planes=None, stem=None):
    """Binary CNN of 3x3 convolutions with an int8 classifier on the average map.

    Arguments:
      blocks: (filters, strides) of each convolution; filters best in multiples of 32. Strides are 1, 2, or "pool" for
        one without strides and 2x2 max-pooling behind it, which on the device is an OR of bits
        (behind the last convolution, whose map is averaged, a maximum of int8).
      planes: thermometer planes a channel, so that all convolutions are binary; None for an int8 first one.
      stem: (filters, kernel size, strides) of an int8 convolution with ReLU, as float nets begin, for `share_stem`. The
        planes are then of its output.
    """
    inputs = tf.keras.Input(input_shape)
    tensor, pooling = FakeQuant(*INPUT_RANGE, fixed=True)(inputs), None
    if stem is not None:
        tensor = batch_norm()(Int8Conv2D(*stem, padding="same", use_bias=False)(tensor))
        tensor = CalibratedThermometer(planes)(FakeQuant()(_keras.ReLU()(tensor)))
    elif planes is None:
        (filters, strides), *blocks = blocks
        tensor = Int8Conv2D(filters, 3, _stride(strides), padding="same", use_bias=False)(tensor)
        tensor, pooling = FakeQuant()(batch_norm()(tensor)), _pooling(strides)
    else:
        tensor = ThermometerEncoding(planes)(tensor)
    for filters, strides in blocks:
        if pooling is not None:
            tensor = pooling(tensor)
        tensor, pooling = batch_norm()(BinaryConv2D(filters, 3, _stride(strides))(tensor)), _pooling(strides)
    tensor = global_average(tensor, FakeQuant(), pooling)  # no sign is taken behind the last one: it pools integers
    logits = FakeQuant()(Int8Dense(classes)(tensor))
    return tf.keras.Model(inputs, logits, name="binary_cnn")


def _stride(strides):
    return 1 if strides == POOL else strides


def _pooling(strides):
    return _keras.MaxPooling2D() if strides == POOL else None


def parse_blocks(text):
    """(blocks, planes) of `binary_cnn` from text.

    "64/pool, 128/2, 128/1" is ((64, "pool"), (128, 2), (128, 1)), None; with "10 planes, " in front, the planes are 10.

    Raises ValueError for any other text.
    """
    first, _, rest = text.partition(",")
    planes = re.fullmatch(r"\s*([1-9]\d{0,2}) planes\s*", first)
    parts = [re.fullmatch(r"\s*([1-9]\d*)/(1|2|pool)\s*", part) for part in (rest if planes else text).split(",")]
    if not all(parts):
        raise ValueError(
            f"binary blocks are filters/strides, with 1, 2 or {POOL} for strides, such as "
            f"'10 planes, 64/{POOL}, 128/2'; got {text!r}."
        )
    blocks = tuple((int(part[1]), POOL if part[2] == POOL else int(part[2])) for part in parts)
    return blocks, planes and int(planes[1])


def _pair(float_net, stem, blocks, planes=None, shared_blocks=None, shared_planes=4):
    def build(input_shape, classes, shared_stem=False, binary_width=1.0, binary_blocks=None):
        own = (shared_blocks or blocks, shared_planes) if shared_stem else (blocks, planes)
        own, own_planes = own if binary_blocks is None else parse_blocks(binary_blocks)
        # Whole words of 32 channels.
        own = [(32 * max(1, round(filters * binary_width / 32)), strides) for filters, strides in own]
        binary_net = binary_cnn(input_shape, classes, own, own_planes, stem if shared_stem else None)
        return float_net(input_shape, classes), binary_net

    return build


_RESNET8 = (resnet8, (16, 3, 1))  # with its stem
_DS_CNN = (ds_cnn, (64, (10, 4), 2))
_BEHIND_DS_CNN = ((64, 1), (128, 2), (128, 1))
_FIVE_CONVOLUTIONS = ((64, 2), (64, 1), (128, 2), (128, 1), (256, 2))
# Name of a data set -> function (input_shape, classes, shared_stem=False, binary_width=1.0, binary_blocks=None) that
# gives (float net, binary net).
NETWORKS = {
    "digits": _pair(*_RESNET8, blocks=((32, 1), (64, 2), (96, 2), (96, 2)), planes=10, shared_planes=2),
    "fashion_mnist": _pair(*_RESNET8, blocks=((64, 2), (128, 2), (256, 2)), shared_blocks=_FIVE_CONVOLUTIONS),
    "speech_commands": _pair(
        *_DS_CNN, blocks=((64, 2), *_BEHIND_DS_CNN), shared_blocks=_BEHIND_DS_CNN, shared_planes=1
    ),
    "images": _pair(*_RESNET8, blocks=_FIVE_CONVOLUTIONS, planes=10),
}
