"""A small float net and random images for it, which the tests of training share."""

import numpy as np
import tensorflow as tf

import bcnet_keras  # noqa: F401 (first to ask for the legacy Keras)

layers = tf.keras.layers


def float_net(size=8, classes=4, channels=1):
    inputs = tf.keras.Input((size, size, channels))
    tensor = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(inputs)))
    tensor = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(tensor)))
    return tf.keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(tensor)))


def images_and_labels(number=64, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(-1, 1, (number, 8, 8, 1)).astype(np.float32), random.integers(0, 4, number)
