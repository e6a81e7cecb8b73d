"""Searches a binary net for a benchmark with Optuna: the one beside which the pair is most accurate within its budget.

    python -m experiments.search --benchmark=speech_commands --data_dir=~/datasets --trials=40

Every trial draws a `bcnet_keras.networks.binary_cnn`, whether behind a stem that it shares with the float net or not,
counts the pair's instructions and, when the budget leaves some for the other net, trains it alone. What counts is the
accuracy on validation data of the binary net with the float net in the int8 net's place, its answers swapped for the
float net's below the threshold that the budget allows; poor trials stop early. The first trial is the benchmark's own
net. The float net is that of the benchmark's run, or trained first.

The study is kept in `runs/search_<benchmark>`: run again, it goes on; and once the float net is trained, the same
command started several times makes as many workers. The test split is never looked at.
`experiments/results/search_<benchmark>.json` holds all trials, of which `experiments.report` makes a table.
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
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs", "Folder of the study, and of the benchmark's run.")
_TRIALS = flags.DEFINE_integer("trials", 20, "Trials that this worker adds.", lower_bound=1)
_MAX_COST = flags.DEFINE_float("max_cost", None, "The pair's budget. By default the benchmark's.", lower_bound=0.0)
_EPOCHS = flags.DEFINE_integer("epochs", 15, "Epochs of a trial.", lower_bound=1)
_IMAGES = flags.DEFINE_integer("images", None, "Train on so many images; by default on all.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights and the search; give each worker its own.")

WIDTHS = (32, 64, 96, 128, 192, 256)
PLANES = (6, 8, 10, 12, 15)
SHARED_PLANES = (1, 2, 4, 6)  # of a shared stem's output, which has more channels than an image
STRIDES = (1, 2, "pool")  # as `binary_cnn` takes them


def draw(trial, channels):
    """A binary net from a trial, see `net_of`: first layer, depth, widths that do not fall, strides and pooling."""
    trial.suggest_categorical("stem", ("thermometer", "int8", "shared"))
    trial.suggest_categorical("planes", PLANES if channels > 1 else (*PLANES, 20, 31))
    trial.suggest_categorical("shared_planes", SHARED_PLANES)
    depth = trial.suggest_int("depth", 2, 6)
    for layer in range(depth):
        trial.suggest_categorical(f"width{layer}", WIDTHS)
    for layer in range(depth):
        trial.suggest_categorical(f"stride{layer}", STRIDES)
    return net_of(trial.params)


def net_of(params):
    """The net that a trial's values stand for: `blocks` and `planes` as `binary_cnn` takes them, and `shared_stem`."""
    layers = range(params["depth"])
    widths = sorted(params[f"width{layer}"] for layer in layers)
    strides = [params[f"stride{layer}"] for layer in layers]
    planes = {"thermometer": params["planes"], "int8": None, "shared": params["shared_planes"]}[params["stem"]]
    return {
        "blocks": tuple(zip(widths, strides, strict=True)),
        "planes": planes,
        "shared_stem": params["stem"] == "shared",
    }


def text_of(blocks, planes, **_):
    """The text of which `networks.parse_blocks` makes these blocks and planes."""
    planes = [] if planes is None else [f"{planes} planes"]
    return ", ".join(planes + [f"{filters}/{strides}" for filters, strides in blocks])


def params_of(net):
    """The values that a trial would have to draw for the binary net `net`."""
    import tensorflow as tf

    from bcnet_keras.layers import BinaryConv2D, CalibratedThermometer, Int8Conv2D, ThermometerEncoding
    from bcnet_keras.networks import POOL

    stem, planes, layers, strides = "int8", {"planes": PLANES[0], "shared_planes": SHARED_PLANES[0]}, [], []
    for layer in net.layers:
        if isinstance(layer, ThermometerEncoding):
            stem, planes["planes"] = "thermometer", layer.planes
        elif isinstance(layer, CalibratedThermometer):  # what stands in front of it is the float net's
            stem, planes["shared_planes"], layers, strides = "shared", layer.planes, [], []
        elif isinstance(layer, (BinaryConv2D, Int8Conv2D)):
            layers.append(layer)
            strides.append(layer.strides[0])
        elif isinstance(layer, tf.keras.layers.MaxPooling2D):
            strides[-1] = POOL
    return {
        "stem": stem,
        **planes,
        "depth": len(layers),
        **{f"width{number}": layer.filters for number, layer in enumerate(layers)},
        **{f"stride{number}": each for number, each in enumerate(strides)},
    }


