"""Models of Keras 3, copied for the legacy Keras: they answer as Keras 3 does, or what cannot be copied is named."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import bcnet_keras as bc
from bcnet_keras.models import keras3
from bcnet_keras.models.twins.rules import RULES

layers, ops = keras.layers, keras.ops
KINDS = {kind.__name__ for kind in RULES}


def functional(shape, build):
    inputs = keras.Input(shape)
    return keras.Model(inputs, build(inputs))


def small():
    return keras.Sequential(
        [
            layers.Input((8, 8, 2)),
            layers.RandomFlip("horizontal"),
            layers.Conv2D(4, 3, padding="same", use_bias=False, kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.SeparableConv2D(6, 3, depth_multiplier=2, strides=2, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(5, activation="softmax"),
        ]
    )


def activations():
    """One of each; those of Keras 3 may differ from what the legacy Keras calls by the same name."""

    def build(image):
        tensor = layers.Rescaling([0.5, 2.0], [0.1, -0.1])(image)
        tensor = layers.Normalization(mean=[0.1, 0.2], variance=[0.5, 2.0])(tensor)
        for name in ("hard_sigmoid", "hard_swish", "leaky_relu", "silu", "relu6", "tanh", "sigmoid", "linear", "relu"):
            branch = layers.Activation(name)(tensor)
            tensor = layers.Conv2D(3, 3, padding="same", activation=name)(tensor)
            tensor = layers.Concatenate()([tensor, branch])
        tensor = layers.LeakyReLU(0.15)(tensor)
        tensor = layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal")(tensor)
        tensor = layers.Dense(4, activation=layers.LeakyReLU(0.3))(layers.GlobalMaxPooling2D()(tensor))
        return layers.Softmax()(tensor)

    return functional((6, 6, 2), build)


def operators():
    def build(image):
        tensor = layers.Conv2D(4, 3, padding="same")(image / 127.5 - 1.0)
        one = ops.relu(2.0 * tensor) + ops.leaky_relu(tensor, 0.3)
        two = ops.hard_sigmoid(1.0 - tensor) * ops.silu(tensor)
        tensor = layers.Average()([one - two, ops.relu6(tensor), ops.hard_silu(tensor)])
        tensor = keras.activations.relu(ops.concatenate([tensor, ops.tanh(tensor)], axis=-1), max_value=6)
        tensor = ops.reshape(ops.mean(tensor, axis=[1, 2]), (-1, 8))
        tensor = ops.squeeze(ops.expand_dims(ops.sigmoid(tensor), 1), 1)
        return ops.softmax(layers.Dense(3)(tensor))

    return functional((6, 6, 1), build)


def series():
    def build(values):
        tensor = layers.Conv1D(8, 5, padding="causal", activation="relu")(values)
        tensor = layers.DepthwiseConv1D(3, depth_multiplier=2, strides=2)(layers.AveragePooling1D(2)(tensor))
        return layers.Dense(3)(layers.GlobalAveragePooling1D()(tensor))

    return functional((32, 4), build)


def nested():
    inner = keras.Sequential([layers.Conv2D(4, 3, padding="same", name="same"), layers.BatchNormalization()])
    deep = functional((8, 8, 4), lambda tensor: layers.Add()([tensor, inner(tensor)]))

    def build(image):
        tensor = layers.Conv2D(4, 3, padding="same", name="same")(image)
        tensor = layers.ZeroPadding2D(1)(layers.Cropping2D(1)(deep(tensor)))
        return layers.Dense(2)(layers.GlobalAveragePooling2D()(tensor))

    return functional((8, 8, 1), build)


def mobilenet_v2():
    return keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=4)


def settled(model):
    """`model` with batch normalisation that is no identity, and makes what goes through many layers no smaller."""
    random = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            size = layer.gamma.shape
            layer.set_weights(
                [random.uniform(*ends, size) for ends in ((1, 1.5), (-0.5, 0.5), (-0.1, 0.1), (0.15, 0.3))]
            )
    return model


def values(model, number=8, low=-1, high=1):
    return np.random.default_rng(1).uniform(low, high, (number, *model.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize(
    "make",
    [
        *(small, activations, operators, series, nested),
        pytest.param(mobilenet_v2, marks=pytest.mark.slow),
    ],
)
def test_the_copy_answers_as_keras_3_does(make):
    model = settled(make())
    copy = keras3.to_legacy(model, KINDS)
    assert isinstance(copy, tf.keras.Model) and copy.name == model.name
    images = values(model, low=0, high=255) if make is operators else values(model)
    expected = model(images, training=False).numpy()
    np.testing.assert_allclose(copy(images, training=False), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3  # answers that tell the images apart
    # Reading it for the twins changes the logits no more than that.
    logits = bc.float_logits(model)(images).numpy()
    ends_in_softmax = np.allclose(expected.sum(axis=-1), 1, atol=1e-4)
    np.testing.assert_allclose(tf.nn.softmax(logits) if ends_in_softmax else logits, expected, atol=1e-5)


def test_a_pair_is_made_of_a_model_or_of_its_file(tmp_path):
    model = settled(small())
    model.save(tmp_path / "float.keras")
    pair = bc.BCNet.from_keras(str(tmp_path / "float.keras"), width=1.0, verbose=0)
    assert pair.int8.name == f"{model.name}_int8"
    for one, other in zip(pair.int8.get_weights(), bc.int8_twin(model).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    images = values(model)
    expected = model(images, training=False).numpy()
    assert np.abs(tf.nn.softmax(pair.int8(images)) - expected).max() < 0.1  # ranges are not trained yet
    pair.compile(stage="binary", teacher=model)
    pair.fit(images, np.arange(8) % 5, verbose=0)


def test_a_file_of_the_legacy_keras_is_read_too(tmp_path):
    model = tf.keras.Sequential([tf.keras.layers.Input((6, 6, 1)), *map(tf.keras.layers.Dense, (4, 3))])
    model.add(tf.keras.layers.GlobalAveragePooling2D())
    for name in ("old.keras", "old.h5"):
        model.save(tmp_path / name)
        images = values(model)
        np.testing.assert_allclose(bc.float_logits(tmp_path / name)(images), model(images), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_keras_may_come_first_with_any_backend(backend):
    pytest.importorskip(backend)
    code = (
        "import keras, sys\n"
        "layers = keras.layers\n"
        "model = keras.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(4, 3, activation='relu'), layers.Flatten(),\n"
        "    layers.Dense(3)])\n"
        "import numpy as np, bcnet_keras as bc\n"
        "images = np.random.default_rng(0).uniform(-1, 1, (8, 6, 6, 1)).astype('float32')\n"
        "pair = bc.BCNet.from_keras(model, width=1.0, verbose=0)\n"
        "pair.compile(stage='binary')\n"
        "pair.fit(images, np.arange(8) % 3, verbose=0)\n"
        "expected = keras.ops.convert_to_numpy(model(images))\n"
        "print(keras.backend.backend(), np.abs(bc.float_logits(model)(images) - expected).max() < 1e-5)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == [f"{backend} True"], done.stderr[-2000:]


class Own(keras.Model):
    def call(self, inputs):
        return inputs


class OwnLayer(layers.Layer):
    def call(self, inputs):
        return inputs


def one_layer(*more):
    return keras.Sequential([layers.Input((4, 4, 1)), *more, layers.Flatten(), layers.Dense(3, name="last")])


def quantised():
    model = one_layer()
    model.quantize("int8")
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Own, "functional or sequential Keras model is needed, got Own of Keras 3.*keras.Model"),
        (lambda: keras.Sequential([layers.Dense(3)]), "no input shape yet"),
        (
            lambda: one_layer(OwnLayer(name="own"), layers.Conv2D(2, 1, activation="gelu", name="odd")),
            r"take these layers over from Keras 3: own \(OwnLayer\), odd \(activation 'gelu'\)\. Layers that",
        ),
        (lambda: one_layer(layers.Lambda(lambda x: x + 1, name="code")), r"code \(Lambda\)"),
        (lambda: functional((4, 4, 1), lambda x: ops.cumsum(ops.mean(x, axis=[1, 2]))), r"keras.ops, Cumsum"),
        (quantised, r"last \(Dense, quantised to int8; give the float model\)"),
        (lambda: one_layer(layers.ReLU(threshold=1.0, name="odd")), r"odd \(a threshold of ReLU"),
    ],
)
def test_what_cannot_be_copied_is_named(make, message):
    with pytest.raises(bc.BcnetError, match=message):
        bc.float_logits(make())


@pytest.mark.parametrize(("content", "message"), [(None, "there is no file"), (b"text", "does not load as a Keras")])
def test_a_file_that_is_no_model_is_named(tmp_path, content, message):
    path = tmp_path / "net.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(bc.BcnetError, match=message) as error:
        bc.BCNet.from_keras(path)
    assert "\n" not in str(error.value)


def test_h5_files_are_of_either_keras_and_what_holds_no_layers_is_named(tmp_path):
    model = one_layer(layers.Conv2D(2, 1))
    model.save(tmp_path / "net.h5")
    images = np.random.default_rng(0).uniform(-1, 1, (3, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(bc.float_logits(tmp_path / "net.h5")(images), bc.float_logits(model)(images), rtol=1e-6)
    model.save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(bc.BcnetError, match=r"net.weights.h5 holds weights without a model: .*model.save\.$"):
        bc.BCNet.from_keras(tmp_path / "net.weights.h5")
    model.export(tmp_path / "exported", verbose=False)
    with pytest.raises(bc.BcnetError, match=r"exported is no Keras model with its layers: .*model.save\.$"):
        bc.BCNet.from_keras(tmp_path / "exported")
