"""What TensorFlow Lite Micro refuses, or reads wrongly, of a flatbuffer: told before the flatbuffer is on a board.

    check_micro(flatbuffer.read(data))      # ValueError with one sentence

The rules are those of TensorFlow Lite Micro's revision 90b983c: what the Prepare functions in its kernels folder check
of types. `bcnet_keras.tflite.operators` has those of each operator.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer, operators
from bcnet_keras.tflite.operators import CUSTOM_OPS, MICRO_OPS
from bcnet_keras.tflite.verify import verify

if TYPE_CHECKING:
    from bcnet_keras.tflite.flatbuffer import Tensors, schema


def check_micro(model: schema.ModelT) -> None:
    """Raises ValueError, with one sentence that says what to do, where TensorFlow Lite Micro cannot run `model`.

    Arguments:
      model: a `schema.ModelT`, as `flatbuffer.read` gives it.
    """
    names = {flatbuffer.op_name(model, operator) for graph in model.subgraphs for operator in graph.operators}
    missing = sorted(names - MICRO_OPS - CUSTOM_OPS)
    if missing:
        raise FlatbufferError(
            f"TensorFlow Lite Micro lacks the operator{'s' * (len(missing) > 1)} {', '.join(missing)}, and so does "
            "bcnet-keras; convert the model again without"
        )
    for buffer in model.buffers:
        if buffer.offset > 1 or buffer.size > 1:  # 0 and 1 stand for data inside
            raise FlatbufferError(
                "constants lie behind the flatbuffer's tables (buffers with an offset), which TensorFlow Lite Micro "
                "reads as empty; convert the model again without use_buffer_offset"
            )
    verify(model)
    for graph in model.subgraphs:
        for index in (*graph.inputs, *graph.outputs):
            _check_dimensions(graph.tensors[index])
        for operator in graph.operators:
            problem = _types_problem(flatbuffer.op_name(model, operator), graph, operator)
            if problem:
                raise FlatbufferError(problem if ";" in problem else f"{problem}; {_ADVICE}")


def remarks(model: schema.ModelT) -> tuple[str, ...]:
    """Sentences on what TensorFlow Lite Micro does otherwise than TensorFlow Lite, without an error; a tuple.

    Arguments:
      model: a `schema.ModelT` that `check_micro` accepts.
    """
    found: dict[str, None] = {}
    integers = {"int8", "int16", "uint8"}
    types = {flatbuffer.type_name(tensor) for graph in model.subgraphs for tensor in graph.tensors}
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = flatbuffer.op_name(model, operator)
            record = operators.operator(name)
            inputs = [graph.tensors[index] for index in operator.inputs if index >= 0]
            outputs = [graph.tensors[index] for index in operator.outputs]
            if flatbuffer.called_subgraphs(operator) and types & integers:
                carried = [t for t in (*inputs, *outputs) if flatbuffer.type_name(t) == "float32"]
                if carried:
                    found[f"{name} carries float32 in and out of its subgraphs, although the net is quantised"] = None
            if record.remark is None or len(inputs) <= record.data_input or not outputs:
                continue
            sentence = _REMARKS[record.remark](name, inputs[record.data_input], outputs[0])
            if sentence:
                found[sentence] = None
    return tuple(found)


def _copies(name: str, source: schema.TensorT, made: schema.TensorT) -> str | None:
    before, after = flatbuffer.quantization(source), flatbuffer.quantization(made)
    if flatbuffer.type_name(source) not in ("int8", "int16") or before is None or after is None:
        return None
    if math.isclose(before[0], after[0], rel_tol=_SAME_SCALE) and before[1] == after[1]:
        return None
    return (
        f"{name} copies codes, but its input has the scale {before[0]:.6g} and the zero point {before[1]}, its output "
        f"{after[0]:.6g} and {after[1]}: TensorFlow Lite Micro does not rescale"
    )


def _fixed_scale(name: str, source: schema.TensorT, made: schema.TensorT) -> str | None:
    fixed = _FIXED_SCALES.get((name, flatbuffer.type_name(source)))
    found = flatbuffer.quantization(made)
    if (
        fixed is None
        or found is None
        or (math.isclose(found[0], fixed[0], rel_tol=_SAME_SCALE) and found[1] == fixed[1])
    ):
        return None
    return (
        f"{name} gives codes of the scale {fixed[0]:.6g} and the zero point {fixed[1]} in TensorFlow Lite Micro, but "
        f"its output is said to have {found[0]:.6g} and {found[1]}"
    )


def _check_dimensions(tensor: schema.TensorT) -> None:
    signature = () if tensor.shapeSignature is None else tuple(int(size) for size in tensor.shapeSignature)
    unknown = [number for number, size in enumerate(signature) if size < 0 and number]
    if unknown:
        raise FlatbufferError(
            f"the tensor {flatbuffer.text(tensor.name)!r} has unknown dimensions {list(signature)}, of which only the "
            "first, the batch, may be unknown: TensorFlow Lite Micro takes the rest for 1; convert the model again "
            "with an input of known size"
        )


def _types_problem(name: str, graph: schema.SubGraphT, operator: schema.OperatorT) -> str | None:
    """What TensorFlow Lite Micro does not take of an operator's types; None where it takes them."""
    record = operators.operator(name)
    inputs, outputs = flatbuffer.operands(graph, operator)
    place = record.data_input
    if len(inputs) <= place or inputs[place] is None:
        return None  # the operator is damaged, which its cost says
    data_type = flatbuffer.type_name(inputs[place])
    where = f"TensorFlow Lite Micro has no {name} on {data_type}"
    if data_type == "float16":
        return f"{where}; convert the model again without weights of float16"
    if record.weights is not None and len(inputs) > 1 and inputs[1] is not None:
        weights = flatbuffer.type_name(inputs[1])
        if weights not in record.weights.get(data_type, ()):
            return f"{where} with weights of {weights}"
        if outputs and flatbuffer.type_name(outputs[0]) != data_type:
            return f"{where} that gives {flatbuffer.type_name(outputs[0])}"
    if record.types is not None and data_type not in record.types:
        return where
    problems = (_CHECKS[check](name, data_type, inputs, outputs) for check in record.checks)
    return next((problem for problem in problems if problem), None)


