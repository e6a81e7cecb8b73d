"""A cooperative pair as one flatbuffer that TensorFlow Lite Micro runs.

    subgraph 0 "main":      image -> binary net -> binary logits -> gate -> escalated
                            IF(escalated, image, binary logits) -> logits
    subgraph 1 "escalate":  image -> int8 net -> ADD of the boosted binary logits (or the int8 logits alone)
    subgraph 2 "accept":    the binary logits

Operators that both nets have in common from the image on (a shared stem, see `twins.share_stem`) are in "main" alone:
IF then hands "escalate" their last tensors instead of the image.

Outputs are `logits` (int8 [1, classes]) and `escalated` (bool [1]). Both branches give the same scale and zero point,
so that one pair of numbers turns any answer into real logits; QUANTIZE brings the accepted ones there.

The boost costs nothing: the int8 codes of the binary logits times their scale are b, so the same codes under boost
times that scale are boost * b. The input of "escalate" declares that scale, and ADD reads it like any other. IF copies
bytes and looks at types and shapes only, in TensorFlow Lite and in TensorFlow Lite Micro.
"""

import json

import numpy as np

from bcnet_keras.convert import flatbuffer
from bcnet_keras.convert.binary import convert_binary
from bcnet_keras.convert.flatbuffer import schema
from bcnet_keras.convert.gate import CUSTOM_OP, KINDS, PREFIX, Gate, add_builtin, add_custom, check_threshold, read_gate
from bcnet_keras.convert.int8 import convert_int8
from bcnet_keras.convert.sharing import share_beginning
from bcnet_keras.convert.thermometer import THERMOMETER, expand_model, fuse, fuse_model
from bcnet_keras.layers import front_affine

METADATA = "bcnet"
FORMAT_VERSION = 1
DESCRIPTION = "bcnet-keras"
NO_VERDICT = "none: at this threshold the pair has not been judged on test images."
COMBINATIONS = ("sum", "swap")
LCE_OPS = frozenset({"LceQuantize", "LceDequantize", "LceBconv2d", "LceBMaxPool2d"})  # on bitpacked words
_RUNTIME = "2.3.0"  # the oldest TensorFlow that has all builtin operators of the gate and of the branches
_MICRO_OPS = """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
    BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE
    DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD
    FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS
    LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU
    RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX
    SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF
    TANH TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
"""
MICRO_OPS = frozenset(_MICRO_OPS.split())  # the builtin operators of TensorFlow Lite Micro


def convert(pair, gate="custom", parts=None, threshold=None):
    """Converts a cooperative pair into one flatbuffer.

    Arguments:
      pair: a `bcnet_keras.BCNet`, trained and with a threshold.
      gate: "custom" for the operators `BcnetGate` and, behind a `ThermometerEncoding`, `BcnetThermometer`; or "builtin"
        for those of TensorFlow Lite and Larq Compute Engine in their place.
      parts: what `convert_parts(pair)` gave, when it is at hand; the nets are then not converted again.
      threshold: in place of the pair's own, a number in [0, 1] or one a class.

    Returns:
      bytes: input `image` int8 [1, h, w, c]; outputs `logits` int8 [1, classes] and `escalated` bool [1].

    Raises:
      ValueError: a net does not convert to integers only, the threshold is missing, or the two nets do not fit.
    """
    classes = int(pair.binary.output_shape[-1])
    weights = bias = None
    if pair.gate.measure == "learned":
        weights, bias = np.asarray(pair.gate.weights_vector), float(np.asarray(pair.gate.bias))
    threshold = pair.gate.threshold if threshold is None else threshold
    spec = Gate.create(classes, pair.gate.measure, threshold, weights, bias)
    binary, int8 = convert_parts(pair) if parts is None else parts
    return merge(
        binary,
        int8,
        spec,
        kind=gate,
        combine=pair.combine,
        boost=float(np.asarray(pair.boost)),
        output_range=_trained_range(pair.output_quant),
        record=_record(pair),
    )


