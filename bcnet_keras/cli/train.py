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
from typing import Any

from absl import flags

from bcnet_keras.cli.common import positionals
from bcnet_keras.cli.setting_flags import define_setting
from bcnet_keras.datasets import NAMES
from bcnet_keras.errors import BcnetError
from bcnet_keras.experiment.settings import FLAGS, Settings
from bcnet_keras.utils.pages import text_table

DEMO = "mnist_5k"  # the data set of `bcnet demo`
REPEATS = 4
_OF_THE_DATA = ("data_dir", "resize")  # settings that the demo's data set has no use for
_ONLY_LATER = ("min_accuracy",)  # a setting that only `bcnet calibrate` takes
_SEEDS_APART = 1000  # so that the repeats of two seeds share no split


def define(values: flags.FlagValues) -> None:
    """Declares the flags of `bcnet train`."""
    define_setting(values, "dataset", default=None)
    for name in _OF_THE_DATA:
        define_setting(values, name)
    _define_run(values, None)


def define_demo(values: flags.FlagValues) -> None:
    """Declares the flags of `bcnet demo`."""
    _define_run(values, "demo")
    flags.DEFINE_integer(
        "repeats",
        REPEATS,
        "Number of pairs to train, each on another split of the images. Their mean is printed, because a single one "
        "depends on its split.",
        flag_values=values,
        lower_bound=1,
    )


def _define_run(values, name):
    flags.DEFINE_string(
        "name", name, "Name of the run. By default that of the data set and the seed.", flag_values=values
    )
    flags.DEFINE_string("runs_dir", "runs", "Folder in which the run gets its folder.", flag_values=values)
    for each in FLAGS:
        if each not in ("dataset", *_OF_THE_DATA, *_ONLY_LATER):
            define_setting(values, each)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Trains a pair, or resumes where an earlier call was stopped."""
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
    from_flags = {name: values[name].value for name in FLAGS if name in values}
    settings = Settings(**{**from_flags, "dataset": dataset, "epochs": epochs, "resize": resize})
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
