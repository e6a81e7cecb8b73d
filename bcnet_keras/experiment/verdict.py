"""How a pair compares with the int8 net alone, in a sentence, from the answers of all nets to one test set.

    verdict = judge(labels, rows, class_names, core="cortex-m4")
    print(verdict.text())

All nets answer the same images, so they are compared in pairs: only images that one net gets right and the other wrong
count. Thresholds come from validation data, so the test set has chosen nothing and each statement holds by itself with
the probability `LEVEL`:

* more (or less) accurate: McNemar's test, exact and two-sided (Psychometrika 12, 1947);
* as accurate: the interval of the difference, Tango's score interval for paired proportions (Statistics in Medicine 17,
  1998), lies above -`MARGIN`. Its one-sided error of 2.5 % is at most 2.6 % from 100 images on;
* cheaper: the interval of the cost, from that of the escalation rate by Clopper and Pearson (Biometrika 26, 1934), lies
  below the int8 net's;
* has learned something: more right answers than the best constant answer gives, by a one-sided binomial test.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bcnet_keras.device.cost import DEFAULT_CORE
from bcnet_keras.errors import BcnetError

MARGIN = 0.01  # of accuracy: a pair that loses no more than this is as accurate as the int8 net
LEVEL = 0.95
WORTH_IT = ("more accurate and cheaper", "as accurate and cheaper", "more accurate, not cheaper")
OUTCOMES = (*WORTH_IT, "less accurate", "no gain", "too few images", "untrained")
_SAVING = 0.05  # least difference of cost that is told between two ways to build a pair
_ASKED = 5  # test images of a class that must be there before a net can be said never to answer it
_LIGHT = 0.5  # of the int8 net's cost: a binary net above it is too dear to be asked first
_TELLING = 0.75  # AUROC of the binary net's confidence below which the gate guesses


@dataclasses.dataclass(frozen=True)
class Row:
    """One net's or pair's answers to the test set.

    predicted: classes, int [n]. accepted_cost, escalated_cost: estimated cycles of an answer over those of the int8
    net alone; alike for a net alone. escalated: bool [n]; None for a net alone.
    """

    predicted: np.ndarray
    accepted_cost: float
    escalated_cost: float
    escalated: np.ndarray | None = None

    @property
    def rate(self) -> float:
        """The share of images that escalate, 0 to 1."""
        return 0.0 if self.escalated is None else float(np.mean(self.escalated))

    @property
    def cost(self) -> float:
        """Expected cost of an answer over that of the int8 net alone."""
        return self._at(self.rate)

    def cost_interval(self, level: float = LEVEL) -> tuple[float, float]:
        """(lowest, highest) expected cost on fresh images; both are the cost where nothing depends on the images."""
        from scipy.stats import binomtest

        if self.escalated is None:
            return self.cost, self.cost
        limits = binomtest(int(np.sum(self.escalated)), len(self.escalated)).proportion_ci(level, "exact")
        return tuple(sorted((self._at(limits.low), self._at(limits.high))))

    def _at(self, rate):
        return (1 - rate) * self.accepted_cost + rate * self.escalated_cost


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two nets that answered the same images.

    samples: images. gained: images that only the first gets right; lost: that only the second does.
    difference: accuracy of the first less that of the second, -1 to 1, with its interval from `low` to `high`.
    p_value: of McNemar's exact test, two-sided: how often nets of equal accuracy would differ by as much or more.
    """

    samples: int
    gained: int
    lost: int
    difference: float
    low: float
    high: float
    p_value: float

    @property
    def better(self) -> bool:
        """The first net is more accurate."""
        return self.p_value < 1 - LEVEL and self.gained > self.lost

    @property
    def worse(self) -> bool:
        """The first net is less accurate."""
        return self.p_value < 1 - LEVEL and self.gained < self.lost

    def as_good(self, margin: float = MARGIN) -> bool:
        """The first net loses no more than `margin`."""
        return self.low > -margin


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came out.

    outcome: one of `OUTCOMES`. sentence: how the pair compares with the int8 net alone. beside: a sentence on
    CoopNet and the cascade; empty where they were not tried. advice: what to try next, most important first.
    figures: the numbers behind it, as JSON takes them.
    """

    outcome: str
    sentence: str
    beside: str
    advice: tuple
    figures: dict

    @property
    def worth_it(self) -> bool:
        """The pair is more accurate than the int8 net, or as accurate and cheaper."""
        return self.outcome in WORTH_IT

    def text(self, folder: str = "RUN") -> str:
        """The verdict in lines for a terminal; `folder` is that of the run, for the commands that it advises."""
        advice = [f"Try next: {each.replace('RUN', str(folder))}" for each in self.advice]
        return "\n".join(line for line in (f"Verdict: {self.sentence}", self.beside, *advice) if line)

    @classmethod
    def of(cls, record: dict[str, Any]) -> Verdict:
        """The verdict that `record` wrote."""
        return cls(**{**record, "advice": tuple(record["advice"])})

    def record(self) -> dict[str, Any]:
        """The verdict as JSON takes it."""
        return dataclasses.asdict(self) | {"advice": list(self.advice)}


def compare(predicted: np.ndarray, other: np.ndarray, labels: np.ndarray, level: float = LEVEL) -> Comparison:
    """The `Comparison` of two nets' answers, each int [n], to images with `labels` [n]."""
    right, other_right = np.equal(predicted, labels), np.equal(other, labels)
    return comparison(int(np.sum(right & ~other_right)), int(np.sum(~right & other_right)), len(labels), level)


