"""Trains a pair stage by stage; each stage is a plain Keras `fit`.

    train(pair, train_data, validation_data, epochs=20, checkpoint_dir="checkpoints")

1. binary: the binary net alone, optionally with a float teacher.
2. boosted: the int8 net on the samples that the binary net leaves to it.
3. cooperative: both nets, the boost and the threshold, at a price for each run of the int8 net.

With validation data, `fit_boost` sets the boost after stages 2 and 3.

The baselines train by the stages `("binary", "int8")`, each net by itself; see `training.baselines`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import BcnetError
from bcnet_keras.layers import leave_quantized_scope
from bcnet_keras.models.data_checks import check_before_training, check_class_weight, trainable_data
from bcnet_keras.models.pair import STAGES
from bcnet_keras.models.pair_cost import int8_share as count_int8_share
from bcnet_keras.training.batch_norm import image_batches, recalibrate_batch_norm, show_epoch
from bcnet_keras.training.boost import fit_boost
from bcnet_keras.training.callbacks import (
    BestWeights,
    CosineSchedule,
    EpochOrder,
    TemperatureAnnealing,
    validation_accuracy,
)
from bcnet_keras.training.checkpoints import EpochKeeper, StageCheckpoint
from bcnet_keras.training.watch import Watch
from bcnet_keras.utils.types import StrPath

if TYPE_CHECKING:
    from bcnet_keras.models.pair import BCNet

COOPERATIVE_STAGES = ("binary", "boosted", "cooperative")

# The binary net's latent weights move by signs only and need a high rate. The cooperative stage only fine-tunes: at
# 3e-4 both nets lost accuracy on Fashion-MNIST's validation images; at 5e-5 the pair gained.
LEARNING_RATES = {"binary": 3e-3, "int8": 1e-3, "boosted": 1e-3, "cooperative": 5e-5}
_TRAINED_NETS = {
    "binary": lambda pair: (pair.binary,),
    "int8": lambda pair: (pair.int8,),
    "boosted": lambda pair: (pair.int8,),
    "cooperative": lambda pair: (pair.binary, pair.int8),
}
SOME_BATCHES = 20  # enough to recalibrate a net for a look at it while it trains

log = logging.getLogger(__name__)


def train(
    pair: BCNet,
    train_data: Any,
    validation_data: Any = None,
    epochs: int | dict[str, int] = 20,
    stages: Sequence[str] = COOPERATIVE_STAGES,
    learning_rates: dict[str, float] | None = None,
    teacher: tf.keras.Model | None = None,
    cost_weight: float = 0.1,
    int8_share: float | None = None,
    core: str | None = None,
    board: str | None = None,
    focus: float = 0.0,
    patience: float | None = None,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    checkpoint_dir: StrPath | None = None,
    built_on: str | None = None,
    **fit_arguments: Any,
) -> dict[str, dict[str, list[float]]]:
    """Trains `pair` through `stages`, in this order.

    Arguments:
      train_data, validation_data: as `fit` takes them: batched `tf.data.Dataset` of (images, labels), or tuples of
        arrays. Images are in `pair.input_range`; labels are class numbers or one-hot rows. The validation data also
        set the boost, see `fit_boost`.
      epochs: number of epochs of each stage, or a dict by stage.
      stages: some of "binary", "int8", "boosted", "cooperative".
      learning_rates: dict by stage that overrides `LEARNING_RATES`. The rate falls to 0 by half a cosine; the
        optimizer is Adam.
      teacher: Keras model of float logits that the binary net also follows, in the binary and the cooperative stage.
      cost_weight, focus: see `BCNet.compile`.
      int8_share: the int8 net's part of the cost of both nets; by default that on the `core` or `board`, see
        `models.pair_cost`.
      patience: part of a stage's epochs without improvement on validation data after which the stage cools down and
        ends, see `callbacks.epochs_to_skip`; by default all epochs are trained. With it a stage also restores the
        weights of its best epoch if the last ones are clearly worse. The cooperative stage, which is short, ignores it.
      callbacks: Keras callbacks, used in every stage.
      checkpoint_dir: folder for finished stages and the epoch in progress. Called again with the same folder, a
        killed training resumes after its last finished epoch, and finished stages are loaded. A damaged file is set
        aside as *.damaged, and its stage is trained again.
      built_on: text that stands for data, settings and nets. Stages in `checkpoint_dir` that were trained with another
        one, or behind other stages, are set aside and trained again. None accepts them.
      fit_arguments: anything else that `fit` takes, such as `class_weight`, `steps_per_epoch`, `batch_size`.

    After each stage the batch statistics of its nets are recalibrated (see `recalibrate_batch_norm`). A stage that does
    not learn logs why in one line (see `bcnet_keras.training.watch`).

    Where the order of the training data follows from the epoch (see `datasets.as_tf_dataset`), a training that was
    killed and resumed ends with the same weights as one that was not, as far as TensorFlow's operators do.

    Returns:
      A dict of stage -> history (dict of metric name -> list with one value per epoch).

    Raises:
      ValueError: unknown stages, or data that cannot be trained on.
    """
    leave_quantized_scope()
    unknown = sorted(set(stages) - set(STAGES))
    if unknown or not stages:
        raise BcnetError(f"stages must be some of {STAGES}, got {tuple(stages)}.")
    if not isinstance(epochs, dict):
        epochs = dict.fromkeys(stages, epochs)
    rates = {**LEARNING_RATES, **(learning_rates or {})}
    _check_settings(stages, epochs, learning_rates or {})
    check_before_training(pair.binary.input_shape, pair.input_range, train_data, validation_data)
    check_class_weight(pair.classes, fit_arguments.get("class_weight"))
    histories = {}
    for stage in stages:
        checkpoint = StageCheckpoint(checkpoint_dir, stage, built_on)
        if checkpoint.finished(pair):
            histories[stage], built_on = checkpoint.history, checkpoint.identity
            continue
        settings: dict[str, Any] = {"teacher": teacher, "focus": focus, "cost_weight": cost_weight}
        steps = fit_arguments.get("validation_steps")  # of a data set that may have no end
        nets, labels = _TRAINED_NETS[stage](pair), _labels(validation_data, steps)
        stage_patience = patience if stage != "cooperative" and labels is not None else None
        watch = Watch(stage, epochs[stage], labels, _recalibrated_accuracy(nets, train_data, validation_data, steps))
        extra = [CosineSchedule(rates[stage], epochs[stage], stage_patience), watch]
        best = None if stage_patience is None else BestWeights(nets, validation_data, len(labels), steps)
        show_epoch(train_data, 0)
        if stage == "cooperative":
            settings["int8_share"] = count_int8_share(pair, core, board) if int8_share is None else int8_share
            if np.any(np.isnan(pair.threshold)):
                pair.threshold = _start_threshold(pair, train_data)
            extra.append(TemperatureAnnealing(epochs[stage]))
        with pair.distribute_strategy.scope():
            pair.compile(tf.keras.optimizers.Adam(rates[stage], clipnorm=1.0), stage=stage, **settings)
        log.info("stage %s: %d epochs", stage, epochs[stage])
        extra += [best] if best else []
        _fit(pair, train_data, validation_data, epochs[stage], callbacks, extra, checkpoint, fit_arguments)
        _recalibrate(nets, train_data, best)
        if stage in ("boosted", "cooperative") and validation_data is not None and pair.combine == "sum":
            fit_boost(pair, validation_data.take(steps) if steps else validation_data)
        checkpoint.save(pair)
        histories[stage], built_on = checkpoint.history, checkpoint.identity
    return histories


def _check_settings(stages, epochs, learning_rates):
    """Raises BcnetError for stages without a number of epochs, and rates of stages that there are not."""
    for stage in stages:
        number = epochs.get(stage)
        if not isinstance(number, Integral) or number < 0:
            raise BcnetError(
                f"epochs must be a whole number of at least 0 for each of {tuple(stages)}, got {number} for {stage!r}."
            )
    unknown = sorted(set(learning_rates) - set(STAGES))
    if unknown:
        raise BcnetError(f"learning_rates must be of some of {STAGES}, got {tuple(unknown)}.")


def train_float(
    model: tf.keras.Model,
    train_data: Any,
    validation_data: Any = None,
    epochs: int = 20,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.0,
    patience: float | None = None,
    name: str = "float",
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    checkpoint_dir: StrPath | None = None,
    built_on: str | None = None,
    **fit_arguments: Any,
) -> dict[str, list[float]]:
    """Trains a float Keras classifier of logits, with the checkpoints of `train`; returns its history.

    The optimizer is AdamW. `weight_decay`, relative to the learning rate, applies to kernels, not to biases or scales.
    `patience` is that of `train`; `name` names the stage in the log and its checkpoints.
    """
    leave_quantized_scope()
    check_class_weight(model.output_shape[-1], fit_arguments.get("class_weight"))
    checkpoint = StageCheckpoint(checkpoint_dir, name, built_on)
    if checkpoint.finished(model):
        return checkpoint.history
    with model.distribute_strategy.scope():
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = tf.keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay, clipnorm=1.0)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        model.compile(optimizer, loss, metrics=["accuracy"])
        optimizer.build(model.trainable_variables)  # or the first step would, and be traced twice
    steps = fit_arguments.get("validation_steps")
    labels = _labels(validation_data, steps)
    stage_patience = None if labels is None else patience
    best = None if stage_patience is None else BestWeights([model], validation_data, len(labels), steps)
    watch = Watch(name, epochs, labels, _recalibrated_accuracy([model], train_data, validation_data, steps))
    extra = [CosineSchedule(learning_rate, epochs, stage_patience), watch]
    extra += [best] if best else []
    log.info("stage %s: %d epochs", name, epochs)
    show_epoch(train_data, 0)
    _fit(model, train_data, validation_data, epochs, callbacks, extra, checkpoint, fit_arguments)
    _recalibrate([model], train_data, best)
    checkpoint.save(model)
    return checkpoint.history


def _labels(data, steps=None):
    """Returns the labels of `data` as an array; None without data, or if the data set has no end.

    `steps` is the number of batches to read of a data set that may have no end.
    """
    if data is None:
        return None
    if not isinstance(data, tf.data.Dataset):
        return np.asarray(data[1])
    batches = (data.take(steps) if steps else data).map(lambda images, labels, *rest: labels)
    if not steps and batches.cardinality() == tf.data.INFINITE_CARDINALITY:
        return None
    arrays = [labels.numpy() for labels in batches]
    return np.concatenate(arrays) if arrays else None


def _recalibrated_accuracy(nets, train_data, validation_data, steps=None):
    """Returns a function for `Watch`: model -> validation accuracy with recalibrated `nets`.

    It sees `SOME_BATCHES` of `train_data` and restores the nets afterwards.
    """

    def measure(model):
        weights = [net.get_weights() for net in nets]
        for net in nets:
            recalibrate_batch_norm(net, train_data, SOME_BATCHES)
        accuracy = validation_accuracy(model, validation_data, steps)
        for net, values in zip(nets, weights, strict=True):
            net.set_weights(values)
        return accuracy

    return measure


def _recalibrate(nets, train_data, best):
    """Recalibrates `nets`, then restores the weights of the best epoch where `best`, a `BestWeights`, says so."""

    def recalibrate_all():
        for net in nets:
            recalibrate_batch_norm(net, train_data)

    recalibrate_all()
    if best is not None:
        best.take_back(recalibrate_all)


def _fit(model, train_data, validation_data, epochs, callbacks, stage_callbacks, checkpoint, fit_arguments):
    """Trains the epochs that `checkpoint` lacks; `own` are the callbacks of the stage, `callbacks` the caller's."""
    checkpoint.resume(model, stage_callbacks)
    show_epoch(train_data, checkpoint.epochs)
    if checkpoint.stopped or checkpoint.epochs >= epochs:
        return
    callbacks = [*callbacks, *stage_callbacks, EpochOrder(train_data), EpochKeeper(checkpoint, stage_callbacks)]
    input_shape = getattr(model, "binary", model).input_shape
    with trainable_data(input_shape, train_data, validation_data):
        images, *rest = [train_data] if isinstance(train_data, tf.data.Dataset) else train_data
        model.fit(
            images,
            **dict(zip(("y", "sample_weight"), rest, strict=False)),
            validation_data=validation_data,
            epochs=epochs,
            initial_epoch=checkpoint.epochs,
            callbacks=callbacks,
            **fit_arguments,
        )
    if not all(np.all(np.isfinite(values)) for values in checkpoint.history.values()):
        raise BcnetError("training diverged: a loss is not finite. Look for NaN images, or lower the learning rate.")


def _start_threshold(pair, train_data):
    """Returns the median confidence over some batches: half of the samples then escalate."""
    images = image_batches(train_data).take(10)
    confidence = [pair.gate.confidence(pair.binary(batch, training=False)).numpy() for batch in images]
    return float(np.clip(np.median(np.concatenate(confidence)), 0.05, 0.95))
