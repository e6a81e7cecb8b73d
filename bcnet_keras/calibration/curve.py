"""The accuracy-cost curve of a trained pair on validation data, and operating points on it.

    >>> curve = calibrate(pair, validation)
    >>> pair.threshold = curve.pick(max_cost=1.5)        # most accurate within 1.5 times the int8 net's cycles
    >>> pair.threshold = curve.pick(min_accuracy=0.2)    # cheapest that reaches 20 %

Use data that training has not seen: a net is overconfident on its training samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import beta

from bcnet_keras.calibration.measures import answers
from bcnet_keras.calibration.thresholds import class_thresholds, common_thresholds
from bcnet_keras.device.cost import DEFAULT_CORE
from bcnet_keras.device.profile import core_of
from bcnet_keras.errors import BcnetError
from bcnet_keras.models.data_checks import check_values
from bcnet_keras.models.pair_cost import pair_cost as count_pair_cost
from bcnet_keras.utils.arguments import check_number

if TYPE_CHECKING:
    from bcnet_keras.calibration.measures import Answers
    from bcnet_keras.models.pair import BCNet


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """One threshold of a pair's gate and its results on the data that it was measured on.

    Attributes:
      threshold: float, or a tuple of floats with one per class.
      accuracy, escalation_rate: in [0, 1].
      cost: expected estimated cycles of the pair over those of the int8 net alone.
    """

    threshold: float | tuple
    accuracy: float
    escalation_rate: float
    cost: float


@dataclasses.dataclass(frozen=True)
class AccuracyCostCurve:
    """Operating points of a pair from "never escalate" to "always escalate", by rising cost.

    Attributes:
      points: tuple of `OperatingPoint`.
      int8_accuracy: accuracy of the int8 net alone on the same data, at cost 1.
      core: the core whose cycles count.
      pair_cost: (cost of an accepted sample, cost of an escalated one), both over the int8 net's.
      samples: number of samples that the points were measured on.
    """

    points: tuple
    int8_accuracy: float
    core: str
    pair_cost: tuple
    samples: int

    def pick(
        self, max_cost: float | None = None, min_accuracy: float | None = None, confidence_level: float | None = None
    ) -> OperatingPoint:
        """Picks an operating point; give exactly one of `max_cost` and `min_accuracy`.

        The cost of a point is that of the samples at hand. On fresh samples the cost is higher every other time.
        `confidence_level` keeps a margin: the expected cost of fresh samples from the same source is then within the
        budget with that probability. This holds whichever point is picked, because a higher threshold escalates all
        that a lower one does. With one threshold per class it is approximate.

        Arguments:
          max_cost: picks the most accurate point with `cost <= max_cost`; of equally accurate points the middle one.
          min_accuracy: picks the cheapest point with `accuracy >= min_accuracy`.
          confidence_level: in [0, 1], with `max_cost`; `upper_cost` must then be within the budget.

        Examples:
          >>> curve = bc.calibrate(pair, validation, core="cortex-m4")
          >>> point = curve.pick(max_cost=1.5)
          >>> point.cost <= 1.5
          True
          >>> pair.threshold = point

        Raises:
          ValueError: no point fits; the message names what is possible.
        """
        if (max_cost is None) == (min_accuracy is None):
            raise BcnetError("pick: give either max_cost or min_accuracy.")
        wanted = {"max_cost": max_cost, "min_accuracy": min_accuracy, "confidence_level": confidence_level}
        for name, value in wanted.items():
            if value is not None:
                check_number(f"pick: {name}", value)
        if confidence_level is not None and (max_cost is None or not 0 <= confidence_level <= 1):
            raise BcnetError(f"pick: confidence_level goes with max_cost and is from 0 to 1, got {confidence_level}.")
        if max_cost is not None:
            costs = [self.upper_cost(point, confidence_level) for point in self.points]
            fitting = [point for point, cost in zip(self.points, costs, strict=True) if cost <= max_cost]
            if not fitting:
                surely = "" if confidence_level is None else f" with a probability of {confidence_level:g}"
                raise BcnetError(
                    f"no threshold costs {max_cost} or less{surely}; the binary net alone costs {costs[0]:.3f}, "
                    "raise max_cost to that at least."
                )
            best = max(point.accuracy for point in fitting)
            # Of equally accurate thresholds the middle one: the cheapest owes its rank to few samples.
            tied = [point for point in fitting if point.accuracy == best]
            return tied[(len(tied) - 1) // 2]
        fitting = [point for point in self.points if point.accuracy >= min_accuracy]
        if not fitting:
            best = max(point.accuracy for point in self.points)
            raise BcnetError(
                f"no threshold reaches an accuracy of {min_accuracy}; lower min_accuracy, the best is {best:.4f}."
            )
        return min(fitting, key=lambda point: (point.cost, -point.accuracy))

    def upper_cost(self, point: OperatingPoint, confidence_level: float | None = None) -> float:
        """Returns the cost that `point` does not exceed on fresh samples with a probability of `confidence_level`.

        It follows from the upper limit of the escalation rate by Clopper and Pearson (Biometrika 26, 1934). Without a
        level it is the cost as measured.
        """
        if confidence_level is None or point.escalation_rate in (0, 1):
            return point.cost  # a point that never escalates has the threshold 0: fresh samples do not escalate either
        escalated = round(point.escalation_rate * self.samples)
        return _expected_cost(self.pair_cost, beta.ppf(confidence_level, escalated + 1, self.samples - escalated))


def calibrate(
    pair: BCNet,
    data: Any,
    core: str | None = None,
    pair_cost: tuple[float, float] | None = None,
    board: str | None = None,
) -> AccuracyCostCurve:
    """Measures the accuracy-cost curve of a pair on validation data.

    With one threshold for all classes, the curve has every threshold that separates samples. With one per class it has
    those of `thresholds.class_thresholds`.

    Arguments:
      pair: a trained `BCNet`.
      data: as for `answers`.
      core, board: whose estimated cycles count, see `bcnet_keras.device.profile.Profile.of`; by default a Cortex-M4's.
      pair_cost: (cost of an accepted sample, cost of an escalated one), both over the int8 net's; by default that
        of the pair's converted nets, see `models.pair_cost`.

    Returns:
      `AccuracyCostCurve`.

    Examples:
      >>> curve = bc.calibrate(pair, validation, core="cortex-m4")
      >>> curve.samples
      32
    """
    core = core_of(core, board)
    if pair_cost is None:
        pair_cost = count_pair_cost(pair, core, board=board)
    check_values(pair.input_range, data)
    answered = answers(pair, data)
    answered.warn_of_clip()
    return curve(answered, pair_cost, core, classes=pair.classes if pair.gate.per_class else None)


def curve(
    answers: Answers, pair_cost: tuple[float, float], core: str = DEFAULT_CORE, classes: int | None = None
) -> AccuracyCostCurve:
    """Returns the `AccuracyCostCurve` of `Answers`; with the number of `classes`, for one threshold per class."""
    candidates = common_thresholds(answers) if classes is None else class_thresholds(answers, classes)
    points: dict[float, OperatingPoint] = {}
    for threshold in candidates:
        point = operating_point(answers, threshold, pair_cost)
        points.setdefault(point.escalation_rate, point)
        if point.accuracy > points[point.escalation_rate].accuracy:
            points[point.escalation_rate] = point
    ordered = tuple(points[rate] for rate in sorted(points))
    int8_accuracy = float(np.mean(answers.int8 == answers.labels))
    return AccuracyCostCurve(ordered, int8_accuracy, core, tuple(pair_cost), len(answers.labels))


def operating_point(
    answers: Answers, threshold: float | Sequence[float] | np.ndarray, pair_cost: tuple[float, float]
) -> OperatingPoint:
    """Returns the `OperatingPoint` of a threshold, a number or one per class, on `Answers`."""
    values = np.asarray(threshold, np.float32)
    escalated = ~(answers.confidence >= (values[answers.binary] if values.ndim else values))
    predicted = np.where(escalated, answers.combined, answers.binary)
    rate = float(np.mean(escalated))
    return OperatingPoint(
        threshold=tuple(values.tolist()) if values.ndim else float(values),
        accuracy=float(np.mean(predicted == answers.labels)),
        escalation_rate=rate,
        cost=_expected_cost(pair_cost, rate),
    )


def _expected_cost(pair_cost, escalation_rate):
    accepted, escalated = pair_cost
    return float((1 - escalation_rate) * accepted + escalation_rate * escalated)
