"""The simulation of a runtime budget under a shift of the class mix, on made-up answers."""

import numpy as np
import pytest

from experiments import budget

PARTS = {"all": np.arange(4), "hard": np.array([3]), "easy": np.array([0])}
COSTS = (100.4, 1099.6)
LENGTH = 4000


@pytest.fixture(scope="module")
def policies():
    """Classes are the harder the higher: less confidence, and the small net is right as often as it is sure."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 500)
    confidence = random.beta(8 - 2 * labels, 1).astype(np.float32)
    accepted = np.where(random.random(2000) < confidence, labels, -1)
    stream = budget.draw(PARTS, labels, LENGTH, seed=1)
    answers = confidence, accepted, labels
    return budget.simulate(stream, labels, answers, float(np.quantile(confidence, 0.2)), 300, COSTS, [256])


def test_stream_has_the_mix_of_each_part():
    labels = np.repeat(np.arange(4), 50)
    stream = budget.draw(PARTS, labels, 1000, seed=0)
    mixes = [np.bincount(labels[part], minlength=4) / 1000 for part in np.split(stream, 3)]
    np.testing.assert_allclose(mixes[0], 0.25, atol=0.05)
    np.testing.assert_array_equal(mixes[1:], [[0, 0, 0, 1], [1, 0, 0, 0]])


def test_budget_is_kept_where_a_fixed_threshold_does_not_keep_it(policies):
    fixed, held = (budget.summary(policies[name], PARTS, 300) for name in ("fixed threshold", "budget, window 256"))
    assert fixed["hard"]["cost_of_budget"] > 1.3 and fixed["easy"]["cost_of_budget"] < 0.7
    # What the window allows: 260 escalations of 4,000 images, of some 1,000 units each.
    for part in ("all", "hard", "easy"):
        assert abs(held[part]["cost_of_budget"] - 1) < 260 / LENGTH * 1000 / 300
    assert abs(held["whole"]["cost_of_budget"] - 1) < 260 / LENGTH / 3 * 1000 / 300
    assert held["hard"]["accuracy"] < fixed["hard"]["accuracy"]  # which is the price
    assert held["easy"]["accuracy"] > fixed["easy"]["accuracy"]


def test_table_and_figure_show_every_policy(policies):
    record = {"parts": PARTS, "policies": {name: budget.summary(one, PARTS, 300) for name, one in policies.items()}}
    table = budget.table(record).splitlines()
    assert len(table) == 2 + len(policies) and "int8 net always | 100.0 %, 3.67" in table[-1]
    upper, lower = budget.figure(policies, PARTS, 300, "test").axes
    assert len(lower.get_lines()) >= len(policies) and len(upper.get_lines()) >= len(policies)
