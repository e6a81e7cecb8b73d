"""From a trained pair to a threshold: the accuracy-cost curve on validation data, and operating points on it.

    curve = calibrate(pair, validation_data)
    pair.threshold = curve.pick(max_cost=0.5)        # most accurate at no more than half the int8 net's instructions
    pair.threshold = curve.pick(min_accuracy=0.93)   # cheapest that reaches 93 %

Use data that training has not seen: a net is surer of the samples it was trained on.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import ArgumentTypeError, BcnetError
from bcnet_keras.layers import MEASURES


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """One setting of a pair's gate and what it does on the data that it was measured on.

    threshold: float, or tuple of floats with one a class. accuracy, escalation_rate: 0 to 1.
    cost: expected instructions of the pair over those of the int8 net alone.
    """

    threshold: float | tuple
    accuracy: float
    escalation_rate: float
    cost: float


@dataclasses.dataclass(frozen=True)
class AccuracyCostCurve:
    """What a pair can do: operating points from "never escalate" to "always escalate", by rising cost.

    int8_accuracy: accuracy of the int8 net alone on the same data, at cost 1.
    pair_cost: (cost of an accepted sample, cost of an escalated one), both over the int8 net's.
    samples: number of samples that the points were measured on.
    """

    points: tuple
    int8_accuracy: float
    core: str
    pair_cost: tuple
    samples: int

    def pick(self, max_cost=None, min_accuracy=None, confidence_level=None):
        """The most accurate point with `cost <= max_cost`, or the cheapest with `accuracy >= min_accuracy`.

        Of several equally accurate points the middle one. Exactly one of the two must be given.

        The cost is that of the samples at hand; of fresh ones, every other time more escalate. With `confidence_level`,
        in [0, 1], beside `max_cost`, the expected cost of fresh samples from the same source is within the budget with
        that probability: `upper_cost` is what must not exceed it. That holds whichever point is picked, as a higher
        threshold escalates all that a lower one does; with one threshold a class it is approximate.

        Raises ValueError that names what can be had where no point fits.
        """
        if (max_cost is None) == (min_accuracy is None):
            raise BcnetError("pick: give either max_cost or min_accuracy.")
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

    def upper_cost(self, point, confidence_level=None):
        """The cost that `point` does not exceed on fresh samples with a probability of `confidence_level`.

        From the upper limit of its escalation rate by Clopper and Pearson (Biometrika 26, 1934); None for the cost as
        measured.
        """
        from scipy.stats import beta

        if confidence_level is None or point.escalation_rate in (0, 1):
            return point.cost  # what never escalates has a threshold of 0, and no sample will
        escalated = round(point.escalation_rate * self.samples)
        return _expected(self.pair_cost, beta.ppf(confidence_level, escalated + 1, self.samples - escalated))


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a pair says to labelled data: numpy arrays with one row a sample.

    labels int64 [n]; predicted classes int64 [n] of the binary net, the int8 net and the combination; confidence of
    the binary net float32 [n] in [0, 1], by the pair's measure; logits of the binary net float32 [n, classes].
    """

    labels: np.ndarray
    binary: np.ndarray
    int8: np.ndarray
    combined: np.ndarray
    confidence: np.ndarray
    logits: np.ndarray

    def by_measure(self, measure):
        """The same answers with the confidence that another measure gives, one of `bcnet_keras.layers.MEASURES`."""
        return dataclasses.replace(self, confidence=MEASURES[measure](tf.nn.softmax(self.logits)).numpy())

    def aurc(self):
        """Area under the risk-coverage curve of the binary net: its mean share of errors over all shares of samples
        that it is surest of (Geifman and El-Yaniv, arXiv 1705.08500). Lower is better."""
        wrong = (self.binary != self.labels)[np.argsort(-self.confidence, kind="stable")]
        return float(np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1)))

    def auroc(self):
        """Probability that the binary net is surer of a right answer than of a wrong one; NaN where all are alike."""
        from sklearn.metrics import roc_auc_score

        right = self.binary == self.labels
        return float("nan") if right.all() or not right.any() else float(roc_auc_score(right, self.confidence))

    def oracle(self):
        """(accuracy, escalation rate) of a gate that escalates exactly what the combination puts right."""
        right, helped = self.binary == self.labels, (self.binary != self.labels) & (self.combined == self.labels)
        return float(np.mean(right | helped)), float(np.mean(helped))


def answers(pair, data):
    """`Answers` of `pair` to `data`: a batched `tf.data.Dataset` of (images, labels), or a tuple of two arrays.

    Images are in `pair.input_range`; labels are class numbers or one-hot rows. Raises ValueError for an empty set, for
    images of another shape and for NaN, TypeError for images that are no floats.
    """
    binary, int8, labels = logits(pair, data)
    predicted = [np.argmax(each, axis=-1) for each in (binary, int8, pair.combined(binary, int8))]
    return Answers(labels, *predicted, pair.gate.confidence(binary).numpy(), binary)