def convert_parts(pair):
    """Converts the two nets of a pair alone: (binary flatbuffer, int8 flatbuffer), each `image` -> `logits` in int8.

    A `ThermometerEncoding` of the binary net becomes the operator `BcnetThermometer`; `thermometer.expand` writes it in
    those of Larq Compute Engine.
    """
    record = _record(pair)
    return (
        _single(fuse(convert_binary(pair.binary)), "binary", record),
        _single(convert_int8(pair.int8, pair.input_range), "int8", record),
    )


def merge(binary, int8, gate, kind="custom", combine="sum", boost=1.0, output_range=None, record=None):
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
    if kind not in KINDS:
        raise ValueError(f"unknown gate {kind!r}: expected one of {', '.join(KINDS)}")
    if combine not in COMBINATIONS:
        raise ValueError(f"unknown combination {combine!r}: expected one of {', '.join(COMBINATIONS)}")
    if not (np.isfinite(boost) and boost >= 0):
        raise ValueError(f"the boost must be 0 or more and finite, got {boost}")
    models = flatbuffer.read(binary), flatbuffer.read(int8)
    _write_thermometer(models[0], kind)
    (image, logits), (_, int8_logits) = _fitting(models)
    record = {**(record or {}), "combine": combine, "boost": boost}
    names = record.get("class_names")
    classes = flatbuffer.shape(logits)[-1]
    if names is not None and len(names) != classes:
        raise ValueError(f"the pair has {len(names)} class names for {classes} classes")

    boosted = boost if combine == "sum" else 0.0
    if output_range is None:
        output_range = _full_range(logits, int8_logits, boosted)
    output = _nudged(*output_range)
    builder = flatbuffer.Builder(DESCRIPTION)
    main = builder.subgraph("main")
    indices, graph = builder.splice(main, models[0], prefix="binary/"), models[0].subgraphs[0]
    given = indices[[*share_beginning(*models), graph.outputs[0]]]
    escalate, accept = builder.subgraph("escalate"), builder.subgraph("accept")
    _add_escalate(builder, escalate, models[1], logits, boosted, output)
    _add_accept(builder, accept, [main.tensors[index] for index in given], output)
    _finish_main(builder, main, indices[graph.inputs[0]], given, gate, kind, output, record)
    builder.min_runtime_version(_RUNTIME, models)
    return builder.finish()


def get_threshold(data):
    """The threshold in a merged flatbuffer: a float, or a float32 array [classes] when there is one a class."""
    model = flatbuffer.read(data)
    threshold = _gate(model)[1].threshold
    return threshold if threshold.ndim else float(threshold)


def set_threshold(data, threshold):
    """Returns the merged flatbuffer `data` with another threshold: a number in [0, 1], or one a class.

    A verdict goes with the threshold that it was passed on: another one has none.

    Raises:
      ValueError: the threshold is no number in [0, 1], or `data` is not a flatbuffer that `convert` made.
    """
    model = flatbuffer.read(data)
    kind, gate = _gate(model)
    classes = flatbuffer.shape(_output(model))[-1]
    changed = Gate(gate.measure, check_threshold(threshold, classes), gate.weights, gate.bias)
    record = metadata(model)
    if not np.array_equal(changed.threshold, gate.threshold):
        record.pop("verdict", None)
    return _with_gate(model, kind, changed, record)


def with_verdict(data, sentence):
    """Returns the merged flatbuffer `data` with the sentence of a `verdict.Verdict` in its record.

    Raises ValueError where `data` is not a flatbuffer that `convert` made.
    """
    model = flatbuffer.read(data)
    return _with_gate(model, *_gate(model), metadata(model) | {"verdict": sentence})


