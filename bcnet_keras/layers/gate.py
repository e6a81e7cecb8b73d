"""The gate of a pair, and the measures of confidence that it compares with a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from bcnet_keras.errors import ModelError
from bcnet_keras.layers.common import register
from bcnet_keras.utils.types import Array


def score_margin(probabilities: tf.Tensor) -> tf.Tensor:
    """Highest minus second highest probability; [n, classes] -> [n] in [0, 1].

    Examples:
      >>> from bcnet_keras.layers import score_margin
      >>> score_margin(tf.constant([[0.75, 0.25, 0.0]])).numpy().tolist()
      [0.5]
    """
    top = tf.math.top_k(probabilities, k=2).values
    return top[:, 0] - top[:, 1]


def max_probability(probabilities: tf.Tensor) -> tf.Tensor:
    """Highest probability; [n, classes] -> [n] in [1/classes, 1]."""
    return tf.reduce_max(probabilities, axis=-1)


def entropy(probabilities: tf.Tensor) -> tf.Tensor:
    """1 - H(p) / log(classes), so that 1 is certain and 0 is uniform; [n, classes] -> [n]."""
    logs = tf.math.log(tf.maximum(probabilities, 1e-12))
    return 1 + tf.reduce_sum(probabilities * logs, axis=-1) / np.log(probabilities.shape[-1])


MEASURES = {"score_margin": score_margin, "max_probability": max_probability, "entropy": entropy}


class _UnitInterval(tf.keras.constraints.Constraint):
    def __call__(self, value):
        return tf.clip_by_value(value, 0.0, 1.0)


@register
class ConfidenceGate(tf.keras.layers.Layer):
    """Says for which samples the binary net's answer is not trusted: where its confidence is below the threshold.

    Call on logits [n, classes]; gives bool [n], true = escalate to the int8 net.

    Arguments:
      measure: `"score_margin"`, `"max_probability"`, `"entropy"`, or `"learned"`: a logistic function of the class
        probabilities and of the three other measures, whose weights train with the cooperative stage.
      per_class: one threshold for each class that the binary net predicts, instead of one for all.
      threshold: start value in [0, 1], or None for "not set": then every sample escalates.
    """

    def __init__(
        self, measure: str = "score_margin", per_class: bool = False, threshold: ArrayLike | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if measure not in (*MEASURES, "learned"):
            raise ModelError(f"ConfidenceGate: measure must be one of {[*MEASURES, 'learned']}, got {measure!r}.")
        self.measure, self.per_class = measure, per_class
        self.initial_threshold = None if threshold is None else self._checked(threshold)

    @staticmethod
    def _checked(threshold):
        values = np.asarray(threshold, np.float32)
        if not np.all((values >= 0) & (values <= 1)):
            raise ModelError(f"threshold must be in [0, 1], got {threshold}.")
        return values

    def build(self, input_shape: Sequence[int | None]) -> None:
        classes = tf.TensorShape(input_shape).as_list()[-1]
        if classes < 2:
            raise ModelError(f"ConfidenceGate: needs logits of at least 2 classes, got {classes}.")
        self._threshold = self.add_weight(
            name="threshold",
            shape=(classes,) if self.per_class else (),
            initializer=tf.keras.initializers.Constant(np.nan),
            constraint=_UnitInterval(),
        )
        if self.measure == "learned":
            # Starts as a function that rises with the score margin: 0.5 at a margin of 0.5.
            start = np.zeros(classes + 3, np.float32)
            start[classes] = 4.0
            self.weights_vector = self.add_weight(
                name="weights_vector", shape=(classes + 3,), initializer=tf.keras.initializers.Constant(start)
            )
            self.bias = self.add_weight(name="bias", shape=(), initializer=tf.keras.initializers.Constant(-2.0))
        super().build(input_shape)
        if self.initial_threshold is not None:
            self.threshold = self.initial_threshold

    @property
    def threshold(self) -> Array:
        """float32 numpy array, [] or [classes]; NaN where not set."""
        return self._threshold.numpy()

    @threshold.setter
    def threshold(self, value: ArrayLike) -> None:
        values = self._checked(value)
        if values.shape not in ((), tuple(self._threshold.shape)):
            classes = f" or one for each of {self._threshold.shape[0]} classes" if self._threshold.shape.rank else ""
            raise ModelError(f"threshold must be a number{classes}, got an array of shape {values.shape}.")
        self._threshold.assign(np.broadcast_to(values, self._threshold.shape))

    def confidence(self, logits: tf.Tensor) -> tf.Tensor:
        """float32 [n] in [0, 1]; higher is surer."""
        probabilities = tf.nn.softmax(logits)
        if self.measure != "learned":
            return MEASURES[self.measure](probabilities)
        measures = tf.stack([measure(probabilities) for measure in MEASURES.values()], axis=-1)
        features = tf.concat([probabilities, measures], axis=-1)
        return tf.sigmoid(tf.linalg.matvec(features, self.weights_vector) + self.bias)

    def threshold_of(self, logits: tf.Tensor) -> tf.Tensor:
        """float32 [n]: the threshold that holds for each sample."""
        if self.per_class:
            return tf.gather(self._threshold, tf.argmax(logits, axis=-1))
        return tf.broadcast_to(self._threshold, tf.shape(logits)[:1])

    def call(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.logical_not(self.confidence(logits) >= self.threshold_of(logits))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tf.TensorShape:
        return tf.TensorShape(input_shape[:1])

    def get_config(self) -> dict[str, Any]:
        start = self.initial_threshold
        return {
            **super().get_config(),
            "measure": self.measure,
            "per_class": self.per_class,
            "threshold": None if start is None else start.tolist(),
        }
