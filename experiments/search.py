"""Searches a binary net for a benchmark within a budget of instructions, with Optuna.

    python -m experiments.search --benchmark=speech_commands --data_dir=~/datasets --trials=40 --max_cost=0.25

Every trial draws a `bcnet_keras.networks.binary_cnn`, counts its instructions and, when they are within the budget,
trains it alone; what counts is its accuracy on validation data, and poor ones stop early. The study is kept in a file:
run again, it goes on, and the same command started several times makes as many workers. The test split is never looked
at. `experiments/results/search_<benchmark>.json` holds all trials, of which `experiments.report` makes a table.
"""

import dataclasses
import importlib.metadata
import json
import pathlib

import numpy as np
from absl import app, flags

from bcnet_keras import datasets
from experiments import benchmarks, report

_BENCHMARK = flags.DEFINE_enum("benchmark", "digits", benchmarks.NAMES, "Whose data and int8 net.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder that holds the data sets.")
_TRIALS = flags.DEFINE_integer("trials", 20, "Trials that this worker adds.", lower_bound=1)
_MAX_COST = flags.DEFINE_float("max_cost", 0.25, "Budget, over the int8 net's instructions.", lower_bound=0.0)
_EPOCHS = flags.DEFINE_integer("epochs", 15, "Epochs of a trial.", lower_bound=1)
_IMAGES = flags.DEFINE_integer("images", None, "Train on so many images; by default on all.", lower_bound=1)
_CORE = flags.DEFINE_string("core", "cortex-m4", "Core whose instructions count.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights and the search; give each worker its own.")
_STUDY = flags.DEFINE_string("study", None, "File of the study. By default runs/search_<benchmark>.log.")

WIDTHS = (32, 64, 96, 128, 192, 256)
PLANES = (6, 8, 10, 12, 15)


def draw(trial, channels):
    """Arguments of `binary_cnn` from a trial: first layer, depth, widths that do not fall, places of the strides."""
    trial.suggest_categorical("stem", ("thermometer", "int8"))
    trial.suggest_categorical("planes", PLANES if channels > 1 else (*PLANES, 20, 31))
    depth = trial.suggest_int("depth", 2, 6)
    for layer in range(depth):
        trial.suggest_categorical(f"width{layer}", WIDTHS)
    for layer in range(depth):
        trial.suggest_int(f"stride{layer}", 0, 1)
    return net_of(trial.params)


def net_of(params):
    """Arguments of `binary_cnn` from the values that a trial has drawn."""
    layers = range(params["depth"])
    widths = sorted(params[f"width{layer}"] for layer in layers)
    strides = [1 + params[f"stride{layer}"] for layer in layers]
    return {
        "blocks": tuple(zip(widths, strides, strict=True)),
        "planes": params["planes"] if params["stem"] == "thermometer" else None,
    }


def main(_):
    import optuna

    from bcnet_keras.experiment import command_line

    study_file = pathlib.Path(_STUDY.value or f"runs/search_{_BENCHMARK.value}.log")
    study_file.parent.mkdir(parents=True, exist_ok=True)
    images = f"{_IMAGES.value} images, " if _IMAGES.value else ""
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(study_file))),
        study_name=f"{_BENCHMARK.value}, {images}{_EPOCHS.value} epochs, {_MAX_COST.value:g} of int8 on {_CORE.value}",
        sampler=optuna.samplers.TPESampler(seed=_SEED.value, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=_EPOCHS.value // 3),
        direction="maximize",
        load_if_exists=True,
    )
    study.set_user_attr(
        "commands", [*study.user_attrs.get("commands", ()), command_line("python -m experiments.search")]
    )
    study.optimize(objective(), n_trials=_TRIALS.value, show_progress_bar=True)
    write(study, report.results_folder() / f"search_{_BENCHMARK.value}.json")
    report.write_all()


def objective():
    """A function of a trial: validation accuracy of the binary net that it draws."""
    import optuna
    import tensorflow as tf

    from bcnet_keras.convert.binary import convert_binary
    from bcnet_keras.convert.int8 import convert_int8
    from bcnet_keras.convert.thermometer import fuse
    from bcnet_keras.cost import cost
    from bcnet_keras.experiment import input_batches
    from bcnet_keras.layers import INPUT_RANGE, with_precision
    from bcnet_keras.networks import NETWORKS, binary_cnn
    from bcnet_keras.training import LEARNING_RATES, train_float
    from bcnet_keras.twins import int8_twin

    settings = benchmarks.load(_BENCHMARK.value).SETTINGS
    dataset = settings.dataset
    data = datasets.load(dataset, _DATA_DIR.value, settings.seed)  # workers compare on the same samples
    if _IMAGES.value:
        some = np.random.default_rng(settings.seed).permutation(len(data.train.labels))[: _IMAGES.value]
        data = dataclasses.replace(data, train=datasets.Split(data.train.images[some], data.train.labels[some]))
    shape, classes = data.train.images.shape[1:], len(data.class_names)
    batches = input_batches(data, settings.recipe[0], _SEED.value)
    float_net, _ = NETWORKS.get(dataset, NETWORKS["images"])(shape, classes)
    whole = cost(convert_int8(int8_twin(float_net), INPUT_RANGE)).instructions[_CORE.value]

    class Report(tf.keras.callbacks.Callback):
        def __init__(self, trial):
            super().__init__()
            self.trial = trial

        def on_epoch_end(self, epoch, logs=None):
            self.trial.report(logs["val_accuracy"], epoch)
            if self.trial.should_prune():
                raise optuna.TrialPruned()

    def accuracy(trial):
        drawn = draw(trial, shape[-1])
        if min(shape[:2]) < np.prod([stride for _, stride in drawn["blocks"]]):
            return -1.0  # strides for a larger map
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(_SEED.value)
        net = binary_cnn(shape, classes, **drawn)
        part = cost(fuse(convert_binary(net))).instructions[_CORE.value] / whole
        trial.set_user_attr("cost", part)
        if part > _MAX_COST.value:
            return _MAX_COST.value - part  # below every accuracy, and less so the nearer it is
        history = train_float(
            with_precision(net, "mixed_bfloat16") if settings.mixed_precision else net,
            batches["train"],
            batches["validation"],
            _EPOCHS.value,
            LEARNING_RATES["binary"],
            callbacks=[Report(trial)],
            verbose=0,
        )
        # The mean of the last epochs: a single one depends on signs that are still changing.
        return float(np.mean(history["val_accuracy"][-3:]))

    return accuracy


def write(study, path):
    """Writes all trials, best first, as JSON."""
    from bcnet_keras.experiment import PACKAGES, revision
    from bcnet_keras.files import write_atomic

    # Trials of other workers that are still training have no value yet.
    trials = sorted((trial for trial in study.trials if trial.value is not None), key=lambda trial: -trial.value)
    record = {
        "study": study.study_name,
        "commands": study.user_attrs["commands"],
        "revision": revision(),
        "versions": {name: importlib.metadata.version(name) for name in (*PACKAGES, "optuna")},
        "trials": [
            {
                # The value of what was not trained is negative.
                "state": "over budget" if trial.value < 0 else trial.state.name.lower(),
                "validation_accuracy": None if trial.value < 0 else trial.value,
                "cost": trial.user_attrs.get("cost"),
                **net_of(trial.params),
            }
            for trial in trials
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(record, indent=1) + "\n")
    for trial in record["trials"][:5]:
        print(trial)


if __name__ == "__main__":
    app.run(main)
