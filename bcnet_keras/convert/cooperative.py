"""A cooperative pair as one flatbuffer that TensorFlow Lite Micro runs.

    subgraph 0 "main":      image -> binary net -> binary logits -> gate -> escalated
                            IF(escalated, image, binary logits) -> logits
    subgraph 1 "escalate":  image -> int8 net -> ADD of the boosted binary logits (or the int8 logits alone)
    subgraph 2 "accept":    the binary logits

An escalated sample is one that the gate hands on to the int8 net.

A stem that both nets share (see `twins.share_stem`) is one `BcnetStem` in "main", which keeps no int8 map: it gives the
binary net's bits, and "escalate" computes the map from the image, with the same weights. Other operators that both nets
have in common from the image on, and a stem whose map is smaller than the image, are in "main" alone; IF then passes
their last tensors to "escalate" instead of the image.

Outputs are `logits` (int8 [1, classes]) and `escalated` (bool [1]). Logits of both branches have the same scale and
zero point, so that one pair of numbers turns any answer into real logits; QUANTIZE rescales the accepted ones.

The boost costs nothing. The int8 codes of the binary logits times their scale are b, so the same codes times boost *
scale are boost * b. The input of "escalate" declares that scale, and ADD reads it like any other. IF copies bytes and
checks types and shapes only, in TensorFlow Lite and in TensorFlow Lite Micro.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bcnet_keras.convert.passes.add_gate import CUSTOM_OP, KINDS, PREFIX, Gate, add_gate, check_threshold, read_gate
from bcnet_keras.convert.passes.fuse_stem import STEM, expand_front, fuse_front, keep_smaller_map
from bcnet_keras.convert.passes.fuse_thermometer import THERMOMETER
from bcnet_keras.convert.passes.merge_common_prefix import merge_common_prefix
from bcnet_keras.device.memory_plan import plan_memory
from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import Builder, schema
from bcnet_keras.tflite.metadata import metadata, write_record
from bcnet_keras.tflite.operators import LCE_OPS, MICRO_OPS
from bcnet_keras.tflite.verify import verify
from bcnet_keras.utils.arguments import threshold_and_rate
from bcnet_keras.utils.types import Array, Range, StrPath

DESCRIPTION = "bcnet-keras"
COMBINATIONS = ("sum", "swap")
OLDEST_RUNTIME = "2.3.0"  # the oldest TensorFlow that has all builtin operators of the gate and of the branches


def merge(
    binary: bytes,
    int8: bytes,
    gate: Gate,
    kind: str = "custom",
    combine: str = "sum",
    boost: float = 1.0,
    output_range: Range | None = None,
    record: dict[str, Any] | None = None,
) -> bytes:
    """Merges a binary and an int8 flatbuffer into one.

    Arguments:
      binary, int8: bytes of flatbuffers with one int8 input [1, h, w, c], the same in both, and one int8 output
        [1, classes].
      gate: a `Gate` over the binary logits b.
      kind: "custom" or "builtin", see `convert`.
      combine: escalated answers are boost * b + q ("sum") or q ("swap"), with q the int8 logits.
      boost: factor on b, 0 or more.
      output_range: (lowest, highest) real logit of the output; None for a range wide enough for every answer.
      record: dict of further metadata.

    Raises:
      ValueError: the parts do not fit together; the message says how.
    """
    return merge_models(
        flatbuffer.read(binary), flatbuffer.read(int8), gate, kind, combine, boost, output_range, record
    )


def merge_models(
    binary: schema.ModelT,
    int8: schema.ModelT,
    gate: Gate,
    kind: str = "custom",
    combine: str = "sum",
    boost: float = 1.0,
    output_range: Range | None = None,
    record: dict[str, Any] | None = None,
) -> bytes:
    """Does what `merge` does with parsed flatbuffers, which it changes; returns bytes."""
    if kind not in KINDS:
        raise FlatbufferError(f"unknown gate {kind!r}: expected one of {', '.join(KINDS)}")
    if combine not in COMBINATIONS:
        raise FlatbufferError(f"unknown combination {combine!r}: expected one of {', '.join(COMBINATIONS)}")
    if not (np.isfinite(boost) and boost >= 0):
        raise FlatbufferError(f"the boost must be 0 or more and finite, got {boost}")
    models = binary, int8
    (image, logits), (_, int8_logits) = _fitting(models)
    fuse_front(binary)
    keep_smaller_map(binary, int8)
    if kind == "builtin":  # expanded from the custom operators, so that the result does not depend on the form before
        expand_front(binary)
    record = {**(record or {}), "combine": combine, "boost": boost}
    names = record.get("class_names")
    classes = flatbuffer.shape(logits)[-1]
    if names is not None and len(names) != classes:
        raise FlatbufferError(f"the pair has {len(names)} class names for {classes} classes")

    boosted = boost if combine == "sum" else 0.0
    if output_range is None:
        output_range = _full_range(logits, int8_logits, boosted)
    output = _nudged(*output_range)
    builder = flatbuffer.Builder(DESCRIPTION)
    main = builder.subgraph("main")
    indices, graph = builder.splice(main, binary, prefix="binary/"), binary.subgraphs[0]
    branch_inputs = indices[[*merge_common_prefix(binary, int8), graph.outputs[0]]]
    escalate, accept = builder.subgraph("escalate"), builder.subgraph("accept")
    _add_escalate(builder, escalate, int8, logits, boosted, output)
    _add_accept(builder, accept, [main.tensors[index] for index in branch_inputs], output)
    _finish_main(builder, main, indices[graph.inputs[0]], branch_inputs, gate, kind, output, record)
    builder.min_runtime_version(OLDEST_RUNTIME, models)
    if kind == "custom":  # plain TensorFlow Lite plans for itself
        plan_memory(builder.model)
    return builder.finish()


def get_threshold(data: bytes | StrPath) -> float | Array:
    """Returns the threshold in a merged flatbuffer: a float, or a float32 array [classes] with one per class.

    `data` are its bytes, or the path of the file.

    Examples:
      >>> bc.get_threshold(bc.convert(pair, threshold=0.5))
      0.5
    """
    model = flatbuffer.read(flatbuffer.load(data))
    threshold = _gate(model)[1].threshold
    return threshold if threshold.ndim else float(threshold)


def set_threshold(data: bytes | StrPath, threshold: Any) -> bytes:
    """Returns the merged flatbuffer `data` with another threshold: in [0, 1], one per class, or an `OperatingPoint`.

    `data` are its bytes, or the path of the file, which stays as it is.
    The verdict and the escalation rate in the file hold for its threshold only; a new threshold removes them. That of
    an operating point brings its escalation rate.

    Examples:
      >>> cheaper = bc.set_threshold(converted, 0.25)
      >>> bc.get_threshold(cheaper)
      0.25

    Raises:
      ValueError: the threshold is not a number in [0, 1], or `data` is not a flatbuffer that `convert` made.
    """
    model = flatbuffer.read(flatbuffer.load(data))
    kind, gate, record = _gate(model)
    classes = flatbuffer.shape(_output(model))[-1]
    threshold, rate = threshold_and_rate(threshold)
    changed = Gate(gate.measure, check_threshold(threshold, classes), gate.weights, gate.bias)
    if not np.array_equal(changed.threshold, gate.threshold):
        record.pop("verdict", None)
        record.pop("escalation_rate", None)
    if rate is not None:
        record["escalation_rate"] = rate
    return flatbuffer.write(_with_gate(model, kind, changed, record))


def with_verdict(data: bytes, sentence: str) -> bytes:
    """Returns the merged flatbuffer `data` with the sentence of a `verdict.Verdict` in its record.

    Raises ValueError where `data` is not a flatbuffer that `convert` made.
    """
    model = flatbuffer.read(data)
    kind, gate, record = _gate(model)
    return flatbuffer.write(_with_gate(model, kind, gate, record | {"verdict": sentence}))


def replace_gate(data: bytes, gate: str) -> bytes:
    """Returns the merged flatbuffer `data` with gate, stem and thermometer as "custom" operators or in "builtin" ones.

    Nothing is lost: converting back gives the same bytes.
    """
    return flatbuffer.write(replace_gate_in(flatbuffer.read(data), gate))


def replace_gate_in(model: schema.ModelT, gate: str) -> schema.ModelT:
    """Does what `replace_gate` does with a parsed flatbuffer, which it changes; returns a `schema.ModelT`."""
    if gate not in KINDS:
        raise FlatbufferError(f"unknown gate {gate!r}: expected one of {', '.join(KINDS)}")
    _, read, record = _gate(model)
    fuse_front(model)
    if gate == "builtin":
        expand_front(model)
    return _with_gate(model, gate, read, record)


def _full_range(binary_logits: schema.TensorT, int8_logits: schema.TensorT, boost: float) -> Range:
    """Returns a symmetric range that holds every accepted and every escalated logit."""
    reach = []
    for tensor in (binary_logits, int8_logits):
        scale, zero_point = _codes(tensor)
        reach.append(scale * max(127 - zero_point, 128 + zero_point))
    largest = max(reach[0], boost * reach[0] + reach[1])
    return -largest, largest


def _nudged(low: float, high: float) -> tuple[float, int]:
    """Returns (scale, zero point) of int8 codes for a range, with 0 on a code, like TensorFlow's fake quantisation."""
    if not (np.isfinite(low) and np.isfinite(high) and low <= 0 <= high and low < high):
        raise FlatbufferError(f"the output range must contain 0 and not be empty, got [{low}, {high}]")
    scale = float(np.float32((high - low) / 255))
    # A symmetric range is half a code off the grid, so that two zero points are right; we always take 0.
    zero_point = 0 if low == -high else round(min(max(-low / scale, 0.0), 255.0)) - 128
    return scale, zero_point


