"""Searches the binary net beside a float net with Optuna: the one with which the pair is most accurate in its budget.

Every trial draws a `networks.Nets` with another binary net, behind a stem that it shares with the float net or not,
counts what the pair costs and takes (`planning.sketch`), and trains the binary net alone where the budget leaves
some for the other net. What counts is the accuracy on validation data of the binary net with the float net in the int8
net's place, its answers swapped for the float net's below the threshold that the budget allows. Poor trials stop early.

The study is kept in a file: the same call goes on with it, and several processes can work on one.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from bcnet_keras.calibration import Answers, curve
from bcnet_keras.layers import leave_quantized_scope, with_precision
from bcnet_keras.models.networks import CONCAT, POOL, blocks_text
from bcnet_keras.models.twins import int8_twin, share_stem
from bcnet_keras.planning.choice import Plan
from bcnet_keras.training.stages import LEARNING_RATES, train_float
from bcnet_keras.utils.arguments import check_number
from bcnet_keras.utils.types import StrPath

if TYPE_CHECKING:
    import optuna

    from bcnet_keras.datasets import Dataset
    from bcnet_keras.models.networks import Nets

log = logging.getLogger(__name__)

WIDTHS = (32, 64, 96, 128, 192, 256, 384)
PLANES = (6, 8, 10, 12, 15, 20, 31)  # of a grey image; of one in colour those below `_MOST_OF_COLOUR`
SHARED_PLANES = (1, 2, 4, 6)  # of a shared stem's output, which has more channels than an image
STRIDES = (1, 2, POOL, CONCAT)  # as `networks.binary_cnn` takes them
STEMS = ("thermometer", "int8", "shared")
_MOST_OF_COLOUR = 16


def draw(trial: optuna.Trial, channels: int, stems: Sequence[str] = STEMS) -> dict[str, Any]:
    """What a trial changes of a `Nets`, see `net_of`: first layer, depth, widths that do not fall, strides."""
    trial.suggest_categorical("stem", stems)
    trial.suggest_categorical("planes", [planes for planes in PLANES if channels == 1 or planes < _MOST_OF_COLOUR])
    trial.suggest_categorical("shared_planes", SHARED_PLANES)
    depth = trial.suggest_int("depth", 2, 6)
    for layer in range(depth):
        trial.suggest_categorical(f"width{layer}", WIDTHS)
    for layer in range(depth):
        trial.suggest_categorical(f"stride{layer}", STRIDES)
    return net_of(trial.params)


def net_of(params: dict[str, Any]) -> dict[str, Any]:
    """The binary net that a trial's values stand for: `blocks`, `planes` and `shared_stem` as `Nets` has them."""
    layers = range(params["depth"])
    widths = sorted(params[f"width{layer}"] for layer in layers)
    strides = [params[f"stride{layer}"] for layer in layers]
    planes = {"thermometer": params["planes"], "int8": None, "shared": params["shared_planes"]}[params["stem"]]
    for layer in (-1,) if planes is not None else (0, -1):
        strides[layer] = 1 if strides[layer] == CONCAT else strides[layer]  # see `networks.binary_cnn`
    return {
        "blocks": tuple(zip(widths, strides, strict=True)),
        "planes": planes,
        "shared_stem": params["stem"] == "shared",
    }


def params_of(nets: Nets) -> dict[str, Any]:
    """The values that a trial would have to draw for the binary net of `nets`."""
    stem = "shared" if nets.shared_stem else "int8" if nets.planes is None else "thermometer"
    return {
        "stem": stem,
        "planes": nets.planes if stem == "thermometer" else PLANES[0],
        "shared_planes": nets.planes if stem == "shared" else SHARED_PLANES[0],
        "depth": len(nets.blocks),
        **{f"width{layer}": filters for layer, (filters, _) in enumerate(nets.blocks)},
        **{f"stride{layer}": strides for layer, (_, strides) in enumerate(nets.blocks)},
    }


