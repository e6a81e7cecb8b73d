"""Prints what a flatbuffer costs on a core, and whether a board can hold it."""

from __future__ import annotations

import sys

from absl import flags

from bcnet_keras.cli.common import positionals
from bcnet_keras.cli.device_flags import define_device
from bcnet_keras.device.cost import DEFAULT_CORE
from bcnet_keras.device.page import profile_page
from bcnet_keras.device.profile import Profile
from bcnet_keras.errors import BcnetError
from bcnet_keras.tflite.metadata import verdict_of
from bcnet_keras.utils.atomic_files import write_atomic


def define(values: flags.FlagValues) -> None:
    """Declares the flags of `bcnet profile`."""
    define_device(values, f"Core. By default that of the board, or {DEFAULT_CORE}.", "Board")
    flags.DEFINE_float(
        "escalation_rate",
        None,
        "Fraction of the inputs that a pair escalates, 0 to 1, as `bcnet run` or the report of a run shows it. By "
        "default that of the data on which its threshold was picked, or 1, the most that the pair can cost, if the "
        "file does not tell it.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "json",
        None,
        "File for the profile as JSON; without a file name, standard output gets the JSON and nothing else.",
        flag_values=values,
    )
    flags.DEFINE_string("html", None, "File for the profile as an HTML page with pictures.", flag_values=values)


def prepare(arguments: list[str]) -> list[str]:
    """The command line with a value behind a lone --json, which absl asks for: "-", standard output."""
    after = [*arguments, "--"][1:]
    return [
        "--json=-" if word == "--json" and (following.startswith("--") or following.endswith(".tflite")) else word
        for word, following in zip(arguments, after, strict=True)
    ]


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Prints the profile; an error where the board cannot hold the net."""
    (source,) = positionals(arguments, 1, "a .tflite file")

    profile = Profile.of(source, values.core, values.board, values.escalation_rate, values.scratch_budget)
    told = sys.stdout
    if values.json == "-":
        print(profile.json(), end="")
        told = sys.stderr
    else:
        print(profile.text())
        if (verdict := verdict_of(source)) is not None:
            print(f"\n{verdict}")
    for path, content in ((values.json, profile.json), (values.html, lambda: profile_page(profile))):
        if path not in (None, "-"):
            write_atomic(path, content())
            print(f"{path}: written", file=told)
    if profile.shortage():
        raise BcnetError(profile.shortage())
