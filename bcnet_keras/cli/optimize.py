"""Plans where the tensors of a flatbuffer lie in the arena."""

from __future__ import annotations

import pathlib

from absl import flags

from bcnet_keras.cli.common import positionals
from bcnet_keras.cli.device_flags import chosen_core, define_device
from bcnet_keras.device.memory_plan import live_bytes, plan_memory
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.utils.atomic_files import write_atomic


def define(values: flags.FlagValues) -> None:
    """Declares the flags of `bcnet optimize`."""
    flags.DEFINE_string("output", None, "File to write. By default FILE_optimized.tflite.", flag_values=values)
    define_device(values, "Core to plan for. By default all: no core's arena grows.", "Board whose core to plan for")


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Writes the flatbuffer with a memory plan and says what that gains."""
    (name,) = positionals(arguments, 1, "a .tflite file")
    source = pathlib.Path(name)
    model = flatbuffer.read(flatbuffer.load(source))
    core, before, after = plan_memory(model, chosen_core(values), values.scratch_budget)
    output = pathlib.Path(values.output or source.with_name(f"{source.stem}_optimized.tflite"))
    data = flatbuffer.write(model)
    # A plan of another tool may lay tensors over one another of which it knows that they can be.
    least = min(live_bytes(model, core, values.scratch_budget), after.activation_bytes)
    most = "" if chosen_core(values) else ", which takes most"
    write_atomic(output, data)
    if before.incomplete:
        unknown = ", ".join(before.incomplete)
        print(f"no plan was made: the memory of {unknown} is not known, and all figures are without it.")
    print(
        f"activations and scratch memory on {core}{most}: {before.activation_bytes:,} bytes "
        f"before, {after.activation_bytes:,} bytes now; {least:,} are in use at one time.\n"
        f"whole arena: {before.bytes:,} bytes before, {after.bytes:,} bytes now.\n{output}: {len(data):,} bytes"
    )
