"""Twins of float models: topology, weights, refusals, and that they convert to integers only."""

import numpy as np
import pytest
import tensorflow as tf

import bcnet_keras as bc
from bcnet_keras.layers import BinaryConv2D, BinaryDense, FakeQuant

layers = tf.keras.layers


def residual():
    inputs = tf.keras.Input((8, 8, 3))
    tensor = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)))
    branch = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(tensor))
    tensor = layers.ReLU()(layers.Add()([tensor, branch]))
    tensor = layers.GlobalAveragePooling2D()(tensor)
    return tf.keras.Model(inputs, layers.Dense(4, activation="softmax")(tensor))


def classic():
    return tf.keras.Sequential(
        [
            layers.Input((12, 12, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(4),
        ]
    )


def mobile():
    inputs = tf.keras.Input((12, 12, 3))
    tensor = layers.Conv2D(8, 3, strides=2, use_bias=False)(layers.ZeroPadding2D()(inputs))
    tensor = layers.ReLU(6.0)(layers.BatchNormalization()(tensor))
    branch = layers.ReLU()(layers.BatchNormalization()(layers.SeparableConv2D(8, 3, padding="same")(tensor)))
    tensor = layers.ReLU()(layers.BatchNormalization()(layers.Concatenate()([tensor, branch])))
    tensor = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(tensor)
    tensor = layers.AveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(tensor)))
    tensor = layers.Flatten()(layers.Conv2D(8, 1, activation="relu")(tensor))
    return tf.keras.Model(inputs, layers.Dense(4)(tensor))


def preactivation():
    inputs = tf.keras.Input((8, 8, 3))
    tensor = layers.Conv2D(8, 3, padding="same")(inputs)
    branch = layers.ReLU()(layers.BatchNormalization()(tensor))
    tensor = layers.Add()([tensor, layers.Conv2D(8, 3, padding="same")(branch)])
    tensor = layers.ReLU()(layers.BatchNormalization()(tensor))
    tensor = layers.GlobalAveragePooling2D()(layers.SpatialDropout2D(0.1)(layers.Conv2D(4, 1)(tensor)))
    return tf.keras.Model(inputs, layers.Softmax()(tensor))


MODELS = [residual, classic, mobile, preactivation]


def _images(model, number=64, seed=0):
    codes = np.random.default_rng(seed).integers(-128, 128, (number, *model.input_shape[1:]))
    return (codes / 128).astype(np.float32)


def _settled(twin, images):
    """Ranges and statistics as after some training."""
    twin.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    twin.fit(images, np.arange(len(images)) % 4, epochs=20, batch_size=32, verbose=0)
    return twin


@pytest.mark.parametrize("make", MODELS)
def test_int8_twin_computes_what_the_float_model_does(make):
    tf.keras.utils.set_random_seed(2)
    model = make()
    for layer in model.layers:  # statistics that are not 0 and 1
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            random = np.random.default_rng(4)
            layer.set_weights([gamma, random.uniform(0, 1, beta.shape), mean + 0.1, variance * 0.5])
    twin = bc.int8_twin(model)
    for layer in twin.layers:
        if isinstance(layer, FakeQuant) and not layer.fixed:
            layer.range = (-12.0, 12.0)
    images = _images(model)
    expected = model(images).numpy()
    if model.layers[-1].name.startswith("softmax") or model.layers[-1].get_config().get("activation") == "softmax":
        expected = np.log(expected)
        expected -= expected.mean(axis=1, keepdims=True)
    logits = twin(images).numpy()
    if expected.max() <= 0 or abs(expected.mean()) < 1e-5:
        logits = logits - logits.mean(axis=1, keepdims=True)
    # Steps of 24/255 at each of some ten roundings.
    assert np.corrcoef(expected.ravel(), logits.ravel())[0, 1] > 0.9
    assert np.abs(expected - logits).mean() < 0.3


@pytest.mark.parametrize("make", MODELS)
def test_binary_twin_is_binary_all_through(make):
    model = make()
    twin = bc.binary_twin(model, width=1.5)
    assert twin.output_shape == model.output_shape and twin.input_shape == model.input_shape
    binary = [layer for layer in twin.layers if isinstance(layer, BinaryConv2D | BinaryDense)]
    assert binary and all(layer.filters % 32 == 0 for layer in binary)
    assert not any(isinstance(layer, layers.ReLU) for layer in twin.layers)
    assert np.all(np.isfinite(twin(_images(model)).numpy()))


def test_dropout_is_no_reason_to_round_again():
    # On the device it is nothing, so a second rounding with a range of its own would be one that the device lacks.
    drops = [layer for layer in bc.int8_twin(classic()).layers if isinstance(layer, layers.Dropout)]
    assert len(drops) == 2
    for layer in drops:
        assert not any(isinstance(node.outbound_layer, FakeQuant) for node in layer.outbound_nodes)


def test_width_scales_the_filters_in_words():
    model = classic()
    filters = {
        width: [layer.filters for layer in bc.binary_twin(model, width).layers if isinstance(layer, BinaryConv2D)]
        for width in (1.0, 4.0, 5.0)
    }
    assert filters == {1.0: [32, 32], 4.0: [32, 32], 5.0: [64, 64]}


