"""The controller of a runtime budget: its thresholds, and what it promises of every stream."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcnet_keras.convert import Gate, merge
from bcnet_keras.runtime import kernels, tflm

UNIT, MAX_LEVEL = 1 << 26, 24 << 26
COSTS = st.tuples(st.integers(0, 2**31 - 2), st.integers(1, 2**31 - 1), st.floats(0, 1)).map(
    lambda drawn: (min(drawn[:2]), max(drawn[:2]) + (drawn[0] == drawn[1]), drawn[2])
)


def make(accepted=100, escalated=1100, budget=400, threshold=0.5, window=64):
    return kernels.Budget(accepted, escalated, budget, threshold, window)


def reference(level, up, down, confidences):
    """The controller in Python's integers, and thresholds in its floats."""
    escalated, thresholds = [], []
    for confidence in confidences:
        whole, fraction = divmod(min(max(level, 0), MAX_LEVEL), UNIT)
        rest = 0.0 if level >= MAX_LEVEL else (1 - fraction / UNIT / 2) * 2.0**-whole
        thresholds.append(1 - rest)
        escalated.append(bool(confidence < np.float32(1 - rest)))
        level += -down if escalated[-1] else up
        level = min(max(level, -up - down), MAX_LEVEL + up + down)
    return escalated, thresholds, level


@given(COSTS, st.floats(0, 1, width=32), st.integers(8, 1 << 16))
@settings(max_examples=200)
def test_starts_at_its_threshold_and_spends_the_budget(costs, threshold, window):
    accepted, escalated, share = costs
    wanted = min(escalated, accepted + int(share * (escalated - accepted)))
    budget = make(accepted, escalated, wanted, threshold, window)
    assert budget.threshold == pytest.approx(threshold, abs=2**-23)
    assert budget.up + budget.down == MAX_LEVEL // window and min(budget.up, budget.down) >= 0
    assert abs(budget.rate - (wanted - accepted) / (escalated - accepted)) <= window / MAX_LEVEL + 1e-9


@given(st.integers(-UNIT, MAX_LEVEL + UNIT), st.integers(-UNIT, MAX_LEVEL + UNIT))
@settings(max_examples=300)
def test_threshold_grows_with_the_level(one, other):
    budget = make()
    thresholds = []
    for level in sorted((one, other)):
        budget.level = level
        thresholds.append(budget.threshold)
        whole, fraction = divmod(min(max(level, 0), MAX_LEVEL), UNIT)
        assert thresholds[-1] == pytest.approx(1 - 2.0**-whole * (1 - fraction / UNIT / 2), abs=2**-23)
    assert 0 <= thresholds[0] <= thresholds[1] <= 1


STREAMS = st.one_of(
    st.lists(st.floats(0, 1, width=32), max_size=600),
    # Long ones: constant, or of a distribution that leaps.
    st.tuples(st.floats(0, 1, width=32), st.integers(1, 5000)).map(lambda drawn: [drawn[0]] * drawn[1]),
    st.tuples(st.integers(0, 99), st.integers(1, 2000), st.floats(0.1, 20)).map(
        lambda drawn: np.concatenate(
            [np.random.default_rng(drawn[0]).beta(a, b, drawn[1]) for a, b in ((drawn[2], 1), (1, drawn[2]), (5, 0.1))]
        ).tolist()
    ),
)


@given(STREAMS, st.integers(100, 1100), st.floats(0, 1, width=32), st.sampled_from([8, 16, 100, 512]))
@settings(max_examples=100)
def test_any_stream_keeps_the_budget(stream, wanted, threshold, window):
    budget = make(budget=wanted, threshold=threshold, window=window)
    stream = np.float32(stream)
    escalations = np.cumsum(budget.run(stream))
    allowed = budget.rate * np.arange(1, len(stream) + 1)
    assert (escalations <= allowed + window + 4).all()
    surest = np.flatnonzero(stream == 1)
    before = slice(0, surest[0] if len(surest) else None)  # as long as no confidence was 1
    assert (escalations[before] >= allowed[before] - window - 4).all()
    assert -budget.up - budget.down <= budget.level <= MAX_LEVEL + budget.up + budget.down


