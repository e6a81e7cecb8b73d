"""Picks another threshold for a finished run."""

from __future__ import annotations

import dataclasses
import pathlib

from absl import flags

from bcnet_keras.cli.common import define_confidence_level, positionals
from bcnet_keras.cli.train import finish
from bcnet_keras.errors import BcnetError


def define(values: flags.FlagValues) -> None:
    """Declares the flags of `bcnet calibrate`."""
    number = flags.DEFINE_float
    number(
        "max_cost",
        None,
        "Pick the most accurate threshold within this fraction of the int8 net's estimated cycles.",
        flag_values=values,
        lower_bound=0.0,
    )
    number(
        "min_accuracy",
        None,
        "Pick the cheapest threshold that reaches this accuracy, 0 to 1.",
        flag_values=values,
        lower_bound=0.0,
        upper_bound=1.0,
    )

    define_confidence_level(values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Goes on with a finished run, with another target for its thresholds."""
    from bcnet_keras.experiment.training_run import TARGET, read_settings

    (folder,) = positionals(arguments, 1, "the folder of a run")
    if (values.max_cost is None) == (values.min_accuracy is None):
        raise BcnetError("give either --max_cost or --min_accuracy.")
    if values.confidence_level is not None and values.max_cost is None:
        raise BcnetError("--confidence_level goes with --max_cost.")
    target = {name: values[name].value for name in TARGET}
    finish(dataclasses.replace(read_settings(folder), **target), pathlib.Path(folder))
