"""Whether types and scales of an operator's tensors go together.

Interpreters look at the type of one tensor and read the others as if they had it too, so that a tensor of a narrower
type is read past its end; and they end the whole process where they divide by a scale of 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bcnet_keras.tflite.flatbuffer import shape, type_name

if TYPE_CHECKING:
    from bcnet_keras.tflite.flatbuffer import Tensors, schema
    from bcnet_keras.tflite.operators import Operator

# Least and most of the codes of each type that stands for real numbers by a scale.
_CODES = {"int4": (-8, 7), "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_INDICES = {"int32", "int64"}
# Letters of `Operator.inputs`: those of inputs of which interpreters take several types, with what they are, and those
# of inputs that are computed with.
_NAMED = {"w": "weights", "b": "bias", "s": "state", "c": "cells"}
_COMPUTED = "dwsc"


def _letters(record: Operator, inputs: Tensors) -> str:
    """The letter of each input."""
    return record.inputs.ljust(len(inputs), record.inputs[-1])[: len(inputs)]


def foreign_type(
    record: Operator, inputs: Tensors, outputs: Sequence[schema.TensorT], anywhere: bool = False
) -> tuple[str, str, str] | None:
    """The first tensor whose type does not go with that of the data; None where all do.

    Arguments:
      record: that of the operator.
      inputs, outputs: its tensors, None for an input that is left out.
      anywhere: whether only what no interpreter takes counts; else what TensorFlow Lite Micro does not take.

    Returns:
      Which one, such as "weights" or "output 0", the name of its type, and the names of those that it may have.
    """
    if len(inputs) <= record.data_input or inputs[record.data_input] is None:
        return None
    data = type_name(inputs[record.data_input])
    sides: list[tuple[str, Any, frozenset[str] | None]] = []
    for place, (tensor, letter) in enumerate(zip(inputs, _letters(record, inputs), strict=True)):
        if tensor is None or place == record.data_input or (anywhere and letter in _NAMED):
            continue
        before = inputs[place - 1]
        wanted = record.types_of(letter, data) if letter != "=" or before is None else frozenset({type_name(before)})
        sides.append((_NAMED.get(letter, f"input {place}"), tensor, wanted))
    made = frozenset({data}) if record.outputs is None else record.outputs.get("", record.outputs.get(data))
    if record.outputs is None or "" in record.outputs or not anywhere:
        sides += [(f"output {place}", tensor, made) for place, tensor in enumerate(outputs)]
    for what, tensor, wanted in sides:
        if wanted is None or (anywhere and wanted & _INDICES and type_name(tensor) in _INDICES):
            continue
        if type_name(tensor) not in wanted:
            return what, type_name(tensor), " or ".join(sorted(wanted))
    return None


def unscaled(record: Operator, inputs: Tensors, outputs: Sequence[schema.TensorT]) -> str | None:
    """The type of the first quantised tensor without a scale that the operator computes with; None where all have one.

    Arguments are as in `foreign_type`.
    """
    if not record.scaled:
        return None
    letters = _letters(record, inputs)
    computed = [tensor for tensor, letter in zip(inputs, letters, strict=True) if tensor and letter in _COMPUTED]
    for tensor in (*computed, *outputs):
        if type_name(tensor) in _CODES and not count_scales(tensor):
            return type_name(tensor)
    return None


def count_scales(tensor: schema.TensorT) -> int:
    """How many scales a tensor has: 0, one, or one for each channel."""
    parameters = tensor.quantization
    return 0 if parameters is None or parameters.scale is None else len(parameters.scale)


def scales_problem(tensor: schema.TensorT, constant: bool) -> str | None:
    """What cannot be of a tensor's scales and zero points, in words; None where all can.

    `constant`: whether the file holds its data.
    """
    parameters = tensor.quantization
    if parameters is None or parameters.scale is None or not len(parameters.scale):
        return None
    channels = len(parameters.scale)
    # A filter without weights has the scale 0 in some files; activations are divided by theirs.
    wrong = [scale for scale in parameters.scale if not (0 <= scale < math.inf and (scale > 0 or constant))]
    if wrong:
        return f"the scale {wrong[0]:.6g}"
    along = 0 if len(shape(tensor)) == 1 else parameters.quantizedDimension  # biases name that of the weights
    if channels > 1 and (along < 0 or shape(tensor)[along:][:1] != (channels,)):
        return f"{channels} scales along dimension {parameters.quantizedDimension} of {list(shape(tensor))}"
    zero_points = [] if parameters.zeroPoint is None else np.asarray(parameters.zeroPoint).tolist()
    if len(zero_points) not in (0, 1, channels):
        return f"{len(zero_points)} zero points for {channels} scales"
    least, most = _CODES.get(type_name(tensor), (-math.inf, math.inf))
    outside = [zero_point for zero_point in zero_points if not least <= zero_point <= most]
    return f"the zero point {outside[0]}, which is no {type_name(tensor)}" if outside else None
