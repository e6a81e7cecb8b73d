"""Float Keras models of the kinds that users have, small; and how their twins are settled without training."""

import numpy as np
import tensorflow as tf

from bcnet_keras.layers import FakeQuant

layers = tf.keras.layers


def functional(shape, build):
    inputs = tf.keras.Input(shape)
    return tf.keras.Model(inputs, build(inputs))


def tutorial():
    """As Keras' tutorials have it: pixels in, augmentation, a big dense layer."""
    return tf.keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            layers.RandomFlip("horizontal", name="flip"),
            layers.RandomRotation(0.1, name="turn"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(5),
        ]
    )


def normalised():
    """A range of its own for each channel, several kinds of activation, one probability."""
    return tf.keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3000.0, 4000.0, 3500.0]),
            layers.Conv2D(8, 3, activation=tf.nn.relu6),
            layers.BatchNormalization(),
            layers.LeakyReLU(0.1),
            layers.Conv2D(16, 3, activation="swish", strides=2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(8, activation=layers.LeakyReLU()),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def series():
    return tf.keras.Sequential(
        [
            layers.Input((32, 6)),
            layers.Conv1D(16, 5, padding="causal", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling1D(2),
            layers.SeparableConv1D(24, 3, padding="same", activation="relu"),
            layers.Conv1D(32, 3, strides=2, activation="tanh"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(4, activation="softmax"),
        ]
    )


def two_branches():
    def build(image):
        branches = [
            layers.MaxPooling2D()(layers.Conv2D(16, size, padding="same", activation="relu")(image)) for size in (3, 5)
        ]
        tensor = layers.Conv2D(32, 3, padding="same", activation="relu")(layers.Concatenate()(branches))
        return layers.Dense(10)(layers.GlobalAveragePooling2D()(tensor))

    return functional((32, 32, 3), build)


def fire():
    def block(tensor, squeezed, expanded):
        tensor = layers.Conv2D(squeezed, 1, activation="relu")(tensor)
        sides = [layers.Conv2D(expanded, size, padding="same", activation="relu")(tensor) for size in (1, 3)]
        return layers.Concatenate()(sides)

    def build(image):
        tensor = layers.Rescaling(1 / 127.5, offset=-1)(image)
        tensor = block(layers.Conv2D(16, 3, strides=2, activation="relu")(tensor), 8, 16)
        tensor = block(layers.MaxPooling2D(3, 2)(tensor), 8, 24)
        tensor = layers.Conv2D(10, 1, activation="relu")(layers.Dropout(0.5)(tensor))
        return layers.Softmax()(layers.GlobalAveragePooling2D()(tensor))

    return functional((24, 24, 3), build)


def dense_blocks():
    def build(image):
        tensor = layers.Conv2D(16, 3, padding="same", use_bias=False)(image)
        for _ in range(2):
            more = layers.ReLU()(layers.BatchNormalization()(tensor))
            tensor = layers.concatenate([tensor, layers.Conv2D(12, 3, padding="same", use_bias=False)(more)])
            tensor = layers.AveragePooling2D()(layers.Conv2D(24, 1)(layers.ReLU()(layers.BatchNormalization()(tensor))))
        return layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(tensor))

    return functional((16, 16, 1), build)


def squeeze_and_excite():
    """EfficientNet's block, with its two layers in front."""

    def normal(tensor, activation=None):
        tensor = layers.BatchNormalization()(tensor)
        return tensor if activation is None else layers.Activation(activation)(tensor)

    def build(image):
        tensor = layers.Rescaling(1 / 255)(image)
        tensor = layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.0524, 0.0502, 0.0506])(tensor)
        tensor = normal(layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(tensor), "swish")
        wide = normal(layers.Conv2D(32, 1, use_bias=False)(tensor), "swish")
        wide = normal(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(wide), "swish")
        gate = layers.Reshape((1, 1, 32))(layers.GlobalAveragePooling2D()(wide))
        gate = layers.Conv2D(32, 1, activation="sigmoid")(layers.Conv2D(8, 1, activation="swish")(gate))
        wide = normal(layers.Conv2D(16, 1, use_bias=False)(layers.multiply([wide, gate])))
        tensor = layers.add([layers.Dropout(0.2, noise_shape=(None, 1, 1, 1))(wide), tensor])
        return layers.Dense(7, activation="softmax")(layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(tensor)))

    return functional((16, 16, 3), build)


