"""Says while a net trains that it finds nothing, in one line with advice, once for each reason and stage."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import BcnetError

log = logging.getLogger(__name__)

ENOUGH_STEPS = 200  # optimiser steps before which a net need not have learned anything
FAIR_SHARE = 0.25  # and part of a stage's epochs
GAP = 0.15  # accuracy on training less that on validation samples


def findings(
    history: dict[str, list[float]],
    epochs: int,
    steps: int,
    shares: Sequence[float] | np.ndarray | None = None,
    validation_samples: int | None = None,
    settled: float | None = None,
) -> dict[str, str]:
    """What is wrong with a training so far, as {reason: one line of what is seen and what to try}.

    Arguments:
      history: dict of metric name -> list with a value for each finished epoch: `loss`, `accuracy`, and where there are
        validation data `val_accuracy`.
      epochs: of the whole stage.
      steps: optimiser steps per epoch.
      shares: array [classes], the share of each class in the samples; None where nobody knows.
      validation_samples: number of validation samples, None where there are none.
      settled: accuracy on validation samples now, with settled batch statistics (`recalibrate_batch_norm`), in place of
        what the history has; None where nobody has looked.
    """
    loss, accuracy = history["loss"], history["accuracy"]
    validation = history.get("val_accuracy")
    if not np.isfinite(loss[-1]):
        return {"diverged": "the loss is not finite; look for NaN images, or lower the learning rate"}
    found: dict[str, str] = {}
    done = len(loss)
    if done * steps < ENOUGH_STEPS or done < FAIR_SHARE * epochs or done < 2:
        return found
    moved = np.max(loss) - np.min(loss)
    chance = None if shares is None else float(np.max(shares))
    if len(loss) > 2 and moved < 0.01 * abs(np.max(loss)) and max(accuracy) < 0.95:
        found["loss"] = (
            f"the loss does not move (first {loss[0]:.3f}, now {loss[-1]:.3f}); look whether images and labels belong "
            "together, or try another learning rate"
        )
    elif chance is not None and accuracy[-1] < chance + 0.1 * (1 - chance):
        found["chance"] = (
            f"the accuracy on training samples is {_percent(accuracy[-1])}, and always saying the most frequent class "
            f"gives {_percent(chance)}; look at the labels, train for longer or take a larger net"
        )
    if validation is not None and validation_samples and "loss" not in found and "chance" not in found:
        # Averages over the last epochs, which jump less; two standard errors of so few samples are no gap.
        last = max(1, done // 10)
        train, held_out = np.mean(accuracy[-last:]), np.mean(validation[-last:]) if settled is None else settled
        error = np.sqrt(max(held_out * (1 - held_out), 0.01) / validation_samples)
        if 2 * done >= epochs and train - held_out > max(GAP, 2 * error):
            found["gap"] = (
                f"{_percent(train)} of the training samples are right and {_percent(held_out)} of the validation "
                "samples: the net learns its images by heart; more images help most, then augmentation, weight decay "
                "or a smaller net"
            )
    return found


def class_findings(names: Sequence[str], counts: Any, answered: Any = None) -> dict[str, str]:
    """What is wrong with the classes, as {reason: line}.

    Arguments:
      names: of the classes.
      counts: training samples of each class.
      answered: answers to validation samples that name each class; None where nobody has asked.
    """
    found: dict[str, str] = {}
    counts = np.asarray(counts)
    few = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < 20]
    if few:
        found["few"] = (
            f"classes with fewer than 20 training images: {_listed(few)}; what a net makes of them is hardly known, "
            "add images"
        )
    if counts.max() >= 10 * max(1, counts.min()):
        most, least = names[int(counts.argmax())], names[int(counts.argmin())]
        found["unbalanced"] = (
            f"class {most} has {counts.max()} training images and class {least} {counts.min()}; accuracy is mostly "
            f"that of {most}, so look at each class"
        )
    if answered is not None:
        never = [name for name, count in zip(names, answered, strict=True) if count == 0]
        if never:
            found["unanswered"] = (
                f"the net never answers {_listed(never)} on validation images; look at the images and labels of "
                f"{'this class' if len(never) == 1 else 'these classes'}, or train for longer"
            )
    return found


def _listed(names, most=5):
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _percent(share):
    return f"{100 * share:.1f} %"


class Watch(tf.keras.callbacks.Callback):
    """Logs the `findings` of a stage as soon as they are seen, each once, and stops a training that diverged.

    While weights still change, the moving statistics of batch normalisation lag behind: validation answers are then
    worse than those of the net that the stage will leave. So before a gap between training and validation samples is
    spoken of, it is measured anew with settled statistics, and where there is none, not again for a tenth of the stage.

    Arguments:
      name: of the stage.
      epochs: of the stage.
      labels: of the validation samples [n], or one-hot rows [n, classes]; None where there are none.
      settled_accuracy: function (model) that gives the accuracy on validation samples with settled statistics, and
        leaves the model as it was; None for a model without any.
    """

    def __init__(
        self,
        name: str,
        epochs: int,
        labels: np.ndarray | None = None,
        settled_accuracy: Callable[[tf.keras.Model], float | None] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.epochs = name, epochs
        self.history: dict[str, list[float]] = {}
        self.warned: set[str] = set()
        self.settled_accuracy, self.next_look = settled_accuracy, 0
        self.shares, self.samples = None, None
        if labels is not None and len(labels):
            labels = np.asarray(labels)
            if labels.ndim == 2 and labels.shape[1] > 1:
                labels = labels.argmax(-1)
            self.samples = len(labels)
            self.shares = np.bincount(labels.reshape(-1).astype(np.int64)) / len(labels)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.steps += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if not {"loss", "accuracy"} <= self.history.keys():
            return
        known = functools.partial(findings, self.history, self.epochs, self.steps, self.shares, self.samples)
        found = known()
        if "gap" in found and "gap" not in self.warned and self.settled_accuracy is not None:
            if epoch < self.next_look:
                del found["gap"]
            else:
                self.next_look = epoch + max(1, math.ceil(self.epochs / 10))
                found = known(settled=self.settled_accuracy(self.model))
        for reason, line in found.items():
            if reason not in self.warned:
                self.warned.add(reason)
                log.warning("stage %s, epoch %d of %d: %s.", self.name, epoch + 1, self.epochs, line)
            if reason == "diverged":
                raise BcnetError(f"training diverged in stage {self.name}: {line}.")
