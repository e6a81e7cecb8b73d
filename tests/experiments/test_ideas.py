"""The experiments on ideas for a better gate: what judges a row, and the losses, against plain NumPy."""

import importlib
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from bcnet_keras.calibration import Answers
from bcnet_keras.convert.emit import emit
from bcnet_keras.convert.passes import run_passes
from bcnet_keras.convert.passes.fuse_thermometer import fuse_thermometer
from bcnet_keras.layers import BinaryConv2D
from bcnet_keras.models.networks import NETWORKS
from bcnet_keras.models.twins import int8_twin, share_stem
from bcnet_keras.runtime.tflite import Interpreter
from bcnet_keras.tflite.flatbuffer import write


@pytest.fixture(scope="module")
def ideas():
    """The program's module; flags of other programs that have the same names are out of its way."""
    names = ("sets", "ideas", "data_dir", "folders", "record", "again")
    others = {name: flags.FLAGS[name] for name in names if name in flags.FLAGS}
    for name in others:
        delattr(flags.FLAGS, name)
    yield importlib.import_module("experiments.ideas")
    for name in names:
        delattr(flags.FLAGS, name)
    for name, flag in others.items():
        flags.FLAGS[name] = flag
    del sys.modules["experiments.ideas"]


def answers(generator, count=400):
    """Answers whose sum is right on all images of which the binary net is unsure."""
    labels = generator.integers(0, 10, count)
    sure = generator.uniform(size=count).astype(np.float32)
    binary = np.where(generator.uniform(size=count) < sure, labels, (labels + 1) % 10)
    logits = generator.normal(size=(count, 10)).astype(np.float32)
    return Answers(labels, binary, labels, np.where(sure < 0.5, labels, (labels + 2) % 10), sure, logits)


def test_a_row_is_judged_at_the_cost_of_the_base(ideas):
    generator = np.random.default_rng(0)
    splits = {part: answers(generator) for part in ("fit", "pick", "test")}
    cost = (0.2, 1.2)
    base = ideas.base_figures(splits, cost)
    spent = base["against"]["spent"]
    pick = splits["pick"]
    # The same by hand: as many of the least sure images escalate as cost what the base spends.
    escalated = np.argsort(pick.confidence)[: round((spent - 0.2) * len(pick.labels))]
    predicted = pick.binary.copy()
    predicted[escalated] = pick.combined[escalated]
    row = ideas.judged(splits, cost, base)
    assert row["pick"]["accuracy"] == np.mean(predicted == pick.labels) and row["pick"]["share"] == 0
    assert row["pick"]["auroc"] == pytest.approx(roc_auc_score(pick.binary == pick.labels, pick.confidence))
    # Dearer nets spend as much: they escalate less.
    dearer = ideas.judged(splits, (0.3, 1.3), base)
    assert dearer["pick"]["cost"] == pytest.approx(spent, abs=1 / len(pick.labels))
    assert dearer["pick"]["accuracy"] != row["pick"]["accuracy"]


_AGAINST = {"spent": 0.5} | dict.fromkeys(("pick", "test"), {"accuracy": 0.5, "oracle": 0.9})


def test_accuracy_over_budgets_is_that_of_each_alone(ideas):
    told, cost = answers(np.random.default_rng(4)), (0.2, 1.2)
    found = ideas.judged(dict.fromkeys(("fit", "pick", "test"), told), cost, {"against": _AGAINST})["test"]
    single = []
    for budget in ideas.BUDGETS:
        escalated = np.argsort(told.confidence)[: round((budget - cost[0]) * len(told.labels))]
        predicted = told.binary.copy()
        predicted[escalated] = told.combined[escalated]
        single.append(np.mean(predicted == told.labels))
    assert found["over_budgets"] == pytest.approx(np.mean(single))
    # A net that costs more than a budget alone escalates nothing.
    dear = ideas.judged(dict.fromkeys(("fit", "pick", "test"), told), (0.7, 1.7), {"against": _AGAINST})["test"]
    assert dear["over_budgets"] == pytest.approx(np.mean(told.binary == told.labels))


def test_the_oracle_closes_the_whole_gap(ideas):
    generator = np.random.default_rng(1)
    splits = {part: answers(generator) for part in ("fit", "pick", "test")}
    base = ideas.base_figures(splits, (0.2, 1.2))
    told = {}
    for part, each in splits.items():
        helped = (each.binary != each.labels) & (each.combined == each.labels)
        harmed = (each.binary == each.labels) & (each.combined != each.labels)
        confidence = np.where(helped, 0, np.where(harmed, 2, 1)) + 0.1 * each.confidence
        told[part] = Answers(each.labels, each.binary, each.int8, each.combined, confidence, each.logits)
    assert ideas.judged(told, (0.2, 1.2), base)["pick"]["share"] == pytest.approx(1)


