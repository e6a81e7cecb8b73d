"""Nets written without a converter, against Larq Compute Engine's and TensorFlow Lite's own conversions of them."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf
import zoo

import bcnet_keras as bc
from bcnet_keras.convert.emit import NotEmitted, arithmetic, emit
from bcnet_keras.convert.lce import convert_binary, convert_int8
from bcnet_keras.layers import FakeQuant, Int8Conv2D, Int8Dense
from bcnet_keras.models.twins import share_stem
from bcnet_keras.runtime import tflite
from bcnet_keras.tflite import flatbuffer

layers = tf.keras.layers


def settled_pair(model, **options):
    """A pair whose ranges and statistics are those of some images, and the images."""
    pair = bc.BCNet.from_keras(zoo.with_statistics(model), verbose=0, **options)
    raw = zoo.pixels(model)
    images = pair.preprocess(raw)
    for net in (pair.binary, pair.int8):
        zoo.settle(net, images, statistics=True)
    return pair, images


def by_converters(pair, net):
    return convert_int8(net, pair.input_range) if net is pair.int8 else convert_binary(net)


def codes(net, data, images):
    """`images` as 8-bit codes of the flatbuffer's input."""
    graph = flatbuffer.read(data).subgraphs[0]
    scale, zero_point = flatbuffer.quantization(graph.tensors[graph.inputs[0]])
    factor, offset = bc.layers.front_affine(net)
    values = np.round((np.asarray(images) * factor + offset) / scale) + zero_point
    return np.clip(values, -128, 127).astype(np.int8).reshape(-1, *flatbuffer.shape(graph.tensors[graph.inputs[0]])[1:])


def answers(net, data, images):
    return tflite.Interpreter(data)._run(codes(net, data, images))[0].astype(int)


@pytest.fixture
def converters_root(monkeypatch):
    """The inverse square root that converters use, so that constants can be compared bit by bit."""
    monkeypatch.setattr(arithmetic, "inverse_root", lambda values: tf.math.rsqrt(values).numpy())


@pytest.mark.parametrize(
    "make", [zoo.tutorial, zoo.series, *(pytest.param(make, marks=pytest.mark.slow) for make in zoo.SMALL[3:])]
)
def test_answers_are_those_of_the_converters(make, converters_root):
    tf.keras.utils.set_random_seed(1)
    pair, images = settled_pair(make(), width=1.0)
    for net in (pair.binary, pair.int8):
        mine = flatbuffer.write(emit(net))
        off = np.abs(answers(net, mine, images) - answers(net, by_converters(pair, net), images))
        # Where a MAXIMUM reads a convolution, the converter rounds that to the step of the former alone.
        assert off.max() <= (3 if net is pair.int8 and make is zoo.nested else 0)


def binary_convolutions(data):
    """(options, constants, quantization of the output) of each LceBconv2d."""
    model = flatbuffer.read(data)
    graph = model.subgraphs[0]
    found = []
    for operator in graph.operators:
        if flatbuffer.op_name(model, operator) == "LceBconv2d":
            constants = [flatbuffer.constant(model, graph.tensors[index]) for index in operator.inputs if index >= 0]
            quantization = flatbuffer.quantization(graph.tensors[operator.outputs[0]])
            options = flatbuffer.custom_options(operator)
            found.append((options, [each for each in constants if each is not None], quantization))
    return found


SLOW = [pytest.param(make, marks=pytest.mark.slow) for make in (zoo.series, zoo.fire, zoo.operators)]


@pytest.mark.parametrize("make", [zoo.tutorial, *SLOW])
def test_binary_convolutions_are_larq_compute_engines_bit_by_bit(make, converters_root):
    tf.keras.utils.set_random_seed(2)
    pair, _ = settled_pair(make(), width=1.0)
    mine = binary_convolutions(flatbuffer.write(emit(pair.binary)))
    theirs = binary_convolutions(convert_binary(pair.binary))
    assert len(mine) == len(theirs) > 0

    def key(record):
        options, constants, quantization = record
        return sorted(options.items()), [each.tobytes() for each in constants], quantization

    assert sorted(map(repr, map(key, mine))) == sorted(map(repr, map(key, theirs)))


