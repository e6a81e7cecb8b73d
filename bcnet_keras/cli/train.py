"""Trains a pair, by `bcnet train` and `bcnet demo`, and prints what came of it."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import multiprocessing
import os
import pathlib
import signal
import sys
from typing import TYPE_CHECKING, Any

from absl import flags

from bcnet_keras.cli.common import define_confidence_level, positionals
from bcnet_keras.datasets import NAMES
from bcnet_keras.device.boards import BOARDS
from bcnet_keras.device.cost import CORES
from bcnet_keras.errors import BcnetError
from bcnet_keras.utils.pages import text_table

if TYPE_CHECKING:
    from bcnet_keras.experiment.training_run import Settings

DEMO = "mnist_5k"  # the data set of `bcnet demo`
REPEATS = 4
_SEEDS_APART = 1000  # so that the repeats of two seeds share no split


def define(values: flags.FlagValues) -> None:
    """Declares the flags of `bcnet train`."""
    _define_run(values, None, None)


def define_demo(values: flags.FlagValues) -> None:
    """Declares the flags of `bcnet demo`."""
    _define_run(values, DEMO, "demo")
    flags.DEFINE_integer(
        "repeats",
        REPEATS,
        "Number of pairs, each on another split of the images, whose mean is told: a single one depends on its split.",
        flag_values=values,
        lower_bound=1,
    )


def _define_run(values, dataset, name):
    string, integer, number = flags.DEFINE_string, flags.DEFINE_integer, flags.DEFINE_float
    if dataset is None:
        string("dataset", None, f"Data set: {', '.join(NAMES)}.", flag_values=values)
        string(
            "data_dir",
            None,
            "Folder that holds the data sets. By default $BCNET_DATA_DIR, or ~/datasets.",
            flag_values=values,
        )
        string(
            "resize",
            None,
            "Scale the images of a folder to this height and width, such as 32x32. By default they have one size.",
            flag_values=values,
        )
    string("name", name, "Name of the run. By default that of the data set and the seed.", flag_values=values)
    string("runs_dir", "runs", "Folder in which the run gets its folder.", flag_values=values)
    integer("seed", 0, "Seed of splits, weights and the order of training.", flag_values=values, lower_bound=0)
    flags.DEFINE_enum(
        "effort", "default", ["quick", "default", "best"], "How long to train; see --minutes.", flag_values=values
    )
    number(
        "minutes",
        None,
        "Fit the training to about so many minutes on this machine: steps are timed before it begins.",
        flag_values=values,
        lower_bound=0.0,
    )
    flags.DEFINE_list(
        "epochs",
        None,
        "Epochs of the float net, the binary net, the boosted and the cooperative stage: four numbers. "
        "By default as the number of images asks for.",
        flag_values=values,
    )
    integer(
        "batch_size",
        None,
        "Batch size. By default as the number of images asks for.",
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "measure",
        "score_margin",
        ["score_margin", "max_probability", "entropy", "learned"],
        "Confidence measure of the binary net's answer.",
        flag_values=values,
    )
    flags.DEFINE_bool("per_class", False, "One threshold per class instead of one for all.", flag_values=values)
    flags.DEFINE_enum(
        "core",
        None,
        list(CORES),
        "Core whose estimated cycles are the cost. By default that of the board, or cortex-m4.",
        flag_values=values,
    )
    string(
        "board",
        None,
        f"Board whose cycles are the cost, and whose memories the pair must fit: {', '.join(BOARDS)}. Nets for "
        "images of your own follow it.",
        flag_values=values,
    )
    number(
        "max_cost",
        0.5,
        "Budget of the pair, as a part of the int8 net's estimated cycles. Thresholds are picked for it on validation "
        "data; the binary net for images of your own takes at most half of it.",
        flag_values=values,
        lower_bound=0.0,
    )
    define_confidence_level(values)
    number(
        "cost_weight",
        0.1,
        "Price of running the int8 net on every sample in the cooperative stage, in nats.",
        flag_values=values,
        lower_bound=0.0,
    )
    number(
        "weight_decay",
        None,
        "Decay of the float net's kernels, as a part of the learning rate (AdamW). By default the recipe's own.",
        flag_values=values,
        lower_bound=0.0,
    )
    flags.DEFINE_bool(
        "mixed_precision",
        False,
        "Train binary layers in bfloat16, which is faster, where the hardware has it.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "deterministic",
        False,
        "The same command gives the same flatbuffers, bit for bit, with the same versions on the same machine, also "
        "when the run is killed and goes on; it may train more slowly. Not with --minutes or --search_minutes, which "
        "go by the clock. Without this, a run on a CPU mostly repeats itself, and one on a GPU does not.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "shared_stem",
        None,
        "Both nets begin with the float net's first block, run once. By default chosen for images of your own, and not "
        "so for named data sets.",
        flag_values=values,
    )
    number(
        "binary_width",
        1.0,
        "Multiplies the filters of the binary net's convolutions, in steps of 32.",
        flag_values=values,
        lower_bound=0.0,
    )
    flags.DEFINE_string(
        "binary_blocks",
        None,
        "Filters and strides (1, 2 or pool) of the binary net's convolutions in place of the data set's own, on "
        "thermometer-coded pixels where it begins with their planes, such as '10 planes, 64/pool, 128/2, 128/1'.",
        flag_values=values,
    )
    number(
        "search_minutes",
        0.0,
        "Time in which other binary nets are tried, once the float net is trained, on validation data.",
        flag_values=values,
        lower_bound=0.0,
    )


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Trains a pair, or resumes where an earlier call was stopped."""
    from bcnet_keras.experiment.training_run import Settings

    positionals(arguments, 0)
    dataset = values.dataset if "dataset" in values else DEMO
    epochs = values.epochs
    if epochs is not None:
        if len(epochs) != 4 or not all(count.strip().isdigit() and int(count) > 0 for count in epochs):
            raise BcnetError(f"--epochs takes four numbers above 0, such as 20,40,14,6; got {','.join(epochs)!r}.")
        epochs = tuple(int(count) for count in epochs)
    if values.minutes is not None and (epochs is not None or not values.minutes > 0):
        raise BcnetError("--minutes takes a number above 0, and no --epochs beside it.")
    resize = values.resize if "resize" in values else None
    if resize is not None:
        sides = resize.split("x")
        if len(sides) != 2 or not all(side.isdigit() and int(side) > 0 for side in sides):
            raise BcnetError(f"--resize takes height and width, such as 32x32; got {resize!r}.")
        resize = tuple(map(int, sides))
    if dataset is None:
        raise BcnetError(
            f"give --dataset, one of {', '.join(NAMES)}: a float net is trained, from it an int8 net and a binary net, "
            f"then both together, in {pathlib.Path(values.runs_dir) / (values.name or 'NAME_SEED')}; bcnet demo needs "
            "no data."
        )
    settings = Settings(
        dataset=dataset,
        data_dir=values.data_dir if "data_dir" in values else None,
        epochs=epochs,
        resize=resize,
        **{
            name: values[name].value
            for name in (
                "seed",
                "effort",
                "minutes",
                "batch_size",
                "measure",
                "per_class",
                "core",
                "board",
                "max_cost",
                "confidence_level",
                "cost_weight",
                "weight_decay",
                "mixed_precision",
                "deterministic",
                "shared_stem",
                "binary_width",
                "binary_blocks",
                "search_minutes",
            )
        },
    )
    name = values.name or f"{dataset.rpartition('/')[2].replace(':', '_')}_{values.seed}"
    folder = pathlib.Path(values.runs_dir) / name
    repeats = values.repeats if "repeats" in values else 1
    if repeats == 1:
        finish(settings, folder)
        return
    seeds = [settings.seed + _SEEDS_APART * number for number in range(repeats)]
    folders = [folder, *(folder.with_name(f"{name}_{number}") for number in range(2, repeats + 1))]
    results = _side_by_side([dataclasses.replace(settings, seed=seed) for seed in seeds], folders)
    from bcnet_keras.experiment.report import mean_sentence, mean_table

    print(f"\n{text_table(mean_table(results))}\n\n{mean_sentence(results)}")


