"""The accuracy-cost curve against its definition, and the choice of a point."""

import dataclasses
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

import bcnet_keras as bc
from bcnet_keras.calibration import AccuracyCostCurve, Answers, OperatingPoint, answers, curve, operating_point

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
def test_every_point_does_what_it_says(drawn):
    classes, drawn = drawn
    for per_class in (None, classes):
        for point in curve(drawn, COST, classes=per_class).points:
            threshold = np.asarray(point.threshold, np.float32)
            thresholds = threshold[drawn.binary] if threshold.ndim else threshold
            escalated = drawn.confidence < thresholds
            right = np.where(escalated, drawn.combined, drawn.binary) == drawn.labels
            assert point.accuracy == pytest.approx(right.mean())
            assert point.escalation_rate == pytest.approx(escalated.mean())
            assert point.cost == pytest.approx(0.15 + escalated.mean())
            assert np.all((threshold >= 0) & (threshold <= 1))


@hypothesis.given(random_answers())
def test_one_threshold_for_all_covers_every_split_of_the_samples(drawn):
    _, drawn = drawn
    points = curve(drawn, COST).points
    rates = {round(point.escalation_rate * len(drawn.labels)) for point in points}
    assert rates == {0} | {int(np.sum(drawn.confidence < value)) for value in [*np.unique(drawn.confidence), 1.0]}
    assert [point.cost for point in points] == sorted(point.cost for point in points)


@hypothesis.given(random_answers())
def test_a_threshold_a_class_is_at_least_as_good_as_its_own_ends(drawn):
    classes, drawn = drawn
    points = curve(drawn, COST, classes=classes).points
    assert points[0].escalation_rate == 0
    best = max(point.accuracy for point in points)
    assert best >= np.mean(drawn.binary == drawn.labels)
    # With a price of 0 each class takes its best threshold, so no common one can beat it.
    assert best >= max(point.accuracy for point in curve(drawn, COST).points) - 1e-9


def _curve(*rows):
    return AccuracyCostCurve(tuple(OperatingPoint(*row) for row in rows), 0.92, "cortex-m4", COST, 1000)


def test_pick_by_budget_and_by_accuracy():
    drawn = _curve((0.0, 0.8, 0.0, 0.1), (0.2, 0.9, 0.3, 0.4), (0.4, 0.9, 0.4, 0.5), (0.9, 0.95, 1.0, 1.1))
    assert drawn.pick(max_cost=0.5).threshold == 0.2  # as accurate as 0.4 and cheaper
    assert drawn.pick(max_cost=2.0).threshold == 0.9
    assert drawn.pick(min_accuracy=0.85).threshold == 0.2
    with pytest.raises(ValueError, match="the binary net alone costs 0.100"):
        drawn.pick(max_cost=0.05)
    with pytest.raises(ValueError, match="the best is 0.9500"):
        drawn.pick(min_accuracy=0.99)
    for arguments in ({}, {"max_cost": 1.0, "min_accuracy": 0.5}):
        with pytest.raises(ValueError, match="either max_cost or min_accuracy"):
            drawn.pick(**arguments)
    for arguments in ({"max_cost": "a"}, {"min_accuracy": [0.5]}, {"max_cost": 1.0, "confidence_level": "0.9"}):
        name = list(arguments)[-1]
        with pytest.raises(TypeError, match=f"pick: {name} must be a number, got "):
            drawn.pick(**arguments)
    assert drawn.pick(max_cost=np.float32(0.5)) == drawn.pick(max_cost=0.5)


def test_a_confidence_level_holds_on_fresh_samples():
    random = np.random.default_rng(7)
    accepted, escalated = COST
    budget, over, spent = 0.6, {None: 0, 0.8: 0, 0.95: 0}, {None: [], 0.8: [], 0.95: []}
    for _ in range(400):
        confidence = random.uniform(size=100).astype(np.float32)
        wrong = random.uniform(size=100) > confidence  # so that escalating more is always better
        labels = np.zeros(100, np.int64)
        drawn = Answers(labels, wrong.astype(np.int64), labels, labels, confidence, np.zeros((100, 2), np.float32))
        for level in over:
            # The confidence of fresh samples is uniform, and the part t of them is below a threshold of t.
            rate = curve(drawn, COST).pick(max_cost=budget, confidence_level=level).threshold
            spent[level].append((1 - rate) * accepted + rate * escalated)
            over[level] += spent[level][-1] > budget
    assert over[None] > 120  # of 400: the validation samples alone say little of fresh ones
    assert over[0.8] <= 112 and over[0.95] <= 37  # 80 and 20 expected at most, and four standard deviations
    assert np.mean(spent[0.95]) < np.mean(spent[0.8]) < np.mean(spent[None])
    assert np.mean(spent[0.95]) > budget - 0.12  # 1.65 standard deviations of a rate from 100 samples are 0.08


def test_the_limit_of_a_cost_is_the_textbook_one():
    points = _curve((0.0, 0.8, 0.0, 0.15), (0.5, 0.9, 0.01, 0.16), (1.0, 0.9, 1.0, 1.15))
    never, some, always = points.points
    assert points.upper_cost(never, 0.95) == points.upper_cost(never) == 0.15
    assert points.upper_cost(always, 0.95) == pytest.approx(1.15)
    # At the limit of the rate, 10 or fewer of 1,000 samples escalate with a probability of 5 %.
    accepted, escalated = COST
    rate = (points.upper_cost(some, 0.95) - accepted) / (escalated - accepted)
    few = [math.comb(1000, k) * rate**k * (1 - rate) ** (1000 - k) for k in range(11)]
    assert sum(few) == pytest.approx(0.05, rel=1e-6)
    for arguments in ({"min_accuracy": 0.5}, {"max_cost": 1.0}):
        with pytest.raises(ValueError, match="confidence_level goes with max_cost and is from 0 to 1"):
            points.pick(**arguments, confidence_level=0.9 if "min_accuracy" in arguments else 1.5)
    with pytest.raises(ValueError, match="no threshold costs 0.1 or less with a probability of 0.9"):
        points.pick(max_cost=0.1, confidence_level=0.9)


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


def test_logits_at_the_clip_are_warned_of(caplog):
    random = np.random.default_rng(0)
    logits = np.round(random.normal(size=(200, 4)) * 16) / 16
    drawn = Answers(*np.zeros((4, 200), np.int64), np.ones(200, np.float32), logits.astype(np.float32))
    drawn.warn_of_clip()
    assert drawn.clipped() < 0.05 and not caplog.text
    clipped = dataclasses.replace(drawn, logits=np.minimum(drawn.logits, 1.5))
    clipped.warn_of_clip()
    share = np.mean(drawn.logits.max(-1) >= 1.5)
    assert clipped.clipped() == share > 0.05
    assert f"{100 * share:.1f} % of the samples have their largest logit at 1.5" in caplog.text
