"""`BCNet`: what it answers, what each stage trains, saving, and what it refuses."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from small_nets import float_net, images_and_labels

import bcnet_keras as bc
from bcnet_keras.models.pair import STAGES
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.metadata import metadata
from bcnet_keras.training import train_float

layers = tf.keras.layers


@pytest.fixture
def pair():
    tf.keras.utils.set_random_seed(1)
    return bc.BCNet.from_keras(float_net())


@pytest.mark.parametrize("argument", [{"loss": "mse"}, {"metrics": ["accuracy"]}, {"loss_weights": [1.0]}])
def test_compile_does_not_ignore_a_loss_or_metrics(pair, argument):
    with pytest.raises(ValueError, match=f"compile takes no {next(iter(argument))}"):
        pair.compile("adam", **argument)


@pytest.mark.parametrize("combine", ["sum", "swap"])
@pytest.mark.parametrize("per_class", [False, True])
def test_answers_are_those_of_the_definition(combine, per_class):
    tf.keras.utils.set_random_seed(1)
    pair = bc.BCNet.from_keras(float_net(), combine=combine, per_class=per_class, boost=0.7)
    pair.threshold = [0.1, 0.2, 0.05, 0.3] if per_class else 0.1
    images, _ = images_and_labels()
    outputs = {name: value.numpy() for name, value in pair(images).items()}
    b, q = pair.binary(images).numpy(), pair.int8(images).numpy()
    np.testing.assert_array_equal(outputs["binary_logits"], b)
    np.testing.assert_array_equal(outputs["int8_logits"], q)
    p = np.sort(np.exp(b) / np.exp(b).sum(axis=1, keepdims=True), axis=1)
    threshold = pair.threshold[b.argmax(1)] if per_class else pair.threshold
    escalated = p[:, -1] - p[:, -2] < threshold
    assert 0 < escalated.mean() < 1
    np.testing.assert_array_equal(outputs["escalated"], escalated)
    expected = np.where(escalated[:, None], (0.7 * b + q) if combine == "sum" else q, b)
    step = 16 / 255  # the answer is rounded to the 8 bits of the file
    assert np.abs(outputs["logits"] - expected).max() <= step


def test_unset_threshold_escalates_all_and_cannot_start_the_cooperative_stage(pair):
    images, labels = images_and_labels()
    assert np.isnan(pair.threshold) and pair(images)["escalated"].numpy().all()
    pair.compile(stage="cooperative")
    with pytest.raises(ValueError, match="set pair.threshold"):
        pair.fit(images, labels, verbose=0)


def test_operating_point_sets_the_threshold(pair):
    pair.threshold = bc.OperatingPoint(threshold=0.25, accuracy=0.9, escalation_rate=0.1, cost=0.3)
    assert pair.threshold == 0.25
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        pair.threshold = 1.5


def test_the_escalation_rate_is_that_of_an_operating_point_until_something_changes(pair, tmp_path):
    images, labels = images_and_labels()
    point = bc.OperatingPoint(threshold=0.25, accuracy=0.9, escalation_rate=0.125, cost=0.3)
    assert pair.escalation_rate is None
    pair.threshold = point
    assert pair.escalation_rate == 0.125
    pair(images)
    for path in ("pair.keras", "pair"):
        pair.save(tmp_path / path)
        assert tf.keras.models.load_model(tmp_path / path).escalation_rate == 0.125
    pair.threshold = 0.25  # a number, of which nobody says what it does
    assert pair.escalation_rate is None
    pair.threshold = point
    pair.gate.threshold = 0.5
    assert pair.escalation_rate is None
    pair.threshold = point
    pair.compile(stage="binary")
    pair.fit(images, labels, verbose=0)
    assert pair.threshold == 0.25 and pair.escalation_rate is None
    pair.threshold = point
    pair.int8.set_weights([2 * weight for weight in pair.int8.get_weights()])  # does not decide what escalates
    assert pair.escalation_rate == 0.125
    pair.train_on_batch(images, labels)
    assert pair.threshold == 0.25 and pair.escalation_rate is None
    pair.threshold = point
    pair.binary.set_weights([2 * weight for weight in pair.binary.get_weights()])
    assert pair.escalation_rate is None
    for impossible in (1.5, float("nan")):
        with pytest.raises(ValueError, match="the escalation rate must lie between 0 and 1"):
            pair.threshold = dataclasses.replace(point, threshold=0.5, escalation_rate=impossible)
    assert pair.threshold == 0.25


@pytest.mark.parametrize("per_class", [False, True])
def test_a_file_keeps_the_escalation_rate_of_its_threshold(per_class):
    """The rate is that of `calibrate` on the same images that the file then escalates, in TensorFlow Lite Micro."""
    tf.keras.utils.set_random_seed(1)
    pair = bc.BCNet.from_keras(float_net(), per_class=per_class, verbose=0)
    images, labels = images_and_labels()
    points = bc.calibrate(pair, (images, labels), pair_cost=(0.3, 1.3)).points
    point, other = points[len(points) // 2], points[len(points) // 4]
    assert 0 < other.escalation_rate < point.escalation_rate < 1
    assert "escalation_rate" not in record(bc.convert(pair, threshold=0.5))
    pair.threshold = point
    data = bc.convert(pair)
    assert record(data)["escalation_rate"] == point.escalation_rate
    low, high = pair.input_range
    raw = (images - low) / (high - low) * 255
    assert bc.Interpreter(data).predict(raw).escalated.mean() == pytest.approx(point.escalation_rate, abs=0.1)
    assert bc.convert(pair, threshold=point) == bc.set_threshold(data, pair.threshold) == data
    changed = bc.set_threshold(data, other)
    assert record(changed)["escalation_rate"] == other.escalation_rate
    assert bc.convert(pair, threshold=other) == changed and bc.set_threshold(changed, point) == data
    for unknown in (bc.set_threshold(data, other.threshold), bc.convert(pair, threshold=other.threshold)):
        assert "escalation_rate" not in record(unknown)
    assert record(bc.convert(pair, gate="builtin"))["escalation_rate"] == point.escalation_rate
    with pytest.raises(ValueError, match="the escalation rate must lie between 0 and 1, got 1.5"):
        bc.set_threshold(data, dataclasses.replace(point, escalation_rate=1.5))


def record(data):
    return metadata(flatbuffer.read(data))


@pytest.mark.parametrize(("stage", "combine"), [*((stage, "sum") for stage in STAGES), ("cooperative", "swap")])
def test_each_stage_trains_its_variables_only(stage, combine):
    tf.keras.utils.set_random_seed(1)
    pair = bc.BCNet.from_keras(float_net(), combine=combine)
    pair.threshold = 0.3
    images, labels = images_and_labels()
    before = {id(variable): variable.numpy() for variable in pair.trainable_variables}
    pair.compile(tf.keras.optimizers.Adam(0.01), stage=stage)
    pair.fit(images, labels, batch_size=16, verbose=0)
    changed = [not np.array_equal(before[id(v)], v.numpy()) for v in pair.trainable_variables]
    binary, int8 = ({id(v) for v in net.trainable_variables} for net in (pair.binary, pair.int8))
    for variable, moved in zip(pair.trainable_variables, changed, strict=True):
        if id(variable) in binary:
            assert moved == (stage in ("binary", "cooperative")), variable.name
        elif id(variable) in int8:
            assert moved == (stage != "binary"), variable.name
        else:
            assert moved == (stage == "cooperative"), variable.name


def test_a_high_price_lowers_the_escalation_rate(pair):
    images, labels = images_and_labels(256)
    rates = {}
    for price in (0.0, 20.0):
        pair.threshold = 0.5
        pair.temperature.assign(0.1)
        pair.compile(tf.keras.optimizers.Adam(0.03), stage="cooperative", cost_weight=price)
        pair.fit(images, labels, batch_size=32, epochs=6, verbose=0)
        rates[price] = pair.evaluate(images, labels, verbose=0, return_dict=True)["escalation_rate"]
    assert rates[20.0] < 0.1 < rates[0.0]


def test_losses_are_those_of_the_definition(pair):
    images, labels = images_and_labels()
    pair.threshold, temperature, price, share, independence = 0.1, 0.05, 0.3, 0.8, 0.4
    pair.temperature.assign(temperature)
    pair.boost.assign(0.6)
    b, q = (net(images).numpy().astype(np.float64) for net in (pair.binary, pair.int8))

    def cross_entropy(logits):
        return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]

    p = np.sort(np.exp(b) / np.exp(b).sum(1, keepdims=True), axis=1)
    accept = 1 / (1 + np.exp(-(p[:, -1] - p[:, -2] - 0.1) / temperature))
    escalated = (1 - independence) * cross_entropy(0.6 * b + q) + independence * cross_entropy(q)
    expected = {
        "binary": cross_entropy(b),
        "int8": cross_entropy(q),
        "boosted": escalated,
        "cooperative": accept * cross_entropy(b) + (1 - accept) * price * share + escalated + cross_entropy(b),
    }
    for stage, losses in expected.items():
        pair.compile(stage=stage, cost_weight=price, int8_share=share, independence=independence)
        # The boosted stage rounds the sum to 8 bits.
        assert pair.evaluate(images, labels, verbose=0)[0] == pytest.approx(losses.mean(), rel=2e-3), stage


def test_distillation_pulls_towards_the_teacher():
    images, labels = images_and_labels()
    teacher = tf.keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(4)])
    wanted = teacher.predict(images, verbose=0).argmax(1)
    agreement = {}
    for weight in (0.0, 1.0):
        tf.keras.utils.set_random_seed(3)
        pair = bc.BCNet.from_keras(float_net())
        pair.compile(tf.keras.optimizers.Adam(0.01), stage="binary", teacher=teacher, distillation=weight)
        pair.fit(images, labels, batch_size=16, epochs=15, verbose=0)
        agreement[weight] = np.mean(pair.binary(images, training=True).numpy().argmax(1) == wanted)
    assert agreement[1.0] > agreement[0.0] + 0.2
    assert not any(weight is pair_weight for weight in teacher.weights for pair_weight in pair.weights)


def test_a_teacher_of_other_images_or_classes_is_refused(pair):
    for shape, classes, message in (
        ((9, 8, 1), 4, r"the input_shape \(None, 8, 8, 1\) of the pair's nets, got \(None, 9, 8, 1\)"),
        ((8, 8, 1), 5, r"the output_shape \(None, 4\) of the pair's nets, got \(None, 5\)"),
    ):
        teacher = tf.keras.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(classes)])
        with pytest.raises(ValueError, match=message):
            pair.compile(stage="binary", teacher=teacher)


def test_the_cooperative_stage_distils_as_the_binary_one_does():
    images, labels = images_and_labels()
    teacher = tf.keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(4)])
    added = {}
    for stage in ("binary", "cooperative"):
        losses = []
        for stage_teacher in (teacher, None):
            tf.keras.utils.set_random_seed(3)
            pair = bc.BCNet.from_keras(float_net())
            pair.threshold = 0.3
            pair.compile(tf.keras.optimizers.SGD(0.0), stage=stage, teacher=stage_teacher)
            losses.append(pair.fit(images, labels, batch_size=len(images), verbose=0).history["loss"][0])
        added[stage] = losses[0] - losses[1]
    assert abs(added["binary"]) > 0.05
    assert added["cooperative"] == pytest.approx(added["binary"], abs=1e-4)


def test_class_weights_weigh_the_loss(pair):
    images, labels = images_and_labels()
    pair.compile(tf.keras.optimizers.SGD(0.0), stage="int8")
    plain = pair.fit(images, labels, batch_size=64, verbose=0).history["loss"][0]
    doubled = pair.fit(images, labels, batch_size=64, class_weight=dict.fromkeys(range(4), 2.0), verbose=0)
    assert doubled.history["loss"][0] == pytest.approx(2 * plain, rel=1e-3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({0: 1.0, 1: 2.0}, r"class_weight must have a weight for each class from 0 to 3; there is none for 2, 3\."),
        ([1.0, 1.0, 1.0, 1.0], "class_weight must be a dict of class number -> weight, got list"),
        ({0: 1.0, 1: 1.0, 2: 1.0, 3: "1"}, "class_weight: that of class 3 must be a number, got '1'"),
        ({0: 1.0, 1: 1.0, 2: 1.0, 3: math.nan}, "class_weight: that of class 3 must be finite and at least 0"),
    ],
)
def test_class_weights_that_keras_reports_late_are_refused_in_one_line(pair, weights, message):
    data = images_and_labels()
    pair.compile(stage="int8")
    for fit in (lambda: pair.fit(*data, class_weight=weights), lambda: bc.train(pair, data, class_weight=weights)):
        with pytest.raises(ValueError, match=message) as error:
            fit()
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=message):
        train_float(float_net(), data, class_weight=weights)


@pytest.mark.parametrize("cost", [-1, 0, math.nan, "a"])
def test_costs_that_no_net_can_have_are_refused(cost):
    with pytest.raises(ValueError, match=r"max_binary_cost must be (greater than 0|a number), got "):
        bc.BCNet.from_keras(float_net(), max_binary_cost=cost)


def test_one_hot_labels_and_class_numbers_are_the_same(pair):
    images, labels = images_and_labels()
    pair.compile(stage="int8")
    numbers = pair.evaluate(images, labels, verbose=0)
    assert pair.evaluate(images, np.eye(4, dtype=np.float32)[labels], verbose=0) == numbers


@pytest.mark.parametrize("stage", STAGES)
def test_a_training_step_is_traced_once(pair, monkeypatch, stage):
    traced, step = [], bc.BCNet.train_step
    monkeypatch.setattr(bc.BCNet, "train_step", lambda self, data: traced.append(self.stage) or step(self, data))
    pair.threshold = 0.5
    pair.compile(stage=stage)
    pair.fit(*images_and_labels(), verbose=0)
    assert traced == [stage]


@pytest.mark.parametrize("form", ["numbers", "column", "rows"])
def test_fit_takes_generators_of_which_keras_knows_no_shape(pair, form):
    images, labels = images_and_labels(32)
    given = {"numbers": labels, "column": labels[:, np.newaxis], "rows": np.eye(4, dtype=np.float32)[labels]}[form]
    pair.compile(stage="int8")
    assert pair.fit(((images, given) for _ in range(2)), epochs=1, verbose=0).history["loss"]
    scores = pair.evaluate(((images, given) for _ in range(2)), verbose=0, return_dict=True)
    assert scores == pytest.approx(pair.evaluate(images, labels, verbose=0, return_dict=True), rel=1e-5)
    answers = pair.predict(images for _ in range(1))
    np.testing.assert_allclose(answers["logits"], pair.predict(images)["logits"], atol=1e-5)


def test_fit_takes_callbacks_and_steps(pair, tmp_path):
    images, labels = images_and_labels()
    endless = tf.data.Dataset.from_tensor_slices((images, labels)).repeat().batch(16)
    pair.compile(stage="boosted")
    seen = []
    pair.fit(
        endless,
        epochs=2,
        steps_per_epoch=3,
        verbose=0,
        callbacks=[
            tf.keras.callbacks.CSVLogger(tmp_path / "epochs.csv"),
            tf.keras.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: seen.append(batch)),
        ],
    )
    assert seen == [0, 1, 2, 0, 1, 2] and len((tmp_path / "epochs.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("place", ["pair.keras", "saved_model"])
def test_saved_pairs_give_identical_answers(tmp_path, place):
    tf.keras.utils.set_random_seed(1)
    pair = bc.BCNet.from_keras(
        float_net(), measure="learned", per_class=True, class_names=list("abcd"), raw_range=(0, 16), boost=0.5
    )
    pair.threshold = [0.3, 0.4, 0.5, 0.6]
    images, labels = images_and_labels()
    pair.compile(stage="cooperative")
    pair.fit(images, labels, verbose=0)
    pair.save(tmp_path / place)
    loaded = tf.keras.models.load_model(tmp_path / place)
    assert type(loaded) is bc.BCNet
    assert (loaded.class_names, loaded.raw_range, loaded.combine) == (tuple("abcd"), (0.0, 16.0), "sum")
    assert float(loaded.boost) == float(pair.boost) and loaded.gate.measure == "learned"
    for mine, theirs in zip(pair.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    mine, theirs = pair(images), loaded(images)
    for name in mine:
        # Equal weights give equal codes, but for a value midway between two, where a matrix product whose memory is
        # aligned otherwise may differ in its last bit and round the other way.
        same = np.isclose(mine[name].numpy(), theirs[name].numpy(), rtol=0, atol=1e-6)
        assert same.mean() > 0.99, name


def test_tfmot_nets_serve_as_the_int8_part(tmp_path):
    import tensorflow_model_optimization as tfmot

    model = float_net()
    pair = bc.BCNet(bc.binary_twin(model), tfmot.quantization.keras.quantize_model(model))
    pair.threshold = 0.4
    images, labels = images_and_labels()
    pair.compile(stage="cooperative")
    pair.fit(images, labels, verbose=0)
    pair.save(tmp_path / "saved_model")
    loaded = tf.keras.models.load_model(tmp_path / "saved_model")
    np.testing.assert_allclose(loaded(images)["int8_logits"], pair(images)["int8_logits"], atol=0.1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (lambda: dict(int8=bc.int8_twin(float_net(classes=5))), "as many logits; binary gives 4, int8 5"),
        (
            lambda: dict(int8=bc.int8_twin(float_net(size=9))),
            r"same images; binary reads \(8, 8, 1\), int8 \(9, 9, 1\)",
        ),
        (lambda: dict(int8="net"), "int8 net must be a built tf.keras.Model"),
        (lambda: dict(combine="mean"), "combine must be 'sum' or 'swap'"),
        (lambda: dict(boost=-1.0), "boost must be at least 0"),
        (lambda: dict(class_names=["a", "b"]), "2 class names were given for 4 logits"),
        (lambda: dict(raw_range=(5, 5)), "raw_range must be"),
        (lambda: dict(input_range="01"), r"input_range must be two numbers, \(lowest, highest\), got '01'"),
        (lambda: dict(measure="softmax"), "measure must be one of"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(arguments, message):
    model = float_net()
    nets = {"binary": bc.binary_twin(model), "int8": bc.int8_twin(model), **arguments()}
    with pytest.raises(ValueError, match=message) as error:
        bc.BCNet(**nets)
    assert "\n" not in str(error.value)


def test_a_net_with_one_logit_is_refused_but_its_twins_have_two():
    model = float_net(classes=1)
    with pytest.raises(ValueError, match="at least 2 logits"):
        bc.BCNet(model, model)
    assert bc.BCNet(bc.binary_twin(model), bc.int8_twin(model)).classes == 2


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_models_of_mixed_precision_make_pairs_of_float32(policy, tmp_path):
    """As they are trained on GPUs, and with that policy still on."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        model = float_net()
        pair = bc.BCNet.from_keras(model, width=1.0, verbose=0)
        images, labels = images_and_labels(32)
        bc.train(pair, (images, labels), (images, labels), epochs=1, verbose=0)
        pair.threshold = 0.5
        pair.save(tmp_path / "pair.keras")
        same = tf.keras.models.load_model(tmp_path / "pair.keras")
        assert tf.keras.mixed_precision.global_policy().name == policy
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
    answers = pair(images)
    assert {answers[name].dtype for name in ("logits", "binary_logits", "int8_logits")} == {tf.float32}
    np.testing.assert_array_equal(same(images)["logits"], answers["logits"])
    assert bc.convert(same) == bc.convert(pair)


def test_preprocessing_maps_pixels_to_int8_codes(pair):
    pixels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(np.round(pair.preprocess(pixels).numpy() * 128), pixels.astype(int) - 128)