def verdict_of(source):
    """What the pair in a flatbuffer (bytes or path) is worth beside its int8 net, in a line; None for no pair."""
    record = metadata(flatbuffer.read(flatbuffer.load(source))) or {}
    if "measure" not in record:
        return None
    return f"Verdict: {record.get('verdict') or NO_VERDICT}"


def replace_gate(data, gate):
    """Returns the merged flatbuffer `data` with gate and thermometer as "custom" operators or in "builtin" ones.

    Nothing is lost: there and back gives the same bytes.
    """
    if gate not in KINDS:
        raise ValueError(f"unknown gate {gate!r}: expected one of {', '.join(KINDS)}")
    model = flatbuffer.read(data)
    _, read = _gate(model)
    _write_thermometer(model, gate)
    return _with_gate(model, gate, read, metadata(model))


def metadata(model):
    """The record that `convert` and `convert_parts` keep in a flatbuffer, as a dict; None for a file of others.

    Keys: `version`, `class_names`, `raw_range`, `input_range`, where there is one `front_end`; in a merged file also
    `measure`, `threshold`, `combine` and `boost`, and where the pair has been judged `verdict`, what it is worth beside
    its int8 net in a sentence. `model` is a `schema.ModelT`.
    """
    data = flatbuffer.metadata(model, METADATA)
    if data is None:
        return None
    try:
        record = json.loads(data.rstrip(b"\0"))
        known = record["version"] == FORMAT_VERSION
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"the flatbuffer's {METADATA!r} metadata are damaged; convert the pair again") from None
    if not known:
        raise ValueError(
            f"the flatbuffer's {METADATA!r} metadata have version {record['version']}, expected {FORMAT_VERSION}; "
            "use the bcnet_keras that wrote it"
        )
    return record


def _record(pair):
    names = pair.class_names
    return {
        "class_names": None if names is None else list(names),
        "raw_range": [float(value) for value in pair.raw_range],
        "input_range": [float(value) for value in _image_range(pair)],
        **({} if pair.front_end is None else {"front_end": pair.front_end}),
    }


def _image_range(pair):
    """(lowest, highest) value of the converted nets' image: what the nets' front makes of the pair's input range."""
    scale, offset = front_affine(pair.binary)
    return [scale * value + offset for value in pair.input_range]


def _trained_range(output_quant):
    """The range of a `FakeQuant` layer that has followed some data; None when there is none or it has not."""
    if output_quant is None or not output_quant.built:
        return None
    if not output_quant.fixed and output_quant.range == output_quant.initial_range:
        return None
    return output_quant.range


def _full_range(binary_logits, int8_logits, boost):
    """A symmetric range that holds every accepted and every escalated logit."""
    reach = []
    for tensor in (binary_logits, int8_logits):
        scale, zero_point = flatbuffer.quantization(tensor)
        reach.append(scale * max(127 - zero_point, 128 + zero_point))
    largest = max(reach[0], boost * reach[0] + reach[1])
    return -largest, largest


def _nudged(low, high):
    """(scale, zero point) of int8 codes for a range, 0 exactly on a code, as TensorFlow's fake quantisation does it."""
    if not (np.isfinite(low) and np.isfinite(high) and low <= 0 <= high and low < high):
        raise ValueError(f"the output range must contain 0 and not be empty, got [{low}, {high}]")
    scale = float(np.float32((high - low) / 255))
    # A symmetric range lies half a code off the grid: the zero point 0 is one of the two right ones, always the same.
    zero_point = 0 if low == -high else round(min(max(-low / scale, 0.0), 255.0)) - 128
    return scale, zero_point


