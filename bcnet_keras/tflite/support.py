"""What TensorFlow Lite Micro refuses, or reads wrongly, of a flatbuffer: told before the flatbuffer is on a board.

    check_micro(flatbuffer.read(data))      # ValueError with one sentence

The rules are those of TensorFlow Lite Micro's revision 90b983c: what the Prepare functions in its kernels folder check
of types. `bcnet_keras.tflite.operators` has those of each operator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer, operators
from bcnet_keras.tflite.flatbuffer import schema
from bcnet_keras.tflite.metadata import metadata
from bcnet_keras.tflite.operands import count_scales, foreign_type
from bcnet_keras.tflite.operators import CUSTOM_OPS, MICRO_OPS
from bcnet_keras.tflite.scales import CHECKS
from bcnet_keras.tflite.verify import DAMAGED, verify

if TYPE_CHECKING:
    from bcnet_keras.tflite.flatbuffer import Tensors


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
    for graph in model.subgraphs:
        for operator in graph.operators:
            try:
                problem = _types_problem(flatbuffer.op_name(model, operator), graph, operator)
            except DAMAGED:
                continue  # `verify` says what it lacks
            if problem:
                raise FlatbufferError(problem if ";" in problem else f"{problem}; {_ADVICE}")
    for graph in model.subgraphs:
        for index in (*graph.inputs, *graph.outputs):
            _check_dimensions(graph.tensors[index])
    verify(model)


def remarks(model: schema.ModelT) -> tuple[str, ...]:
    """Sentences on what TensorFlow Lite Micro does otherwise than TensorFlow Lite, without an error; a tuple.

    Arguments:
      model: a `schema.ModelT` that `check_micro` accepts.
    """
    found: dict[str, None] = {}
    integers = {"int8", "int16", "uint8"}
    types = {flatbuffer.type_name(tensor) for graph in model.subgraphs for tensor in graph.tensors}
    boost = (metadata(model) or {}).get("boost")
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = flatbuffer.op_name(model, operator)
            record = operators.operator(name)
            inputs, outputs = flatbuffer.operands(graph, operator)
            if flatbuffer.called_subgraphs(operator) and types & integers:
                carried = [t for t in (*inputs, *outputs) if t is not None and flatbuffer.type_name(t) == "float32"]
                if carried:
                    found[f"{name} carries float32 in and out of its subgraphs, although the net is quantised"] = None
            if name == "CALL_ONCE":
                found[_ONCE] = None
            data = inputs[record.data_input] if len(inputs) > record.data_input else None
            sentences = [_carried(model, name, operator, inputs, outputs, boost)]
            if record.remark is not None and data is not None and outputs:
                sentences.append(_REMARKS[record.remark](name, data, inputs, outputs))
            found |= dict.fromkeys(filter(None, sentences))
    return tuple(found)


def _copies(name: str, source: schema.TensorT, inputs: Tensors, outputs: Sequence[schema.TensorT]) -> str | None:
    alike = [tensor for tensor in inputs if tensor is not None and tensor.type == source.type]
    for one in alike:
        for other in outputs:
            if other.type == source.type and (found := _apart(one, other)):
                return (
                    f"{name} copies codes, but its input has {found[0]}, its output {found[1]}: TensorFlow Lite Micro "
                    "does not rescale"
                )
    return None


def _compares(name: str, source: schema.TensorT, inputs: Tensors, outputs: Sequence[schema.TensorT]) -> str | None:
    other = inputs[-1]
    found = None if other is None or flatbuffer.type_name(source) == "int8" else _apart(source, other)
    return (
        f"{name} compares codes, but its inputs have {found[0]} and {found[1]}: TensorFlow Lite Micro does not rescale"
        if found
        else None
    )


def _apart(one: Any, other: Any) -> tuple[str, str] | None:
    """Scale and zero point of both in words where they differ and both are codes; None otherwise."""
    before, after = flatbuffer.quantization(one), flatbuffer.quantization(other)
    if flatbuffer.type_name(one) not in ("int8", "int16") or before is None or after is None:
        return None
    if math.isclose(before[0], after[0], rel_tol=_SAME_SCALE) and before[1] == after[1]:
        return None
    return f"the scale {before[0]:.6g} and the zero point {before[1]}", f"{after[0]:.6g} and {after[1]}"


def _carried(
    model: schema.ModelT, name: str, operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, boost: float | None
) -> str | None:
    """What an operator with subgraphs hands to them and takes from them is copied, too.

    In a pair the codes of the binary logits have a scale of their own in a branch: theirs times the boost.
    """
    given = inputs[1:] if isinstance(operator.builtinOptions, schema.IfOptionsT) else inputs
    for number in flatbuffer.called_subgraphs(operator):
        graph = model.subgraphs[number]
        for outer, inner in ((given, graph.inputs), (outputs, graph.outputs)):
            for one, index in zip(outer, inner, strict=False):  # a loop's condition gives something else
                other = graph.tensors[index]
                if one is None or one.type != other.type or _boosted(one, other, boost):
                    continue
                if found := _apart(one, other):
                    return (
                        f"{name} copies codes, but its tensor has {found[0]}, that of subgraph {number} {found[1]}: "
                        "TensorFlow Lite Micro does not rescale"
                    )
    return None


def _boosted(outer: Any, inner: Any, boost: float | None) -> bool:
    """True where codes are read with the scale times the boost, as the pair's own branches read them on purpose."""
    before, after = flatbuffer.quantization(outer), flatbuffer.quantization(inner)
    if boost is None or before is None or after is None:
        return False
    return math.isclose(before[0] * boost, after[0], rel_tol=_SAME_SCALE) and before[1] == after[1]


