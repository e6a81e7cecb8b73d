"""The named networks: blocks from text, and what they become on the device."""

import numpy as np
import pytest
import tensorflow as tf

from bcnet_keras.convert.emit import emit
from bcnet_keras.convert.lce import convert_binary
from bcnet_keras.convert.passes import run_passes
from bcnet_keras.convert.passes.fuse_stem import fuse_front
from bcnet_keras.errors import ModelError
from bcnet_keras.layers import INPUT_RANGE, ThermometerEncoding
from bcnet_keras.models.networks import NETWORKS, binary_cnn, parse_blocks
from bcnet_keras.runtime.tflite import Interpreter
from bcnet_keras.tflite.flatbuffer import op_name, read, schema, write


def test_blocks_are_read_from_text():
    assert parse_blocks("64/pool, 128/2,96/1") == (((64, "pool"), (128, 2), (96, 1)), None)
    assert parse_blocks("10 planes, 64/1") == (((64, 1),), 10)
    assert parse_blocks("2 planes, 32/concat, 64/1") == (((32, "concat"), (64, 1)), 2)


@pytest.mark.parametrize(
    "text", ["", "64", "64/3", "0/1", "64/pool,", "64x1", "-64/1", "64/1;32/1", "10 planes", "planes, 64/1"]
)
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="binary blocks are filters/strides"):
        parse_blocks(text)


@pytest.mark.parametrize("planes", [5, None])
@pytest.mark.parametrize("last", [1, "pool"])
def test_pooling_works_on_integers_and_as_in_keras(planes, last):
    tf.keras.utils.set_random_seed(1)
    net = binary_cnn((12, 8, 2), 5, ((32, "pool"), (64, "pool"), (32, last)), planes)
    images = np.random.default_rng(0).integers(-128, 128, (20, 12, 8, 2)) / np.float32(128)
    for _ in range(40):  # ranges and statistics follow the images
        net(images, training=True)
    flatbuffer = run_passes(convert_binary(net), fuse_front)
    model = read(flatbuffer)
    names = [op_name(model, operator) for operator in model.subgraphs[0].operators]
    pools = [name for name in names if "Pool" in name or "POOL" in name]
    of_bits = ["LceBMaxPool2d", "LceBMaxPool2d"]  # behind an int8 first layer too
    assert pools == [*of_bits, *(["MAX_POOL_2D"] if last == "pool" else []), "AVERAGE_POOL_2D"]
    expected = net(np.clip(images, *INPUT_RANGE), training=False).numpy()
    answer = Interpreter(flatbuffer).predict((images * 128).astype(np.int8))
    assert np.mean(answer.predicted == expected.argmax(-1)) >= 0.95


@pytest.mark.parametrize("planes", [5, None])
def test_joined_maps_are_words_of_bits_and_as_in_keras(planes):
    tf.keras.utils.set_random_seed(1)
    blocks = [(32, "concat"), (64, "concat"), (96, 2), (32, "concat"), (32, 1)]
    net = binary_cnn((12, 8, 2), 5, blocks if planes else [(32, 1), *blocks], planes)
    images = np.random.default_rng(0).integers(-128, 128, (20, 12, 8, 2)) / np.float32(128)
    for _ in range(40):
        net(images, training=True)
    emitted = write(emit(net))
    model = read(emitted)
    joins = [each for each in model.subgraphs[0].operators if op_name(model, each) == "CONCATENATION"]
    tensors = [model.subgraphs[0].tensors[index] for each in joins for index in each.outputs]
    first = 1  # word: ten planes of two channels, or 32 filters
    words = [1 + first, 2 + 1 + first, 1 + 3]
    assert [(each.type, each.shape[-1]) for each in tensors] == [(schema.TensorType.INT32, count) for count in words]
    expected = net(np.clip(images, *INPUT_RANGE), training=False).numpy()
    answer = Interpreter(run_passes(emitted, fuse_front)).predict((images * 128).astype(np.int8))
    assert np.mean(answer.predicted == expected.argmax(-1)) >= 0.95


@pytest.mark.parametrize(("text", "shared_stem"), [("4 planes, 32/1, 32/concat", True), ("32/concat, 32/1", False)])
def test_integers_are_not_joined(text, shared_stem):
    with pytest.raises(ModelError, match="joins bits"):
        NETWORKS["images"].nets(shared_stem, binary_blocks=text)


def test_other_blocks_take_the_place_of_a_networks_own():
    _, net = NETWORKS["images"]((32, 32, 3), 10, binary_blocks="4 planes, 64/pool,128/2", binary_width=0.5)
    shapes = [layer.get_output_shape_at(0)[1:] for layer in net.layers if "binary_conv" in layer.name]
    assert shapes == [(32, 32, 32), (8, 8, 64)]
    assert [layer.planes for layer in net.layers if isinstance(layer, ThermometerEncoding)] == [4]
