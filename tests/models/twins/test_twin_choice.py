"""The binary twin that is chosen: light on the core, fit for the board, and said before training."""

import logging

import pytest
import tensorflow as tf
import zoo

import bcnet_keras as bc
from bcnet_keras.layers import BinaryConv2D
from bcnet_keras.models.twins.reader import read

layers = tf.keras.layers


def depthwise_separable():
    def block(tensor, filters, strides):
        tensor = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(tensor)
        tensor = layers.ReLU(6.0)(layers.BatchNormalization()(tensor))
        tensor = layers.Conv2D(filters, 1, use_bias=False)(tensor)
        return layers.ReLU(6.0)(layers.BatchNormalization()(tensor))

    def build(image):
        tensor = layers.Conv2D(16, 3, 2, padding="same", use_bias=False)(image)
        tensor = layers.ReLU(6.0)(layers.BatchNormalization()(tensor))
        for filters, strides in ((32, 1), (64, 2), (64, 1)):
            tensor = block(tensor, filters, strides)
        return layers.Dense(4)(layers.GlobalAveragePooling2D()(tensor))

    return zoo.functional((32, 32, 3), build)


def binary_convolutions(net):
    return [layer for layer in net.layers if isinstance(layer, BinaryConv2D)]


@pytest.mark.parametrize(
    "make", [depthwise_separable, zoo.two_branches, zoo.tutorial, pytest.param(zoo.mobilenet, marks=pytest.mark.slow)]
)
def test_the_binary_net_is_light_by_default(make):
    pair = bc.BCNet.from_keras(make(), verbose=0)
    profile = pair.profile()
    alone = profile.binary.expected_cycles.middle / profile.int8.expected_cycles.middle
    # Beside depthwise convolutions, which take few cycles, no candidate is below these; they get the cheapest.
    assert alone <= {zoo.mobilenet: 0.35, depthwise_separable: 0.33}.get(make, 0.3) and profile.is_light
    # The gate comes on top.
    ops = [op for op in profile.pair.cost.ops if op.path in ("always", "accepted")]
    gate = sum(op.cycles["cortex-m4"].middle for op in ops if op.name in ("BcnetGate", "IF", "QUANTIZE"))
    assert profile.cost[0] == pytest.approx(alone + gate / profile.int8.expected_cycles.middle, rel=1e-3)
    assert profile.cost[1] > 1
    assert profile.parameters["pair"] == pair.binary.count_params() + pair.int8.count_params()


def test_depthwise_and_pointwise_convolutions_become_one():
    twin = bc.binary_twin(depthwise_separable())
    convolutions = binary_convolutions(twin)
    assert [layer.kernel_size for layer in convolutions] == [(3, 3)] * 4
    assert [layer.strides for layer in convolutions] == [(2, 2), (1, 1), (2, 2), (1, 1)]
    assert [layer.filters for layer in convolutions] == [32, 32, 64, 64]


def test_an_inverted_residual_becomes_one_convolution_beside_its_shortcut():
    def build(image):
        tensor = layers.Conv2D(32, 3, padding="same")(image)
        for strides in (1, 2):
            wide = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(96, 1)(tensor)))
            if strides == 2:  # as Keras' applications pad
                wide = layers.ZeroPadding2D(((0, 1), (0, 1)))(wide)
            wide = layers.DepthwiseConv2D(3, strides, padding="same" if strides == 1 else "valid")(wide)
            wide = layers.Conv2D(32, 1)(layers.ReLU(6.0)(layers.BatchNormalization()(wide)))
            tensor = layers.Add()([tensor, wide]) if strides == 1 else wide
        return layers.Dense(3)(layers.GlobalAveragePooling2D()(tensor))

    twin = bc.binary_twin(zoo.functional((12, 12, 1), build))
    convolutions = binary_convolutions(twin)
    assert [(layer.kernel_size, layer.strides) for layer in convolutions] == [
        ((3, 3), (1, 1)),
        ((3, 3), (1, 1)),
        ((3, 3), (2, 2)),
    ]
    assert not any(isinstance(layer, layers.ZeroPadding2D) for layer in twin.layers)
    assert sum(isinstance(layer, layers.Add) for layer in twin.layers) == 1


def test_costs_are_printed_unless_asked_not_to(capsys):
    model = depthwise_separable()
    bc.BCNet.from_keras(model, board="nucleo-f446re")
    output = capsys.readouterr().out
    for part in (
        "parameters",
        "cortex-m4 cycles",
        "milliseconds",
        "instructions",
        "flash",
        "arena",
        "fits nucleo-f446re",
        "int8 net alone",
        "yes",
    ):
        assert part in output
    bc.BCNet.from_keras(model, verbose=0)
    assert capsys.readouterr().out == ""


def test_a_width_of_ones_own_is_kept_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "bcnet_keras"):
        pair = bc.BCNet.from_keras(depthwise_separable(), width=8.0, verbose=0)
    assert binary_convolutions(pair.binary)[0].filters == 128
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "of the int8 net on cortex-m4" in warning and "leave width out" in warning


def test_a_board_that_is_too_small_is_said(caplog):
    model = zoo.functional(
        (64, 64, 3),
        lambda x: layers.Dense(4)(
            layers.GlobalAveragePooling2D()(layers.Conv2D(32, 3, activation="relu")(layers.Conv2D(16, 3)(x)))
        ),
    )
    with caplog.at_level(logging.WARNING, "bcnet_keras"):
        bc.BCNet.from_keras(model, board="bluepill-f103c8", verbose=0)
    assert "does not fit bluepill-f103c8" in caplog.records[-1].getMessage()
    with pytest.raises(ValueError, match="unknown board 'none'"):
        bc.BCNet.from_keras(depthwise_separable(), board="none", verbose=0)
    with pytest.raises(ValueError, match="unknown core 'm4': expected one of cortex-m"):
        bc.BCNet.from_keras(depthwise_separable(), core="m4", verbose=0)
    with pytest.raises(ValueError, match="the board bluepill-f103c8 has a cortex-m3, not a cortex-m4"):
        bc.BCNet.from_keras(depthwise_separable(), board="bluepill-f103c8", core="cortex-m4", verbose=0)


def test_pixels_lie_on_codes_whatever_scales_them():
    model = (
        zoo.fire()
    )  # Rescaling(1 / 127.5, offset=-1): in [-1, 1] no pixel would be one of 256 codes with 0 among them
    images = tf.reshape(tf.range(256.0), (1, 16, 16, 1))
    front = bc.int8_twin(model)
    scaled, low = front.layers[1](images), front.get_layer("image_quant").initial_range[0]
    codes = (scaled.numpy() - low) * 127.5
    assert abs(codes - codes.round()).max() < 1e-3
    assert abs(low + 1) <= 1 / 255 + 1e-6


def test_scaled_input_is_that_of_the_model_for_both_nets():
    model = zoo.tutorial()
    assert read(model).takes_raw
    pair = bc.BCNet.from_keras(model, verbose=0)
    assert pair.input_range == (0.0, 255.0)
    assert [net.get_layer("image_quant").initial_range for net in (pair.binary, pair.int8)] == [(0.0, 1.0)] * 2
