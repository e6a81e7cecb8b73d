"""The verdict: its statistics against independent formulas and simulation, its words against what the numbers say."""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binom, binomtest, norm

from bcnet_keras.experiment import verdict
from bcnet_keras.experiment.verdict import MARGIN, OUTCOMES, WORTH_IT, Row, Verdict, compare, comparison, judge

CLASSES = tuple("abcdefghij")


# --- the statistics ---


def _score_by_search(gained, lost, samples, difference):
    """Tango's statistic with the constrained likelihood maximised numerically instead of in closed form."""
    low, high = max(0.0, -difference), (1 - difference) / 2

    def unlikely(share):  # of images that only the second net gets right
        cells = ((gained, share + difference), (lost, share), (samples - gained - lost, 1 - 2 * share - difference))
        return -sum(count * np.log(max(chance, 1e-300)) for count, chance in cells if count)

    share = minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - samples * difference) / np.sqrt(samples * (2 * share + difference - difference**2))


@pytest.mark.parametrize(
    "counts", [(7, 3, 100), (0, 1, 359), (12, 40, 1500), (0, 0, 500), (90, 110, 10000), (30, 2, 40)]
)
def test_the_interval_ends_where_the_score_test_rejects(counts):
    found = comparison(*counts)
    for end, expected in ((found.low, norm.ppf(0.975)), (found.high, -norm.ppf(0.975))):
        assert _score_by_search(*counts, end) == pytest.approx(expected, abs=2e-3)


def test_without_disagreement_the_interval_has_a_closed_form():
    squared = norm.ppf(0.975) ** 2
    found = comparison(0, 0, 400)
    assert (found.low, found.high) == pytest.approx((-squared / (400 + squared), squared / (400 + squared)), abs=1e-8)
    assert found.p_value == 1 and found.as_good() and not comparison(0, 0, 360).as_good()


@given(st.integers(0, 60), st.integers(0, 60), st.integers(120, 2000))
def test_mcnemar_is_a_coin_flip_over_the_images_that_differ(gained, lost, samples):
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert comparison(gained, lost, samples).p_value == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(120, 2000))
def test_a_comparison_turned_round_has_the_opposite_sign(gained, lost, samples):
    one, other = comparison(gained, lost, samples), comparison(lost, gained, samples)
    assert one.low <= one.difference <= one.high
    assert (one.low, one.difference, one.p_value) == pytest.approx(
        (-other.high, -other.difference, other.p_value), abs=1e-8
    )
    assert one.better == other.worse and not (one.better and one.worse)
    wider = comparison(4 * gained, 4 * lost, 4 * samples)
    assert wider.high - wider.low < one.high - one.low


def _rates(true_gain, true_loss, samples, draws=3000, seed=0):
    """Shares of drawn test sets on which the pair is called (better, worse, as good)."""
    counts = np.random.default_rng(seed).multinomial(samples, [true_gain, true_loss, 1 - true_gain - true_loss], draws)
    found = [comparison(int(gained), int(lost), samples) for gained, lost, _ in counts]
    return tuple(np.mean([getattr(each, name) for each in found]) for name in ("better", "worse")) + (
        np.mean([each.as_good() for each in found]),
    )


@pytest.mark.parametrize("samples", [100, 359, 1500])
@pytest.mark.parametrize("share", [0.01, 0.04, 0.15])
def test_the_error_rates_are_those_that_are_stated(samples, share):
    slack = 3 * np.sqrt(0.025 * 0.975 / 3000)  # of the simulation
    better, worse, _ = _rates(share, share, samples)
    assert better <= 0.025 + slack and worse <= 0.025 + slack
    _, _, as_good = _rates(share, share + MARGIN, samples)  # worse by just the margin
    assert as_good <= 0.026 + slack


def test_the_tests_find_what_is_there():
    assert _rates(0.05, 0.01, 1500)[0] > 0.99 and _rates(0.01, 0.05, 1500)[1] > 0.99
    assert _rates(0.01, 0.01, 2000)[2] > 0.8


def test_answers_are_compared_image_by_image():
    labels = np.array([0, 1, 2, 3, 4, 5])
    found = compare(np.array([0, 1, 2, 0, 0, 5]), np.array([0, 0, 2, 3, 0, 0]), labels)
    assert (found.samples, found.gained, found.lost) == (6, 2, 1)


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="do not go together"):
        comparison(*counts)