def _interface(model, what):
    """(input, output) tensors of a net alone; ValueError that says why it is no part of a pair."""
    if len(model.subgraphs) != 1:
        raise ValueError(f"the {what} flatbuffer has {len(model.subgraphs)} subgraphs, expected a single net")
    graph = model.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        found = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        raise ValueError(f"the {what} net must have one input and one output, found {found}")
    for operator in graph.operators:
        name = flatbuffer.op_name(model, operator)
        if name not in LCE_OPS | {THERMOMETER} and name not in MICRO_OPS:
            raise ValueError(f"the {what} net has the operator {name}, which TensorFlow Lite Micro lacks; replace it")
        if operator.outputs[0] == graph.outputs[0] and name == "SOFTMAX":
            raise ValueError(f"the {what} net ends in a softmax; take it away: the pair works on logits")
    tensors = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    for tensor, side, rank in zip(tensors, ("input", "output"), (4, 2), strict=True):
        form = flatbuffer.shape(tensor)
        if tensor.type != schema.TensorType.INT8 or flatbuffer.quantization(tensor) is None:
            found = flatbuffer.type_name(tensor)
            raise ValueError(f"the {what} net's {side} must be int8 with one scale, found {found}")
        if len(form) != rank or form[0] != 1:
            expected = "[1, h, w, c]" if rank == 4 else "[1, classes]"
            raise ValueError(f"the {what} net's {side} must have the shape {expected}, found {list(form)}")
    return tensors


def _fitting(models):
    """The (input, output) tensors of both nets; ValueError when the nets do not fit together."""
    interfaces = [_interface(model, what) for model, what in zip(models, ("binary", "int8"), strict=True)]
    (image, logits), (int8_image, int8_logits) = interfaces
    for one, other, what in (
        (flatbuffer.shape(image), flatbuffer.shape(int8_image), "input shape"),
        (flatbuffer.shape(logits)[-1:], flatbuffer.shape(int8_logits)[-1:], "number of classes"),
    ):
        if one != other:
            raise ValueError(f"the nets differ in {what}: binary {list(one)}, int8 {list(other)}; build them alike")
    (scale, zero), (int8_scale, int8_zero) = flatbuffer.quantization(image), flatbuffer.quantization(int8_image)
    if zero != int8_zero or not np.isclose(scale, int8_scale, rtol=1e-5):
        raise ValueError(
            f"the nets differ in input quantisation (scale, zero point): binary ({scale:.6g}, {zero}), int8 "
            f"({int8_scale:.6g}, {int8_zero}); train both with the same input range"
        )
    return interfaces


def _write_thermometer(model, kind):
    """Writes the thermometer encoding of a `schema.ModelT` as the operators of `kind`, in place."""
    fuse_model(model)
    if kind == "builtin":  # by way of the custom operator, so that the result does not depend on the form before
        expand_model(model)


def _add_escalate(builder, graph, model, logits, boost, output):
    indices = builder.splice(graph, model, prefix="int8/")
    given, int8_logits = indices[model.subgraphs[0].inputs], indices[model.subgraphs[0].outputs[0]]
    shape, int8 = flatbuffer.shape(logits), schema.TensorType.INT8
    scale, zero_point = flatbuffer.quantization(logits)
    # The boost lies in the scale (see the module's docstring).
    boosted = builder.tensor(graph, "boosted_logits", int8, shape, (scale * (boost or 1.0), zero_point))
    combined = builder.tensor(graph, "combined_logits", int8, shape, output)
    if boost:
        builder.operator(graph, "ADD", [boosted, int8_logits], [combined], schema.AddOptionsT(), version=2)
    else:
        builder.operator(graph, "QUANTIZE", [int8_logits], [combined], schema.QuantizeOptionsT(), version=2)
    graph.inputs, graph.outputs = np.array([*given, boosted], np.int32), np.array([combined], np.int32)


def _add_accept(builder, graph, given, output):
    """The subgraph that takes as much as "escalate" does: `given` are tensors, the last the binary logits."""
    tensors = [
        builder.tensor(graph, name, tensor.type, flatbuffer.shape(tensor), flatbuffer.quantization(tensor))
        for name, tensor in zip([*(f"unused_{i}" for i in range(len(given) - 1)), "binary_logits"], given, strict=True)
    ]
    accepted = builder.tensor(graph, "accepted_logits", schema.TensorType.INT8, flatbuffer.shape(given[-1]), output)
    builder.operator(graph, "QUANTIZE", tensors[-1:], [accepted], schema.QuantizeOptionsT(), version=2)
    graph.inputs, graph.outputs = np.array(tensors, np.int32), np.array([accepted], np.int32)