def check_part(model: schema.ModelT, what: str) -> tuple[schema.TensorT, schema.TensorT]:
    """Returns the (input, output) tensors of a net alone; raises ValueError if it cannot be part of a pair."""
    if len(model.subgraphs) != 1:
        raise FlatbufferError(f"the {what} flatbuffer has {len(model.subgraphs)} subgraphs, expected a single net")
    graph = model.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        found = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        raise FlatbufferError(f"the {what} net must have one input and one output, found {found}")
    for operator in graph.operators:
        name = flatbuffer.op_name(model, operator)
        if name not in LCE_OPS | {STEM, THERMOMETER} and name not in MICRO_OPS:
            raise FlatbufferError(
                f"the {what} net has the operator {name}, which TensorFlow Lite Micro lacks; replace it"
            )
        if operator.outputs[0] == graph.outputs[0] and name == "SOFTMAX":
            raise FlatbufferError(f"the {what} net ends in a softmax; remove it: the pair works on logits")
    tensors = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    for tensor, side, rank in zip(tensors, ("input", "output"), (4, 2), strict=True):
        form = flatbuffer.shape(tensor)
        if tensor.type != schema.TensorType.INT8 or flatbuffer.quantization(tensor) is None:
            found = flatbuffer.type_name(tensor)
            raise FlatbufferError(f"the {what} net's {side} must be int8 with one scale, found {found}")
        if len(form) != rank or form[0] != 1:
            expected = "[1, h, w, c]" if rank == 4 else "[1, classes]"
            raise FlatbufferError(f"the {what} net's {side} must have the shape {expected}, found {list(form)}")
    return tensors