@pytest.mark.parametrize("counts", [(5, 5, 300), (0, 1, 200), (0, 0, 100), (4, 12, 359), (30, 36, 1000)])
def test_the_images_needed_decide(counts):
    found = comparison(*counts)
    assert not found.as_good() and not found.worse
    needed = verdict.images_needed(found)
    for factor, decided in ((needed / found.samples, True), (0.85 * needed / found.samples, False)):
        scores = (
            _score_by_search(*(factor * count for count in counts), difference) for difference in (-MARGIN, -1e-12)
        )
        assert (next(scores) > norm.ppf(0.975) - 1e-3 or -next(scores) > norm.ppf(0.975)) == decided


@pytest.mark.parametrize(
    ("right", "constant", "of", "near"),
    [(15, 29, 200, True), (113, 29, 200, False), (950, 950, 1000, True), (975, 950, 1000, False), (4, 2, 6, True)],
)
def test_near_chance_is_no_more_than_the_best_constant_answer(right, constant, of, near):
    labels = np.zeros(of, int)
    labels[constant:] = 1 + np.arange(of - constant) % 9
    predicted = np.where(np.arange(of) < right, labels, (labels + 1) % 10)
    assert verdict.near_chance(predicted, labels) == near
    tail = binom.sf(right - 1, of, np.bincount(labels).max() / of)
    assert near == (tail >= 0.05)


def test_a_class_that_is_never_answered_is_found_where_it_was_asked_for():
    labels = np.repeat([0, 1, 2, 3], [20, 20, 20, 4])
    assert verdict.never_answered(np.repeat([0, 1, 0, 0], [20, 20, 20, 4]), labels) == [2]


def test_the_interval_of_the_cost_is_that_of_the_escalation_rate():
    escalated = np.arange(359) < 62
    low, high = Row(np.zeros(359, int), 0.15, 1.15, escalated).cost_interval()
    lowest = brentq(lambda rate: binom.sf(61, 359, rate) - 0.025, 0, 1)
    highest = brentq(lambda rate: binom.cdf(62, 359, rate) - 0.025, 0, 1)
    assert (low, high) == pytest.approx((0.15 + lowest, 0.15 + highest), abs=1e-8)


# --- the words ---


def _answers(labels, wrong, seed=0):
    """Answers that are wrong on the images numbered `wrong`."""
    predicted = labels.copy()
    wrong = np.asarray(wrong, int)
    predicted[wrong] = (labels[wrong] + np.random.default_rng(seed).integers(1, 10, len(wrong))) % 10
    return predicted


def _rows(samples, int8, binary, pair, rate=0.2, light=0.15, **others):
    """(labels, rows): the numbers of wrong images of each net begin at image 0, so that nets err on the same ones."""
    labels = np.arange(samples) % 10
    escalated = np.arange(samples) < round(rate * samples)
    make = functools.partial(_answers, labels)
    rows = {
        "int8": Row(make(range(int8)), 1.0, 1.0),
        "binary": Row(make(range(binary)), light, light),
        "bcnet": Row(make(range(pair)), light, light + 1, escalated),
    }
    for name, wrong in others.items():
        rows[name] = Row(make(range(wrong)), light, light + 1, escalated)
    return labels, rows


@pytest.mark.parametrize(
    ("outcome", "phrase", "case"),
    [
        ("more accurate and cheaper", "is worth it: it is more accurate", _rows(1000, 100, 200, 70)),
        ("as accurate and cheaper", "as accurate, within a margin of 1 point", _rows(1000, 100, 200, 101)),
        ("as accurate and cheaper", "a little less accurate, but within", _rows(10000, 1000, 2000, 1050)),
        ("more accurate, not cheaper", "but not cheaper: it takes 1.100", _rows(1000, 100, 200, 70, rate=0.95)),
        ("less accurate", "does not match the int8 net", _rows(1000, 100, 200, 130)),
        ("no gain", "is not worth it: it takes 1.1", _rows(1000, 100, 200, 100, rate=0.95)),
        ("no gain", "and is less accurate", _rows(1000, 100, 200, 130, rate=0.95)),
        ("too few images", "Too few test images to tell", _rows(200, 20, 40, 20)),
        ("too few images", "it looks less accurate", _rows(200, 20, 40, 24)),
        ("untrained", "The int8 net has not learned anything", _rows(200, 185, 87, 112)),
        ("untrained", "The binary net has not learned anything", _rows(200, 10, 185, 12)),
        ("untrained", "Neither net has learned anything", _rows(200, 185, 180, 182)),
    ],
)
def test_the_sentence_says_what_the_numbers_say(outcome, phrase, case):
    found = judge(*case, CLASSES)
    assert found.outcome == outcome and phrase in found.sentence
    assert found.sentence.count(".") == found.sentence.rstrip(".").count(".") + 1  # one sentence
    assert ("is worth it" in found.sentence) == (outcome in WORTH_IT[:2]) and found.worth_it == (outcome in WORTH_IT)
    assert found.outcome in OUTCOMES and Verdict.of(found.record()) == found
    assert found.worth_it or found.advice, "a pair that failed gets advice"


