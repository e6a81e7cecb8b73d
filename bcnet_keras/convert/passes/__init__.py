"""Passes over a parsed flatbuffer, one per file.

A pass changes a `schema.ModelT` in place. It leaves tensors, buffers and operator codes that nothing uses any longer;
`tflite.flatbuffer.prune` drops them. `bcnet_keras.convert` parses each net once, runs the passes in memory and packs
the pair once. `run_passes` is the way in for the bytes of a flatbuffer that another converter wrote.
"""

from __future__ import annotations

from collections.abc import Callable

from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import schema


def run_passes(data: bytes, *passes: Callable[[schema.ModelT], bool]) -> bytes:
    """Runs passes over the bytes of a flatbuffer.

        from bcnet_keras.convert.passes.fuse_thermometer import fuse_thermometer

        data = run_passes(data, fuse_thermometer)

    Arguments:
      data: bytes of a `.tflite` file.
      passes: functions of a `schema.ModelT` that return whether they changed it: `fuse_thermometer`,
        `expand_thermometer`, `mean_to_average_pool`.

    Returns:
      The bytes of the changed flatbuffer, or `data` as it is when no pass changed anything.

    Raises:
      ValueError: `data` is not a flatbuffer, or a truncated one.
    """
    model = flatbuffer.read(data)
    changed = [each(model) for each in passes]
    return flatbuffer.rewrite(model) if any(changed) else bytes(data)
