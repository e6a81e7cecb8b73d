"""Recipes from the number of images, what may be varied, and the time a training is given."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from small_nets import float_net

import bcnet_keras as bc
from bcnet_keras.datasets import Dataset, Split
from bcnet_keras.experiment.settings import RECIPES, Settings
from bcnet_keras.training.probe import keeps_class, probe, step_seconds
from bcnet_keras.training.recipe import EFFORTS, STAGES, fitted, recipe_for


@pytest.mark.parametrize(
    ("images", "batch_size", "passes", "float_epochs"),
    [(160, 16, 4, 40), (300, 16, 3, 29), (720, 32, 2, 35), (1487, 32, 1, 50), (4000, 32, 1, 50), (45000, 128, 1, 20)],
)
def test_small_sets_get_small_batches_and_enough_steps(images, batch_size, passes, float_epochs):
    recipe = recipe_for(images, 10)
    assert (recipe.batch_size, recipe.passes, recipe.epochs["float"]) == (batch_size, passes, float_epochs)
    assert tuple(recipe.epochs) == STAGES and recipe.weight_decay > 0 and recipe.patience


@given(st.integers(2, 60000), st.integers(2, 100), st.sampled_from(list(EFFORTS)))
def test_every_stage_has_its_steps(images, classes, effort):
    images = max(images, classes)
    recipe = recipe_for(images, classes, effort)
    steps = recipe.passes * math.ceil(images / recipe.batch_size)
    for stage, (least, _) in EFFORTS[effort].items():
        assert recipe.epochs[stage] * steps >= least * math.sqrt(max(1, classes / 10)) * 0.999
    assert steps >= 40
    longer = recipe_for(images, classes, "best").epochs
    assert all(longer[stage] >= recipe.epochs[stage] for stage in STAGES)


def test_impossible_sets_are_refused():
    with pytest.raises(ValueError, match="effort must be one of quick, default, best; got 'much'"):
        recipe_for(100, 10, "much")
    for images, classes in ((5, 10), (10, 1)):
        with pytest.raises(ValueError, match="at least two classes of one image each"):
            recipe_for(images, classes)


def test_sets_with_a_recipe_of_their_own_keep_it():
    recipe = Settings(dataset="digits").recipe(1079, 10)
    assert (recipe.batch_size, *recipe.epochs.values()) == RECIPES["digits"]
    assert recipe.patience is None and recipe.weight_decay == 0 and recipe.passes == 1
    quick = Settings(dataset="digits", effort="quick").recipe(1079, 10)
    assert quick.epochs == {"float": 8, "binary": 16, "boosted": 4, "cooperative": 1}


def test_settings_override_the_recipe():
    recipe = Settings(dataset="folder:x", epochs=(5, 4, 3, 2), weight_decay=0.2).recipe(200, 4)
    assert tuple(recipe.epochs.values()) == (5, 4, 3, 2) and recipe.passes == 1
    assert recipe.weight_decay == 0.2 and recipe.patience is None and recipe.batch_size == 16
    assert Settings(dataset="folder:x", batch_size=50).recipe(200, 4).batch_size == 50


def test_epochs_are_fitted_to_the_minutes():
    recipe = recipe_for(1000, 10)
    seconds = {"float": 0.1, "binary": 0.3, "int8": 0.15, "boosted": 0.2, "cooperative": 0.5}

    def takes(recipe):
        steps, epochs = recipe.passes * math.ceil(1000 / recipe.batch_size), recipe.epochs
        staged = sum(epochs[stage] * seconds[stage] for stage in STAGES)
        alone = (epochs["boosted"] + epochs["cooperative"]) * seconds["int8"]
        return steps * (staged + alone + epochs["cooperative"] * seconds["binary"]) / 60

    for minutes in (10, 30, 100):
        fits = fitted(recipe, 1000, seconds, minutes)
        assert 0.7 * minutes - 2 < takes(fits) <= minutes
    assert all(count == 1 for count in fitted(recipe, 1000, seconds, 0.1).epochs.values())
    for minutes in (0, -1, math.nan):
        with pytest.raises(ValueError, match="minutes must be above 0"):
            fitted(recipe, 1000, seconds, minutes)


@pytest.mark.slow
def test_steps_are_timed_and_weights_stay():
    pair = bc.BCNet.from_keras(float_net())
    teacher = float_net()
    images, labels = np.zeros((64, 8, 8, 1), np.float32), np.arange(64) % 4
    before = pair.get_weights(), teacher.get_weights()
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(16)
    seconds = step_seconds(pair, teacher, batches, steps=3)
    assert set(seconds) == {*STAGES, "int8"} and all(0 < value < 60 for value in seconds.values())
    for was, now in zip(before, (pair.get_weights(), teacher.get_weights()), strict=True):
        for one, other in zip(was, now, strict=True):
            np.testing.assert_array_equal(one, other)


LABELS = np.repeat(np.arange(4), 50)


def answers(recalls, seed=0):
    """Right or wrong for each of `LABELS`, with a recall for each class."""
    return np.random.default_rng(seed).uniform(size=200) < np.repeat(recalls, 50)


@pytest.mark.parametrize(
    ("as_they_are", "moved", "keeps"),
    [
        ([0.9, 0.9, 0.9, 0.9], [0.88, 0.9, 0.9, 0.92], True),
        ([0.9, 0.9, 0.9, 0.9], [0.7, 0.7, 0.6, 0.7], False),  # all are known less
        ([0.9, 0.9, 0.95, 0.95], [0.9, 0.9, 1.0, 0.3], False),  # one class becomes another
        ([0.3, 0.3, 0.3, 0.3], [0.3, 0.3, 0.3, 0.3], False),  # hardly known as they are: nothing can be said
    ],
)
def test_moved_images_must_keep_their_class(as_they_are, moved, keeps):
    assert keeps_class(LABELS, answers(as_they_are), answers(moved, seed=1), 4) == keeps


def test_a_small_class_that_becomes_another_decides():
    labels = np.array([0] * 400 + [1] * 10 + [2] * 10)
    right = np.ones(420, bool)
    moved = right.copy()
    assert keeps_class(labels, right, moved, 3)
    moved[400:] = False
    assert not keeps_class(labels, right, moved, 3)
    # Each class counts the same however few images it has.
    moved[:] = True
    moved[400:408] = False
    assert not keeps_class(labels, right, moved, 3)


def arrows(sides, number=240):
    """Grey images of 8x8 with a bright bar at one of the named sides; each side is a class."""
    random = np.random.default_rng(0)
    labels = np.arange(number) % len(sides)
    images = random.integers(0, 120, (number, 8, 8, 1))
    for image, label in zip(images, labels, strict=True):
        bar = {"left": np.s_[:, :3], "right": np.s_[:, 5:], "top": np.s_[:3], "bottom": np.s_[5:], "none": np.s_[8:]}
        image[bar[sides[label]]] += 110
    images = images.astype(np.uint8)
    parts = [Split(images[first::4], labels[first::4]) for first in (2, 3)]
    train = Split(np.concatenate([images[0::4], images[1::4]]), np.concatenate([labels[0::4], labels[1::4]]))
    return Dataset("arrows", train, *parts, tuple(sides), (0, 255), "made", augmentation="probe")


@pytest.mark.parametrize(
    ("sides", "mirror", "flip"),
    [
        (("left", "right", "none"), False, True),
        (("top", "bottom", "none"), True, False),
        (("left", "right", "top"), False, False),
    ],
)
def test_probe_finds_what_keeps_the_class(sides, mirror, flip):
    tf.keras.utils.set_random_seed(1)
    data = arrows(sides)
    inputs = tf.keras.Input((8, 8, 1))
    hidden = tf.keras.layers.Dense(16, activation="relu")(tf.keras.layers.Flatten()(inputs))
    net = tf.keras.Model(inputs, tf.keras.layers.Dense(3)(hidden))
    variation, found = probe(data, net, seed=0)
    assert (variation.mirror, variation.flip) == (mirror, flip) and variation.shift > 0
    assert found["accuracy"] > 0.9 and 0 <= found["mirrored"] <= 1


def test_a_class_of_one_image_is_only_shifted():
    data = arrows(("left", "right", "none"))
    few = Split(data.train.images[:4], np.array([0, 0, 1, 2]))
    variation, found = probe(dataclasses.replace(data, train=few), None, seed=0)
    assert not variation.mirror and not variation.flip and found == {}