def logits(pair, data):
    """Logits of the binary and of the int8 net of `pair`, float32 [n, classes], and class numbers [n] where `data` has
    labels. Data and errors as for `answers`."""
    if not isinstance(data, tf.data.Dataset):
        data = tf.data.Dataset.from_tensor_slices(tuple(data)).batch(256)
    rows = []
    for images, *rest in data:
        both = pair.logits_of(checked_images(pair, images))
        rows.append((*(each.numpy() for each in both), *map(class_numbers, rest[:1])))
    if not rows:
        raise BcnetError("the data is empty; at least one labelled sample is needed.")
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def checked_images(pair, images):
    """A batch of images, as a tensor -> float32, where `pair` can answer to them; see `answers` for what is refused."""
    if not images.dtype.is_floating:
        raise ArgumentTypeError(f"images must be floats in the input range (pair.preprocess), got {images.dtype.name}.")
    if not tf.TensorShape(pair.binary.input_shape).is_compatible_with(images.shape):
        expected = ", ".join(map(str, pair.binary.input_shape[1:]))
        raise BcnetError(f"images must have the shape [n, {expected}], got {list(images.shape)}.")
    if not np.isfinite(images).all():
        raise BcnetError("the images hold NaN or infinite values.")
    return tf.cast(images, tf.float32)


def class_numbers(labels):
    """A batch of class numbers or one-hot rows, as a tensor -> numpy array [n] of class numbers."""
    labels = labels.numpy()
    return labels.argmax(-1) if labels.ndim == 2 and labels.shape[-1] > 1 else labels.reshape(-1)


def calibrate(pair, data, core="cortex-m4", pair_cost=None):
    """The accuracy-cost curve of `pair` on validation data.

    Arguments:
      data: as for `answers`.
      core: the core whose instructions count, see `bcnet_keras.device.cost`.
      pair_cost: (cost of an accepted sample, cost of an escalated one), both over the int8 net's; by default counted
        from the pair's converted nets.

    With one threshold for all, every threshold that separates samples is on the curve. With one a class, for a series
    of prices each class takes the threshold that is best at that price.
    """
    if pair_cost is None:
        from bcnet_keras.models.pair_cost import pair_cost as count

        pair_cost = count(pair, core)
    return curve(answers(pair, data), pair_cost, core, classes=pair.classes if pair.gate.per_class else None)


def curve(given, pair_cost, core="cortex-m4", classes=None):
    """`AccuracyCostCurve` from `Answers`; one threshold a class when `classes` is given. Numpy alone."""
    candidates = _common_thresholds(given) if classes is None else _class_thresholds(given, classes)
    points = {}
    for threshold in candidates:
        point = operating_point(given, threshold, pair_cost)
        points.setdefault(point.escalation_rate, point)
        if point.accuracy > points[point.escalation_rate].accuracy:
            points[point.escalation_rate] = point
    ordered = tuple(points[rate] for rate in sorted(points))
    int8_accuracy = float(np.mean(given.int8 == given.labels))
    return AccuracyCostCurve(ordered, int8_accuracy, core, tuple(pair_cost), len(given.labels))


def operating_point(given, threshold, pair_cost):
    """What `threshold` (a number, or one a class) does on `Answers`."""
    values = np.asarray(threshold, np.float32)
    escalated = ~(given.confidence >= (values[given.binary] if values.ndim else values))
    predicted = np.where(escalated, given.combined, given.binary)
    rate = float(np.mean(escalated))
    return OperatingPoint(
        threshold=tuple(values.tolist()) if values.ndim else float(values),
        accuracy=float(np.mean(predicted == given.labels)),
        escalation_rate=rate,
        cost=_expected(pair_cost, rate),
    )


def _expected(pair_cost, rate):
    accepted, escalated = pair_cost
    return float((1 - rate) * accepted + rate * escalated)


def _separating(confidence):
    """Thresholds between neighbouring values of `confidence`, and the ends 0 (none escalates) and 1."""
    values = np.unique(confidence)
    # At most 1,000: more resolution than any validation set supports.
    values = values[np.unique(np.linspace(0, len(values) - 1, 1000).astype(int))]
    return np.concatenate([[0.0], (values[:-1] + values[1:]) / 2, [1.0]])


def _common_thresholds(given):
    return _separating(given.confidence)


def _class_thresholds(given, classes):
    gain = (given.combined == given.labels).astype(np.float64) - (given.binary == given.labels)
    best = {}
    for price in np.concatenate([[-1.0, -0.02, 0.0], np.geomspace(0.005, 1.0, 60)]):
        thresholds = np.zeros(classes, np.float32)
        for label in range(classes):
            mine = given.binary == label
            if mine.any():
                candidates = _separating(given.confidence[mine])
                escalated = given.confidence[mine][np.newaxis] < candidates[:, np.newaxis]
                thresholds[label] = candidates[np.argmax(escalated @ (gain[mine] - price))]
        best[thresholds.tobytes()] = thresholds
    return [*best.values(), np.zeros(classes, np.float32), np.ones(classes, np.float32)]