def test_the_step_has_the_losses_that_it_names(ideas):
    tf.keras.utils.set_random_seed(0)
    _, net = NETWORKS["fashion_mnist"]((8, 8, 1), 10, shared_stem=True, binary_width=0.5)
    step = ideas.BinaryStep(net, 10)
    generator = np.random.default_rng(2)
    logits, teacher = generator.normal(size=(2, 32, 10)).astype(np.float32)
    labels = generator.integers(0, 10, 32)
    labels[:16] = logits.argmax(-1)[:16]  # half are right
    targets = np.eye(10, dtype=np.float32)[labels]
    logs = log_softmax(logits, axis=-1)
    probabilities, right = np.exp(logs), logits.argmax(-1) == labels
    entropy = -logs[np.arange(32), labels]
    step.reset({"distillation": 0.0, "gatekeeper": 1.0, "alpha": 0.9})
    divergence = np.sum(probabilities * (logs - np.log(0.1)), axis=-1)
    expected = np.where(right, 0.9 * entropy, 0.1 * divergence)
    np.testing.assert_allclose(step._losses(targets, logits, teacher), expected, rtol=1e-4, atol=1e-6)
    step.reset({"distillation": 0.0, "ranking": 0.5})
    np.testing.assert_allclose(step._losses(targets, logits, teacher), entropy, rtol=1e-5)
    top = np.sort(probabilities, axis=-1)
    margin = top[:, -1] - top[:, -2]
    pairs = [
        np.logaddexp(0, (margin[j] - margin[i]) / 0.2) for i in np.flatnonzero(right) for j in np.flatnonzero(~right)
    ]
    np.testing.assert_allclose(step._ranking(targets, logits), 0.5 * np.mean(pairs), rtol=1e-4)


def test_weights_are_real_numbers_in_the_first_of_two_stages(ideas):
    tf.keras.utils.set_random_seed(0)
    _, net = NETWORKS["fashion_mnist"]((8, 8, 1), 10, shared_stem=True, binary_width=0.5)
    step = ideas.BinaryStep(net, 10)
    layer = next(layer for layer in net.layers if isinstance(layer, BinaryConv2D))
    assert set(np.unique(layer.quantized_kernel)) == {-1, 1}
    step.whole.assign(False)
    np.testing.assert_array_equal(layer.quantized_kernel, layer.kernel)


def test_a_learned_gate_finds_what_the_margin_does_not_show(ideas):
    generator = np.random.default_rng(3)
    splits, pooled = {}, {}
    for part in ("fit", "pick", "test"):
        pooled[part] = generator.normal(size=(2000, 8)).astype(np.float32)
        labels = generator.integers(0, 10, 2000)
        wrong = pooled[part][:, 3] > 0.8
        binary = np.where(wrong, (labels + 1) % 10, labels)
        logits = generator.normal(size=(2000, 10)).astype(np.float32)
        splits[part] = Answers(labels, binary, labels, labels, generator.uniform(size=2000), logits)
    gated = ideas.behind("gate_features", splits, pooled, None)
    assert splits["test"].auroc() < 0.6 and gated["test"].auroc() > 0.98


def net_of(ideas, kind, images):
    """A net of an idea that shares the stem of an int8 net, its ranges and statistics those of `images`."""
    tf.keras.utils.set_random_seed(0)
    float_net, _ = NETWORKS["fashion_mnist"](images.shape[1:], 10, shared_stem=True, binary_width=0.5)
    net = ideas.other_net(kind, images.shape[1:], 10)
    share_stem(net, int8_twin(float_net), [images])
    for _ in range(40):
        net(images, training=True)
    return net


@pytest.mark.parametrize("kind", ["concatenation", "shuffled", "late", "planes_8"])
def test_nets_of_ideas_answer_on_the_device_as_in_keras(ideas, kind):
    codes = np.random.default_rng(0).integers(-128, 128, (200, 8, 8, 1)).astype(np.int8)
    images = codes / np.float32(128)
    net = net_of(ideas, kind, images)
    answer = Interpreter(run_passes(write(emit(net)), fuse_thermometer)).predict(codes)
    # Untrained nets have close answers, and the device rounds the mean of the last map.
    assert np.mean(answer.predicted == net(images, training=False).numpy().argmax(-1)) >= 0.9


def test_shuffled_groups_read_words_of_both_groups_before(ideas):
    net = net_of(ideas, "shuffled", np.zeros((2, 8, 8, 1), np.float32))
    *_, last = (layer for layer in net.layers if isinstance(layer, BinaryConv2D))
    joined = next(layer for layer in net.layers if isinstance(layer, tf.keras.layers.Concatenate))
    generator = np.random.default_rng(1)
    words = [generator.choice([-1.0, 1.0], (1, 1, 1, 32)).astype(np.float32) for _ in range(4)]
    # The first half of the filters reads the first two words, one of each group of the convolution before.
    before = last(joined(words)).numpy()
    changed = last(joined([words[0], -words[1], *words[2:]])).numpy()
    assert (before != changed)[..., :64].any() and (before == changed)[..., 64:].all()
    sources = [tensor.node.layer.input.node.layer for tensor in joined.input]  # behind batch normalisation
    read = [layer.input.name for layer in sources]
    assert read[0] == read[2] != read[1] == read[3]


def test_levels_are_learned_and_end_on_codes(ideas):
    images = np.random.default_rng(2).uniform(-1, 1, (64, 8, 8, 1)).astype(np.float32)
    net = net_of(ideas, "learned_levels", images)
    thermometer = next(layer for layer in net.layers if isinstance(layer, ideas.learned_levels()))
    before = thermometer.levels.numpy()
    step = ideas.BinaryStep(net, 10)
    step.reset({"distillation": 0.0})
    targets = np.eye(10, dtype=np.float32)[np.arange(64) % 10]
    for _ in range(20):
        step(images, targets, targets, np.ones(64, np.float32), np.float32(3e-3))
    codes = tf.range(256, dtype=tf.float32)[:, tf.newaxis] * thermometer.step
    values = tf.reshape(tf.repeat(codes, len(before) // thermometer.planes, axis=-1), (1, 256, 1, -1))
    learned = thermometer(values, training=True).numpy() >= 0
    thermometer.round()
    after = thermometer.levels.numpy()
    assert np.mean(after != before) > 0.25 and (after == np.round(after)).all()
    np.testing.assert_array_equal(thermometer(values, training=False).numpy() >= 0, learned)
