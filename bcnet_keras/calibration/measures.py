"""What a pair answers to labelled data, and how well a confidence measure ranks the binary net's answers."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import ArgumentTypeError, BcnetError
from bcnet_keras.layers import MEASURES

if TYPE_CHECKING:
    from bcnet_keras.models.pair import BCNet

_CLIPPED, _FEWEST = 0.05, 5  # part of the samples from which on a clip is told, and how many at least
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Answers:
    """A pair's answers to labelled data, as NumPy arrays with one row per sample.

    Attributes:
      labels: int64 [n].
      binary, int8, combined: int64 [n], the classes that the binary net, the int8 net and both together predict.
      confidence: float32 [n] in [0, 1], the binary net's confidence by the pair's measure.
      logits: float32 [n, classes] of the binary net.
    """

    labels: np.ndarray
    binary: np.ndarray
    int8: np.ndarray
    combined: np.ndarray
    confidence: np.ndarray
    logits: np.ndarray

    def by_measure(self, measure: str) -> Answers:
        """Returns the same answers with the confidence by another of `bcnet_keras.layers.MEASURES`."""
        return dataclasses.replace(self, confidence=MEASURES[measure](tf.nn.softmax(self.logits)).numpy())

    def clipped(self) -> float:
        """Returns the part of the samples whose largest logit is the largest of all, which a quantiser's clip makes so.

        Where no quantiser clips, one sample has the largest logit, or a few by rounding.
        """
        return float(np.mean(self.logits.max(-1) == self.logits.max()))

    def warn_of_clip(self) -> None:
        """Logs a warning where the binary net's quantiser clips the logits of more than a few samples."""
        part = self.clipped()
        if part >= _CLIPPED and part * len(self.logits) >= _FEWEST:
            log.warning(
                "%.1f %% of the samples have their largest logit at %.4g, the end of the quantiser's range: their "
                "score margins are too small; train on, so that the range follows, or widen the last FakeQuant",
                100 * part,
                self.logits.max(),
            )

    def aurc(self) -> float:
        """Returns the area under the binary net's risk-coverage curve; lower is better.

        It is the mean, over all numbers k, of the share of errors among the k samples of highest confidence (Geifman
        and El-Yaniv, arXiv 1705.08500).
        """
        wrong = (self.binary != self.labels)[np.argsort(-self.confidence, kind="stable")]
        return float(np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1)))

    def auroc(self) -> float:
        """Returns the probability that a right answer has a higher confidence than a wrong one.

        NaN if all answers are right or all are wrong.
        """
        from sklearn.metrics import roc_auc_score

        right = self.binary == self.labels
        return float("nan") if right.all() or not right.any() else float(roc_auc_score(right, self.confidence))

    def oracle(self) -> tuple[float, float]:
        """Returns (accuracy, escalation rate) of a gate that escalates exactly the samples that the pair corrects."""
        right, helped = self.binary == self.labels, (self.binary != self.labels) & (self.combined == self.labels)
        return float(np.mean(right | helped)), float(np.mean(helped))


def answers(pair: BCNet, data: Any) -> Answers:
    """Runs both nets of a pair on labelled data.

    Arguments:
      pair: a `BCNet`.
      data: a batched `tf.data.Dataset` of (images, labels), or a tuple of two arrays. Images are in `pair.input_range`;
        labels are class numbers or one-hot rows.

    Returns:
      `Answers`.

    Raises:
      ValueError: an empty set, images of another shape, or NaN.
      TypeError: images that are not floats.
    """
    binary, int8, labels = logits(pair, data)
    classes, int8_classes, combined = (np.argmax(each, axis=-1) for each in (binary, int8, pair.combined(binary, int8)))
    return Answers(labels, classes, int8_classes, combined, pair.gate.confidence(binary).numpy(), binary)


def logits(pair: BCNet, data: Any) -> tuple[np.ndarray, ...]:
    """Returns the logits of both nets of a pair; data and errors as for `answers`.

    Returns:
      (binary logits, int8 logits), float32 [n, classes] each; with labels in `data` also class numbers [n].
    """
    if not isinstance(data, tf.data.Dataset):
        data = tf.data.Dataset.from_tensor_slices(tuple(data)).batch(256)
    rows = []
    for images, *rest in data:
        both = pair.logits_of(checked_images(pair, images))
        rows.append((*(each.numpy() for each in both), *map(class_numbers, rest[:1])))
    if not rows:
        raise BcnetError("the data is empty; at least one labelled sample is needed.")
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def checked_images(pair: BCNet, images: Any) -> tf.Tensor:
    """Returns a batch of images, a tensor, as float32; raises the errors of `answers` for images that do not fit."""
    if not images.dtype.is_floating:
        raise ArgumentTypeError(f"images must be floats in the input range (pair.preprocess), got {images.dtype.name}.")
    if not tf.TensorShape(pair.binary.input_shape).is_compatible_with(images.shape):
        expected = ", ".join(map(str, pair.binary.input_shape[1:]))
        raise BcnetError(f"images must have the shape [n, {expected}], got {list(images.shape)}.")
    if not np.isfinite(images).all():
        raise BcnetError("the images hold NaN or infinite values.")
    return tf.cast(images, tf.float32)


def class_numbers(labels: tf.Tensor) -> np.ndarray:
    """Returns a batch of class numbers or one-hot rows, a tensor, as a NumPy array [n] of class numbers."""
    labels = labels.numpy()
    return labels.argmax(-1) if labels.ndim == 2 and labels.shape[-1] > 1 else labels.reshape(-1)
