"""Twins of users' models as flatbuffers: integers only, the answers of Keras, the costs told beforehand."""

import numpy as np
import pytest
import tensorflow as tf
import zoo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bcnet_keras as bc
from bcnet_keras.convert import convert_parts
from bcnet_keras.convert.passes import run_passes
from bcnet_keras.convert.passes.fuse_stem import expand_front
from bcnet_keras.device.arena import arena
from bcnet_keras.device.cost import CORES, cost
from bcnet_keras.models.pair_profile import flatbuffer_of
from bcnet_keras.models.twins.reader import read
from bcnet_keras.runtime import tflite, tflm
from bcnet_keras.tflite import flatbuffer, lce

layers = tf.keras.layers


def reference_codes(data, codes):
    """Logits of a net alone by the reference kernels of TensorFlow Lite, or by those of LCE for a binary net.

    The optimised int8 kernels round a product otherwise now and then, by one code, which a deep net that has hardly
    been trained amplifies until the answers have little in common.
    """
    if flatbuffer.custom_ops(flatbuffer.read(data)):
        return lce.interpreter_class()(run_passes(data, expand_front), use_reference_bconv=True).predict(codes)
    kernels = tf.lite.experimental.OpResolverType.BUILTIN_REF
    runner = tf.lite.Interpreter(model_content=data, experimental_op_resolver_type=kernels).get_signature_runner()
    return np.concatenate([runner(image=image[None])["logits"] for image in codes])


def settled_pair(model, **options):
    pair = bc.BCNet.from_keras(model, verbose=0, **options)
    images = pair.preprocess(zoo.pixels(model, 64))
    for net in (pair.binary, pair.int8):
        zoo.settle(net, images, statistics=net is pair.binary)
    return pair


def operators(model):
    return [flatbuffer.op_name(model, operator) for operator in model.subgraphs[0].operators]


def check(pair, raw):
    """Converts the pair; returns the flatbuffers of its nets."""
    parts, images = convert_parts(pair), pair.preprocess(raw)
    for net, data in zip((pair.binary, pair.int8), parts, strict=True):
        model, expected = flatbuffer.read(data), net(images).numpy()
        graph = model.subgraphs[0]
        written = {index for operator in graph.operators for index in operator.outputs}
        assert {flatbuffer.type_name(graph.tensors[index]) for index in written} <= {"int8", "int32"}
        logits = tflite.Interpreter(data).predict(raw).logits
        # Roundings ahead of a sign can turn it, and some layers round once more on the device.
        assert np.corrcoef(expected.ravel(), logits.ravel())[0, 1] > (0.97 if net is pair.int8 else 0.9)
        # What is told before training is what the flatbuffer costs.
        foretold = flatbuffer_of("int8" if net is pair.int8 else "binary", net)
        names = [sorted(set(operators(each)) - {"RESHAPE"}) for each in (flatbuffer.read(foretold), model)]
        assert names[0] == names[1]
        costs = [cost(each) for each in (foretold, data)]
        for core in CORES:
            assert costs[0].instructions[core] == pytest.approx(costs[1].instructions[core], rel=0.03)
            assert costs[0].cycles[core].middle == pytest.approx(costs[1].cycles[core].middle, rel=0.03)
        # The planner's result depends on how tensors are numbered; what is told must not be less than what is needed.
        assert 0.95 * arena(data).bytes <= arena(foretold).bytes <= 1.45 * arena(data).bytes
        assert len(foretold) == pytest.approx(len(data), rel=0.15, abs=6000)
    return parts


@pytest.mark.parametrize(
    "make",
    [
        zoo.tutorial,
        zoo.series,
        *(pytest.param(m, marks=pytest.mark.slow) for m in zoo.SMALL if m not in (zoo.tutorial, zoo.series)),
    ],
)
def test_twins_convert_to_what_was_foretold(make):
    tf.keras.utils.set_random_seed(1)
    model = zoo.with_statistics(make())
    pair = settled_pair(model, width=1.0)
    raw = zoo.pixels(model)
    pair.threshold = float(np.median(pair.gate.confidence(pair.binary(pair.preprocess(raw)))))
    data = bc.convert(pair, parts=check(pair, raw))
    answer, expected = tflite.Interpreter(data).predict(raw), pair(pair.preprocess(raw))
    assert np.mean(answer.escalated == expected["escalated"]) > 0.6
    assert pair.profile().cost == pytest.approx(bc_pair_cost(data, pair), rel=0.01)


def bc_pair_cost(data, pair):
    whole, alone = cost(data), cost(flatbuffer_of("int8", pair.int8))
    paths, core = (whole.accepted_cycles, whole.escalated_cycles), "cortex-m4"
    return [path[core].middle / alone.cycles[core].middle for path in paths]


