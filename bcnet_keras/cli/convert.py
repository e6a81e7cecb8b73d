"""Turns a saved pair into a flatbuffer, or changes one."""

from __future__ import annotations

import pathlib

from absl import flags

from bcnet_keras.cli.common import number_of, positionals
from bcnet_keras.errors import BcnetError
from bcnet_keras.utils.atomic_files import write_atomic


def define(values: flags.FlagValues) -> None:
    """Declares the flags of `bcnet convert`."""
    flags.DEFINE_string("output", None, "File to write. By default the input with .tflite.", flag_values=values)
    flags.DEFINE_enum(
        "gate",
        None,
        ["custom", "builtin"],
        "Write gate and thermometer as custom operators, or in builtin ones. By default a converted pair keeps its "
        "own, and a saved one gets custom operators.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "threshold", None, "Threshold in [0, 1] to replace the pair's own: one, or one per class.", flag_values=values
    )


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Writes the flatbuffer of a saved pair, or a flatbuffer with another gate or threshold."""
    (name,) = positionals(arguments, 1, "a saved pair (.keras file or SavedModel folder) or a converted one (.tflite)")

    threshold: float | list[float] | None = None
    if values.threshold is not None:
        numbers = [number_of(value, "--threshold") for value in values.threshold]
        threshold = numbers[0] if len(numbers) == 1 else numbers
    source = pathlib.Path(name)
    if not source.exists():
        raise FileNotFoundError(f"there is no file {source}.")
    if source.suffix == ".tflite":
        from bcnet_keras.convert.cooperative import get_threshold, replace_gate, set_threshold

        converted = source.read_bytes()
        if values.gate is None and threshold is None:
            get_threshold(converted)  # or it is no pair
            raise BcnetError(f"{source} is converted already; give --gate or --threshold to change it.")
        if values.gate is not None:
            converted = replace_gate(converted, values.gate)
        if threshold is not None:
            converted = set_threshold(converted, threshold)
    else:
        from bcnet_keras.convert.pair import convert

        converted = convert(_load_pair(source), gate=values.gate or "custom", threshold=threshold)
    output = pathlib.Path(values.output or source.with_suffix(".tflite"))
    write_atomic(output, converted)
    print(f"{output}: {len(converted):,} bytes")


def _load_pair(source):
    import tensorflow as tf

    from bcnet_keras.models.pair import BCNet

    try:
        pair = tf.keras.models.load_model(source)
    except Exception as error:  # a damaged file may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BcnetError(f"{source} is not a saved pair: {reason}") from None
    if not isinstance(pair, BCNet):
        raise BcnetError(f"{source} holds a {type(pair).__name__}, expected a BCNet saved by pair.save.")
    return pair
