"""Keras callbacks of the training stages: learning rate, best weights, temperature of the gate."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.training.batch_norm import show_epoch

FIRST_TEMPERATURE, LAST_TEMPERATURE = 0.05, 0.02
COOLING = 0.8  # part of a stage after which its learning rate is below a tenth

log = logging.getLogger(__name__)


def epochs_to_skip(validation: Sequence[tuple[float, float]], epochs: int, patience: float) -> int:
    """Returns how many epochs of a stage to skip because its answers to validation data no longer get better.

    Accuracy and loss are averaged over three epochs. Once neither has improved for `patience` of the stage's epochs, at
    least five, the schedule jumps to the point where it cools down, at `COOLING` of its way.

    Arguments:
      validation: (accuracy, loss) of each finished epoch.
      epochs: number of epochs of the stage.
      patience: part of `epochs`, in [0, 1].
    """
    wait, start = max(5, math.ceil(patience * epochs)), math.floor(COOLING * epochs)
    best, since = (-np.inf, -np.inf), 0
    for epoch in range(2, len(validation)):
        if epoch + 1 >= start:
            return 0
        accuracy, loss = np.mean(validation[epoch - 2 : epoch + 1], axis=0)
        better = accuracy > best[0] or -loss > best[1]
        best = max(accuracy, best[0]), max(-loss, best[1])
        since = 0 if better else since + 1
        if since >= wait:
            return start - (epoch + 1)
    return 0


class CosineSchedule(tf.keras.callbacks.Callback):
    """Sets the learning rate after e epochs to rate * (1 + cos(pi * e / epochs)) / 2; e grows with every batch.

    With `patience` the schedule jumps ahead and the stage ends early once validation data ask for it, see
    `epochs_to_skip`. Keras' `CosineDecay` cannot: it counts optimizer steps, and their number per epoch may be unknown.
    The rate depends on epoch, batch and validation history alone, so that a killed training resumes with the same one;
    `state` and `restore` hand the history on.

    Arguments:
      rate: learning rate at the start.
      epochs: number of epochs of the stage.
      patience: part of `epochs`; None trains all of them.
    """

    def __init__(self, rate: float, epochs: int, patience: float | None = None) -> None:
        super().__init__()
        self.rate, self.epochs, self.patience = rate, epochs, patience
        self.validation: list[tuple[float, float]] = []
        self.skipped = 0

    def state(self) -> dict[str, np.ndarray]:
        return {"validation": np.array(self.validation, np.float64), "skipped": np.array(self.skipped)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.validation, self.skipped = [*map(tuple, state["validation"].tolist())], int(state["skipped"])

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        steps = self.params.get("steps")  # unknown in the first epoch over a data set of unknown size
        done = (self.epoch + self.skipped + (batch / steps if steps else 0)) / self.epochs
        self.model.optimizer.learning_rate = self.rate * (1 + np.cos(np.pi * min(done, 1))) / 2

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        if self.patience is None or not {"val_accuracy", "val_loss"} <= logs.keys():
            return
        self.validation.append((float(logs["val_accuracy"]), float(logs["val_loss"])))
        if not self.skipped:
            self.skipped = epochs_to_skip(self.validation, self.epochs, self.patience)
            if self.skipped:
                log.info("validation no longer improves: cooling down, %d epochs are skipped", self.skipped)
        if epoch + 1 + self.skipped >= self.epochs:
            self.model.stop_training = True


class BestWeights(tf.keras.callbacks.Callback):
    """Keeps the weights of the epoch with the highest validation accuracy.

    Arguments:
      nets: Keras models whose weights to keep.
      validation_data: as `fit` takes them.
      samples: number of validation samples.
      steps: batches of validation data; None for all.
    """

    def __init__(
        self, nets: Sequence[tf.keras.Model], validation_data: Any, samples: int, steps: int | None = None
    ) -> None:
        super().__init__()
        self.nets, self.data, self.samples, self.steps, self.accuracy = nets, validation_data, samples, steps, -1.0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs and logs.get("val_accuracy", -1.0) > self.accuracy:
            self.epoch, self.accuracy = epoch, logs["val_accuracy"]
            self.weights = [net.get_weights() for net in self.nets]

    def state(self) -> dict[str, np.ndarray]:
        if self.accuracy < 0:
            return {}
        flat = itertools.chain.from_iterable(self.weights)
        return {"best": np.array([self.epoch, self.accuracy]), **{f"{index}": each for index, each in enumerate(flat)}}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        if state:
            self.epoch, self.accuracy = int(state["best"][0]), float(state["best"][1])
            flat = (state[f"{index}"] for index in itertools.count())
            self.weights = [[next(flat) for _ in net.weights] for net in self.nets]

    def take_back(self, recalibrate: Callable[[], None]) -> None:
        """Restores the best weights if the last ones are worse by more than a standard error of the accuracy.

        `recalibrate`: function without arguments that is called after the weights changed.
        """
        if self.accuracy < 0:
            return
        last = validation_accuracy(self.model, self.data, self.steps)
        error = np.sqrt(max(self.accuracy * (1 - self.accuracy), 1 / self.samples) / self.samples)
        if self.accuracy - last > error:
            log.info("restored the weights of epoch %d, which are better on validation data", self.epoch + 1)
            for net, weights in zip(self.nets, self.weights, strict=True):
                net.set_weights(weights)
            recalibrate()


def validation_accuracy(model: tf.keras.Model, data: Any, steps: int | None = None) -> float:
    """Returns the accuracy of a compiled model on `data`, as `fit` takes them; `steps` batches, or all."""
    data = [data] if isinstance(data, tf.data.Dataset) else data
    return model.evaluate(*data, steps=steps, verbose=0, return_dict=True)["accuracy"]


class EpochOrder(tf.keras.callbacks.Callback):
    """Has the training data show the next epoch's order: `fit` asks for it as soon as an epoch has ended."""

    def __init__(self, data: Any) -> None:
        super().__init__()
        self.data = data

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        show_epoch(self.data, epoch + 1)


class TemperatureAnnealing(tf.keras.callbacks.Callback):
    """Lowers the gate's temperature geometrically from `FIRST_TEMPERATURE` to `LAST_TEMPERATURE`."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done = epoch / max(1, self.epochs - 1)
        self.model.temperature.assign(FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** done)
