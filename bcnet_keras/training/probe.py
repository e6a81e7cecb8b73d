"""Tries out what a recipe cannot know: how training may vary the images, and how long a step takes on this machine.

    variation, evidence = probe(data, float_net, seed=0)
    seconds = step_seconds(pair, float_net, batches)

A net that has never seen mirrored images has to know them: then training may show them so.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from bcnet_keras.datasets import Split, Variation, as_tf_dataset
from bcnet_keras.datasets.arrays import stratified
from bcnet_keras.models.pair import STAGES, rescale
from bcnet_keras.training.recipe import WEIGHT_DECAY
from bcnet_keras.training.stages import train_float

if TYPE_CHECKING:
    from bcnet_keras.datasets import Dataset
    from bcnet_keras.models.pair import BCNet

log = logging.getLogger(__name__)

SURE = Variation(shift=0.1)  # what images of any class bear
PROBE_STEPS = 500
MOST_LOST = 0.15  # part of a net's accuracy above chance


def probe(data: Dataset, net: tf.keras.Model, seed: int, verbose: int | str = 0) -> tuple[Variation, dict[str, float]]:
    """Finds out how training may vary the images of `data` so that they still show their class.

    A net is trained on half of the training images, without mirrored ones, and asked for the others and the validation
    images: as they are, mirrored, and upside down. Where it knows them no less (see `keeps_class`), they still show
    their class and may come so. Where it does not, either the class changes (as a 2 does), or no image of these is ever
    seen so (as shoes that all face left): training without them is right for both.

    Arguments:
      data: `datasets.Dataset`.
      net: float Keras classifier for these images, whose weights are lost.
      seed: of the halves and the order of training.
      verbose: as `fit` takes it.

    Returns:
      (`Variation`, dict of what was found: `accuracy`, `mirrored`, `flipped` on images that the net did not train on).
    """
    labels, classes = data.train.labels, len(data.class_names)
    if np.bincount(labels, minlength=classes).min() < 2:
        log.warning("a class has one training image: nothing is tried out, images are only shifted.")
        return SURE, {}
    known, unseen = stratified(labels, 0.5, seed)

    def batches(images, labels, size=256, **arguments):
        raw = as_tf_dataset(Split(images, labels), size, **arguments)
        return raw.map(lambda images, labels: (rescale(images, data.raw_range), labels))

    size = 32
    train = batches(data.train.images[known], labels[known], size, shuffle=True, seed=seed, augmentation=SURE)
    train = train.repeat().take(PROBE_STEPS).apply(tf.data.experimental.assert_cardinality(PROBE_STEPS))
    train_float(net, train, epochs=1, weight_decay=WEIGHT_DECAY, name="probe", verbose=verbose)
    images = np.concatenate([data.train.images[unseen], data.validation.images])
    truth = np.concatenate([labels[unseen], data.validation.labels])
    views = {"accuracy": images, "mirrored": images[:, :, ::-1], "flipped": images[:, ::-1]}
    right = {name: net.predict(batches(view, truth), verbose=0).argmax(-1) == truth for name, view in views.items()}
    kept = {name: keeps_class(truth, right["accuracy"], right[name], classes) for name in ("mirrored", "flipped")}
    evidence = {name: round(float(np.mean(each)), 4) for name, each in right.items()}
    log.info(
        "probe: %.1f %% of unseen images right, %.1f %% mirrored (%s), %.1f %% upside down (%s)",
        100 * evidence["accuracy"],
        100 * evidence["mirrored"],
        "training mirrors" if kept["mirrored"] else "training does not mirror",
        100 * evidence["flipped"],
        "training flips" if kept["flipped"] else "training does not flip",
    )
    return dataclasses.replace(SURE, mirror=kept["mirrored"], flip=kept["flipped"]), evidence


def keeps_class(labels: np.ndarray, right: np.ndarray, right_moved: np.ndarray, classes: int) -> bool:
    """Whether images that were moved (mirrored, say) still show their class, as far as a net can tell.

    That takes a net that knows the images as they are; that loses, moved, no more than `MOST_LOST` of what it knows
    above chance, each class counting the same, and a standard error allowed for; and that no class with five images or
    more loses a third of its right answers, more than chance explains.

    Arguments:
      labels: int [n] of images that the net did not train on.
      right, right_moved: bool [n], whether the net is right on each image and on the moved one.
      classes: number of classes.
    """
    labels, right, moved = np.asarray(labels), np.asarray(right, float), np.asarray(right_moved, float)
    present = [np.flatnonzero(labels == label) for label in range(classes) if np.any(labels == label)]
    recall = np.mean([right[members].mean() for members in present])
    skill = recall - 1 / classes
    if skill < 0.25 * (1 - 1 / classes):
        return False
    lost = right - moved
    drop = np.mean([lost[members].mean() for members in present])
    error = np.sqrt(sum(lost[members].var() / len(members) for members in present)) / len(present)
    if drop + error > MOST_LOST * skill:
        return False
    for members in present:
        gone, come = np.sum(lost[members] > 0), np.sum(lost[members] < 0)
        few = right[members].sum() > 1.5 * moved[members].sum()
        if len(members) >= 5 and few and gone - come > 2 * np.sqrt(gone + come):
            return False
    return True


class _Stopwatch(tf.keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.ends.append(time.perf_counter())


def step_seconds(pair: BCNet, float_net: tf.keras.Model, batches: tf.data.Dataset, steps: int = 8) -> dict[str, float]:
    """Seconds that a training step of each stage takes here, as dict of stage -> median; weights are as before.

    Arguments:
      pair: `BCNet`; float_net: its teacher.
      batches: training data, `tf.data.Dataset` of (images, labels).
      steps: to be measured, after three that are not.
    """
    some = batches.repeat().take(steps + 3)
    weights, float_weights, seconds = pair.get_weights(), float_net.get_weights(), {}
    for stage in ("float", *STAGES):
        watch = _Stopwatch()
        if stage == "float":
            loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            float_net.compile(tf.keras.optimizers.AdamW(1e-3), loss)
            float_net.fit(some, callbacks=[watch], verbose=0)
        else:
            pair.threshold = 0.5
            pair.compile(tf.keras.optimizers.Adam(1e-3, clipnorm=1.0), stage=stage, teacher=float_net)
            pair.fit(some, callbacks=[watch], verbose=0)
        seconds[stage] = float(np.median(np.diff(watch.ends[2:])))
    pair.set_weights(weights)
    float_net.set_weights(float_weights)
    return seconds
