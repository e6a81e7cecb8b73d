"""Is the recipe that follows from the data as good as one tuned by hand? Int8 nets on small sets of own images.

    python -m experiments.own_data --data_dir=~/datasets

Each set is a folder of images as a user has them: Sign Language Digits scaled to 32x32 and to 64x64, and images drawn
from the training images of Fashion-MNIST and CIFAR-10. For each the default recipe of `bcnet train`, and five tuned by
hand, train the float net and from it the int8 net, on the same splits. The best of the five is the one with the most
accurate int8 net on validation images. All are measured on the same test images: those of the folder's test split, and
for the drawn sets 4,000 public test images.

With `--pairs`, a whole pair is trained on each drawn set as `bcnet train` does, and its verdict, which rests on the
folder's own test split, is held against the public test images; then another whose binary net trains for twice as long.

`experiments/results/own_data.json` is written after each training; those that it has are not repeated.
"""

import dataclasses
import json
import math
import pathlib
import time
from unittest import mock

import numpy as np
from absl import app, flags

from experiments import report

DRAWN = {f"{name}_{count}": (name, count) for count in (300, 1000, 3000) for name in ("fashion_mnist", "cifar10")}
SETS = ("sign_digits_32", *DRAWN, "sign_digits_64")
DEFAULT, LONG_BINARY = "default", "binary net twice as long"
TEST_IMAGES = 4000
INT8_EPOCHS = 10

_SETS = flags.DEFINE_list("sets", list(SETS), "Which sets.")
_RECIPES = flags.DEFINE_list(
    "recipes", None, f"Which recipes: {DEFAULT} and names of HAND_TUNED, or {LONG_BINARY} for pairs. By default all."
)
_DATA_DIR = flags.DEFINE_string("data_dir", "~/datasets", "Folder that holds the data sets.")
_FOLDERS = flags.DEFINE_string("folders", "runs/own_data", "Where the drawn images are laid out in folders.")
_PAIRS = flags.DEFINE_bool("pairs", False, "Train whole pairs and check their verdicts, in place of int8 nets alone.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of drawing, splits, weights and order.", lower_bound=0)


@dataclasses.dataclass(frozen=True)
class HandTuned:
    """A recipe of the usual kind: epochs are of the float net; the int8 net trains on for `INT8_EPOCHS`."""

    batch_size: int
    epochs: int
    learning_rate: float
    weight_decay: float = 0.0
    shift: float = 0.0
    mirror: bool = False


HAND_TUNED = {
    "plain": HandTuned(32, 40, 1e-3),
    "small batches": HandTuned(16, 40, 1e-3, 0.05, shift=0.1),
    "long": HandTuned(32, 80, 2e-3, 0.05, shift=0.1),
    "mirrored": HandTuned(32, 80, 2e-3, 0.05, shift=0.1, mirror=True),
    "high rate": HandTuned(64, 80, 4e-3, 0.05, shift=0.1),
}


def main(_):
    from bcnet_keras.experiment.provenance import command_line, revision, versions
    from bcnet_keras.utils.atomic_files import write_atomic

    possible = [DEFAULT, LONG_BINARY] if _PAIRS.value else [DEFAULT, *HAND_TUNED]
    names = _RECIPES.value or possible
    unknown = sorted({*_SETS.value} - {*SETS}) + sorted({*names} - {*possible})
    if unknown:
        raise app.UsageError(f"there is no {', '.join(unknown)}; sets: {', '.join(SETS)}; {_RECIPES.help}")
    place = report.results_folder() / "own_data.json"
    record = json.loads(place.read_text()) if place.exists() else {"cells": {}, "commands": []}
    if record.get("seed", _SEED.value) != _SEED.value:
        raise app.UsageError(f"{place} is of seed {record['seed']}; give --seed={record['seed']} or another folder.")
    for name in _SETS.value:
        if _PAIRS.value and name not in DRAWN:
            continue  # no second test set
        cells = record.setdefault("verdicts" if _PAIRS.value else "cells", {}).setdefault(name, {})
        if all(recipe in cells for recipe in names):
            continue
        data = load(name)
        for recipe in names:
            if recipe in cells:
                continue
            began = time.time()
            found = verdict_checked(data, name, recipe) if _PAIRS.value else trained(data, recipe)
            cells[recipe] = {**found, "seconds": round(time.time() - began), "revision": revision()}
            print(f"{name}, {recipe}: {cells[recipe]}", flush=True)
            record |= {
                "seed": _SEED.value,
                "versions": versions(),
                "commands": sorted({*record["commands"], command_line("python -m experiments.own_data")}),
            }
            write_atomic(place, json.dumps(record, indent=1))
    report.write_all()


def load(name):
    """The `Dataset` of one of `SETS`, loaded as a folder of a user's own images."""
    from bcnet_keras import datasets

    if name.startswith("sign_digits"):
        side = int(name.rpartition("_")[2])
        return datasets.load("sign_digits", _DATA_DIR.value, _SEED.value, resize=(side, side))
    source, count = DRAWN[name]
    whole = datasets.load(source, _DATA_DIR.value, _SEED.value)
    folder = pathlib.Path(_FOLDERS.value) / f"{name}_{_SEED.value}"
    if not folder.exists():
        lay_out(whole, count, folder)
    data = datasets.load(f"folder:{folder}", seed=_SEED.value)
    # The folder's class names are sorted; the public test images get the same order.
    order = [data.class_names.index(class_name.replace("/", "_")) for class_name in whole.class_names]
    test = datasets.Split(whole.test.images[:TEST_IMAGES], np.asarray(order)[whole.test.labels[:TEST_IMAGES]])
    return dataclasses.replace(data, test=test)