def main(_):
    import optuna

    from bcnet_keras.experiment import command_line, take_float_net

    settings = benchmarks.load(_BENCHMARK.value).SETTINGS
    settings = dataclasses.replace(settings, data_dir=_DATA_DIR.value)
    if _MAX_COST.value is not None:
        settings = dataclasses.replace(settings, max_cost=_MAX_COST.value)
    folder = pathlib.Path(_RUNS_DIR.value) / f"search_{_BENCHMARK.value}"
    take_float_net(folder.with_name(f"{_BENCHMARK.value}_{settings.seed}"), folder, settings)
    accuracy, own = objective(settings, folder)
    images = f"{_IMAGES.value} images, " if _IMAGES.value else ""
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "study.log"))),
        study_name=f"{_BENCHMARK.value}, {images}{_EPOCHS.value} epochs, {settings.max_cost:.3g} of int8",
        sampler=optuna.samplers.TPESampler(seed=_SEED.value, constant_liar=True),
        # Once, after two thirds of the epochs: before, the moving averages of batch normalisation lag behind; later,
        # accuracies differ by less than they vary from epoch to epoch.
        pruner=optuna.pruners.MedianPruner(5, n_warmup_steps=2 * _EPOCHS.value // 3, interval_steps=_EPOCHS.value),
        direction="maximize",
        load_if_exists=True,
    )
    commands = [*study.user_attrs.get("commands", ()), command_line("python -m experiments.search")]
    study.set_user_attr("commands", commands)
    study.enqueue_trial(own, skip_if_exists=True)
    study.optimize(accuracy, n_trials=_TRIALS.value, show_progress_bar=True)
    write(study, report.results_folder() / f"search_{_BENCHMARK.value}.json")
    report.write_all()


def objective(settings, folder):
    """(function of a trial that gives the pair's accuracy with the binary net that it draws, the first trial's values).

    The float net is in the folder's checkpoints, or trained there.
    """
    import optuna
    import tensorflow as tf

    from bcnet_keras.confidence import Answers, curve
    from bcnet_keras.cost import pair_cost
    from bcnet_keras.experiment import input_batches
    from bcnet_keras.layers import fastest_precision, with_precision
    from bcnet_keras.model import BCNet
    from bcnet_keras.networks import NETWORKS
    from bcnet_keras.training import LEARNING_RATES, train_float
    from bcnet_keras.twins import int8_twin, share_stem

    data = datasets.load(settings.dataset, settings.data_dir, settings.seed)  # workers compare on the same samples
    shape, classes = data.train.images.shape[1:], len(data.class_names)
    builder = NETWORKS.get(settings.dataset, NETWORKS["images"])
    float_net, own = builder(shape, classes, settings.shared_stem)
    batch_size, float_epochs, *_ = settings.recipe
    batches = input_batches(data, batch_size, settings.seed)
    decay, checkpoints = settings.weight_decay, folder / "checkpoints"
    fit = dict(weight_decay=decay, checkpoint_dir=checkpoints, verbose=2)
    train_float(float_net, batches["train"], batches["validation"], float_epochs, **fit)
    others = float_net.predict(batches["validation"], verbose=0).argmax(-1)
    stem = next(layer for layer in float_net.layers if isinstance(layer, tf.keras.layers.Conv2D))
    if _IMAGES.value:
        some = np.random.default_rng(settings.seed).permutation(len(data.train.labels))[: _IMAGES.value]
        data = dataclasses.replace(data, train=datasets.Split(data.train.images[some], data.train.labels[some]))
        batches = input_batches(data, batch_size, settings.seed)

    class Report(tf.keras.callbacks.Callback):
        """Tells the trial after every epoch how accurate the pair is within the budget."""

        def __init__(self, trial, costs):
            super().__init__()
            self.trial, self.costs, self.accuracies = trial, costs, []

        def on_epoch_end(self, epoch, logs=None):
            logits = self.model.predict(batches["validation"], verbose=0)
            unset = np.zeros(len(logits), np.float32)
            given = Answers(data.validation.labels, logits.argmax(-1), others, others, unset, logits)
            choices = curve(given.by_measure(settings.measure), self.costs)
            self.accuracies.append(choices.pick(settings.max_cost).accuracy)
            self.trial.report(self.accuracies[-1], epoch)
            if self.trial.should_prune():
                raise optuna.TrialPruned()

    def accuracy(trial):
        drawn = draw(trial, shape[-1])
        all_strides = [strides for _, strides in drawn["blocks"]]
        if drawn["shared_stem"]:
            all_strides.append(stem.strides[0])
        if min(shape[:2]) < np.prod([1 if strides == 1 else 2 for strides in all_strides]):
            return -1.0  # strides for a larger map
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(_SEED.value)
        _, net = builder(shape, classes, drawn["shared_stem"], binary_blocks=text_of(**drawn))
        int8_net = int8_twin(float_net)
        if drawn["shared_stem"]:
            share_stem(net, int8_net, batches["validation"].map(lambda images, labels: images))
        costs = pair_cost(BCNet(net, int8_net), settings.core)
        trial.set_user_attr("cost", costs[0])
        if costs[0] > settings.max_cost:
            return settings.max_cost - costs[0]  # below every accuracy, and less so the nearer it is
        if settings.mixed_precision:
            net = with_precision(net, fastest_precision())
        reported = Report(trial, costs)
        fit = dict(callbacks=[reported], verbose=0)
        train_float(net, batches["train"], None, _EPOCHS.value, LEARNING_RATES["binary"], **fit)
        # The mean of the last epochs: a single one depends on signs that are still changing.
        return float(np.mean(reported.accuracies[-3:]))

    return accuracy, params_of(own)


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
                "own": trial.number == 0,
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
