"""The accuracy-cost curve against its definition, and the choice of a point."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

import bcnet_keras as bc
from bcnet_keras.confidence import AccuracyCostCurve, Answers, OperatingPoint, answers, curve, operating_point

COST = (0.15, 1.15)


@st.composite
def random_answers(draw):
    seed, number, classes = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 60)), draw(st.integers(2, 5))
    random = np.random.default_rng(seed)
    labels, binary, int8, combined = random.integers(0, classes, (4, number))
    # Few distinct values, so that ties are common.
    confidence = (random.integers(0, 8, number) / 7).astype(np.float32)
    return classes, Answers(labels, binary, int8, combined, confidence, random.standard_normal((number, classes)))


@hypothesis.given(random_answers())
def test_every_point_does_what_it_says(given):
    classes, given = given
    for per_class in (None, classes):
        for point in curve(given, COST, classes=per_class).points:
            threshold = np.asarray(point.threshold, np.float32)
            own = threshold[given.binary] if threshold.ndim else threshold
            escalated = given.confidence < own
            right = np.where(escalated, given.combined, given.binary) == given.labels
            assert point.accuracy == pytest.approx(right.mean())
            assert point.escalation_rate == pytest.approx(escalated.mean())
            assert point.cost == pytest.approx(0.15 + escalated.mean())
            assert np.all((threshold >= 0) & (threshold <= 1))


@hypothesis.given(random_answers())
def test_one_threshold_for_all_covers_every_split_of_the_samples(given):
    _, given = given
    points = curve(given, COST).points
    rates = {round(point.escalation_rate * len(given.labels)) for point in points}
    assert rates == {0} | {int(np.sum(given.confidence < value)) for value in [*np.unique(given.confidence), 1.0]}
    assert [point.cost for point in points] == sorted(point.cost for point in points)


@hypothesis.given(random_answers())
def test_a_threshold_a_class_is_at_least_as_good_as_its_own_ends(given):
    classes, given = given
    points = curve(given, COST, classes=classes).points
    assert points[0].escalation_rate == 0
    best = max(point.accuracy for point in points)
    assert best >= np.mean(given.binary == given.labels)
    # With a price of 0 each class takes its best threshold, so no common one can beat it.
    assert best >= max(point.accuracy for point in curve(given, COST).points) - 1e-9


def _curve(*rows):
    return AccuracyCostCurve(tuple(OperatingPoint(t, a, r, c) for t, a, r, c in rows), 0.92, "cortex-m4")


def test_pick_by_budget_and_by_accuracy():
    given = _curve((0.0, 0.8, 0.0, 0.1), (0.2, 0.9, 0.3, 0.4), (0.4, 0.9, 0.4, 0.5), (0.9, 0.95, 1.0, 1.1))
    assert given.pick(max_cost=0.5).threshold == 0.2  # as accurate as 0.4 and cheaper
    assert given.pick(max_cost=2.0).threshold == 0.9
    assert given.pick(min_accuracy=0.85).threshold == 0.2
    with pytest.raises(ValueError, match="the binary net alone costs 0.100"):
        given.pick(max_cost=0.05)
    with pytest.raises(ValueError, match="the best is 0.9500"):
        given.pick(min_accuracy=0.99)
    for arguments in ({}, {"max_cost": 1.0, "min_accuracy": 0.5}):
        with pytest.raises(ValueError, match="either max_cost or min_accuracy"):
            given.pick(**arguments)


@pytest.mark.parametrize("measure", ["score_margin", "max_probability", "entropy", "learned"])
def test_picked_point_holds_for_the_pair_itself(measure):
    tf.keras.utils.set_random_seed(4)
    layers = tf.keras.layers
    net = tf.keras.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)])
    pair = bc.BCNet.from_keras(net, measure=measure)
    random = np.random.default_rng(1)
    data = random.uniform(-1, 1, (200, 6, 6, 1)).astype(np.float32), random.integers(0, 3, 200)
    picked = bc.calibrate(pair, data, pair_cost=COST).pick(max_cost=0.6)
    pair.threshold = picked
    outputs = pair.predict(data[0], verbose=0)
    assert outputs["escalated"].mean() == pytest.approx(picked.escalation_rate)
    assert np.mean(outputs["logits"].argmax(1) == data[1]) == pytest.approx(picked.accuracy, abs=0.02)
    assert operating_point(answers(pair, data), picked.threshold, COST) == picked


def test_empty_data_is_refused():
    layers = tf.keras.layers
    net = tf.keras.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)])
    empty = np.zeros((0, 6, 6, 1), np.float32), np.zeros(0, np.int64)
    with pytest.raises(ValueError, match="empty"):
        answers(bc.BCNet.from_keras(net), empty)
