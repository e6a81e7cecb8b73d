"""Turns a flatbuffer into the source of a firmware."""

from __future__ import annotations

from absl import flags

from bcnet_keras.cli.common import positionals
from bcnet_keras.cli.device_flags import chosen_core, define_device
from bcnet_keras.errors import BcnetError
from bcnet_keras.export.formats import FORMATS, export
from bcnet_keras.tflite.metadata import verdict_of


def define(values: flags.FlagValues) -> None:
    """Declares the flags of `bcnet export`."""
    flags.DEFINE_enum("format", None, list(FORMATS), "Build system to write for.", flag_values=values)
    flags.DEFINE_string("output", None, "Folder to write, which must not exist.", flag_values=values)
    flags.DEFINE_string(
        "name", None, "Prefix of the names of files and symbols. By default the name of the file.", flag_values=values
    )
    define_device(values, "Core to size the arena for. By default all of them.", "Board to size the arena for")
    flags.DEFINE_integer(
        "arena_size",
        None,
        "Bytes of the tensor arena. By default as many as the net needs.",
        flag_values=values,
        lower_bound=1,
    )


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Writes the folder of sources, and repeats the verdict on the pair."""
    (source,) = positionals(arguments, 1, "a .tflite file")
    for flag, what in (("format", "the build system"), ("output", "the folder to write")):
        if values[flag].value is None:
            raise BcnetError(f"--{flag} is missing: give {what}.")

    options = {name: values[name].value for name in ("name", "arena_size", "scratch_budget")}
    folder = export(source, values.format, values.output, core=chosen_core(values), **options)
    if (verdict := verdict_of(source)) is not None:
        print(verdict)
    print(f"{folder}: {folder / 'README.md'} says how to build it")