def _fixed_scale(name: str, source: schema.TensorT, inputs: Tensors, outputs: Sequence[schema.TensorT]) -> str | None:
    fixed = _FIXED_SCALES.get((name, flatbuffer.type_name(source)))
    found = flatbuffer.quantization(outputs[0])
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


def _weights(name: str, source: schema.TensorT, inputs: Tensors, outputs: Sequence[schema.TensorT]) -> str | None:
    """Kernels add the bias as if its scale were that of the input times that of the weights, whatever it is."""
    image, weights, bias = flatbuffer.quantization(source), inputs[1], inputs[-1]
    if image is None or weights is None or flatbuffer.type_name(source) not in ("int8", "int16"):
        return None
    bias = None if bias in (source, weights) else bias
    for what, tensor in (("weights", weights), ("bias", bias)):
        zero_points = np.asarray(getattr(getattr(tensor, "quantization", None), "zeroPoint", None))
        if zero_points.ndim and zero_points.any() and not (name == "FULLY_CONNECTED" and what == "weights"):
            return (
                f"{name} takes the zero point 0 for its {what} in TensorFlow Lite Micro, but they are said to have "
                f"{zero_points[np.flatnonzero(zero_points)[0]]}"
            )
    steps, found = (
        np.asarray(getattr(getattr(tensor, "quantization", None), "scale", None), np.float64)
        for tensor in (weights, bias)
    )
    if not steps.ndim or not found.ndim or not found.any():
        return None  # the file says nothing of the bias' scale
    if len(found) not in (1, len(steps)):
        return f"{name} has {len(found)} scales for its bias, but {len(steps)} for its weights"
    needed, found = np.broadcast_arrays(image[0] * steps, found)
    apart = np.abs(found - needed) > _SAME_PRODUCT * needed
    if not apart.any():
        return None
    worst = int(np.argmax(apart))
    return (
        f"{name} adds its bias at the scale of input times weights, {needed[worst]:.6g}, in TensorFlow Lite Micro, but "
        f"the bias is said to have {found[worst]:.6g}"
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
    if record.types is not None and data_type not in record.types:
        return where
    foreign = foreign_type(record, inputs, outputs)
    if foreign is not None:
        what, found, wanted = foreign
        if what == "weights":
            return f"{where} with weights of {found}"
        if what == "bias":
            return (
                f"TensorFlow Lite Micro's {name} on {data_type} reads the bias of {found} as {wanted}; convert the "
                f"model again with biases of {wanted}"
            )
        if what == "output 0":
            return f"{where} that gives {found}"
        return f"{where} with {found} as {what}; convert the model again, so that it has {wanted} there"
    if record.scaled:
        scales = max(count_scales(tensor) for tensor in (inputs[place], *outputs))
        if scales > 1:
            return (
                f"TensorFlow Lite Micro's {name} applies the first of {scales} scales to all channels; convert the "
                "model again with one scale for activations"
            )
    problems = (_CHECKS[check](name, data_type, inputs, outputs) for check in record.checks)
    return next((problem for problem in problems if problem), None)


def _one_state_type(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    weights, state = (flatbuffer.type_name(inputs[place]) for place in (2, 4))
    if weights == state:
        return None
    return (
        f"TensorFlow Lite Micro's {name} takes a state of the type of its second weights, but it is {state} beside "
        f"{weights}; convert the model again, so that they are alike"
    )


_ONCE = (
    "CALL_ONCE sets the net's variables before the first inference alone: TensorFlow Lite Micro's Reset clears them "
    "and does not run it again"
)
_ADVICE = "quantise weights and activations both to int8, or neither"
_SAME_SCALE = 1 / 512  # relative: a quarter of a step at the end of the range
_SAME_PRODUCT = 1e-4  # relative: more than a product rounded to float32 is off, less than a code of most biases
_FIXED_SCALES = {
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("TANH", "int8"): (1 / 128, 0),
    ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
}
_CHECKS = {**CHECKS, "one state type": _one_state_type}
_REMARKS = {"compares": _compares, "copies": _copies, "fixed scale": _fixed_scale, "weights": _weights}