@given(STREAMS, st.floats(0, 1, width=32))
@settings(max_examples=25)
def test_steps_are_those_of_exact_integers(stream, threshold):
    budget, stream = make(threshold=threshold), np.float32(stream)
    expected, _, level = reference(budget.level, budget.up, budget.down, stream)
    np.testing.assert_array_equal(budget.run(stream), expected)
    assert budget.level == level


@pytest.mark.parametrize("share", [0.1, 0.3, 0.8])
def test_mean_cost_converges_on_a_steady_stream(share):
    """Within 1 % of the range of costs over the second half of 20,000 answers, wherever it starts."""
    stream = np.random.default_rng(0).beta(8, 0.5, 20000)
    for threshold in (0.0, 0.5, 1.0):
        budget = make(budget=int(100 + 1000 * share), threshold=threshold, window=512)
        costs = np.where(budget.run(stream), 1100, 100)
        assert abs(costs[10000:].mean() - (100 + 1000 * share)) < 10


def test_logits_that_are_not_finite_leave_the_state_in_its_bounds():
    budget = make()
    assert budget.run(np.full(10000, np.nan)).all() and budget.level == -budget.up - budget.down
    assert budget.threshold == 0
    budget = make(window=8)
    assert not budget.run(np.full(10000, 1.0)).any() and budget.level == MAX_LEVEL + budget.up + budget.down
    assert budget.threshold == 1


def test_update_is_one_step():
    one, many = make(), make()
    decisions = many.run(np.linspace(0, 1, 50))
    for escalated in decisions:
        one.update(escalated)
    assert one.level == many.level


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"accepted": -1}, "an escalated answer must cost more than an accepted one, and neither less than 0"),
        ({"escalated": 100}, "an escalated answer must cost more than an accepted one"),
        ({"budget": 99}, "the budget must lie between the costs of an accepted and of an escalated answer"),
        ({"budget": 1101}, "the budget must lie between"),
        ({"budget": 400.0}, "costs, budget and window must be whole numbers below 2"),
        ({"escalated": 2**31}, "must be whole numbers below 2"),
        ({"window": 7}, "the window must be from 8 to 65536 answers"),
        ({"window": 65537}, "the window must be from 8 to 65536 answers"),
        ({"threshold": 1.1}, "the threshold must be in"),
        ({"threshold": float("nan")}, "the threshold must be in"),
    ],
)
def test_bad_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_bad_streams_are_refused():
    with pytest.raises(ValueError, match=r"must have the shape \[n\], got \[1, 2\]"):
        make().run(np.zeros((1, 2)))


@pytest.fixture
def pair(make_part):
    return tflm.Interpreter(merge(make_part(1), make_part(2), Gate.create(4, "score_margin", [0.1, 0.2, 0.3, 0.4])))


@pytest.mark.needs_tflm
def test_gate_holds_the_budget_of_its_control(pair):
    """In TensorFlow Lite Micro: every decision is that of the controller on the gate's own confidences."""
    images = np.random.default_rng(0).integers(-128, 128, (300, 3, 3, 2)).astype(np.int8)
    pair.budget, alone = make(window=16), make(window=16)
    escalated, confidences = [], []
    for image in images:
        escalated.append(bool(pair.predict(image[np.newaxis]).escalated[0]))
        confidences.append(pair._model._gate.confidence)
    np.testing.assert_array_equal(escalated, alone.run(np.float32(confidences)))
    assert pair.budget.level == alone.level and 0.2 < np.mean(escalated) < 0.4
    held, pair.budget = pair.budget, None
    pair.thresholds = 0.0
    assert not pair.predict(images).escalated.any() and held.level == alone.level


def test_net_without_gate_has_no_budget(make_part):
    with pytest.raises(ValueError, match="no gate whose threshold a budget could move"):
        tflm.Model(make_part(1)).budget = make()