def _side_by_side(every: list[Settings], folders: list[pathlib.Path]) -> list[dict[str, Any]]:
    """The records of several runs, which train in processes of their own, as many at once as there are cores.

    A net of this size keeps one core busy, and hardly a second one.
    """
    from bcnet_keras.experiment.run_folder import made

    results = []
    with made(folders[0].parent), _workers(min(len(every), os.cpu_count() or 1)) as workers:
        runs = [workers.submit(_worker_trained, *run) for run in zip(every, folders, strict=True)]
        try:
            for run, folder in zip(runs, folders, strict=True):
                results.append(run.result())
                _show(results[-1], folder)
        except concurrent.futures.BrokenExecutor:
            raise BcnetError(
                f"a process that trained a pair ended early, perhaps because memory ran out, with {len(results)} of "
                f"{len(every)} pairs done; the same command resumes, and --repeats=1 takes the least memory."
            ) from None
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # nobody waits for pairs that still train: their runs go on later
            workers.shutdown(cancel_futures=True)
            raise
    return results


def _workers(number: int) -> concurrent.futures.Executor:
    """Processes that start afresh: TensorFlow does not survive a fork."""
    return concurrent.futures.ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), _end_in_order)


def _end_in_order() -> None:
    """Has a process that is told to end leave its run's folder as an exception would."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _worker_trained(settings: Settings, folder: pathlib.Path) -> dict[str, Any]:
    """`_trained` in a process of its own, on one core; its lines on progress begin with the folder's name."""
    from bcnet_keras.cli import set_up_logging

    set_up_logging(f"{folder.name}: ")
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError:
        logging.getLogger(__name__).debug("TensorFlow has its threads already: this process trained a pair before.")
    return _trained(settings, folder, 0)


def _trained(settings: Settings, folder: pathlib.Path, verbose: str | int) -> dict[str, Any]:
    """Runs (or goes on with) a run in `folder`; returns its record."""
    from bcnet_keras.experiment.training_run import run

    return run(settings, folder, verbose=verbose)


def finish(settings: Settings, folder: pathlib.Path) -> None:
    """Runs (or goes on with) a run in `folder` and prints what came of it."""
    _show(_trained(settings, folder, "auto" if sys.stdout.isatty() else 2), folder)


def _show(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Prints the table and the verdict of a run, and where its files are."""
    from bcnet_keras.experiment.report import table
    from bcnet_keras.experiment.verdict import Verdict

    print(f"\n{text_table(table(results))}\n\n{Verdict.of(results['verdict']).text(str(folder))}\n")
    print(f"The cooperative pair: {folder / 'pair.tflite'}")
    print(f"The same for plain TensorFlow Lite: {folder / 'pair_builtin.tflite'}")
    print(f"Report: {folder / 'report.html'}", flush=True)