def _codes(tensor: schema.TensorT) -> tuple[float, int]:
    """(scale, zero point) of a tensor that `check_part` took."""
    quantization = flatbuffer.quantization(tensor)
    assert quantization is not None
    return quantization


def _fitting(models: Sequence[schema.ModelT]) -> list[tuple[schema.TensorT, schema.TensorT]]:
    """Returns the (input, output) tensors of both nets; raises ValueError if the nets do not fit together."""
    interfaces = [check_part(model, what) for model, what in zip(models, ("binary", "int8"), strict=True)]
    (image, logits), (int8_image, int8_logits) = interfaces
    for one, other, what in (
        (flatbuffer.shape(image), flatbuffer.shape(int8_image), "input shape"),
        (flatbuffer.shape(logits)[-1:], flatbuffer.shape(int8_logits)[-1:], "number of classes"),
    ):
        if one != other:
            raise FlatbufferError(
                f"the nets differ in {what}: binary {list(one)}, int8 {list(other)}; build them alike"
            )
    (scale, zero), (int8_scale, int8_zero) = _codes(image), _codes(int8_image)
    if zero != int8_zero or not np.isclose(scale, int8_scale, rtol=1e-5):
        raise FlatbufferError(
            f"the nets differ in input quantisation (scale, zero point): binary ({scale:.6g}, {zero}), int8 "
            f"({int8_scale:.6g}, {int8_zero}); train both with the same input range"
        )
    return interfaces


def _add_escalate(
    builder: Builder,
    graph: schema.SubGraphT,
    model: schema.ModelT,
    logits: schema.TensorT,
    boost: float,
    output: tuple[float, int],
) -> None:
    indices = builder.splice(graph, model, prefix="int8/")
    inputs, int8_logits = indices[model.subgraphs[0].inputs], indices[model.subgraphs[0].outputs[0]]
    shape, int8 = flatbuffer.shape(logits), schema.TensorType.INT8
    scale, zero_point = _codes(logits)
    # The scale carries the boost (see the module's docstring).
    boosted = builder.tensor(graph, "boosted_logits", int8, shape, (scale * (boost or 1.0), zero_point))
    combined = builder.tensor(graph, "combined_logits", int8, shape, output)
    if boost:
        builder.operator(graph, "ADD", [boosted, int8_logits], [combined], schema.AddOptionsT(), version=2)
    else:
        builder.operator(graph, "QUANTIZE", [int8_logits], [combined], schema.QuantizeOptionsT(), version=2)
    graph.inputs, graph.outputs = np.array([*inputs, boosted], np.int32), np.array([combined], np.int32)


