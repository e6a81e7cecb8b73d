"""Random nets of this package's layers, small, with weights and statistics of all kinds."""

import numpy as np
import tensorflow as tf
import zoo

import bcnet_keras as bc
from bcnet_keras.layers import (
    INPUT_RANGE,
    CalibratedThermometer,
    FakeQuant,
    HardSwish,
    Int8Conv2D,
    Int8Dense,
    Int8DepthwiseConv2D,
)

layers = tf.keras.layers


def normalised(tensor, random, **options):
    return layers.BatchNormalization(scale=bool(random.integers(2)), center=bool(random.integers(2)), **options)(tensor)


def window(tensor, random):
    """Kernel, strides, padding and dilation of a convolution that `tensor` is large enough for."""
    kernel, dilation = int(random.choice((1, 2, 3))), int(random.choice((1, 1, 2)))
    fits = min(tensor.shape[1:3]) > (kernel - 1) * dilation
    padding = str(random.choice(("same", "valid"))) if fits else "same"
    strides = int(random.choice((1, 1, 2))) if dilation == 1 else 1
    return dict(kernel_size=kernel, strides=strides, padding=padding, dilation_rate=dilation)


def int8_stem(image, random, signs):
    """An int8 layer; `signs`: one whose outputs have both signs, which alone tell images apart behind it."""
    settings = {**window(image, random), "padding": "same"}
    tensor = normalised(Int8Conv2D(int(random.integers(1, 9)), **settings)(image), random)
    return FakeQuant()(tensor if signs else layers.ReLU()(tensor))


def binary_block(tensor, random):
    """A binary convolution and its normalisation."""
    plain = bool(random.integers(3))
    tensor = bc.BinaryConv2D(
        int(random.choice((1, 5, 32, 33, 40))),
        **window(tensor, random),
        input_quantizer=str(random.choice(("approx_sign", "ste_sign", "swish_sign"))),
        kernel_quantizer="ste_sign" if plain else "magnitude_aware_sign",
    )(tensor)
    if plain and not random.integers(3):
        tensor = layers.ReLU(random.choice((None, 6.0)))(tensor)
    return normalised(tensor, random)


def binary_net(random):
    size = int(random.integers(4, 8))
    image = tf.keras.Input((size, size, int(random.integers(1, 4))))
    tensor = FakeQuant(*INPUT_RANGE, fixed=True)(image)
    stem = random.integers(3)
    if stem == 0:
        tensor = bc.ThermometerEncoding(int(random.integers(1, 8)))(tensor)
    else:
        tensor = int8_stem(tensor, random, signs=stem == 2)
        tensor = CalibratedThermometer(int(random.integers(1, 5)))(tensor) if stem == 1 else tensor
    blocks = int(random.integers(1, 3))
    for number in range(blocks):
        tensor = binary_block(tensor, random)
        if number == blocks - 1:
            break
        if min(tensor.shape[1:3]) > 1 and not random.integers(3):
            tensor = layers.MaxPooling2D(2, padding=str(random.choice(("same", "valid"))))(tensor)
        elif not random.integers(3):
            tensor = FakeQuant(symmetric=bool(random.integers(2)))(tensor)
    if not random.integers(3):
        tensor = normalised(bc.BinaryDense(int(random.integers(3, 40)))(tensor), random)
    pooling = layers.MaxPooling2D() if min(tensor.shape[1:3]) > 1 and not random.integers(3) else None
    return tf.keras.Model(image, FakeQuant()(Int8Dense(3)(bc.global_average(tensor, FakeQuant(), pooling))))


def int8_block(tensor, random):
    kind = random.integers(6)
    if kind < 2:
        settings = {**window(tensor, random), "use_bias": bool(random.integers(2))}
        tensor = Int8Conv2D(int(random.integers(1, 9)), **settings)(tensor)
        tensor = normalised(tensor, random) if random.integers(2) else tensor
        return FakeQuant()(layers.ReLU(random.choice((None, 6.0)))(tensor) if random.integers(2) else tensor)
    if kind == 2:
        tensor = Int8DepthwiseConv2D(3, padding="same", depth_multiplier=int(random.integers(1, 3)))(tensor)
        return FakeQuant()(normalised(tensor, random) if random.integers(2) else tensor)
    if kind == 3:
        side = FakeQuant()(Int8Conv2D(tensor.shape[-1], 1)(tensor))
        merge = random.choice((layers.Add, layers.Subtract, layers.Multiply))()
        return FakeQuant()(layers.ReLU()(merge([tensor, side])))
    if kind == 4:
        function = random.choice(
            (layers.LeakyReLU(0.2), HardSwish(), layers.PReLU("random_uniform", shared_axes=[1, 2]))
        )
        return FakeQuant()(function(tensor))
    return FakeQuant()(layers.Activation("relu")(Int8Conv2D(3, 1)(layers.ZeroPadding2D(((0, 1), (2, 0)))(tensor))))


def int8_net(random):
    size = int(random.integers(4, 8))
    image = tf.keras.Input((size, size, int(random.integers(1, 4))))
    tensor = FakeQuant(*INPUT_RANGE, fixed=True)(image)
    for _ in range(random.integers(1, 4)):
        tensor = int8_block(tensor, random)
    if random.integers(2):
        tensor = layers.Flatten()(tensor)
    else:
        quantiser = FakeQuant()
        tensor = quantiser(layers.GlobalAveragePooling2D()(quantiser(tensor)), training=False)
    return tf.keras.Model(image, FakeQuant()(Int8Dense(3)(tensor)))


def random_net(make, seed):
    """(net with weights and statistics of all kinds, 8-bit codes of images)."""
    random = np.random.default_rng(seed)
    tf.keras.utils.set_random_seed(seed)
    net = make(random)
    for layer in net.layers:
        if isinstance(layer, layers.BatchNormalization):
            values = {
                "gamma": random.normal(size=layer.moving_mean.shape) * random.choice((0.1, 1)),
                "beta": random.normal(size=layer.moving_mean.shape) * random.choice((0, 0.3, 2)),
            }
            chosen = [values[name] for name, used in (("gamma", layer.scale), ("beta", layer.center)) if used]
            layer.set_weights([*chosen, *layer.get_weights()[-2:]])
    codes = random.integers(-128, 128, (8, *net.input_shape[1:])).astype(np.int8)
    zoo.settle(net, codes.astype(np.float32) / 128, statistics=True)
    for layer in net.layers:
        if isinstance(layer, layers.BatchNormalization):  # no sum of a dead channel equals its mean, but for rounding
            layer.moving_mean.assign_add(random.uniform(0.01, 0.04, layer.moving_mean.shape))
        if isinstance(layer, FakeQuant) and layer.range[0] == layer.range[1]:
            layer.range = -1.0, 1.0
        elif isinstance(layer, CalibratedThermometer):
            low, high = layer.input.node.layer.range
            layer.calibrate(random.uniform(0, high, (99, layer.input.shape[-1])), (high - low) / 255)
    return net, codes