def objective(
    nets: Nets,
    float_net: tf.keras.Model,
    data: Dataset,
    batches: dict[str, tf.data.Dataset],
    epochs: int,
    max_cost: float,
    core: str,
    board: str | None = None,
    measure: str = "score_margin",
    precision: str = "float32",
    seed: int = 0,
    stems: Sequence[str] = STEMS,
    deadline: float = math.inf,
) -> Callable[[optuna.Trial], float]:
    """A function of a trial that gives the pair's accuracy on validation data, or less than 0 for what cannot be.

    Arguments:
      nets, float_net: the description of both nets and the float net, trained.
      data, batches: `datasets.Dataset`, and its "train" and "validation" batches in the input range.
      epochs: of a trial.
      max_cost, core, board: as for `choice.choose`.
      measure: confidence measure of the binary net's answer. precision: of binary layers, see `with_precision`.
      seed: of weights. stems: which of `STEMS` are drawn.
      deadline: by `time.monotonic()`; a trial that trains then stops, unless it is the study's first.
    """
    import optuna

    check_number("max_cost", max_cost, above=0)
    shape, classes = data.train.images.shape[1:], len(data.class_names)
    others = float_net.predict(batches["validation"], verbose=0).argmax(-1)

    class Report(tf.keras.callbacks.Callback):
        """Tells the trial after every epoch how accurate the pair is within the budget."""

        def __init__(self, trial, costs):
            super().__init__()
            self.trial, self.costs, self.accuracies = trial, costs, []

        def on_epoch_end(self, epoch, logs=None):
            self.accuracies.append(pair_accuracy(self.model, self.costs))
            self.trial.report(self.accuracies[-1], epoch)
            if self.trial.should_prune() or (self.trial.number and time.monotonic() > deadline):
                raise optuna.TrialPruned()

    def pair_accuracy(net, costs):
        logits = net.predict(batches["validation"], verbose=0)
        unset = np.zeros(len(logits), np.float32)
        answers = Answers(data.validation.labels, logits.argmax(-1), others, others, unset, logits)
        return curve(answers.by_measure(measure), costs).pick(max_cost).accuracy

    def accuracy(trial):
        drawn = dataclasses.replace(nets, **draw(trial, shape[-1], stems))
        first = [nets.stem[1]] if drawn.shared_stem else []
        strides = first + [1 if strides == 1 else 2 for _, strides in drawn.blocks]
        if min(shape[:2]) < math.prod(strides):
            return -1.0  # strides for a larger map
        plan = Plan.of(drawn, shape, classes, core, board)
        trial.set_user_attr("cost", plan.cost[0])
        if plan.cost[0] > max_cost:
            return max_cost - plan.cost[0]  # below every accuracy, and less so the nearer it is
        if plan.pair.shortage():
            return -1.0
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(seed)
        leave_quantized_scope()  # which a trial before may have left on
        _, net = drawn.build(shape, classes)
        if drawn.shared_stem:
            share_stem(net, int8_twin(float_net), batches["validation"].map(lambda images, labels: images))
        reported = Report(trial, plan.cost)
        fit = dict(callbacks=[reported], verbose=0)
        train_float(with_precision(net, precision), batches["train"], None, epochs, LEARNING_RATES["binary"], **fit)
        # The mean of the last epochs: a single one depends on signs that are still changing.
        return float(np.mean(reported.accuracies[-3:]))

    return accuracy


def study(path: StrPath, name: str, epochs: int, seed: int = 0) -> optuna.Study:
    """The Optuna study of that name in the file `path`, made where there is none. `epochs`: of its trials."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))),
        study_name=name,
        # Once, after two thirds of the epochs: before, the moving averages of batch normalisation lag behind; later,
        # accuracies differ by less than they vary from epoch to epoch.
        pruner=optuna.pruners.MedianPruner(5, n_warmup_steps=2 * epochs // 3, interval_steps=epochs),
        direction="maximize",
        load_if_exists=True,
    )
    # The file does not hold the sampler's state: with the same seed it would draw the first trials again.
    found.sampler = optuna.samplers.TPESampler(seed=seed + 10_007 * len(found.trials), constant_liar=True)
    return found


def search(
    nets: Nets,
    path: StrPath,
    minutes: float,
    float_net: tf.keras.Model,
    data: Dataset,
    batches: dict[str, tf.data.Dataset],
    epochs: int,
    seed: int = 0,
    **arguments: Any,
) -> tuple[Nets, dict[str, Any]]:
    """Tries binary nets for some minutes; returns the `Nets` with the best one and a record of all trials.

    `nets` is tried first. Another net takes its place only where the pair is more accurate by more than the standard
    error of an accuracy on so many validation images: less is luck.

    Arguments:
      path: file of the study. Called again with the same one, it goes on for what is left of the minutes.
      float_net, data, batches, epochs, seed and further arguments: see `objective`.
    """
    found = study(path, "binary nets", epochs, seed)
    spent = sum(trial.duration.total_seconds() for trial in found.trials if trial.duration)
    left = 60 * minutes - spent
    found.enqueue_trial(params_of(nets), skip_if_exists=True)
    if left > 0:
        log.info("search: %.3g minutes for other binary nets, %d epochs each", left / 60, epochs)
        deadline = time.monotonic() + left
        tried = objective(nets, float_net, data, batches, epochs, seed=seed, deadline=deadline, **arguments)
        found.optimize(tried, timeout=left, callbacks=[_tell])
    record = [trial_record(trial) for trial in found.trials if trial.value is not None]
    finished = [trial for trial in record if trial["state"] == "complete"]
    standard = next((trial for trial in finished if trial["own"]), None)
    best = max(finished, key=lambda trial: trial["validation_accuracy"], default=None)
    error = _error(best, len(data.validation.labels)) if best else 0.0
    if standard and best and best["validation_accuracy"] > standard["validation_accuracy"] + error:
        nets = dataclasses.replace(nets, **{name: best[name] for name in ("blocks", "planes", "shared_stem")})
    return nets, {"minutes": minutes, "epochs": epochs, "trials": record}


def trial_record(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """A finished trial as a dict that JSON can hold."""
    valid = trial.value is not None and trial.value >= 0  # what was not trained has a negative value
    return {
        "state": trial.state.name.lower() if valid else "over budget",
        "validation_accuracy": trial.value if valid else None,
        "cost": trial.user_attrs.get("cost"),
        "own": trial.number == 0,
        **net_of(trial.params),
    }


def _tell(_, trial):
    record = trial_record(trial) if trial.value is not None else {"state": "stopped"}
    text = f"{100 * record['validation_accuracy']:.2f} % in budget, " if record.get("validation_accuracy") else ""
    drawn = net_of(trial.params)
    stem = "shared stem, " if drawn["shared_stem"] else ""
    blocks = blocks_text(drawn["blocks"], drawn["planes"])
    log.info("search, trial %d: %s%s (%s%s)", trial.number, text, record["state"], stem, blocks)


def _error(trial, count):
    """The standard error of a trial's accuracy on `count` images."""
    accuracy = trial["validation_accuracy"]
    return math.sqrt(max(accuracy * (1 - accuracy), 1 / count) / count)