@functools.lru_cache(maxsize=4096)
def comparison(gained: int, lost: int, samples: int, level: float = LEVEL) -> Comparison:
    """The `Comparison` of two nets from counts of images.

    Raises ValueError for counts that are no such.
    """
    from scipy.special import bdtr

    if samples < 1 or gained < 0 or lost < 0 or gained + lost > samples:
        raise BcnetError(f"compare: {gained} gained and {lost} lost of {samples} images do not go together.")
    low, high = _tango_interval(gained, lost, samples, level)
    # The images on which only one is right are as coins: heads as rare as this, on either side.
    p_value = min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))
    return Comparison(samples, gained, lost, (gained - lost) / samples, low, high, p_value)


def _tango_interval(gained, lost, samples, level):
    """The differences that Tango's score test does not reject: (low, high), -1 to 1."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    limit, observed, end = float(ndtri((1 + level) / 2)), (gained - lost) / samples, 1 - 1e-12

    def beyond(difference):
        return abs(_tango_score(gained, lost, samples, difference)) - limit

    low = -1.0 if observed <= -end or beyond(-end) <= 0 else brentq(beyond, -end, observed, xtol=1e-10)
    high = 1.0 if observed >= end or beyond(end) <= 0 else brentq(beyond, observed, end, xtol=1e-10)
    return float(low), float(high)


def _tango_score(gained, lost, samples, difference):
    """The score statistic of "the true difference is `difference`"; standard normal where it is."""
    excess = gained - lost - samples * difference
    if excess == 0:
        return 0.0
    # The likeliest share of images that only the second net gets right, given the difference.
    linear = -gained - lost + (2 * samples - gained + lost) * difference
    constant = -lost * difference * (1 - difference)
    share = (math.sqrt(max(linear**2 - 8 * samples * constant, 0.0)) - linear) / (4 * samples)
    variance = samples * (2 * share + difference * (1 - difference))
    return excess / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, excess)


def near_chance(predicted: np.ndarray, labels: np.ndarray, level: float = LEVEL) -> bool:
    """Whether a net is not shown to know more than the constant answer that is right most often; True or False."""
    from scipy.stats import binomtest

    right, constant = int(np.sum(np.equal(predicted, labels))), int(np.max(np.bincount(labels)))
    return bool(binomtest(right, len(labels), constant / len(labels), "greater").pvalue >= 1 - level)


def never_answered(predicted: np.ndarray, labels: np.ndarray) -> list[int]:
    """Numbers of the classes that have test images, five or more, and that a net answers to none of the test images."""
    counts = np.bincount(labels)
    answered = np.bincount(predicted, minlength=len(counts))
    return [int(label) for label in np.flatnonzero((counts >= _ASKED) & (answered[: len(counts)] == 0))]


def images_needed(found: Comparison, margin: float = MARGIN, level: float = LEVEL) -> int:
    """About how many test images would decide a `Comparison` that did not, were the nets to differ as they do on these.

    Rounded up to two digits.
    """
    from scipy.stats import norm

    # Scores grow as the root of the number of images: of "as accurate" the first, of "less accurate" the second.
    scores = (
        _tango_score(found.gained, found.lost, found.samples, -margin),
        -_tango_score(found.gained, found.lost, found.samples, 0.0),
    )
    needed = found.samples * (norm.ppf((1 + level) / 2) / max(scores)) ** 2
    needed = max(needed, found.samples + 1)
    digit = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return math.ceil(needed / digit) * digit


def judge(
    labels: np.ndarray,
    rows: dict[str, Row],
    class_names: Sequence[str],
    core: str = DEFAULT_CORE,
    auroc: float | None = None,
    margin: float = MARGIN,
) -> Verdict:
    """The `Verdict` on a pair.

    Arguments:
      labels: class numbers of the test images, int [n].
      rows: {name: `Row`} with the nets alone, "int8" and "binary", and the pair, "bcnet"; where they were tried also
        "bcnet_accurate" (the pair at its most accurate threshold), "coopnet" and "cascade".
      class_names: str, one per class.
      core: whose cycles the costs are; a core's or a board's name.
      auroc: of the binary net's confidence, 0.5 to 1, see `confidence.Answers.auroc`; None or NaN where unknown.
      margin: of accuracy, 0 to 1.
    """
    labels = np.asarray(labels)
    int8, binary, pair = (rows[name] for name in ("int8", "binary", "bcnet"))
    found = {name: compare(pair.predicted, rows[name].predicted, labels) for name in rows if name != "bcnet"}
    binary_found = compare(binary.predicted, int8.predicted, labels)
    low, high = pair.cost_interval()
    chance = [name for name in ("int8", "binary") if near_chance(rows[name].predicted, labels)]
    missing = never_answered(pair.predicted, labels)

    outcome = _outcome(found["int8"], high < 1, margin)
    if chance:
        outcome = "untrained"
    binary_suffices = (
        outcome in WORTH_IT
        and not found["binary"].better
        and binary_found.as_good(margin)
        and binary.cost < pair.cost_interval()[0] - 1e-9
    )
    price = f"{pair.cost:.3f} ({low:.3f} to {high:.3f})" if low < high else f"{pair.cost:.3f}"
    price = f"{price} of the int8 net's estimated {core} cycles"
    if chance:
        sentence = f"{_untrained(chance, rows, labels, class_names)}: {_difference(found['int8'])}, for {price}."
    else:
        sentence = _sentence(outcome, found["int8"], price, margin)
    if binary_suffices:
        sentence = f"{sentence[:-1]}; but the binary net alone is as accurate for {binary.cost:.3f}."
    if missing:
        names = _listed([class_names[label] for label in missing])
        also = " nor does the int8 net" if missing == never_answered(int8.predicted, labels) else ""
        sentence = f"{sentence[:-1]}; it never answers {names}{',' + also if also else ''}."
    others = {name: _relation(pair, rows[name], found[name], labels, margin) for name in _OTHERS if name in rows}
    figures = {
        "margin": margin,
        "level": LEVEL,
        "test_images": len(labels),
        "costs": {name: row.cost for name, row in rows.items()},
        "cost_interval": [low, high],
        "beside": {name: dataclasses.asdict(each) for name, each in found.items()},
        "binary_beside_int8": dataclasses.asdict(binary_found),
        "relations": others,
        "near_chance": chance,
        "binary_suffices": bool(binary_suffices),
        "never_answered": [class_names[label] for label in missing],
    }
    advice = _advice(outcome, labels, rows, found, binary_found, figures, auroc, margin)
    return Verdict(outcome, sentence, _beside(others, rows, found), tuple(advice), figures)


_OTHERS = {"coopnet": "CoopNet", "cascade": "the untrained cascade"}
_RELATIONS = {
    "better": "trained together it beats",
    "worse": "it is beaten by",
    "undercut": "as accurate within the margin, and cheaper, is",
    "dearer": "it is more accurate, but dearer, than",
    "cheaper": "it is cheaper, but less accurate, than",
    "alike": "these test images do not set it apart from",
}


def _outcome(found, cheaper, margin):
    if found.better:
        return "more accurate and cheaper" if cheaper else "more accurate, not cheaper"
    if not cheaper:
        return "no gain"
    if found.as_good(margin):
        return "as accurate and cheaper"
    return "less accurate" if found.worse else "too few images"


def _sentence(outcome, found, price, margin):
    points = _difference(found)
    allowed = f"a margin of {100 * margin:g} points" if margin != 0.01 else "a margin of 1 point"
    if outcome == "more accurate and cheaper":
        return f"The pair is worth it: it is more accurate than the int8 net alone, {points}, for {price}."
    if outcome == "as accurate and cheaper":
        accurate = "a little less accurate, but within" if found.worse else "as accurate, within"
        return f"The pair is worth it: for {price} it is {accurate} {allowed}: {points}."
    if outcome == "more accurate, not cheaper":
        return f"The pair is more accurate than the int8 net alone, {points}, but not cheaper: it takes {price}."
    if outcome == "less accurate":
        return f"The pair does not match the int8 net: it takes {price}, but is less accurate, {points}."
    if outcome == "no gain":
        accurate = "less accurate" if found.worse else "not shown to be more accurate"
        return f"The pair is not worth it: it takes {price} and is {accurate}, {points}."
    looks = "it looks less accurate, " if found.difference <= -margin else ""
    return (
        f"Too few test images to tell whether the pair keeps the int8 net's accuracy within {allowed}: "
        f"{looks}{points}, for {price}."
    )


def _difference(found):
    return (
        f"{100 * found.difference:+.2f} points ({100 * LEVEL:g} % interval {100 * found.low:+.2f} to "
        f"{100 * found.high:+.2f}, {found.samples:,} test images)"
    )


def _untrained(chance, rows, labels, class_names):
    constant = int(np.argmax(np.bincount(labels)))
    shares = [f"{100 * np.mean(np.equal(rows[name].predicted, labels)):.1f} %" for name in chance]
    who = "neither net has" if len(chance) == 2 else f"the {chance[0]} net has not"
    so = "the pair cannot be judged beside it" if "int8" in chance else "the pair lives by its int8 net alone"
    return (
        f"{who[0].upper()}{who[1:]} learned anything that {len(labels):,} test images can show "
        f"({' and '.join(shares)} right; always answering {class_names[constant]!r} gives "
        f"{100 * np.mean(labels == constant):.1f} %), so {so}"
    )


def _relation(pair, other, found, labels, margin):
    """The pair beside another way to join two nets: one of the keys of `_RELATIONS`."""
    cheaper = dearer = False
    if pair.escalated is not None and other.escalated is not None:
        # Which of the two escalates more often is a paired question, too.
        escalations = comparison(
            int(np.sum(pair.escalated & ~other.escalated)),
            int(np.sum(~pair.escalated & other.escalated)),
            len(labels),
        )
        sure = escalations.better or escalations.worse
        cheaper = sure and pair.cost < (1 - _SAVING) * other.cost
        dearer = sure and other.cost < (1 - _SAVING) * pair.cost
    other_as_good = -found.high > -margin
    if (found.better and not dearer) or (cheaper and found.as_good(margin) and not found.worse):
        return "better"
    if found.worse and not cheaper:
        return "worse"
    if dearer and other_as_good and not found.better:
        return "undercut"
    if found.better or found.worse:
        return "dearer" if found.better else "cheaper"
    return "alike"


def _beside(relations, rows, found):
    parts = []
    for relation, phrase in _RELATIONS.items():
        names = [
            f"{_OTHERS[name]} ({100 * found[name].difference:+.2f} points, {100 * found[name].low:+.2f} to "
            f"{100 * found[name].high:+.2f}, at {rows['bcnet'].cost:.3f} against {rows[name].cost:.3f})"
            for name in relations
            if relations[name] == relation
        ]
        if names:
            parts.append(f"{phrase} {' and '.join(names)}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _listed(names, most=5):
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more classes" if len(names) > most else "")


def _advice(outcome, labels, rows, found, binary_found, figures, auroc, margin):
    binary, chance = rows["binary"], figures["near_chance"]
    if "int8" in chance:
        yield "get the int8 net to learn first: check that labels fit their images, train longer, or add images."
    elif "binary" in chance:
        yield "get the binary net to learn: more epochs for it, --binary_width=2 or --shared_stem."
    elif binary_found.better:
        yield (
            "train the int8 net longer or on more images: it is less accurate than the binary net "
            f"({100 * -binary_found.difference:.1f} points), so it is no measure yet."
        )
    if figures["never_answered"]:
        yield f"add training images of {_listed(figures['never_answered'])}, and check how they are labelled."
    if outcome == "too few images":
        yield f"keep about {images_needed(found['int8'], margin):,} test images: as many would decide."
    failed = outcome in ("less accurate", "too few images", "no gain")
    accurate = rows.get("bcnet_accurate")
    if failed and accurate is not None and accurate.cost < 1:
        beside_int8 = compare(accurate.predicted, rows["int8"].predicted, labels)
        if beside_int8.as_good(margin) and not beside_int8.worse:
            yield (
                f"a higher budget, bcnet calibrate RUN --max_cost={accurate.cost + 0.05:.2f}: the most accurate "
                f"threshold keeps the int8 net's accuracy ({_difference(beside_int8)}) for {accurate.cost:.3f}."
            )
    if failed:
        if binary.cost > _LIGHT:
            yield f"make the binary net lighter, --binary_width=0.5: alone it takes {binary.cost:.2f} of the int8 net."
        elif binary_found.difference < -0.05:
            yield (
                "make the binary net stronger, --shared_stem, --binary_width=1.5 or more epochs for it: alone it is "
                f"{100 * -binary_found.difference:.1f} points less accurate than the int8 net."
            )
    if auroc is not None and auroc < _TELLING and not chance:
        yield f"another --measure: the binary net is hardly surer where it is right (AUROC {auroc:.2f})."
    if figures["binary_suffices"]:
        yield "binary.tflite alone, or a smaller binary net: the int8 net adds nothing that these images show."
    if any(relation in ("worse", "undercut") for relation in figures["relations"].values()):
        yield "more epochs for the boosted and the cooperative stage: the nets did better apart."