@given(st.integers(0, 2**32 - 1), st.integers(2, 2000), st.floats(0, 1), st.floats(0.02, 1.2))
def test_a_pair_that_loses_is_never_a_success(seed, samples, rate, light):
    random = np.random.default_rng(seed)
    labels, accuracy = random.integers(0, 10, samples), random.uniform(size=3)
    rows = {}
    for name, share in zip(("int8", "binary", "bcnet"), accuracy, strict=True):
        predicted = _answers(labels, np.flatnonzero(random.uniform(size=samples) > share), seed)
        costs = (1.0, 1.0) if name == "int8" else (light, light + (name == "bcnet"))
        rows[name] = Row(predicted, *costs, random.uniform(size=samples) < rate if name == "bcnet" else None)
    found = judge(labels, rows, CLASSES)
    right = {name: np.mean(row.predicted == labels) for name, row in rows.items()}
    if right["bcnet"] <= right["int8"] - MARGIN or (right["bcnet"] <= right["int8"] and rows["bcnet"].cost >= 1):
        assert not found.worth_it and "worth it:" not in found.sentence.replace("not worth it:", "")
    if right["int8"] <= np.bincount(labels).max() / samples:
        assert found.outcome == "untrained" and "int8" in found.figures["near_chance"]


def test_a_binary_net_that_does_as_well_alone_is_named():
    labels, rows = _rows(1000, 50, 50, 48)
    found = judge(labels, rows, CLASSES)
    assert "but the binary net alone is as accurate for 0.150." in found.sentence
    assert any("binary.tflite alone" in advice for advice in found.advice)
    assert "binary net alone" not in judge(*_rows(1000, 50, 90, 48), CLASSES).sentence


def test_classes_that_the_pair_never_answers_are_named():
    labels, rows = _rows(1000, 10, 60, 10)
    deaf = np.where(rows["bcnet"].predicted == 3, 4, rows["bcnet"].predicted)
    found = judge(labels, rows | {"bcnet": dataclasses.replace(rows["bcnet"], predicted=deaf)}, CLASSES)
    assert "it never answers 'd'." in found.sentence and not found.worth_it
    assert any("add training images of 'd'" in advice for advice in found.advice)


@pytest.mark.parametrize(
    ("coopnet", "cascade", "phrase"),
    [
        (140, 140, "Trained together it beats CoopNet (+4.00 points"),
        (100, 60, "It is beaten by the untrained cascade (-4.00 points"),
        (101, 100, "These test images do not set it apart from CoopNet (+0.10 points"),
    ],
)
def test_other_ways_to_join_the_nets_are_told(coopnet, cascade, phrase):
    found = judge(*_rows(1000, 100, 200, 100, coopnet=coopnet, cascade=cascade), CLASSES)
    assert phrase in found.beside


def test_a_cheaper_way_of_the_same_accuracy_wins():
    labels, rows = _rows(1000, 100, 200, 100, coopnet=100)
    dear = dataclasses.replace(rows["coopnet"], escalated=np.arange(1000) < 400)
    assert judge(labels, rows | {"coopnet": dear}, CLASSES).figures["relations"] == {"coopnet": "better"}
    cheap = dataclasses.replace(rows["coopnet"], escalated=np.arange(1000) < 100)
    assert judge(labels, rows | {"coopnet": cheap}, CLASSES).figures["relations"] == {"coopnet": "undercut"}


@pytest.mark.parametrize(
    ("advice", "case", "auroc"),
    [
        ("get the int8 net to learn first", _rows(200, 185, 87, 112), None),
        ("get the binary net to learn", _rows(200, 10, 185, 12), None),
        ("train the int8 net longer", _rows(1000, 150, 100, 130), None),
        ("keep about 390 test images", _rows(200, 20, 40, 20), None),
        ("bcnet calibrate RUN --max_cost=", _rows(1000, 100, 200, 130, bcnet_accurate=100), None),
        ("make the binary net lighter", _rows(1000, 100, 110, 130, light=0.6), None),
        ("make the binary net stronger", _rows(1000, 100, 200, 130), None),
        ("another --measure", _rows(1000, 100, 200, 100), 0.6),
        ("more epochs for the boosted", _rows(1000, 100, 200, 100, cascade=60), None),
    ],
)
def test_advice_follows_from_the_numbers(advice, case, auroc):
    assert any(advice in each for each in judge(*case, CLASSES, auroc=auroc).advice)


def test_a_pair_without_a_fault_gets_no_advice():
    assert judge(*_rows(1000, 100, 200, 100), CLASSES, auroc=0.9).advice == ()
