"""Means as average pooling, against Keras and against the same file with its means left."""

import numpy as np
import pytest
import tensorflow as tf

from bcnet_keras import BinaryConv2D, FakeQuant, ThermometerEncoding, global_average
from bcnet_keras.convert import lce
from bcnet_keras.convert.passes import run_passes
from bcnet_keras.convert.passes.mean_to_average_pool import mean_to_average_pool
from bcnet_keras.device.cost import cost
from bcnet_keras.layers import INPUT_RANGE, Int8Conv2D, Int8Dense
from bcnet_keras.runtime import tflite, tflm
from bcnet_keras.tflite import flatbuffer

layers = tf.keras.layers
SHAPE = (9, 7, 2)  # neither square nor even


def image_codes(count):
    return np.random.default_rng(0).integers(-128, 128, (count, *SHAPE)).astype(np.int8)


def converted(mean, kind, monkeypatch=None):
    """A net that ends in `mean(tensor)`, as flatbuffer; with its means left when given a `monkeypatch`."""
    if monkeypatch is not None:
        monkeypatch.setattr(lce, "mean_to_average_pool", lambda model: False)
    tf.keras.utils.set_random_seed(1)
    inputs = tf.keras.Input(SHAPE)
    tensor = FakeQuant(*INPUT_RANGE, fixed=True)(inputs)
    if kind == "binary":
        tensor = layers.BatchNormalization()(BinaryConv2D(32, 3)(ThermometerEncoding(3)(tensor)))
    else:
        tensor = layers.ReLU()(Int8Conv2D(12, 3)(tensor))
    model = tf.keras.Model(inputs, mean(tensor))
    for _ in range(20):  # ranges and statistics
        model(image_codes(64).astype(np.float32) / 128, training=True)
    return (lce.convert_binary(model) if kind == "binary" else lce.convert_int8(model, INPUT_RANGE)), model


def one_scale(tensor):
    return FakeQuant()(Int8Dense(5)(global_average(tensor, FakeQuant())))


def one_scale_at_the_end(tensor):
    return global_average(tensor, FakeQuant())


def two_scales(tensor):
    return FakeQuant()(Int8Dense(5)(FakeQuant()(layers.GlobalAveragePooling2D()(FakeQuant()(tensor)))))


def op_names(data):
    model = flatbuffer.read(data)
    return [flatbuffer.op_name(model, operator) for operator in model.subgraphs[0].operators]


@pytest.mark.parametrize("kind", ["binary", "int8"])
@pytest.mark.parametrize("mean", [one_scale, one_scale_at_the_end], ids=lambda mean: mean.__name__)
def test_pooling_does_what_the_mean_did_for_less(kind, mean, monkeypatch):
    pooled, net = converted(mean, kind)
    left, _ = converted(mean, kind, monkeypatch)
    assert "MEAN" in op_names(left) and "MEAN" not in op_names(pooled)
    assert op_names(pooled).count("AVERAGE_POOL_2D") == 1
    assert ("RESHAPE" in op_names(pooled)) == (mean is one_scale_at_the_end)
    images = image_codes(200)
    new = tflite.Interpreter(pooled).predict(images).logits
    expected = net.predict(images.astype(np.float32) / 128, verbose=0)
    assert new.shape == expected.shape
    model = flatbuffer.read(pooled)
    scale, _ = flatbuffer.quantization(model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]])
    assert np.abs(new - expected).max() <= 1.001 * scale
    assert np.mean(np.abs(new - expected) < scale / 2) > 0.99  # the operator MEAN: 0.97
    if kind == "int8":
        np.testing.assert_allclose(tflm.Interpreter(pooled).predict(images).logits, new, rtol=0, atol=1.001 * scale)
    for core in ("cortex-m0plus", "cortex-m4"):
        assert cost(pooled).instructions[core] < cost(left).instructions[core]


def test_mean_with_a_scale_of_its_own_stays():
    data, _ = converted(two_scales, "int8")
    assert "MEAN" in op_names(data) and "AVERAGE_POOL_2D" not in op_names(data)
    assert run_passes(data, mean_to_average_pool) == data


def test_foreign_bytes_are_refused():
    with pytest.raises(ValueError, match="not a TensorFlow Lite flatbuffer"):
        run_passes(b"PK\3\4....", mean_to_average_pool)