def test_a_shared_stem_is_written_alike_in_both_nets():
    tf.keras.utils.set_random_seed(3)
    model = zoo.with_statistics(zoo.tutorial())
    pair, images = settled_pair(model, stem="shared", width=1.0)
    share_stem(pair.binary, pair.int8, [images])
    for net in (pair.binary, pair.int8):
        mine = flatbuffer.write(emit(net))
        assert np.abs(answers(net, mine, images) - answers(net, by_converters(pair, net), images)).max() <= 1


def image_net(make):
    image = tf.keras.Input((6, 6, 2))
    return tf.keras.Model(image, make(FakeQuant(-1.0, 127 / 128, fixed=True)(image)))


def ternary(tensor):
    return tf.sign(tf.round(4 * tensor))


def binary_net(**quantizers):
    return lambda image: bc.global_average(bc.BinaryConv2D(4, 3, name="odd", **quantizers)(image), FakeQuant())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda image: FakeQuant()(layers.Dense(3)(layers.Flatten()(image))),
            "Dense.*cannot be written; use Int8Dense",
        ),
        (lambda image: FakeQuant()(Int8Dense(3)(Int8Conv2D(4, 6, name="bare")(image))), "'bare'.*FakeQuant is missing"),
        (binary_net(kernel_quantizer=ternary), "'odd'.*ternary gives more than two numbers"),
        (binary_net(input_quantizer=ternary), "'odd'.*ternary gives -1, 0, 1"),
    ],
)
def test_what_cannot_be_written_is_named(make, message):
    with pytest.raises(NotEmitted, match=message):
        emit(image_net(make))


def test_zero_of_a_symmetric_range_is_where_the_converter_has_it():
    """Half a code off the grid, so that either neighbour would do."""
    assert arithmetic.range_quantization(-1.0, 1.0) == (2 / 255, 0)
    assert arithmetic.range_quantization(-1.0, 127 / 128) == (1 / 128, 0)
    assert arithmetic.range_quantization(0.0, 255.0) == (1.0, -128)


def test_the_file_is_the_same_whatever_the_processor_rounds():
    """The inverse root is rounded right, where processors and converters differ in the last bit."""
    values = np.random.default_rng(0).uniform(1e-3, 4, 100_000).astype(np.float32)
    exact = 1 / np.sqrt(values.astype(np.float64))
    root = arithmetic.inverse_root(values)
    neighbours = (np.nextafter(root, np.float32(end)) for end in (-np.inf, np.inf))
    off = np.abs(root - exact)
    assert all((off <= np.abs(each - exact)).all() for each in neighbours)
    assert np.mean(tf.math.rsqrt(values).numpy() != root) > 0.01  # the trap: so many differ in the last bit


def test_a_last_bit_of_the_root_can_move_a_threshold():
    """With variance 4 and beta 15 the sum -30 of 32 products is normalised to 0, whose sign is +1: 31 signs differ."""
    root = arithmetic.inverse_root(np.float32([4.0]))
    assert root == 0.5
    for multiplier, threshold in ((root, 31), (np.nextafter(root, np.float32(1)), 30)):
        assert arithmetic.sum_thresholds(multiplier, np.float32([15.0]), 32) == threshold


def test_the_same_weights_give_the_same_file_with_every_python_and_package():
    """The hash is that of Python 3.11, TensorFlow 2.17 and NumPy 1.26, and of Python 3.13, 2.21 and 2.5."""
    random = np.random.default_rng(7)
    tf.keras.backend.clear_session()  # for the same names
    pair = bc.BCNet.from_keras(zoo.tutorial(), width=1.0, verbose=0)  # whatever a lighter net would cost
    for net in (pair.binary, pair.int8):
        for layer in net.layers:
            if isinstance(layer, FakeQuant) and not layer.fixed:
                layer.range = float(random.integers(-8, 0)), float(random.integers(1, 8))
            elif isinstance(layer, layers.BatchNormalization):
                layer.set_weights([random.integers(1, 256, each.shape) / 64 for each in layer.get_weights()])
            elif hasattr(layer, "kernel"):
                layer.set_weights([random.integers(-64, 64, each.shape) / 128 for each in layer.get_weights()])
    pair.threshold = 0.5
    assert hashlib.sha256(bc.convert(pair)).hexdigest() == (
        "14791f0eac6ef68e9c9390b162806697376a79aabd3ad2207c8338b4cb8ccfb0"
    )
