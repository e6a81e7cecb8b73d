"""One training run from data to report: the nets alone, the baselines, the cooperative pair, and what each one costs.

    results = run(Settings(dataset="digits"), "runs/demo")

A run's folder holds `settings.json`, `checkpoints/`, the Keras model `pair.keras`, the flatbuffers `pair.tflite`,
`pair_builtin.tflite`, `int8.tflite` and `binary.tflite`, `results.json`, `accuracy_cost.png` and `report.html`. Called
again on the same folder, it goes on where it was killed.
"""

import dataclasses
import functools
import importlib.metadata
import json
import logging
import pathlib
import platform
import shlex
import sys
import time

import numpy as np
import tensorflow as tf

from bcnet_keras import datasets
from bcnet_keras.confidence import answers, calibrate, curve, operating_point
from bcnet_keras.convert import convert, convert_parts, replace_gate
from bcnet_keras.cost import cost, pair_cost
from bcnet_keras.files import replace_when_done, write_atomic
from bcnet_keras.model import BCNet, rescale
from bcnet_keras.networks import NETWORKS
from bcnet_keras.report import accuracy_cost_figure, write_report
from bcnet_keras.runtime.tflite import Interpreter
from bcnet_keras.training import LEARNING_RATES, cascade, coopnet, train, train_float
from bcnet_keras.twins import int8_twin

log = logging.getLogger(__name__)