@pytest.mark.slow
@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("stem", ["thermometer", "int8"])
def test_twins_convert_and_agree(make, stem):
    from bcnet_keras.convert.lce import convert_binary, convert_int8
    from bcnet_keras.layers import INPUT_RANGE
    from bcnet_keras.runtime.tflite import Interpreter

    tf.keras.utils.set_random_seed(5)
    model = make()
    images = _images(model)
    twins = [(_settled(bc.binary_twin(model, stem=stem), images), convert_binary)]
    if stem == "int8":
        twins.append((_settled(bc.int8_twin(model), images), lambda net: convert_int8(net, INPUT_RANGE)))
    for twin, convert in twins:
        logits = Interpreter(convert(twin)).predict(np.round(images * 128).astype(np.int8)).logits
        expected = twin.predict(images, verbose=0)
        # int8 rounding ahead of a sign can turn it, and then a logit by more than a step.
        assert np.corrcoef(expected.ravel(), logits.ravel())[0, 1] > 0.97
        assert np.mean(expected.argmax(-1) == logits.argmax(-1)) >= 0.8


@pytest.mark.parametrize("make", [residual, classic, preactivation])
def test_a_pair_with_a_shared_stem_stores_no_map_for_it(make):
    from bcnet_keras.convert import convert_parts
    from bcnet_keras.runtime.tflite import Interpreter
    from bcnet_keras.tflite import flatbuffer

    tf.keras.utils.set_random_seed(5)
    model = make()
    images = _images(model, 128)
    pair = bc.BCNet.from_keras(model, stem="shared", planes=2)
    pair.int8(images, training=True)  # statistics to fold
    bc.share_stem(pair.binary, pair.int8, [images[:64], images[64:]])
    span = [layer for layer in pair.int8.layers if isinstance(layer, bc.FakeQuant)][1].range
    bc.share_stem(pair.binary, pair.int8, images)  # as one array
    np.testing.assert_allclose(
        [layer for layer in pair.int8.layers if isinstance(layer, bc.FakeQuant)][1].range, span, rtol=1e-5
    )
    for net in (pair.binary, pair.int8):
        _settled(net, images)
    assert [type(layer) for layer in pair.binary.layers].count(bc.CalibratedThermometer) == 1
    sure = pair.gate.confidence(pair.predict(images, verbose=0)["binary_logits"])
    pair.threshold = float(np.median(sure))
    parts = convert_parts(pair)
    data = bc.convert(pair, parts=parts)
    merged, alone = flatbuffer.read(data), flatbuffer.read(parts[1])
    convolutions = [
        [flatbuffer.op_name(model, operator) for operator in graph.operators].count("CONV_2D")
        for model, graph in ((merged, merged.subgraphs[1]), (alone, alone.subgraphs[0]))
    ]
    assert convolutions[0] == convolutions[1]
    assert flatbuffer.op_name(merged, merged.subgraphs[0].operators[0]) == "BcnetStem"
    answer = Interpreter(data).predict(np.round(images * 128).astype(np.int8))
    expected = pair.predict(images, verbose=0)
    assert 0.3 < answer.escalated.mean() < 0.7
    assert np.mean(answer.predicted == expected["logits"].argmax(-1)) >= 0.8


def test_what_reads_a_shared_stem_as_numbers_is_refused():
    with pytest.raises(ValueError, match="shared stem: what .* must go to convolutions or dense layers"):
        bc.binary_twin(mobile(), stem="shared")
    with pytest.raises(ValueError, match="shared stem: the first layer .* it is a Dense"):
        bc.binary_twin(tf.keras.Sequential([layers.Input((4, 4, 1)), layers.Flatten(), layers.Dense(3)]), stem="shared")


def _with(layer):
    return tf.keras.Sequential([layers.Input((8, 8, 1)), layer, layers.Flatten(), layers.Dense(3)])


@pytest.mark.parametrize("turn", [bc.int8_twin, bc.binary_twin])
@pytest.mark.parametrize(
    "model, named",
    [
        (lambda: _with(layers.Conv2DTranspose(4, 3, name="up")), r"up \(Conv2DTranspose\)"),
        (lambda: _with(layers.Conv2D(4, 3, activation="selu", name="t")), "t .*'selu' is not supported"),
        (lambda: _with(layers.ReLU(4.0, negative_slope=0.1, name="leaky")), "leaky .*negative_slope"),
        (lambda: _with(layers.Conv2D(4, 1, data_format="channels_first", name="first")), "first .*channels_last"),
        (lambda: tf.keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten()]), "neither a convolution nor a dense"),
        (lambda: tf.keras.Sequential([layers.Dense(3)]), "no input shape"),
        (lambda: tf.keras.Sequential([layers.Input((5,)), layers.Dense(3)]), "images"),
    ],
)
def test_what_cannot_be_turned_is_named(turn, model, named):
    with pytest.raises(ValueError, match=named) as error:
        turn(model())
    assert "\n" not in str(error.value)


def test_all_wrong_layers_are_named_at_once():
    model = tf.keras.Sequential(
        [layers.Input((8, 8, 1)), layers.ELU(name="a"), layers.UpSampling2D(name="b"), layers.Flatten()]
    )
    with pytest.raises(ValueError, match=r"a \(ELU\), b \(UpSampling2D\)"):
        bc.int8_twin(model)


def test_shared_layers_are_refused():
    inputs, shared = tf.keras.Input((8, 8, 4)), layers.Conv2D(4, 3, padding="same", name="shared")
    model = tf.keras.Model(inputs, layers.Dense(3)(layers.Flatten()(shared(shared(inputs)))))
    with pytest.raises(ValueError, match="shared .*used 2 times"):
        bc.int8_twin(model)