def _one_scale(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    scales = _scales(inputs[0])
    return (
        f"TensorFlow Lite Micro's {name} applies the first of {scales} scales to all channels" if scales > 1 else None
    )


def _channel_scales_on_int8_only(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    if len(inputs) < 2 or inputs[1] is None:
        return None
    weights = flatbuffer.type_name(inputs[1])
    if _scales(inputs[1]) < 2 or (data_type, weights) == ("int8", "int8"):
        return None
    where = f"TensorFlow Lite Micro has no {name} on {data_type}"
    return f"{where} with weights of {weights} that have a scale for each output"


def _scales(tensor: schema.TensorT) -> int:
    quantization = tensor.quantization
    return 0 if quantization is None or quantization.scale is None else len(quantization.scale)


def _equal_scales(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    if data_type == "float32" or not outputs:
        return None
    before, after = flatbuffer.quantization(inputs[0]), flatbuffer.quantization(outputs[0])
    if before is None or after is None or (abs(before[0] - after[0]) <= _POOLED_SCALE and before[1] == after[1]):
        return None
    return (
        f"TensorFlow Lite Micro's {name} takes equal scales and zero points alone, but they are {before[0]:.6g} and "
        f"{before[1]} before and {after[0]:.6g} and {after[1]} behind it; put a QUANTIZE behind it"
    )


def _wide_bias(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    bias = inputs[2] if len(inputs) > 2 else None
    if data_type != "int16" or bias is None or flatbuffer.type_name(bias) == "int64":
        return None
    return (
        f"TensorFlow Lite Micro's {name} on int16 reads the bias of {flatbuffer.type_name(bias)} as int64; convert the "
        "model again with biases of int64"
    )


_ADVICE = "quantise weights and activations both to int8, or neither"
_POOLED_SCALE = 1e-6  # what pooling_common.cc allows
_SAME_SCALE = 1 / 512  # relative: a quarter of a step at the end of the range
_FIXED_SCALES = {
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("TANH", "int8"): (1 / 128, 0),
    ("LOGISTIC", "int16"): (1 / 32768, 0),
    ("TANH", "int16"): (1 / 32768, 0),
}
_CHECKS = {
    "channel scales on int8 only": _channel_scales_on_int8_only,
    "equal scales": _equal_scales,
    "one scale": _one_scale,
    "wide bias": _wide_bias,
}
_REMARKS = {"copies": _copies, "fixed scale": _fixed_scale}