# Data set -> (batch size, epochs of the float net, of the binary net, and of the boosted and the cooperative stage).
# Nets alone get the same number of epochs as those in the pair: the int8 net the sum of the last two, the binary net
# the cooperative ones on top of its own.
RECIPES = {
    "digits": (32, 20, 40, 12, 4),
    "fashion_mnist": (128, 8, 16, 3, 1),
    "other": (128, 20, 40, 14, 6),
}
_SETTINGS = "settings.json"
PACKAGES = ("tensorflow", "tf-keras", "larq", "larq-compute-engine", "numpy")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run depends on.

    dataset, data_dir, seed: as `datasets.load` takes them; the seed also starts weights and order of training.
    batch_size, epochs: None for the data set's own (`RECIPES`); epochs of the float net, the binary net, the boosted
      and the cooperative stage.
    measure, per_class: the gate, see `ConfidenceGate`. core: whose instructions are the cost, see `bcnet_keras.cost`.
    max_cost, min_accuracy: how thresholds are picked on validation data, see `AccuracyCostCurve.pick`; one is None.
    cost_weight: price of the int8 net in the cooperative stage, see `BCNet.compile`.
    """

    dataset: str = "digits"
    data_dir: str | None = None
    seed: int = 0
    batch_size: int | None = None
    epochs: tuple | None = None
    measure: str = "score_margin"
    per_class: bool = False
    core: str = "cortex-m4"
    max_cost: float | None = 0.5
    min_accuracy: float | None = None
    cost_weight: float = 0.1


def run(settings, folder, verbose="auto"):
    """Runs the experiment in `folder`; returns the record that it also writes to `results.json`.

    Raises FileNotFoundError for missing data; ValueError for bad data, and for a folder with other settings than these
    (the target may differ: then only thresholds and what follows from them are made anew).
    """
    folder, began = pathlib.Path(folder), time.time()
    data = datasets.load(settings.dataset, settings.data_dir, settings.seed)
    _claim(folder, settings)
    tf.keras.utils.set_random_seed(settings.seed)
    shape, names = data.train.images.shape[1:], data.class_names
    builder = NETWORKS.get(settings.dataset, NETWORKS["images"])
    float_net, binary_net = builder(shape, len(names))
    gate = dict(measure=settings.measure, per_class=settings.per_class)
    about = dict(class_names=names, raw_range=data.raw_range, front_end=data.front_end)
    batch_size, *epochs = RECIPES.get(settings.dataset, RECIPES["other"])
    epochs = dict(zip(("float", "binary", "boosted", "cooperative"), settings.epochs or epochs, strict=True))
    epochs["int8"] = epochs["boosted"] + epochs["cooperative"]
    batches = _batches(data, settings.batch_size or batch_size, settings.seed)
    fit = dict(train_data=batches["train"], validation_data=batches["validation"], verbose=verbose)
    checkpoints = folder / "checkpoints"

    train_float(float_net, epochs=epochs["float"], checkpoint_dir=checkpoints, **fit)
    alone = BCNet(binary_net, int8_twin(float_net), **gate, **about)
    fit_nets = functools.partial(train, epochs=epochs, core=settings.core, cost_weight=settings.cost_weight, **fit)
    fit_nets(alone, stages=("binary", "int8"), teacher=float_net, checkpoint_dir=checkpoints / "alone")
    pair = BCNet(_copy(binary_net), int8_twin(float_net), **gate, **about)
    fit_nets(pair, stages=("boosted", "cooperative"), checkpoint_dir=checkpoints / "pair")
    # The pair's binary net has trained on in the cooperative stage; so does the one alone.
    fit_nets(
        alone,
        stages=("binary",),
        epochs={"binary": epochs["cooperative"]},
        learning_rates={"binary": LEARNING_RATES["cooperative"]},
        teacher=float_net,
        checkpoint_dir=checkpoints / "alone_on",
    )

    log.info("calibration, conversion and evaluation on the test set")
    candidates = {
        "coopnet": coopnet(alone, batches["validation"]),
        "cascade": cascade(alone, batches["validation"]),
        "bcnet": pair,
    }
    alone_parts, pair_parts = convert_parts(alone), convert_parts(pair)
    parts = {"coopnet": alone_parts, "cascade": alone_parts, "bcnet": pair_parts}
    curves, rows, files = {}, {}, {"binary": alone_parts[0], "int8": alone_parts[1]}
    for name, candidate in candidates.items():
        relative = _relative_cost(candidate, parts[name], alone_parts[1], settings.core)
        picked = calibrate(candidate, batches["validation"], settings.core, relative).pick(
            settings.max_cost, settings.min_accuracy
        )
        candidate.threshold = picked
        files[name] = convert(candidate, parts=parts[name])
        given = answers(candidate, batches["test"])
        test_curve = curve(given, relative, settings.core, len(names) if settings.per_class else None)
        curves[name] = [[point.cost, point.accuracy, point.escalation_rate] for point in test_curve.points]
        rows[name] = {
            "threshold": picked.threshold,
            "validation_accuracy": picked.accuracy,
            "keras_accuracy": operating_point(given, picked.threshold, relative).accuracy,
        }
        if name == "bcnet":
            test_answers = given
    for name, flatbuffer in files.items():
        rows[name] = {**_measured(flatbuffer, data.test, verbose), **rows.get(name, {})}
    rows["binary"]["escalation_rate"], rows["int8"]["escalation_rate"] = 0.0, 1.0

    results = {
        "rows": {name: rows[name] for name in ("int8", "binary", "coopnet", "cascade", "bcnet")},
        "agreement": agreement(pair, pair_parts, files["bcnet"], data.test.images[:1000]),
        "curves": curves,
        "settings": dataclasses.asdict(settings),
        "epochs": epochs,
        "data": {
            "source": data.source,
            "classes": list(names),
            "images": {name: len(getattr(data, name).labels) for name in ("train", "validation", "test")},
        },
        "command": command_line(pathlib.Path(sys.argv[0]).name),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "seconds_since_last_start": round(time.time() - began, 1),
    }
    # The record goes first and comes last: where it is, the files beside it are those that it speaks of.
    (folder / "results.json").unlink(missing_ok=True)
    with replace_when_done(folder / "pair.keras") as path:
        pair.save(path)
    write_atomic(folder / "pair.tflite", files["bcnet"])
    write_atomic(folder / "pair_builtin.tflite", replace_gate(files["bcnet"], "builtin"))
    write_atomic(folder / "int8.tflite", files["int8"])
    write_atomic(folder / "binary.tflite", files["binary"])
    with replace_when_done(folder / "accuracy_cost.png") as path:
        accuracy_cost_figure([results]).savefig(path, dpi=130)
    write_report(results, test_answers, data.test, folder / "report.html")
    _write_settings(folder, settings)
    write_atomic(folder / "results.json", json.dumps(results, indent=1))
    return results


def agreement(pair, parts, merged, images):
    """Shares of `images` (raw, [n, h, w, c]) on which the flatbuffers say what Keras says.

    Keys: `binary`, `int8`, `pair` (same class), `escalation` (same decision), and the number of images.
    """
    outputs = pair.predict(pair.preprocess(images), verbose=0)
    binary, int8, both = (Interpreter(data).predict(images) for data in (*parts, merged))
    same = {
        "binary": binary.predicted == outputs["binary_logits"].argmax(-1),
        "int8": int8.predicted == outputs["int8_logits"].argmax(-1),
        "pair": both.predicted == outputs["logits"].argmax(-1),
        "escalation": both.escalated == outputs["escalated"],
    }
    return {**{name: float(np.mean(values)) for name, values in same.items()}, "images": len(images)}


def command_line(program):
    """The command that runs now, as one would type it: `program` and the arguments, the home folder as ~."""
    return " ".join([program, *map(shlex.quote, sys.argv[1:])]).replace(str(pathlib.Path.home()), "~")


def _claim(folder, settings):
    """Makes the folder a run's, or checks that it is this run's."""
    if not (folder / _SETTINGS).exists():
        _write_settings(folder, settings)
        return
    mine, theirs = dataclasses.asdict(settings), dataclasses.asdict(read_settings(folder))
    differing = sorted(key for key in mine if key not in ("max_cost", "min_accuracy") and mine[key] != theirs[key])
    if differing:
        raise ValueError(
            f"{folder} holds a run with other settings ({', '.join(differing)}); use another name or delete it."
        )


def read_settings(folder):
    """The `Settings` of the run in `folder`. Raises FileNotFoundError where there is none, ValueError where damaged."""
    place = pathlib.Path(folder) / _SETTINGS
    if not place.is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a run: it has no {_SETTINGS}.")
    try:
        values = json.loads(place.read_text())
        return Settings(**{**values, "epochs": values["epochs"] and tuple(values["epochs"])})
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{place} is damaged or of another version; delete {folder} and train again.") from None


def _write_settings(folder, settings):
    write_atomic(folder / _SETTINGS, json.dumps(dataclasses.asdict(settings), indent=1))


def _batches(data, batch_size, seed):
    scale = functools.partial(rescale, raw_range=data.raw_range)

    def batches(split, size=256, **arguments):
        raw = datasets.as_tf_dataset(split, size, **arguments)
        return raw.map(lambda images, labels: (scale(images), labels), num_parallel_calls=tf.data.AUTOTUNE)

    return {
        "train": batches(data.train, batch_size, shuffle=True, seed=seed, augmentation=data.augmentation),
        "validation": batches(data.validation),
        "test": batches(data.test),
    }


def _copy(model):
    copy = tf.keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _relative_cost(pair, parts, int8_flatbuffer, core):
    """(accepted, escalated) instructions of a pair over those of the int8 net alone."""
    accepted, escalated = pair_cost(pair, core, parts)
    own = cost(parts[1]).instructions[core] / cost(int8_flatbuffer).instructions[core]
    return accepted * own, escalated * own


def _measured(flatbuffer, test, verbose):
    """Accuracy and escalation of a flatbuffer on the test set, and what it costs on the device.

    The cost is that of the flatbuffer's own operators; the interpreter has builtin ones for the custom ones.
    """
    prediction = Interpreter(flatbuffer).predict(test.images, verbose=int(verbose in (1, "auto")))
    counted = cost(flatbuffer)
    gated = prediction.escalated is not None
    rate = float(np.mean(prediction.escalated)) if gated else None
    return {
        "accuracy": float(np.mean(prediction.predicted == test.labels)),
        "escalation_rate": rate,
        "instructions": counted.expected(rate) if gated else counted.instructions,
        "flash_bytes": len(flatbuffer),
    }
