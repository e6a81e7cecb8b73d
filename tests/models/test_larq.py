"""Pairs of Larq's layers, and Larq's optimizers: what would train nothing, or lose the latent weights, is caught."""

import logging

import numpy as np
import pytest
import tensorflow as tf
from small_nets import float_net, images_and_labels

import bcnet_keras as bc

lq = pytest.importorskip("larq", reason="Larq is not installed")
layers = tf.keras.layers


@pytest.fixture
def pair():
    tf.keras.utils.set_random_seed(1)
    return bc.BCNet.from_keras(float_net())


@pytest.fixture
def failed_build():
    """Larq's global switch as a layer leaves it that cannot be called."""
    with pytest.raises(ValueError):
        lq.layers.QuantConv2D(4, 3, kernel_quantizer="ste_sign")(tf.keras.Input((2, 2, 1)))
    assert lq.context.should_quantize()
    yield
    lq.context.quantized_scope(False).__enter__()


@pytest.fixture
def larq_pair():
    """A pair whose binary net is made of Larq's layers."""
    inputs = tf.keras.Input((8, 8, 1))
    options = dict(input_quantizer="ste_sign", kernel_quantizer="ste_sign", kernel_constraint="weight_clip")
    tensor = lq.layers.QuantConv2D(8, 3, padding="same", pad_values=1, **options)(inputs)
    tensor = layers.GlobalAveragePooling2D()(bc.FakeQuant()(layers.BatchNormalization()(tensor)))
    binary = tf.keras.Model(inputs, bc.FakeQuant()(bc.Int8Dense(4)(tensor)))
    return bc.BCNet(binary, bc.int8_twin(float_net()))


def latent_sizes(pair):
    """How many sizes the latent weights of the first binary layer have; of quantised ones it is one."""
    kernel = next(layer.kernel for layer in pair.binary.layers if hasattr(layer, "kernel_quantizer"))
    return len(np.unique(np.abs(getattr(kernel, "latent_variable", kernel))))


@pytest.mark.parametrize("start", ["train", "fit", "save"])
def test_no_latent_weights_are_lost_after_a_failed_build(larq_pair, failed_build, start, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    pair, (images, labels) = larq_pair, images_and_labels(16)
    if start == "train":
        bc.train(pair, (images, labels), epochs=1, stages=("binary",), verbose=0)
    elif start == "fit":
        pair.compile(stage="binary")
        pair.fit(images, labels, verbose=0)
    else:
        pair.save(tmp_path / "pair.keras")
        pair = tf.keras.models.load_model(tmp_path / "pair.keras")
    assert "Larq's quantized_scope was left on" in caplog.text
    assert latent_sizes(pair) > 20
    assert not lq.context.should_quantize()


def test_layers_of_this_package_leave_no_switch_on_and_know_none(pair, tmp_path):
    with pytest.raises(ValueError):
        bc.BinaryConv2D(4, 3, padding="valid")(tf.keras.Input((2, 2, 1)))
    assert not lq.context.should_quantize()
    with lq.context.quantized_scope(True):
        pair.binary.save_weights(tmp_path / "latent.h5")
        pair.binary.load_weights(tmp_path / "latent.h5")
    assert latent_sizes(pair) > 20


def case_optimizer(latent_free):
    legacy, bop = tf.keras.optimizers.legacy, lq.optimizers.Bop
    of_kernels = (bop.is_binary_variable, bop(gamma=0.5)) if latent_free else (_is_kernel, legacy.SGD(0.1))
    return lq.optimizers.CaseOptimizer(of_kernels, default_optimizer=legacy.Adam(0.01))


def _is_kernel(variable):
    return "kernel" in variable.name


@pytest.mark.parametrize("latent_free", [False, True])
def test_a_case_optimizer_trains_and_one_that_would_train_nothing_is_refused(pair, latent_free):
    images, labels = images_and_labels(16)
    optimizer, before = case_optimizer(latent_free), [variable.numpy() for variable in pair.binary.trainable_variables]
    pair.compile(optimizer, stage="binary")
    pair.fit(images, labels, verbose=0)
    after = [variable.numpy() for variable in pair.binary.trainable_variables]
    assert sum(not np.array_equal(*each) for each in zip(before, after, strict=True)) > len(before) / 2
    pair.compile(optimizer, stage="binary")  # again for the same variables
    reloaded = lq.optimizers.CaseOptimizer.from_config(optimizer.get_config())
    with pytest.raises(ValueError, match=r"the CaseOptimizer was made for other variables, or loaded.* new one"):
        bc.BCNet.from_keras(float_net(), verbose=0).compile(reloaded, stage="binary")
