"""One training run from data to report: the nets alone, the baselines, the cooperative pair, and what each one costs.

    results = run(Settings(dataset="digits"), "runs/demo")

A run's folder holds `settings.json`, `checkpoints/`, the Keras model `pair.keras`, the flatbuffers `pair.tflite`,
`pair_builtin.tflite`, `int8.tflite` and `binary.tflite`, `results.json`, `accuracy_cost.png` and `report.html`; where
nets were searched for, `search.log` and `search.json` too. Called again on the same folder, it goes on where it was
killed.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import math
import pathlib
import platform
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras import datasets
from bcnet_keras.calibration import Answers, OperatingPoint, answers, curve, operating_point
from bcnet_keras.convert.cooperative import replace_gate, with_verdict
from bcnet_keras.convert.pair import convert, convert_parts
from bcnet_keras.datasets import Variation
from bcnet_keras.device.cost import cost
from bcnet_keras.device.cycles import as_record
from bcnet_keras.device.profile import Profile
from bcnet_keras.errors import BcnetError
from bcnet_keras.experiment.provenance import command_line, revision, versions
from bcnet_keras.experiment.report import COLOURS, accuracy_cost_figure, write_report
from bcnet_keras.experiment.run_folder import check_data, locked
from bcnet_keras.experiment.saved_settings import FILE, FREE, PRICE, read_settings, trained_on, write_settings
from bcnet_keras.experiment.settings import Settings
from bcnet_keras.experiment.verdict import Row, judge
from bcnet_keras.layers import MEASURES, fastest_precision, with_precision
from bcnet_keras.models.networks import NETWORKS, Nets
from bcnet_keras.models.pair import BCNet, rescale
from bcnet_keras.models.pair_cost import int8_share, pair_cost
from bcnet_keras.models.twins import int8_twin, share_stem
from bcnet_keras.planning import choice
from bcnet_keras.planning.search import STEMS, search
from bcnet_keras.runtime.choice import Interpreter
from bcnet_keras.training import COOPERATIVE_STAGES, LEARNING_RATES, cascade, coopnet, train, train_float
from bcnet_keras.training.checkpoints import finished_identity
from bcnet_keras.training.probe import probe, step_seconds
from bcnet_keras.training.recipe import Recipe, fitted
from bcnet_keras.training.watch import class_findings
from bcnet_keras.utils.atomic_files import replace_when_done, write_atomic
from bcnet_keras.utils.sealed_files import DamagedError, digest, read_record, set_aside, write_record
from bcnet_keras.utils.types import Array, StrPath

log = logging.getLogger(__name__)

_SEARCH = "search.json"
_TELL_SECONDS = 30  # between two lines on how far a run is


def run(settings: Settings, folder: StrPath, verbose: str | int = "auto", ablations: bool = False) -> dict[str, Any]:
    """Runs the experiment in `folder`; returns the record that it also writes to `results.json`.

    With `ablations` the rows also have BC-Net with each part left out (see `_ablations`) and an oracle in the gate's
    place; and `gates` what other measures of confidence do.

    Raises FileNotFoundError for missing data; ValueError for bad data, for a folder that another process uses, and for
    one with other data or settings than these (the target may differ: then only thresholds and what follows from them
    are made anew). OSError where a file cannot be written, on a full disk for one: called again, it goes on.
    """
    with locked(folder):
        return _run(settings, pathlib.Path(folder), verbose, ablations)


def repeatable() -> None:
    """Has TensorFlow's operators give the same bits every time, in the whole process; they may take longer."""
    tf.config.experimental.enable_op_determinism()
    # Keras' dropout then has a state that can be set, instead of one that TensorFlow hides.
    tf.keras.backend.experimental.enable_tf_random_generator()


