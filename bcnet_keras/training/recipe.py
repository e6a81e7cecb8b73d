"""How a pair is trained: from the number of images, their classes, and the time there is.

    >>> recipe = recipe_for(images=1487, classes=10)

What a net learns depends on the number of optimiser steps, not of epochs: with few images, the epochs that suit a large
set are too few steps. So a recipe starts from steps, and small sets get small batches. `training.probe` finds out what
no recipe knows: how images may vary, and how long a step takes.
"""

from __future__ import annotations

import dataclasses
import logging
import math

from bcnet_keras.errors import BcnetError

log = logging.getLogger(__name__)

STAGES = ("float", "binary", "boosted", "cooperative")
# Least optimiser steps and least epochs of each stage; of larger sets than `MANY` a part of the epochs is enough.
EFFORTS = {
    "quick": {"float": (700, 16), "binary": (900, 14), "boosted": (200, 3), "cooperative": (80, 1)},
    "default": {"float": (1600, 50), "binary": (2000, 40), "boosted": (400, 8), "cooperative": (160, 2)},
    "best": {"float": (4800, 120), "binary": (6000, 100), "boosted": (1200, 20), "cooperative": (400, 4)},
}
MANY, FEWEST_EPOCHS = 5000, 0.4
EFFORT_FACTORS = {"quick": 0.4, "default": 1.0, "best": 2.0}  # of the epochs of a set that has a recipe of its own
# (least training images, batch size).
BATCH_SIZES = ((0, 16), (600, 32), (6000, 64), (20000, 128))
STEPS_PER_EPOCH = 40  # at least: what an epoch takes besides its steps (validation, a checkpoint) would take longest
WEIGHT_DECAY = 0.05
PATIENCE = 0.3


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a pair is trained.

    Attributes:
      batch_size: images of a step.
      passes: how often an epoch shows each image.
      epochs: dict of stage (`STAGES`) -> number.
      weight_decay: of the float net, see `training.train_float`.
      patience: see `training.train`.
    """

    batch_size: int
    epochs: dict
    weight_decay: float = 0.0
    patience: float | None = None
    passes: int = 1

    def scaled(self, factor: float) -> Recipe:
        """The recipe with `factor` times the epochs, at least one of each stage."""
        epochs = {stage: max(1, math.floor(factor * count)) for stage, count in self.epochs.items()}
        return dataclasses.replace(self, epochs=epochs)


def recipe_for(images: int, classes: int, effort: str = "default", batch_size: int | None = None) -> Recipe:
    """The `Recipe` for a set of images that nobody has made one for.

    Arguments:
      images: number of training images.
      classes: number of classes.
      effort: one of `EFFORTS`.
      batch_size: in place of the recipe's own.

    Examples:
      >>> from bcnet_keras.training.recipe import recipe_for
      >>> recipe_for(images=1500, classes=10, effort="quick").batch_size
      32

    Raises ValueError for an unknown effort, fewer images than classes, and fewer than two classes.
    """
    if effort not in EFFORTS:
        raise BcnetError(f"effort must be one of {', '.join(EFFORTS)}; got {effort!r}.")
    if classes < 2 or images < classes:
        raise BcnetError(f"at least two classes of one image each are needed; got {images} images, {classes} classes.")
    if batch_size is None:
        batch_size = max(size for least, size in BATCH_SIZES if images >= least)
    steps = math.ceil(images / batch_size)
    passes = math.ceil(STEPS_PER_EPOCH / steps)
    more = math.sqrt(max(1.0, classes / 10))  # more classes take more steps to tell apart
    part = min(1.0, max(FEWEST_EPOCHS, MANY / images))
    epochs = {
        stage: max(math.ceil(part * least_epochs / passes), math.ceil(more * least_steps / (passes * steps)))
        for stage, (least_steps, least_epochs) in EFFORTS[effort].items()
    }
    return Recipe(batch_size, epochs, WEIGHT_DECAY, PATIENCE, passes)


def fitted(recipe: Recipe, images: int, seconds: dict[str, float], minutes: float) -> Recipe:
    """The recipe with as many epochs as a training of `minutes` has time for, and at least one of each stage.

    The proportions of the stages stay. A tenth of the time, and a minute, are kept for all that is not training.

    Arguments:
      images: number of training images.
      seconds: dict of stage -> seconds per step; `STAGES` and "int8", the int8 net alone.
      minutes: above 0.

    Raises ValueError where minutes are not above 0.
    """
    if not minutes > 0:
        raise BcnetError(f"minutes must be above 0, got {minutes}.")
    steps, epochs = recipe.passes * math.ceil(images / recipe.batch_size), recipe.epochs
    needed = steps * sum(epochs[stage] * seconds[stage] for stage in STAGES)
    # The nets alone get as many epochs as those of the pair.
    needed += steps * (epochs["boosted"] + epochs["cooperative"]) * seconds["int8"]
    needed += steps * epochs["cooperative"] * seconds["binary"]
    fits = recipe.scaled(0.9 * max(60 * minutes - 60, 30 * minutes) / needed)
    if min(fits.epochs.values()) == 1:
        log.warning("%g minutes are short for these images: some stages get a single epoch.", minutes)
    return fits