def operators():
    """Arithmetic written with operators of Python, as MobileNetV3 has it; three tensors in one Add."""

    def hard_swish(tensor):
        return layers.Multiply()([tensor, layers.ReLU(6.0)(tensor + 3.0) * (1.0 / 6.0)])

    def build(image):
        tensor = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(image / 127.5 - 1.0)
        tensor = hard_swish(layers.BatchNormalization()(tensor))
        gate = layers.ReLU()(layers.Conv2D(8, 1)(layers.GlobalAveragePooling2D(keepdims=True)(tensor)))
        gate = layers.ReLU(6.0)(layers.Conv2D(16, 1)(gate) + 3.0) * (1.0 / 6.0)
        tensor = tf.nn.relu(layers.Multiply()([tensor, gate]))
        tensor = tensor + layers.Conv2D(16, 3, padding="same", activation="hard_sigmoid")(tensor)
        tensor = layers.Add()([tensor, layers.Conv2D(16, 1)(tensor), layers.Conv2D(16, 3, padding="same")(tensor)])
        tensor = layers.GlobalAveragePooling2D(keepdims=True)(layers.ReLU(max_value=1.0)(tensor))
        return layers.Softmax()(layers.Flatten()(layers.Conv2D(5, 1)(hard_swish(layers.Conv2D(32, 1)(tensor)))))

    return functional((16, 16, 3), build)


def nested():
    inner = tf.keras.Sequential(
        [
            layers.Input((8, 8, 8)),
            layers.Conv2D(8, 3, padding="same", name="same"),
            layers.BatchNormalization(),
            layers.PReLU(shared_axes=[1, 2]),
        ]
    )
    deep = functional((8, 8, 8), lambda x: layers.Average()([inner(x), layers.Maximum()([x, layers.Conv2D(8, 1)(x)])]))
    outer = tf.keras.Sequential([deep, layers.Conv2D(8, 3, padding="same", name="same"), layers.ReLU()])
    return tf.keras.Sequential(
        [
            layers.Input((16, 16)),
            layers.Reshape((16, 16, 1)),
            layers.Conv2D(8, 3, strides=2, padding="same"),
            outer,
            layers.Cropping2D(1),
            layers.GlobalMaxPooling2D(),
            layers.Dense(16),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(2, activation="sigmoid"),
        ]
    )


def perceptron():
    return tf.keras.Sequential(
        [layers.Input((12, 12)), layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(10)]
    )


def mobilenet():
    return tf.keras.applications.MobileNet((96, 96, 3), alpha=0.25, weights=None, classes=4)


def mobilenet_v2():
    return tf.keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=4)


SMALL = (
    tutorial,
    normalised,
    series,
    two_branches,
    fire,
    dense_blocks,
    squeeze_and_excite,
    operators,
    nested,
    perceptron,
)
LARGE = (mobilenet, mobilenet_v2)


def with_statistics(model, seed=4):
    """`model`, its batch normalisation with statistics that are not 0 and 1."""
    random = np.random.default_rng(seed)
    for layer in model.submodules:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma, random.uniform(0, 1, beta.shape), mean + 0.1, variance * 0.5])
    return model


def pixels(model, number=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, *model.input_shape[1:])).astype(np.uint8)


def settle(net, images, statistics=False):
    """Sets all ranges of a twin, and with `statistics` its batch normalisation, to what `images` have."""
    normal = [layer for layer in net.layers if isinstance(layer, layers.BatchNormalization)]
    for layer in net.layers:
        if isinstance(layer, FakeQuant):
            layer.momentum = 0.0
        if "Dropout" in type(layer).__name__:
            layer.rate = 0.0
    momentum = [layer.momentum for layer in normal]
    for layer in normal:
        layer.momentum = 0.0
    if statistics:
        net(images, training=True)
    for layer, value in zip(normal, momentum, strict=True):
        layer.momentum, layer.trainable = value, False
    net(images, training=True)
    return net
