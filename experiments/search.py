"""Searches a binary net for a benchmark with Optuna: the one beside which the pair is most accurate within its budget.

    python -m experiments.search --benchmark=speech_commands --data_dir=~/datasets --trials=40

How a trial is drawn and judged says `planning.search`. The first trial is the benchmark's own net. The float net is
that of the benchmark's run, or trained first.

The study is kept in `runs/search_<benchmark>`: run again, it goes on; and once the float net is trained, the same
command started several times makes as many workers. The test split is never looked at.
`experiments/results/search_<benchmark>.json` holds all trials, of which `experiments.report` makes a table.
"""

import dataclasses
import json
import pathlib

import numpy as np
from absl import app, flags

from bcnet_keras import datasets
from bcnet_keras.experiment.provenance import PACKAGES, command_line, revision, versions
from bcnet_keras.experiment.saved_settings import take_float_net
from bcnet_keras.experiment.training_run import chosen_nets, input_batches
from bcnet_keras.layers import fastest_precision
from bcnet_keras.planning.search import objective, params_of, study, trial_record
from bcnet_keras.training.stages import train_float
from bcnet_keras.utils.atomic_files import write_atomic
from experiments import benchmarks, report

_BENCHMARK = flags.DEFINE_enum("benchmark", "digits", benchmarks.NAMES, "Whose data and int8 net.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder that holds the data sets.")
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs", "Folder of the study, and of the benchmark's run.")
_TRIALS = flags.DEFINE_integer("trials", 20, "Trials that this worker adds.", lower_bound=1)
_MAX_COST = flags.DEFINE_float("max_cost", None, "The pair's budget. By default the benchmark's.", lower_bound=0.0)
_EPOCHS = flags.DEFINE_integer("epochs", 15, "Epochs of a trial.", lower_bound=1)
_IMAGES = flags.DEFINE_integer("images", None, "Train on so many images; by default on all.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights and the search; give each worker its own.")


def main(_):
    settings = benchmarks.load(_BENCHMARK.value).SETTINGS
    settings = dataclasses.replace(settings, data_dir=_DATA_DIR.value)
    if _MAX_COST.value is not None:
        settings = dataclasses.replace(settings, max_cost=_MAX_COST.value)
    folder = pathlib.Path(_RUNS_DIR.value) / f"search_{_BENCHMARK.value}"
    take_float_net(folder.with_name(f"{_BENCHMARK.value}_{settings.seed}"), folder, settings)
    accuracy, known_trial = benchmark_objective(settings, folder)
    images = f"{_IMAGES.value} images, " if _IMAGES.value else ""
    found = study(
        folder / "study.log",
        f"{_BENCHMARK.value}, {images}{_EPOCHS.value} epochs, {settings.max_cost:.3g} of int8",
        _EPOCHS.value,
        _SEED.value,
    )
    commands = [*found.user_attrs.get("commands", ()), command_line("python -m experiments.search")]
    found.set_user_attr("commands", commands)
    found.enqueue_trial(known_trial, skip_if_exists=True)
    found.optimize(accuracy, n_trials=_TRIALS.value, show_progress_bar=True)
    write(found, report.results_folder() / f"search_{_BENCHMARK.value}.json")
    report.write_all()


def benchmark_objective(settings, folder):
    """(function of a trial that gives the pair's accuracy with the binary net that it draws, the first trial's values).

    The float net is in the folder's checkpoints, or trained there.
    """
    data = datasets.load(settings.dataset, settings.data_dir, settings.seed)  # workers compare on the same samples
    shape, classes = data.train.images.shape[1:], len(data.class_names)
    nets = chosen_nets(settings, shape, classes)
    float_net, _ = nets.build(shape, classes)
    recipe = settings.recipe(len(data.train.labels), classes)
    batch_size, float_epochs = recipe.batch_size, recipe.epochs["float"]
    batches = input_batches(data, batch_size, settings.seed)
    decay, checkpoints = recipe.weight_decay, folder / "checkpoints"
    fit = dict(weight_decay=decay, checkpoint_dir=checkpoints, verbose=2)
    train_float(float_net, batches["train"], batches["validation"], float_epochs, **fit)
    if _IMAGES.value:
        some = np.random.default_rng(settings.seed).permutation(len(data.train.labels))[: _IMAGES.value]
        data = dataclasses.replace(data, train=datasets.Split(data.train.images[some], data.train.labels[some]))
        batches = input_batches(data, batch_size, settings.seed)
    precision = fastest_precision() if settings.mixed_precision else "float32"
    asked = settings.max_cost, settings.core, settings.board, settings.measure, precision, _SEED.value
    return objective(nets, float_net, data, batches, _EPOCHS.value, *asked), params_of(nets)


def write(found, path):
    """Writes all trials, best first, as JSON."""
    # Trials of other workers that are still training have no value yet.
    trials = sorted((trial for trial in found.trials if trial.value is not None), key=lambda trial: -trial.value)
    record = {
        "study": found.study_name,
        "commands": found.user_attrs["commands"],
        "revision": revision(),
        "versions": versions((*PACKAGES, "optuna")),
        "trials": [trial_record(trial) for trial in trials],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(record, indent=1) + "\n")
    for trial in record["trials"][:5]:
        print(trial)


if __name__ == "__main__":
    app.run(main)
