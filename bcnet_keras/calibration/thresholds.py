"""Candidate thresholds for the gate of a pair: one for all classes, or one per class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bcnet_keras.calibration.measures import Answers


def common_thresholds(answers: Answers) -> np.ndarray:
    """Returns all thresholds that separate samples of `Answers`, float [n]; at most about 1,000 of them."""
    return _separating(answers.confidence)


def class_thresholds(answers: Answers, classes: int) -> list[np.ndarray]:
    """Returns candidate thresholds, each an array [classes] of one threshold per class.

    For a series of prices per escalation, each class takes the threshold that is best at that price.
    """
    gain = (answers.combined == answers.labels).astype(np.float64) - (answers.binary == answers.labels)
    best = {}
    for price in np.concatenate([[-1.0, -0.02, 0.0], np.geomspace(0.005, 1.0, 60)]):
        thresholds = np.zeros(classes, np.float32)
        for label in range(classes):
            predicted = answers.binary == label
            if predicted.any():
                candidates = _separating(answers.confidence[predicted])
                escalated = answers.confidence[predicted][np.newaxis] < candidates[:, np.newaxis]
                thresholds[label] = candidates[np.argmax(escalated @ (gain[predicted] - price))]
        best[thresholds.tobytes()] = thresholds
    return [*best.values(), np.zeros(classes, np.float32), np.ones(classes, np.float32)]


def _separating(confidence):
    """Returns thresholds between neighbouring values of `confidence`, and the ends 0 (none escalates) and 1."""
    values = np.unique(confidence)
    # At most 1,000: more resolution than any validation set supports.
    values = values[np.unique(np.linspace(0, len(values) - 1, 1000).astype(int))]
    return np.concatenate([[0.0], (values[:-1] + values[1:]) / 2, [1.0]])