def _run(settings: Settings, folder, verbose, ablations):
    began, cpu_began = time.time(), time.process_time()
    if settings.deterministic:
        repeatable()
    data = datasets.load(settings.dataset, settings.data_dir, settings.seed, resize=settings.resize)
    shape, names = data.train.images.shape[1:], data.class_names
    settings, data_hash = _claimed(folder, settings, data)
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    tf.keras.utils.set_random_seed(settings.seed)
    float_net, binary_net = settings.nets.build(shape, len(names))
    precision = fastest_precision() if settings.mixed_precision else "float32"
    binary_net = with_precision(binary_net, precision)
    log.info("binary layers train in %s", precision)

    def pair_of(*nets, **arguments):
        tf.keras.utils.set_random_seed(settings.seed)  # a learned gate's weights are the same in a resumed run
        about = dict(class_names=names, raw_range=data.raw_range, front_end=data.front_end)
        return BCNet(*nets, settings.measure, settings.per_class, **about, **arguments)

    for line in class_findings(names, np.bincount(data.train.labels, minlength=len(names))).values():
        log.warning("%s.", line)
    recipe, augmentation, probed = _recipe(settings, data, checkpoints, float_net, binary_net, pair_of)
    tf.keras.utils.set_random_seed(settings.seed)  # what is made from here on does not depend on a probe
    data = dataclasses.replace(data, augmentation=augmentation)
    epochs = {**recipe.epochs, "int8": recipe.epochs["boosted"] + recipe.epochs["cooperative"]}
    batches = input_batches(data, recipe.batch_size, settings.seed, recipe.passes)
    clock = _Clock(checkpoints / "seconds.json", _stages(epochs, ablations))
    fit = dict(train_data=batches["train"], validation_data=batches["validation"], verbose=verbose, callbacks=[clock])
    fit["patience"] = recipe.patience

    def trained(pair, name, *stages, **arguments):
        settled = dict(epochs=epochs, cost_weight=settings.cost_weight, teacher=float_net, **settings.device, **fit)
        clock.folder = name
        settled["built_on"] = digest([float_identity, trained_on(settings), settings.nets.record(), recorded])
        train(pair, stages=stages, checkpoint_dir=checkpoints / name, **{**settled, **arguments})
        return pair

    recorded = _recorded(recipe, augmentation, probed)
    kept_recipe = {name: value for name, value in recorded.items() if name not in ("epochs", "probe")}
    built_on = digest(
        [data_hash, settings.seed, settings.nets.texts()[0], settings.deterministic, kept_recipe, epochs["float"]]
    )
    kept = dict(checkpoint_dir=checkpoints, built_on=built_on)
    train_float(float_net, epochs=epochs["float"], weight_decay=recipe.weight_decay, **kept, **fit)
    float_identity = finished_identity(checkpoints, "float", built_on)
    answered = np.bincount(float_net.predict(batches["validation"], verbose=0).argmax(-1), minlength=len(names))
    counts = np.bincount(data.train.labels, minlength=len(names))
    if unanswered := class_findings(names, counts, answered).get("unanswered"):
        log.warning("stage float: %s.", unanswered)
    if settings.search_minutes:
        settings = _searched(settings, folder, float_net, data, batches, epochs["binary"], precision)
        tf.keras.utils.set_random_seed(settings.seed)
        binary_net = with_precision(settings.nets.build(shape, len(names))[1], precision)
    int8_net = int8_twin(float_net)
    if settings.nets.shared_stem:  # validation images come in the same order every time: a resumed run gets the same
        share_stem(binary_net, int8_net, batches["validation"].map(lambda images, labels: images))
    untrained = pair_of(_copy(binary_net), _copy(int8_net))
    alone = trained(pair_of(binary_net, _copy(int8_net)), "alone", "binary", "int8")
    fit["int8_share"] = int8_share(alone, **settings.device)  # the same for all that add: weights do not change it
    pairs = {"bcnet": trained(pair_of(_copy(binary_net), _copy(int8_net)), "pair", "boosted", "cooperative")}
    if ablations:
        pairs |= _ablations(pair_of, trained, alone, untrained)
    # The pair's binary net has trained on in the cooperative stage; so does the one alone.
    on = dict(epochs={"binary": epochs["cooperative"]}, learning_rates={"binary": LEARNING_RATES["cooperative"]})
    trained(alone, "alone_on", "binary", **on)

    log.info("calibration, conversion and evaluation on the test set")
    pairs = {
        "coopnet": coopnet(alone, batches["validation"]),
        "cascade": cascade(alone, batches["validation"]),
        **pairs,
    }
    alone_parts = convert_parts(alone)
    parts = {name: alone_parts if name in ("coopnet", "cascade") else convert_parts(pairs[name]) for name in pairs}
    rows: dict[str, dict[str, Any]] = {}
    points: dict[str, OperatingPoint] = {}
    curves, files = {}, {"int8": alone_parts[1], "binary": alone_parts[0]}
    for name, pair in pairs.items():
        relative = _relative_cost(pair, parts[name], alone_parts[1], settings)
        by_class = len(names) if settings.per_class else None
        on_validation, on_test = (answers(pair, batches[split]) for split in ("validation", "test"))
        choices = curve(on_validation, relative, settings.core, by_class)
        targets = {name: settings.target}
        if name == "bcnet":
            on_validation.warn_of_clip()
            targets["bcnet_accurate"] = {"max_cost": np.inf}
        for row, target in targets.items():
            picked = choices.pick(**target)
            files[row] = convert(pair, parts=parts[name], threshold=picked)
            points[row] = picked
            rows[row] = {
                "threshold": picked.threshold,
                "validation_accuracy": picked.accuracy,
                "keras_accuracy": operating_point(on_test, picked.threshold, relative).accuracy,
                "aurc": on_test.aurc(),
                "auroc": on_test.auroc(),
            }
        pair.threshold = points[name]
        told = _told(pair, parts[name], data.test, on_test) if name in COLOURS else on_test
        test_curve = curve(told, relative, settings.core, by_class)
        curves[name] = [[point.cost, point.accuracy, point.escalation_rate] for point in test_curve.points]
        if name == "bcnet":
            test_answers, validation_answers, own_cost = on_test, on_validation, relative
    predictions = {}
    for name, flatbuffer in files.items():
        predictions[name], measured = _measured(flatbuffer, data.test, settings, verbose)
        rows[name] = {**measured, **rows.get(name, {})}
    order = ("int8", "binary", "coopnet", "cascade", "bcnet", "bcnet_accurate")
    judged = {name: _judged(files[name], predictions[name], files["int8"], settings) for name in order}
    verdict = judge(data.test.labels, judged, names, settings.board or settings.core, rows["bcnet"]["auroc"])
    files["bcnet"] = with_verdict(files["bcnet"], verdict.sentence)
    rows["bcnet"]["flash_bytes"] = len(files["bcnet"])
    rows["binary"]["escalation_rate"], rows["int8"]["escalation_rate"] = 0.0, 1.0
    if ablations:
        rows["oracle"] = {**rows["bcnet"], **_oracle(test_answers, files["bcnet"], settings)}

    pair = pairs["bcnet"]
    results = {
        "verdict": verdict.record(),
        "rows": {name: rows[name] for name in (*order, *(name for name in rows if name not in order))},
        "agreement": agreement(pair, parts["bcnet"], files["bcnet"], data.test.images[:1000]),
        "curves": curves,
        **({"gates": _gates(validation_answers, test_answers, own_cost, settings, len(names))} if ablations else {}),
        "settings": dataclasses.asdict(settings),
        "nets": dict(zip(("float", "binary"), settings.nets.texts(), strict=True)),
        **({"search": read_record(folder / _SEARCH)[0]} if settings.search_minutes else {}),
        "epochs": epochs,
        "recipe": recorded,
        "data": {
            "hash": data_hash,
            "source": data.source,
            "classes": list(names),
            "images": {name: len(getattr(data, name).labels) for name in ("train", "validation", "test")},
        },
        "command": command_line(pathlib.Path(sys.argv[0]).name),
        "revision": revision(),
        "versions": versions(),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "binary_precision": precision,
        "wall_time": {
            **clock.counted,
            "seconds_since_last_start": round(time.time() - began, 1),
            "cpu_seconds_since_last_start": round(time.process_time() - cpu_began, 1),
        },
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
    write_report(results, test_answers, data.test, own_cost, folder / "report.html")
    write_settings(folder, settings)
    write_atomic(folder / "results.json", json.dumps(results, indent=1))
    return results


def _recipe(settings: Settings, data, checkpoints, float_net, binary_net, pair_of):
    """(`Recipe`, augmentation, what was probed) of a run; kept in `checkpoints`, where one that goes on finds them."""
    place = checkpoints / "recipe.json"
    if (kept := _whole(place)) is not None:
        augmentation, probed = kept.pop("augmentation"), kept.pop("probe")
        if isinstance(augmentation, dict):
            augmentation = Variation(**augmentation)
        return Recipe(**kept), augmentation, probed
    images, classes = len(data.train.labels), len(data.class_names)
    recipe, augmentation, probed = settings.recipe(images, classes), data.augmentation, {}
    if augmentation == "probe":
        augmentation, probed = probe(data, _copy(float_net), settings.seed)
    if settings.minutes is not None:
        varied = dataclasses.replace(data, augmentation=augmentation)
        pair = pair_of(_copy(binary_net), int8_twin(float_net))
        seconds = step_seconds(pair, _copy(float_net), input_batches(varied, recipe.batch_size, settings.seed)["train"])
        recipe = fitted(recipe, images, seconds, settings.minutes)
    log.info("batch size %d, epochs: %s", recipe.batch_size, recipe.epochs)
    write_record(place, _recorded(recipe, augmentation, probed))
    return recipe, augmentation, probed


def _stages(epochs, ablations):
    """{(folder of its checkpoints, stage): epochs} of all that a run trains, in this order."""
    stages = [("", "float"), ("alone", "binary"), ("alone", "int8"), ("pair", "boosted"), ("pair", "cooperative")]
    if ablations:
        stages += [("no_boosting", "cooperative"), ("no_sum", "cooperative"), ("no_learned_threshold", "cooperative")]
        stages += [("no_distillation", stage) for stage in COOPERATIVE_STAGES]
    return {**{key: epochs[key[1]] for key in stages}, ("alone_on", "binary"): epochs["cooperative"]}


def _whole(place):
    """The record in a file; None where there is no file, and where it is damaged, having set it aside."""
    if not place.exists():
        return None
    try:
        return read_record(place)[0]
    except DamagedError as error:
        log.warning("%s: set aside as %s.", error, set_aside(place).name)
        return None


def _recorded(recipe, augmentation, probed):
    if isinstance(augmentation, Variation):
        augmentation = dataclasses.asdict(augmentation)
    return {**dataclasses.asdict(recipe), "augmentation": augmentation, "probe": probed}


def _ablations(pair_of, trained, alone, untrained):
    """BC-Net with one part left out each, as {row: pair}. `alone` holds the nets that trained apart."""

    def boosted():
        # The pair as its boosted stage left it, which is on disk.
        return trained(pair_of(_copy(alone.binary), _copy(untrained.int8)), "pair", "boosted")

    # The int8 net that trained alone has had the epochs of both stages, more than the boosted one had at this point.
    apart = [pair_of(_copy(alone.binary), _copy(alone.int8), combine=combine) for combine in ("sum", "swap")]
    fixed = boosted()
    fixed.gate.trainable = False
    return {
        "bcnet_no_boosting": trained(apart[0], "no_boosting", "cooperative"),
        "bcnet_no_sum": trained(apart[1], "no_sum", "cooperative", int8_share=None),  # its own: it adds nothing
        "bcnet_no_cooperative": boosted(),
        "bcnet_no_learned_threshold": trained(fixed, "no_learned_threshold", "cooperative"),
        "bcnet_no_distillation": trained(untrained, "no_distillation", *COOPERATIVE_STAGES, teacher=None),
    }


def _oracle(answers, flatbuffer, settings):
    """The part of a row that a perfect gate would change, from `Answers`."""
    accuracy, rate = answers.oracle()
    counted = cost(flatbuffer, board_name=settings.board)
    unknown = dict.fromkeys(("threshold", "validation_accuracy", "aurc", "auroc"))
    return {
        "accuracy": accuracy,
        "keras_accuracy": accuracy,
        "escalation_rate": rate,
        "cycles": as_record(counted.expected_cycles(rate)),
        "instructions": counted.expected(rate),
    } | unknown


def _gates(validation, test, pair_cost, settings: Settings, classes):
    """What each measure of confidence does with the same pair, with one threshold for all and with one per class.

    Points are picked on validation data for the settings' target.
    """
    gates = {}
    for measure in MEASURES:
        on_validation, on_test = validation.by_measure(measure), test.by_measure(measure)
        for name, by_class in ((measure, None), (f"{measure}, per class", classes)):
            choices = curve(on_validation, pair_cost, settings.core, by_class)
            picked = choices.pick(**settings.target)
            point = operating_point(on_test, picked.threshold, pair_cost)
            gates[name] = {
                "accuracy": point.accuracy,
                "escalation_rate": point.escalation_rate,
                "cost": point.cost,
                "aurc": on_test.aurc(),
                "auroc": on_test.auroc(),
            }
    return gates


def agreement(pair: BCNet, parts: tuple[bytes, bytes], merged: bytes, images: Array) -> dict[str, Any]:
    """Shares of `images` (raw, [n, h, w, c]) on which the flatbuffers say what Keras says.

    Keys: `binary`, `int8`, `pair` (same class), `escalation` (same decision), the number of images, and the name of the
    interpreter: optimised kernels and reference ones differ by a step here and there.
    """
    outputs = pair.predict(pair.preprocess(images), verbose=0)
    binary, int8, both = (Interpreter(data).predict(images) for data in (*parts, merged))
    same = {
        "binary": binary.predicted == outputs["binary_logits"].argmax(-1),
        "int8": int8.predicted == outputs["int8_logits"].argmax(-1),
        "pair": both.predicted == outputs["logits"].argmax(-1),
        "escalation": both.escalated == outputs["escalated"],
    }
    shares = {name: float(np.mean(values)) for name, values in same.items()}
    return {**shares, "images": len(images), "interpreter": Interpreter.NAME}


class _Clock(tf.keras.callbacks.Callback):
    """Adds up the time that epochs take, over all starts of a run, and tells how much is left.

    `counted` is kept in a file; nothing that goes wrong with it stops a run. `stages` are those of `_stages`; `folder`
    is that of the stage which trains.
    """

    def __init__(self, path, stages=None) -> None:
        super().__init__()
        self.stages, self.folder, self.told = stages or {}, "", -math.inf
        self.path, self.counted = path, {"training_seconds": 0.0, "epochs_timed": 0}
        try:
            if (record := _whole(path)) is not None:
                self.counted = {name: type(value)(record[name]) for name, value in self.counted.items()}
        except (OSError, KeyError, TypeError, ValueError):
            log.warning("%s cannot be read: the time is counted from here.", path)

    def on_train_begin(self, logs=None):
        self.told = -math.inf  # the first epoch of every stage says where the run is

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.time()

    def on_epoch_end(self, epoch, logs=None):
        self.counted["training_seconds"] = round(self.counted["training_seconds"] + time.time() - self.began, 1)
        self.counted["epochs_timed"] += 1
        if time.monotonic() - self.told > _TELL_SECONDS and (line := self.left(epoch + 1)):
            log.info("%s", line)
            self.told = time.monotonic()
        try:
            write_record(self.path, self.counted)
        except OSError as error:
            log.warning("%s; training goes on.", error)

    def left(self, done):
        """Where the run is with so many epochs `done` of the stage that trains, and for how long it will train on."""
        key, stages = (self.folder, getattr(self.model, "stage", "float")), list(self.stages)
        if key not in self.stages:
            return None
        number = stages.index(key)
        epochs = self.stages[key] - done + sum(self.stages[later] for later in stages[number + 1 :])
        seconds = epochs * self.counted["training_seconds"] / self.counted["epochs_timed"]
        time_left = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        return (
            f"stage {number + 1} of {len(stages)}, {key[1]}: epoch {done} of {self.stages[key]}; about {time_left} of "
            "training left"
        )


def _claimed(folder, settings: Settings, data):
    """(the settings with their nets, hash of the data), when the folder is this run's, made so, or new.

    Says what the nets cost and take. Raises ValueError where the folder holds another run, or one of other data, and
    where nets do not fit the board or the budget.
    """
    place, shape, classes = folder / FILE, data.train.images.shape[1:], len(data.class_names)
    try:
        theirs = read_settings(folder) if place.exists() else None
    except BcnetError as error:
        theirs = None  # what is there was trained with other settings or not: each stage knows
        log.warning("%s: set aside as %s.", error, set_aside(place).name)
    if theirs is not None:
        if settings.nets is None:
            settings = dataclasses.replace(settings, nets=theirs.nets)
        before, now = dataclasses.asdict(theirs), dataclasses.asdict(settings)
        differing = [name for name in before if before[name] != now[name]]
        told = {name: "" if name == "nets" else f" was {before[name]}, is {now[name]}" for name in differing}
        refused = [name + change for name, change in told.items() if name not in FREE]
        if refused:
            raise BcnetError(
                f"{folder} holds a run with other settings ({'; '.join(refused)}); use another name or delete it."
            )
        if told:
            log.info("%s: only thresholds follow from that", "; ".join(name + change for name, change in told.items()))
        if not read_record(place)[0].items() >= PRICE.items():
            log.warning(
                "%s was begun when costs were instructions: its nets stay, and its thresholds are picked anew by "
                "estimated cycles, of which max_cost is a part now",
                folder,
            )
    if settings.nets is None:
        settings = dataclasses.replace(settings, nets=chosen_nets(settings, shape, classes))
    _announce(settings, shape, classes)
    data_hash = check_data(folder, data)
    if theirs is None:
        write_settings(folder, settings)
    return settings, data_hash


def chosen_nets(settings: Settings, shape: tuple[int, ...], classes: int) -> Nets:
    """The `Nets` for images [h, w, c]: of a named data set its own, of somebody's own images those that suit them."""
    asked: dict[str, Any] = dict(binary_width=settings.binary_width, binary_blocks=settings.binary_blocks)
    if settings.own_images:
        target: dict[str, Any] = dict(max_cost=settings.max_cost, **settings.device)
        return choice.choose(shape, classes, shared_stem=settings.shared_stem, **target, **asked)
    return NETWORKS.get(settings.dataset, NETWORKS["images"]).nets(settings.shared_stem, **asked)


def _announce(settings: Settings, shape, classes):
    """Says what the nets cost and take; raises ValueError where that cannot be what was asked for."""
    plan = choice.Plan.of(settings.nets, shape, classes, **settings.device)
    for what, text in zip(("float net, for int8", "binary net"), settings.nets.texts(), strict=True):
        log.info("%s: %s", what, text)
    log.info("what the nets will cost and take:\n%s", plan.text())
    problem = plan.problem(settings.max_cost)
    if problem:
        raise BcnetError(problem)
    for line in plan.warnings():
        log.warning("%s", line)


def _searched(settings: Settings, folder, float_net, data, batches, epochs, precision):
    """The settings with the nets that the search of the run in `folder` found; it runs, or goes on, where it must."""
    place = folder / _SEARCH
    if (kept := _whole(place)) is None:
        stems = {None: STEMS, True: ("shared",), False: ("thermometer", "int8")}[settings.shared_stem]
        nets, record = search(
            settings.nets,
            folder / "search.log",
            settings.search_minutes,
            float_net,
            data,
            batches,
            max(3, epochs // 3),
            settings.seed,
            max_cost=settings.max_cost or 1.0,
            **settings.device,
            measure="score_margin" if settings.measure == "learned" else settings.measure,
            precision=precision,
            stems=stems,
        )
        kept = {**record, "nets": nets.record()}
        write_record(place, kept)
    settings = dataclasses.replace(settings, nets=Nets.from_record(kept["nets"]))
    _announce(settings, data.train.images.shape[1:], len(data.class_names))
    write_settings(folder, settings)
    return settings


def input_batches(data: datasets.Dataset, batch_size: int, seed: int, passes: int = 1) -> dict[str, tf.data.Dataset]:
    """{"train", "validation", "test": batches of (images in the input range, labels)} of a `Dataset`.

    `passes`: how often the training batches show each image.
    """
    scale = functools.partial(rescale, raw_range=data.raw_range)

    def batches(split, size=256, **arguments):
        raw = datasets.as_tf_dataset(split, size, **arguments)
        return raw.map(lambda images, labels: (scale(images), labels), num_parallel_calls=tf.data.AUTOTUNE)

    with tf.device("CPU:0"):
        epoch = tf.Variable(0, trainable=False, dtype=tf.int64)
    order = dict(shuffle=True, seed=seed, epoch=epoch, passes=passes)
    train = batches(data.train, batch_size, augmentation=data.augmentation, **order)
    train.epoch = epoch  # by which `training.stages` has it show each epoch's order
    return {
        "train": train,
        "validation": batches(data.validation),
        "test": batches(data.test),
    }


def _copy(model):
    copy = tf.keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _relative_cost(pair, parts, int8_flatbuffer, settings):
    """(accepted, escalated) estimated cycles of a pair over those of the int8 net alone."""
    accepted, escalated = pair_cost(pair, parts=parts, **settings.device)
    own, alone = (cost(data, board_name=settings.board).cycles[settings.core] for data in (parts[1], int8_flatbuffer))
    scale = own.middle / alone.middle
    return accepted * scale, escalated * scale


def _measured(flatbuffer, test, settings, verbose):
    """A flatbuffer's `Prediction` for the test set, and its row: accuracy, escalation, and what it costs on the device.

    The cost is that of the flatbuffer's own operators; the interpreter has builtin ones for the custom ones.
    """
    prediction = Interpreter(flatbuffer).predict(test.images, verbose=int(verbose in (1, "auto")))
    profile = Profile.of(flatbuffer, settings.core, settings.board)
    counted = profile.cost
    gated = prediction.escalated is not None
    rate = float(np.mean(prediction.escalated)) if gated else None
    return prediction, {
        "accuracy": float(np.mean(prediction.predicted == test.labels)),
        "escalation_rate": rate,
        "cycles": as_record(counted.expected_cycles(rate) if gated else counted.cycles),
        "worst_cycles": as_record(counted.cycles),
        "instructions": counted.expected(rate) if gated else counted.instructions,
        "worst_instructions": counted.instructions,
        "flash_bytes": len(flatbuffer),
        "code_bytes": profile.code_bytes,
        "arena_bytes": profile.arena.bytes,
    }


def _told(pair, parts, test, keras):
    """The flatbuffers' `Answers` to the test set, so that a curve runs through the points that they were measured at.

    Arguments:
      parts: flatbuffers of the binary and the int8 net.
      keras: the `Answers` of Keras, of which those of the int8 net alone stay.
    """
    binary = Interpreter(parts[0]).predict(test.images, verbose=0)
    both = Interpreter(convert(pair, parts=parts, threshold=1.0)).predict(test.images, verbose=0)
    confidence = pair.gate.confidence(binary.logits).numpy()
    return Answers(test.labels, binary.predicted, keras.int8, both.predicted, confidence, binary.logits)


def _judged(flatbuffer, prediction, int8_flatbuffer, settings):
    """The `verdict.Row` of a flatbuffer."""
    counted, alone = (cost(data, board_name=settings.board) for data in (flatbuffer, int8_flatbuffer))
    paths = (counted.accepted_cycles or counted.cycles, counted.escalated_cycles or counted.cycles)
    costs = [path[settings.core].middle / alone.cycles[settings.core].middle for path in paths]
    return Row(prediction.predicted, *costs, prediction.escalated)