@pytest.mark.needs_tflm
@pytest.mark.slow
@pytest.mark.parametrize("make", [*zoo.SMALL, *zoo.LARGE])
def test_a_pair_trains_an_epoch_and_runs_in_tensorflow_lite_micro(make, capsys):
    tf.keras.utils.set_random_seed(1)
    model = make()
    pair = bc.BCNet.from_keras(model, board="nucleo-h743zi")
    assert "pair, accepted sample" in capsys.readouterr().out  # the costs, before training
    raw = zoo.pixels(model)
    data = pair.preprocess(raw).numpy(), np.arange(len(raw)) % pair.classes
    bc.train(pair, data, epochs=1, stages=("binary", "boosted"), batch_size=16, verbose=0)
    parts = convert_parts(pair)
    pair.threshold = 0.5
    whole = bc.convert(pair, parts=parts)
    for each, off_by in zip(parts, (1, 0), strict=True):  # LCE has reference kernels of its binary operators alone
        micro = tflm.Interpreter(each)
        codes = micro._codes(raw[:4])
        np.testing.assert_allclose(micro._run(codes)[0].astype(int), reference_codes(each, codes), rtol=0, atol=off_by)
    answer = tflm.Interpreter(whole).predict(raw[:4])
    assert answer.logits.shape == (4, pair.classes) and np.isfinite(answer.logits).all()


# Random models of everything that is taken.


def _convolution(tensor, draw, strides=1):
    kernel, filters = draw(st.sampled_from((1, 3))), draw(st.sampled_from((4, 8, 12)))
    tensor = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=draw(st.booleans()))(tensor)
    return layers.BatchNormalization()(tensor) if draw(st.booleans()) else tensor


def _activation(tensor, draw):
    kinds = ("relu", "relu6", "swish", "sigmoid", "tanh", "hard_sigmoid", "leaky", "none")
    kind = draw(st.sampled_from(kinds))
    if kind == "leaky":
        return layers.LeakyReLU(0.2)(tensor)
    return tensor if kind == "none" else layers.Activation(tf.nn.relu6 if kind == "relu6" else kind)(tensor)


def _block(tensor, draw):
    kind = draw(st.sampled_from(("plain", "depthwise", "residual", "branches", "gate", "pool", "dropout")))
    if kind == "plain":
        return _activation(_convolution(tensor, draw, draw(st.sampled_from((1, 2)))), draw)
    if kind == "depthwise":
        tensor = _activation(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(tensor)), draw)
        return _activation(_convolution(tensor, draw), draw)
    if kind == "residual":
        sides = [layers.Conv2D(tensor.shape[-1], size, padding="same")(tensor) for size in (1, 3)]
        return _activation(layers.Add()([tensor, *sides]), draw)
    if kind == "branches":
        return layers.Concatenate()([_activation(_convolution(tensor, draw), draw) for _ in range(2)])
    if kind == "gate":
        gate = layers.GlobalAveragePooling2D(keepdims=True)(tensor)
        return layers.Multiply()([tensor, layers.Conv2D(tensor.shape[-1], 1, activation="sigmoid")(gate)])
    if kind == "pool":
        pool = draw(st.sampled_from((layers.MaxPooling2D, layers.AveragePooling2D)))
        return pool(2, padding="same")(tensor)
    return layers.Dropout(0.1)(tensor)


@st.composite
def models(draw):
    """Keras models, each with weights and statistics of its own."""
    tf.keras.utils.set_random_seed(draw(st.integers(0, 999)))
    inputs = tensor = tf.keras.Input((8, 8, draw(st.sampled_from((1, 3)))))
    front = draw(st.sampled_from(("none", "rescaling", "normalization")))
    if front == "rescaling":
        tensor = layers.Rescaling(1 / 127.5, offset=-1)(tensor)
    elif front == "normalization":
        channels = range(tensor.shape[-1])
        tensor = layers.Normalization(
            mean=[100.0 + 10 * c for c in channels], variance=[4000.0 + 500 * c for c in channels]
        )(tensor)
    tensor = _convolution(tensor, draw)
    for _ in range(draw(st.integers(1, 3))):
        tensor = _block(tensor, draw)
    head = draw(st.sampled_from(("dense", "flat", "convolution")))
    classes = draw(st.sampled_from((1, 2, 5)))
    if head == "flat":
        tensor = layers.Dense(classes)(layers.Dense(16, activation="relu")(layers.Flatten()(tensor)))
    elif head == "convolution":
        tensor = layers.Conv2D(classes, 1)(layers.GlobalAveragePooling2D(keepdims=True)(tensor))
        tensor = layers.Reshape((classes,))(tensor)
    else:
        tensor = layers.Dense(classes)(layers.GlobalAveragePooling2D()(tensor))
    end = draw(st.sampled_from(("logits", "sigmoid" if classes == 1 else "softmax")))
    tensor = tensor if end == "logits" else layers.Activation(end)(tensor)
    return zoo.with_statistics(tf.keras.Model(inputs, tensor))


_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@given(models())
@settings(max_examples=6, suppress_health_check=_SLOW)
def test_random_models_have_twins_that_answer_as_they_do(model):
    twin = bc.int8_twin(model)
    low, high = (0, 255) if read(model).takes_raw else (-1, 1)
    images = np.random.default_rng(0).uniform(low, high, (16, *model.input_shape[1:])).astype(np.float32)
    expected = bc.float_logits(model)(images, training=False).numpy()
    logits = zoo.settle(twin, images)(images).numpy()
    assert np.abs(logits - expected).mean() < 0.08 * max(np.ptp(expected), 0.05)
    binary = bc.binary_twin(model)
    assert binary.output_shape == (None, max(2, model.output_shape[1])) and np.isfinite(binary(images)).all()


@pytest.mark.slow
@given(models())
@settings(max_examples=4, suppress_health_check=_SLOW)
def test_random_models_convert_to_what_was_foretold(model):
    check(settled_pair(model), zoo.pixels(model))