def _finish_main(builder, main, image, given, gate, kind, output, record):
    """Appends gate and IF to subgraph 0 and writes the record.

    `image` is the index of the input, `given` those of the tensors that the branches take, the last the binary logits.
    """
    logits = given[-1]
    escalated = {"custom": add_custom, "builtin": add_builtin}[kind](builder, main, gate, logits)
    shape = flatbuffer.shape(main.tensors[logits])
    answer = builder.tensor(main, PREFIX + "answer", schema.TensorType.INT8, shape, output)
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    builder.operator(main, "IF", [escalated, *given], [answer], options)
    main.inputs, main.outputs = np.array([image], np.int32), np.array([answer, escalated], np.int32)
    builder.signature(0, {"image": image}, {"logits": answer, "escalated": escalated})
    threshold = [float(value) for value in np.atleast_1d(gate.threshold)]
    _write_record(
        builder,
        {**record, "measure": gate.measure, "threshold": threshold if gate.threshold.ndim else threshold[0]},
    )


def _write_record(builder, record):
    text = json.dumps({**record, "version": FORMAT_VERSION}, sort_keys=True, ensure_ascii=False)
    builder.metadata(METADATA, text.encode())


def _single(data, what, record):
    """The flatbuffer of a net alone, with the signature and the record that a merged one has."""
    model = flatbuffer.read(data)
    _interface(model, what)
    builder = flatbuffer.Builder(DESCRIPTION)
    main = builder.subgraph("main")
    indices = builder.splice(main, model)
    graph = model.subgraphs[0]
    main.inputs, main.outputs = indices[graph.inputs], indices[graph.outputs]
    builder.signature(0, {"image": main.inputs[0]}, {"logits": main.outputs[0]})
    _write_record(builder, record)
    builder.min_runtime_version(_RUNTIME, [model])
    return builder.finish()


def _output(model):
    graph = model.subgraphs[0]
    return graph.tensors[graph.outputs[0]]


def _gate(model):
    """(kind, Gate) of a merged flatbuffer."""
    record = metadata(model)
    if record is None or "measure" not in record or len(model.subgraphs) != 3:
        raise ValueError("not a cooperative pair: expected a flatbuffer that bcnet_keras.convert wrote")
    return read_gate(model, record["measure"], flatbuffer.shape(_output(model))[-1])


def _with_gate(model, kind, gate, record):
    """The flatbuffer of a merged model whose gate and IF are written anew, with the record."""
    builder = flatbuffer.Builder(DESCRIPTION)
    main = builder.subgraph("main")
    indices = builder.splice(main, model, leave_out=lambda name: name.startswith(PREFIX))
    (branch,) = [operator for operator in model.subgraphs[0].operators if flatbuffer.op_name(model, operator) == "IF"]
    for number in (1, 2):
        source = model.subgraphs[number]
        graph = builder.subgraph(flatbuffer.text(source.name))
        copied = builder.splice(graph, model, number)
        graph.inputs, graph.outputs = copied[source.inputs], copied[source.outputs]
    image, given = indices[model.subgraphs[0].inputs[0]], indices[branch.inputs[1:]]
    _finish_main(builder, main, image, given, gate, kind, flatbuffer.quantization(_output(model)), record)
    builder.min_runtime_version(_RUNTIME, [model])
    return builder.finish()


def has_custom_gate(model):
    """Whether a `schema.ModelT` has the custom operator of the gate."""
    return any(code.customCode == CUSTOM_OP for code in model.operatorCodes)
