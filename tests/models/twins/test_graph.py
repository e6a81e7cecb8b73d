"""Users' models as graphs: the same answers from fewer kinds of layers, and refusals that name what is taken."""

import logging

import numpy as np
import pytest
import tensorflow as tf
import zoo

import bcnet_keras as bc
from bcnet_keras.models.twins.reader import SUPPORTED, read

layers = tf.keras.layers


def images_for(model, number=8):
    low, high = (0.0, 255.0) if read(model).takes_raw else (-1.0, 1.0)
    return np.random.default_rng(0).uniform(low, high, (number, *model.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize("make", [*zoo.SMALL, *zoo.LARGE])
def test_the_graph_answers_as_the_model_does(make):
    tf.keras.utils.set_random_seed(1)
    model = zoo.with_statistics(make())
    images = images_for(model)
    expected = model(images, training=False).numpy()
    logits = bc.float_logits(model)(images, training=False).numpy()
    assert logits.shape == (8, max(2, expected.shape[1]))
    probabilities = tf.nn.softmax(logits).numpy()
    if expected.shape[1] == 1:
        np.testing.assert_allclose(probabilities[:, 1:], expected, atol=1e-5)
        return
    # Whichever the model ends in: logits, a softmax, or a sigmoid for each of two classes.
    forms = [logits, probabilities, tf.sigmoid(logits).numpy()]
    assert min(np.abs(form - expected).max() for form in forms) < 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("make", zoo.SMALL)
def test_the_int8_twin_takes_what_the_model_takes_and_answers_alike(make):
    tf.keras.utils.set_random_seed(1)
    model = zoo.with_statistics(make())
    images = images_for(model, 16)
    twin = bc.int8_twin(model)
    assert twin.input_shape == model.input_shape
    logits = zoo.settle(twin, images)(images).numpy()
    expected = bc.float_logits(model)(images, training=False).numpy()
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.99
    assert np.abs(logits - expected).mean() < 0.03 * np.ptp(expected)


def test_augmentation_is_left_out_and_said(caplog):
    with caplog.at_level(logging.INFO, "bcnet_keras"):
        graph = read(zoo.tutorial())
    assert not any("Random" in type(node.layer).__name__ for node in graph.nodes)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "flip, turn" in line and "augment the data set instead" in line


def test_scaling_in_front_becomes_a_range():
    model = tf.keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Rescaling(1 / 255),
            layers.Normalization(mean=0.5, variance=0.25),
            layers.Rescaling(2.0, offset=0.5),
            layers.Conv2D(4, 3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    graph = read(model)
    np.testing.assert_allclose(graph.affine, (4 / 255, -1.5), rtol=1e-6)
    assert [type(layer).__name__ for layer in graph.front] == ["Rescaling"]
    pair = bc.BCNet.from_keras(model, verbose=0)
    assert pair.input_range == pair.raw_range == (0.0, 255.0)
    ramp = np.linspace(0, 255, 8 * 8 * 3).reshape(1, 8, 8, 3)
    np.testing.assert_allclose(pair.preprocess(ramp), ramp, rtol=1e-6)
    assert pair.int8.get_layer("image_quant").range == pytest.approx((-1.5, 2.5), abs=2 / 255)


def test_branches_that_scale_the_image_differently_are_refused():
    inputs = tf.keras.Input((8, 8, 1))
    sides = [layers.Conv2D(4, 3)(layers.Rescaling(scale)(inputs)) for scale in (1.0, 2.0)]
    model = tf.keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Add()(sides))))
    with pytest.raises(ValueError, match="read the image through different Rescaling"):
        read(model)


@pytest.mark.parametrize(
    "layer, named",
    [
        (lambda: layers.UpSampling2D(name="up"), r"up \(UpSampling2D\)"),
        (lambda: layers.Lambda(lambda x: 2 * x, name="twice"), r"twice \(Lambda\)"),
        (lambda: layers.Conv2D(4, 3, activation="gelu", name="g"), r"g \(activation 'gelu' is not supported\)"),
        (lambda: layers.Conv2D(4, 3, activation=lambda x: x, name="own"), r"own \(activation '<lambda>' of your own"),
        (lambda: layers.Activation("elu", name="e"), r"e \(activation 'elu' is not supported\)"),
        (lambda: layers.ReLU(threshold=0.5, name="t"), r"t \(a threshold of ReLU"),
        (lambda: layers.PReLU(name="p"), r"p \(PReLU with an alpha for each pixel; use shared_axes"),
        (lambda: layers.BatchNormalization(axis=1, name="b"), r"b \(axis 1; the last one is needed"),
        (lambda: layers.Resizing(4, 4, name="r"), r"r \(Resizing, which changes the size"),
        (lambda: layers.LayerNormalization(name="l"), r"l \(LayerNormalization\)"),
        (lambda: layers.Softmax(name="s"), r"softmax before the end"),
    ],
)
@pytest.mark.parametrize("turn", [bc.int8_twin, bc.binary_twin])
def test_what_cannot_be_turned_is_named_beside_what_can(turn, layer, named):
    model = tf.keras.Sequential([layers.Input((8, 8, 1)), layer(), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(ValueError, match=named) as error:
        turn(model)
    assert "\n" not in str(error.value)
    assert "softmax before" in str(error.value) or SUPPORTED in str(error.value)


def test_unknown_functions_and_layers_of_nested_models_are_named_at_once():
    inner = tf.keras.Sequential(
        [layers.Input((8, 8, 4)), layers.UpSampling2D(name="up"), layers.GRU(3, name="gru")][:2]
    )
    inputs = tf.keras.Input((8, 8, 1))
    tensor = tf.math.cumsum(layers.Conv2D(4, 3, padding="same")(inputs), axis=1)
    model = tf.keras.Model(inputs, layers.Dense(3)(layers.Flatten()(inner(tensor))))
    with pytest.raises(ValueError, match=r"\(tf\.math\.cumsum\), up \(UpSampling2D\)\. Supported layers:"):
        read(model)


def test_several_labels_an_image_are_refused():
    model = tf.keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3, activation="sigmoid")])
    with pytest.raises(ValueError, match="a sigmoid of 3 classes, which may all be right at once"):
        read(model)


@pytest.mark.parametrize(("activation", "named"), [("tanh", "tanh"), ("relu", "ReLU"), ("swish", "swish")])
def test_what_stands_in_place_of_one_logit_is_named(activation, named):
    model = tf.keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1, activation=activation)])
    with pytest.raises(ValueError, match=rf"a model of one logit must end in Dense\(1\) .* ends in {named}\.$"):
        read(model)


def test_an_activation_used_twice_is_two_but_weights_are_not_shared():
    relu = layers.ReLU()
    inputs = tf.keras.Input((8, 8, 1))
    tensor = relu(layers.Conv2D(4, 3)(relu(layers.Conv2D(4, 3)(inputs))))
    model = tf.keras.Model(inputs, layers.Dense(3)(layers.Flatten()(tensor)))
    images = images_for(model)
    np.testing.assert_allclose(bc.float_logits(model)(images), model(images), atol=1e-5)
