"""The boost of a pair, fitted on validation data, and the range of the pair's answers that follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize
from scipy.special import log_softmax

from bcnet_keras.calibration.measures import logits

if TYPE_CHECKING:
    from bcnet_keras.models.pair import BCNet

LARGEST_BOOST = 10.0


def fit_boost(pair: BCNet, data: Any) -> float:
    """Fits the boost, the weight of the binary logits beside the int8 ones, on samples that trained neither net.

    The binary net is overconfident on its training samples, the more the fewer there are. The weights a, c >= 0
    minimise the cross-entropy of a * binary + c * int8 logits, and the boost is a / c. The 8-bit range of the answers
    follows. With an untrained int8 net the boost would grow without bound, so that it is at most `LARGEST_BOOST`.

    Arguments:
      pair: a `BCNet`.
      data: validation data, as for `train`.

    Returns:
      The boost, which is also set in `pair`.

    Raises:
      As `bcnet_keras.calibration.answers`.
    """
    binary, int8, labels = logits(pair, data)
    both = np.stack([binary, int8]).astype(np.float64)
    targets = tf.keras.utils.to_categorical(labels, pair.classes)

    def loss_and_gradient(weights):
        # A normal prior on the weights, worth one sample, keeps them finite where every sample is right.
        log_probabilities = log_softmax(np.tensordot(weights, both, 1), axis=-1)
        loss = -np.mean(np.sum(targets * log_probabilities, -1)) + np.sum(weights**2) / 2 / len(labels)
        errors = np.exp(log_probabilities) - targets
        return loss, np.mean(np.sum(errors * both, -1), -1) + weights / len(labels)

    start = [float(pair.boost.numpy()), 1.0]
    options = {"ftol": 1e-15, "gtol": 1e-9}
    weights = minimize(loss_and_gradient, start, jac=True, bounds=[(0, None)] * 2, method="L-BFGS-B", options=options).x
    pair.boost.assign(min(weights[0] / max(weights[1], 1e-6), LARGEST_BOOST))
    set_output_range(pair, *both)
    return float(pair.boost.numpy())


def set_output_range(pair: BCNet, binary_logits: np.ndarray, int8_logits: np.ndarray) -> None:
    """Sets the 8-bit range of a pair's answers to that of its accepted and escalated logits [n, classes]."""
    largest = max(np.abs(each).max() for each in (binary_logits, pair.combined(binary_logits, int8_logits)))
    pair.output_quant.range = (-largest, largest)