def lay_out(whole, count, folder):
    """Writes `count` training images of a `Dataset`, drawn by the seed, as PNG files in a folder for each class."""
    import PIL.Image

    from bcnet_keras.utils.atomic_files import replace_when_done

    images, labels = whole.train
    with replace_when_done(folder) as place:
        for index in np.random.default_rng(_SEED.value).permutation(len(labels))[:count]:
            part = place / whole.class_names[labels[index]].replace("/", "_")
            part.mkdir(parents=True, exist_ok=True)
            pixels = images[index]
            PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(part / f"{index:05}.png")


def verdict_checked(data, name, recipe):
    """Trains a pair; returns its verdict and what the second test images say of it."""
    from bcnet_keras.experiment.settings import Settings
    from bcnet_keras.experiment.training_run import run
    from bcnet_keras.experiment.verdict import compare
    from bcnet_keras.runtime.tflite import Interpreter
    from bcnet_keras.training.recipe import EFFORTS

    images = pathlib.Path(_FOLDERS.value) / f"{name}_{_SEED.value}"
    folder = images.with_name(f"{images.name}_{'run' if recipe == DEFAULT else 'long_binary'}")
    efforts = dict(EFFORTS["default"])
    if recipe == LONG_BINARY:
        efforts["binary"] = tuple(2 * least for least in efforts["binary"])
    with mock.patch.dict(EFFORTS, {"default": efforts}):
        results = run(Settings(dataset=f"folder:{images}", seed=_SEED.value), folder, verbose=0)
    nets = ("pair", "int8", "binary")
    answers = {net: Interpreter(folder / f"{net}.tflite").predict(data.test.images).predicted for net in nets}
    found = compare(answers["pair"], answers["int8"], data.test.labels)
    figures = results["verdict"]["figures"]["beside"]["int8"]
    return {
        "outcome": results["verdict"]["outcome"],
        "own": {key: figures[key] for key in ("samples", "difference", "low", "high")},
        "second": {key: getattr(found, key) for key in ("samples", "difference", "low", "high")},
        "contradicted": contradicted(results["verdict"]["outcome"], found),
        "accuracy": {net: float(np.mean(each == data.test.labels)) for net, each in answers.items()},
        "epochs": results["epochs"],
    }


def contradicted(outcome, found):
    """Whether a `Comparison` of pair and int8 net on other images shows a verdict to be wrong."""
    from bcnet_keras.experiment.verdict import MARGIN

    if outcome.startswith("more accurate"):
        return found.worse
    if outcome.startswith("as accurate"):
        return found.high < -MARGIN
    return outcome == "less accurate" and found.better


def trained(data, name):
    """Trains the float and the int8 net by one recipe; returns their accuracies and how they were trained."""
    import tensorflow as tf

    from bcnet_keras.convert.lce import convert_int8
    from bcnet_keras.datasets import Variation
    from bcnet_keras.experiment.settings import Settings
    from bcnet_keras.experiment.training_run import chosen_nets, input_batches
    from bcnet_keras.layers import INPUT_RANGE
    from bcnet_keras.models.pair import BCNet, rescale
    from bcnet_keras.models.twins import int8_twin
    from bcnet_keras.runtime.tflite import Interpreter
    from bcnet_keras.training.probe import probe
    from bcnet_keras.training.recipe import Recipe
    from bcnet_keras.training.stages import train, train_float

    tf.keras.utils.set_random_seed(_SEED.value)
    images, classes = len(data.train.labels), len(data.class_names)
    settings, shape = Settings(dataset=data.name), data.train.images.shape[1:]
    float_net, binary_net = chosen_nets(settings, shape, classes).build(shape, classes)
    arguments, found = {}, {}
    if name == DEFAULT:
        recipe = settings.recipe(images, classes)
        copy = tf.keras.models.clone_model(float_net)
        variation, found = probe(data, copy, _SEED.value)
        int8_epochs = recipe.epochs["boosted"] + recipe.epochs["cooperative"]
    else:
        tuned = HAND_TUNED[name]
        recipe = Recipe(tuned.batch_size, {"float": tuned.epochs}, tuned.weight_decay)
        arguments["learning_rate"], int8_epochs = tuned.learning_rate, INT8_EPOCHS
        variation = Variation(mirror=tuned.mirror, shift=tuned.shift)
    varied = dataclasses.replace(data, augmentation=variation)
    batches = input_batches(varied, recipe.batch_size, _SEED.value, recipe.passes)
    fit = dict(validation_data=batches["validation"], patience=recipe.patience, verbose=0)
    arguments |= dict(epochs=recipe.epochs["float"], weight_decay=recipe.weight_decay)
    history = train_float(float_net, batches["train"], **fit, **arguments)
    pair = BCNet(binary_net, int8_twin(float_net))
    train(pair, batches["train"], stages=("int8",), epochs=int8_epochs, **fit)
    interpreter = Interpreter(convert_int8(pair.int8, INPUT_RANGE))

    def accuracy(split):
        return float(
            np.mean(interpreter.predict(rescale(split.images, data.raw_range).numpy()).predicted == split.labels)
        )

    float_answers = float_net.predict(batches["test"], verbose=0).argmax(-1)
    return {
        "validation": accuracy(data.validation),
        "test": accuracy(data.test),
        "float_test": float(np.mean(float_answers == data.test.labels)),
        "images": {split: len(getattr(data, split).labels) for split in ("train", "validation", "test")},
        "batch_size": recipe.batch_size,
        "steps": recipe.passes * math.ceil(images / recipe.batch_size) * len(history["loss"]),
        "epochs": [len(history["loss"]), int8_epochs],
        "augmentation": dataclasses.asdict(variation),
        "probe": found,
    }


if __name__ == "__main__":
    app.run(main)
