"""The demo's pair as one flatbuffer in TensorFlow Lite Micro, against its parts alone."""

import copy
import re

import numpy as np
import pytest
import tensorflow as tf
from lce_graphs import run_lce

from bcnet_keras import BCNet
from bcnet_keras.convert import convert_parts, merge
from bcnet_keras.convert.passes.add_gate import Gate
from bcnet_keras.models.networks import NETWORKS
from bcnet_keras.models.twins import int8_twin
from bcnet_keras.runtime import tflite, tflm
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.utils.silence import captured_output

pytestmark = pytest.mark.needs_tflm

SHAPE, CLASSES, IMAGES = (8, 8, 1), 10, 400


def raw_images(count, seed):
    """Noise from 0 to 16 with a spot, more or less bright, where the label says; and the labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    raw = random.uniform(0, 10, (count, *SHAPE)).astype(np.float32)
    bright = random.uniform(0, 16, (count, 1))
    for i, label in enumerate(labels):
        row, column = divmod(int(label), 4)
        raw[i, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += bright[i]
    return np.minimum(raw, 16), labels


@pytest.fixture(scope="module")
def parts():
    """The two nets of the demo, trained for a few steps so that their answers differ from image to image."""
    tf.keras.utils.set_random_seed(0)
    raw, labels = raw_images(1024, seed=0)
    float_net, binary = NETWORKS["digits"](SHAPE, CLASSES)
    pair = BCNet(binary, int8_twin(float_net), raw_range=(0, 16))
    for stage in ("binary", "boosted"):
        pair.compile(tf.keras.optimizers.Adam(0.005), stage=stage)
        pair.fit(pair.preprocess(raw), labels, batch_size=64, epochs=4, verbose=0)
    with captured_output():
        return convert_parts(pair)


@pytest.fixture(scope="module")
def images():
    raw, _ = raw_images(IMAGES, seed=1)
    return np.round(raw * 255 / 16 - 128).astype(np.int8)


def dividing_threshold(parts, images):
    """A threshold of the score margin that some images reach and some do not."""
    logits = tflm.Interpreter(parts[0]).predict(images).logits
    p = np.exp(logits - logits.max(1, keepdims=True))
    p = np.sort(p / p.sum(1, keepdims=True), axis=1)
    margins = p[:, -1] - p[:, -2]
    candidates = np.unique(np.round(margins, 3)) + 5e-4
    return float(min(candidates, key=lambda threshold: abs(np.mean(margins < threshold) - 0.5)))


def subgraph(data, index):
    """A subgraph of a merged file as a flatbuffer of its own."""
    model = copy.copy(flatbuffer.read(data))
    model.subgraphs = [model.subgraphs[index]]
    model.signatureDefs = []
    return flatbuffer.write(model)


def codes(model, *inputs):
    return model.run(inputs)[0][0]


@pytest.mark.parametrize("kind", ["custom", "builtin"])
def test_accepted_rows_are_the_binary_net_and_escalated_rows_the_sum(parts, images, kind):
    binary, _ = parts
    gate = Gate.create(CLASSES, "score_margin", dividing_threshold(parts, images))
    merged = merge(*parts, gate, kind=kind)
    whole, binary_alone = tflm.Model(merged), tflm.Model(binary)
    escalate, accept = tflm.Model(subgraph(merged, 1)), tflm.Model(subgraph(merged, 2))
    answered = []
    for image in images[:, np.newaxis]:
        logits, escalated = (o[0] for o in whole.run([image]))
        b = codes(binary_alone, image)[np.newaxis]
        branch = escalate if escalated else accept
        np.testing.assert_array_equal(logits, codes(branch, image, b))
        answered.append(bool(escalated))
    assert 0.01 < np.mean(answered) < 0.99


def test_both_gates_and_both_runtimes_decide_alike(parts, images):
    gate = Gate.create(CLASSES, "score_margin", dividing_threshold(parts, images))
    custom, builtin = (
        tflm.Interpreter(merge(*parts, gate, kind=kind)).predict(images) for kind in ("custom", "builtin")
    )
    np.testing.assert_array_equal(custom.escalated, builtin.escalated)
    np.testing.assert_array_equal(custom.logits, builtin.logits)
    other = tflite.Interpreter(merge(*parts, gate, kind="builtin")).predict(images)
    # LCE's optimised int8 kernels round otherwise than TensorFlow Lite Micro's, which moves a few signs.
    assert np.mean(other.escalated == custom.escalated) > 0.9


def test_sums_are_those_of_the_parts(parts, images):
    """Escalated answers within a code of boost * b + q in real numbers."""
    merged = merge(*parts, Gate.create(CLASSES, "score_margin", 1.0), boost=0.5)
    b, q, both = (tflm.Interpreter(data).predict(images) for data in (*parts, merged))
    output = flatbuffer.read(merged).subgraphs[0]
    scale, zero_point = flatbuffer.quantization(output.tensors[output.outputs[0]])
    expected = np.clip(0.5 * b.logits + q.logits, scale * (-128 - zero_point), scale * (127 - zero_point))
    sure = ~both.escalated  # a score margin of 1 to the last bit is not below a threshold of 1
    assert np.mean(sure) < 0.5
    assert np.abs(both.logits - expected)[~sure].max() <= 0.51 * scale


def test_binary_operators_of_the_pair_equal_lce(parts, images):
    from test_larq_zoo import binary_operators

    for node in binary_operators(parts[0], images[:1]):
        (expected,) = run_lce([node])
        actual = node.output.value
        np.testing.assert_array_equal(actual.view(np.uint32) if actual.dtype == np.int32 else actual, expected)


def test_one_arena_serves_both_nets(parts):
    """The activations of the two nets overlap; what adds up are the records of operators and tensors, which weigh much
    in nets as small as these (and less on a core with pointers of 32 bits)."""
    gate = Gate.create(CLASSES, "score_margin", 0.5)
    models = [tflm.Model(data) for data in (*parts, merge(*parts, gate))]
    planned = []
    for model in models:
        with captured_output() as captured:
            model._interpreter.print_allocations()
            planned.append(int(re.search(r"Arena allocation head (\d+) bytes", captured())[1]))
    total = [model.arena_bytes for model in models]
    print(f"arena bytes of binary, int8, merged: {total}, of which activations {planned}")
    assert planned[2] <= 1.25 * max(planned[:2])
    assert total[2] < sum(total[:2])


def test_threshold_of_a_pair_is_set_without_another_file(parts, images):
    gate = Gate.create(CLASSES, "score_margin", 0.0)
    interpreter = tflm.Interpreter(merge(*parts, gate))
    assert not interpreter.predict(images).escalated.any()
    interpreter.thresholds = dividing_threshold(parts, images)
    expected = tflm.Interpreter(merge(*parts, Gate.create(CLASSES, "score_margin", interpreter.thresholds[0])))
    changed, rebuilt = interpreter.predict(images), expected.predict(images)
    np.testing.assert_array_equal(changed.escalated, rebuilt.escalated)
    np.testing.assert_array_equal(changed.logits, rebuilt.logits)
    assert 0.01 < changed.escalated.mean() < 0.99