def _add_accept(
    builder: Builder, graph: schema.SubGraphT, inputs: Sequence[schema.TensorT], output: tuple[float, int]
) -> None:
    """Fills "accept", which has the inputs of "escalate"; the last of the tensors `inputs` is the binary logits."""
    names = [*(f"unused_{index}" for index in range(len(inputs) - 1)), "binary_logits"]
    tensors = [
        builder.tensor(graph, name, tensor.type, flatbuffer.shape(tensor), flatbuffer.quantization(tensor))
        for name, tensor in zip(names, inputs, strict=True)
    ]
    accepted = builder.tensor(graph, "accepted_logits", schema.TensorType.INT8, flatbuffer.shape(inputs[-1]), output)
    builder.operator(graph, "QUANTIZE", tensors[-1:], [accepted], schema.QuantizeOptionsT(), version=2)
    graph.inputs, graph.outputs = np.array(tensors, np.int32), np.array([accepted], np.int32)


def _finish_main(
    builder: Builder,
    main: schema.SubGraphT,
    image: int,
    branch_inputs: Array,
    gate: Gate,
    kind: str,
    output: Any,
    record: dict[str, Any],
) -> None:
    """Appends gate and IF to subgraph 0 and writes the record.

    `image` is the index of the input. `branch_inputs` are the indices of the tensors that the branches take, the last
    that of the binary logits.
    """
    logits = branch_inputs[-1]
    escalated = add_gate(builder, main, gate, logits, kind)
    shape = flatbuffer.shape(main.tensors[logits])
    answer = builder.tensor(main, PREFIX + "answer", schema.TensorType.INT8, shape, output)
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    builder.operator(main, "IF", [escalated, *branch_inputs], [answer], options)
    main.inputs, main.outputs = np.array([image], np.int32), np.array([answer, escalated], np.int32)
    builder.signature(0, {"image": image}, {"logits": answer, "escalated": escalated})
    threshold = [float(value) for value in np.atleast_1d(gate.threshold)]
    write_record(
        builder,
        {**record, "measure": gate.measure, "threshold": threshold if gate.threshold.ndim else threshold[0]},
    )


def _output(model: schema.ModelT) -> schema.TensorT:
    graph = model.subgraphs[0]
    return graph.tensors[graph.outputs[0]]


def _gate(model: schema.ModelT) -> tuple[str, Gate, dict[str, Any]]:
    """Returns (kind, `Gate`, record) of a merged flatbuffer."""
    record = metadata(model)
    branches = [operator for operator in model.subgraphs[0].operators if flatbuffer.op_name(model, operator) == "IF"]
    images = model.subgraphs[0].inputs
    one_image = images is not None and len(images) == 1
    # An IF has the condition, and at least the binary logits.
    whole = one_image and len(branches) == 1 and len(branches[0].inputs) > 1
    if record is None or "measure" not in record or len(model.subgraphs) != 3 or not whole:
        raise FlatbufferError("not a cooperative pair: expected a flatbuffer that bcnet_keras.convert wrote")
    verify(model)  # the new gate's constants are as large as the shapes say
    return *read_gate(model, record["measure"], flatbuffer.shape(_output(model))[-1]), record


def _with_gate(model: schema.ModelT, kind: str, gate: Gate, record: dict[str, Any]) -> schema.ModelT:
    """Returns a copy of a merged model with a new gate, IF and record."""
    builder = flatbuffer.Builder(DESCRIPTION)
    main = builder.subgraph("main")
    indices = builder.splice(main, model, leave_out=lambda name: name.startswith(PREFIX))
    (branch,) = [operator for operator in model.subgraphs[0].operators if flatbuffer.op_name(model, operator) == "IF"]
    for number in (1, 2):
        source = model.subgraphs[number]
        graph = builder.subgraph(flatbuffer.text(source.name))
        copied = builder.splice(graph, model, number)
        graph.inputs, graph.outputs = copied[source.inputs], copied[source.outputs]
    image, branch_inputs = indices[model.subgraphs[0].inputs[0]], indices[branch.inputs[1:]]
    _finish_main(builder, main, image, branch_inputs, gate, kind, flatbuffer.quantization(_output(model)), record)
    builder.min_runtime_version(OLDEST_RUNTIME, [model])
    if kind == "custom":
        plan_memory(builder.model)
    return builder.model


def has_custom_gate(model: schema.ModelT) -> bool:
    """Whether a `schema.ModelT` has the custom operator of the gate."""
    return any(code.customCode == CUSTOM_OP for code in model.operatorCodes)
