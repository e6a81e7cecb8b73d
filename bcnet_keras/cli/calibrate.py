"""Picks another threshold for a finished run."""

from __future__ import annotations

import dataclasses
import pathlib

from absl import flags

from bcnet_keras.cli.common import positionals
from bcnet_keras.cli.setting_flags import define_setting
from bcnet_keras.cli.train import finish
from bcnet_keras.errors import BcnetError
from bcnet_keras.experiment.settings import TARGET


def define(values: flags.FlagValues) -> None:
    """Declares the flags of `bcnet calibrate`."""
    text = "Pick the most accurate threshold within this fraction of the int8 net's estimated cycles."
    define_setting(values, "max_cost", default=None, help=text)
    define_setting(values, "min_accuracy")
    define_setting(values, "confidence_level")


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Goes on with a finished run, with another target for its thresholds."""
    from bcnet_keras.experiment.saved_settings import read_settings

    (folder,) = positionals(arguments, 1, "the folder of a run")
    if (values.max_cost is None) == (values.min_accuracy is None):
        raise BcnetError("give either --max_cost or --min_accuracy.")
    if values.confidence_level is not None and values.max_cost is None:
        raise BcnetError("--confidence_level goes with --max_cost.")
    target = {name: values[name].value for name in TARGET}
    finish(dataclasses.replace(read_settings(folder), **target), pathlib.Path(folder))
