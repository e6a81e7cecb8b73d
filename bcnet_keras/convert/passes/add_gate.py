"""Adds the gate of a cooperative pair to a flatbuffer: from the binary net's logits to "escalate or accept".

Let p = softmax(logits) over K classes. A gate computes one of four confidences. All lie in [0, 1]; a higher one means a
surer answer:

* `score_margin`: largest minus second largest probability,
* `max_probability`: the largest probability,
* `entropy`: 1 - H(p) / log(K),
* `learned`: sigmoid(w . [p, score margin, max probability, entropy] + bias),

It escalates when the confidence is below the threshold (with one threshold per class: that of the predicted class).

The gate takes one of two forms. One is the custom op `BcnetGate`: logits int8 or float32 [1, K] -> bool [1], its
custom options a flexbuffer map with `measure` (string), `threshold` (typed vector of 1 or K 32-bit floats) and, for
`learned`, `weights` (typed vector of K + 3 floats) and `bias` (float). The other form, for runtimes without the custom
op, is a group of builtin operators that both TensorFlow Lite and TensorFlow Lite Micro have. (The latter has no
TOPK_V2: the second largest probability is the largest one with the first masked.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from flatbuffers import flexbuffers
from numpy.typing import ArrayLike

from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite.flatbuffer import Builder, constant, custom_options, schema, text
from bcnet_keras.utils.types import Array

CUSTOM_OP = b"BcnetGate"
MEASURES = ("score_margin", "max_probability", "entropy", "learned")
KINDS = ("custom", "builtin")
PREFIX = "gate/"  # of the names of the gate's tensors


@dataclass(frozen=True)
class Gate:
    """What a gate computes.

    Attributes:
      measure: one of `MEASURES`.
      threshold: float32 array, shape [] or [classes], in [0, 1].
      weights: float32 array [classes + 3] for `learned`, else None.
      bias: float for `learned`, else None.
    """

    measure: str
    threshold: np.ndarray
    weights: np.ndarray | None = None
    bias: float | None = None

    @classmethod
    def create(
        cls,
        classes: int,
        measure: str,
        threshold: ArrayLike | None,
        weights: ArrayLike | None = None,
        bias: float | None = None,
    ) -> Gate:
        """Checks the parts of a gate over `classes` classes; raises ValueError that names the wrong one."""
        if measure not in MEASURES:
            raise FlatbufferError(f"unknown confidence measure {measure!r}: expected one of {', '.join(MEASURES)}")
        if classes < 2:
            raise FlatbufferError(f"a gate needs the logits of 2 classes or more, got {classes}")
        checked = check_threshold(threshold, classes)
        if measure != "learned":
            return cls(measure, checked)
        numbers = np.asarray([] if weights is None else weights, np.float32)
        if numbers.shape != (classes + 3,):
            found = "none" if weights is None else f"shape {list(numbers.shape)}"
            raise FlatbufferError(f"the learned measure needs {classes + 3} weights (classes + 3), got {found}")
        constant = np.float32(0 if bias is None else bias)
        if not np.all(np.isfinite(numbers)) or not np.isfinite(constant):
            raise FlatbufferError("the learned measure's weights and bias must be finite numbers; train the gate again")
        return cls(measure, checked, numbers, float(constant))


def check_threshold(threshold: ArrayLike | None, classes: int) -> Array:
    """Returns `threshold` as a float32 array of shape [] or [classes].

    Raises:
      ValueError: missing, not a number, outside [0, 1] or of another shape.
    """
    if threshold is None:
        raise FlatbufferError("the threshold is missing: calibrate the pair, or give a number between 0 and 1")
    try:
        array = np.asarray(threshold, np.float32)
    except (TypeError, ValueError):
        raise FlatbufferError(
            f"the threshold must be a number or a list of {classes} numbers, got {threshold!r}"
        ) from None
    if array.shape not in ((), (classes,)):
        raise FlatbufferError(
            f"the threshold must be one number or {classes} (one per class), got an array of shape {list(array.shape)}"
        )
    if np.any(np.isnan(array)):
        raise FlatbufferError("the threshold is not set (NaN): calibrate the pair, or give a number between 0 and 1")
    if not np.all((array >= 0) & (array <= 1)):
        raise FlatbufferError(f"the threshold must lie between 0 and 1, got {threshold!r}")
    return array


def add_gate(builder: Builder, graph: schema.SubGraphT, gate: Gate, logits: int, kind: str = "custom") -> int:
    """Appends a gate to a subgraph under construction.

    Arguments:
      builder: a `tflite.flatbuffer.Builder`; graph: its subgraph.
      gate: `Gate`.
      logits: index of the tensor [1, K] of the binary logits.
      kind: "custom" for the operator `BcnetGate`, "builtin" for builtin operators in its place.

    Returns:
      The index of a bool tensor [1] that is true to escalate.
    """
    return {"custom": _add_custom, "builtin": _add_builtin}[kind](builder, graph, gate, logits)


def _add_custom(builder, graph, gate, logits):
    escalated = builder.tensor(graph, PREFIX + "escalated", schema.TensorType.BOOL, [1])
    flex = flexbuffers.Builder()
    with flex.Map():
        flex.Key("measure")
        flex.String(gate.measure)
        # float32 values fit 32 bits exactly, so the flexbuffer stores no wider floats: an 8-byte read would be
        # unaligned in a flatbuffer, where custom options start at a multiple of 4.
        flex.Key("threshold")
        flex.TypedVectorFromElements([float(value) for value in np.atleast_1d(gate.threshold)])
        if gate.measure == "learned":
            flex.Key("weights")
            flex.TypedVectorFromElements([float(value) for value in gate.weights])
            flex.Key("bias")
            flex.Float(gate.bias)
    builder.operator(graph, CUSTOM_OP, [logits], [escalated], custom_options=bytes(flex.Finish()))
    return escalated


def _add_builtin(builder, graph, gate, logits):
    types, classes = schema.TensorType, int(graph.tensors[logits].shape[-1])
    constants = {}

    def output(name, shape, type=types.FLOAT32):
        return builder.tensor(graph, PREFIX + name, type, shape)

    def fixed(name, value, dtype):
        if name not in constants:
            constants[name] = builder.constant(graph, PREFIX + name, np.asarray(value, dtype))
        return constants[name]

    def apply(op, inputs, result, options, version=1):
        builder.operator(graph, op, inputs, [result], options, version)
        return result

    def reduce(op, value, name):
        options = schema.ReducerOptionsT()
        options.keepDims = True
        return apply(op, [value, fixed("axis", [1], np.int32)], output(name, [1, 1]), options)

    dequantized = apply("DEQUANTIZE", [logits], output("logits", [1, classes]), schema.DequantizeOptionsT(), 2)
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    probabilities = apply("SOFTMAX", [dequantized], output("probabilities", [1, classes]), softmax)
    predicted = None
    if gate.threshold.ndim or gate.measure in ("score_margin", "learned"):
        arg_max = schema.ArgMaxOptionsT()
        arg_max.outputType = types.INT32
        # Of the int8 logits: equal logits can get softmax values that differ in the last bit, and the first must win.
        inputs = [logits, fixed("axis", [1], np.int32)]
        predicted = apply("ARG_MAX", inputs, output("predicted", [1], types.INT32), arg_max)

    def max_probability():
        return reduce("REDUCE_MAX", probabilities, "max_probability")

    def score_margin(largest):
        iota = fixed("iota", np.arange(classes)[None], np.int32)
        is_predicted = output("is_predicted", [1, classes], types.BOOL)
        apply("EQUAL", [iota, predicted], is_predicted, schema.EqualOptionsT(), 2)
        zeros = fixed("zeros", np.zeros((1, classes)), np.float32)
        others = output("others", [1, classes])
        apply("SELECT_V2", [is_predicted, zeros, probabilities], others, schema.SelectV2OptionsT())
        second = reduce("REDUCE_MAX", others, "second_probability")
        return apply("SUB", [largest, second], output("score_margin", [1, 1]), schema.SubOptionsT())

    def entropy():
        # 1 - H(p) / log(K) = 1 + sum(p log p) / log(K); LOG_SOFTMAX is finite where LOG of a vanished p is not.
        log = apply("LOG_SOFTMAX", [dequantized], output("log", [1, classes]), schema.LogSoftmaxOptionsT())
        products = apply("MUL", [probabilities, log], output("p_log_p", [1, classes]), schema.MulOptionsT())
        total = reduce("SUM", products, "negative_entropy")
        factor = fixed("factor", [[1 / np.log(classes)]], np.float32)
        scaled = apply("MUL", [total, factor], output("scaled", [1, 1]), schema.MulOptionsT())
        one = fixed("one", [[1]], np.float32)
        return apply("ADD", [scaled, one], output("entropy", [1, 1]), schema.AddOptionsT())

    def learned():
        largest = max_probability()
        features = output("features", [1, classes + 3])
        options = schema.ConcatenationOptionsT()
        options.axis = 1
        apply("CONCATENATION", [probabilities, score_margin(largest), largest, entropy()], features, options)
        weights = fixed("weights", gate.weights[None], np.float32)
        inputs = [features, weights, fixed("bias", [gate.bias], np.float32)]
        score = apply("FULLY_CONNECTED", inputs, output("score", [1, 1]), schema.FullyConnectedOptionsT())
        return apply("LOGISTIC", [score], output("learned", [1, 1]), None)

    if gate.measure == "score_margin":
        confidence = score_margin(max_probability())
    else:
        confidence = {"max_probability": max_probability, "entropy": entropy, "learned": learned}[gate.measure]()
    threshold = fixed("threshold", np.atleast_1d(gate.threshold), np.float32)
    if gate.threshold.ndim:
        options = schema.GatherOptionsT()
        threshold = apply("GATHER", [threshold, predicted], output("class_threshold", [1]), options)
    flat = schema.ReshapeOptionsT()
    flat.newShape = np.array([1], np.int32)
    confidence = apply("RESHAPE", [confidence, fixed("shape", [1], np.int32)], output("confidence", [1]), flat)
    escalated = output("escalated", [1], types.BOOL)
    return apply("LESS", [confidence, threshold], escalated, schema.LessOptionsT())


def read_gate(model: schema.ModelT, measure: str, classes: int) -> tuple[str, Gate]:
    """Returns (kind, `Gate`) of a merged flatbuffer.

    Arguments:
      model: `schema.ModelT`.
      measure: the confidence measure that its metadata name.
      classes: number of classes.

    Raises:
      ValueError: subgraph 0 has no gate that `add_gate` wrote.
    """
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].customCode == CUSTOM_OP:
            options = custom_options(operator)
            try:
                threshold = options["threshold"] if len(options["threshold"]) > 1 else options["threshold"][0]
                parts = options["measure"], threshold, options.get("weights"), options.get("bias")
            except (LookupError, TypeError):
                raise FlatbufferError("the options of the gate are damaged; convert the pair again") from None
            return "custom", Gate.create(classes, *parts)
    constants = {text(tensor.name): constant(model, tensor) for tensor in graph.tensors}
    threshold = constants.get(PREFIX + "threshold")
    if threshold is None:
        raise FlatbufferError("the flatbuffer has no gate: expected a file written by bcnet_keras.convert")
    weights, bias = constants.get(PREFIX + "weights"), constants.get(PREFIX + "bias")
    return "builtin", Gate.create(
        classes,
        measure,
        threshold if len(threshold) > 1 else threshold[0],
        None if weights is None else weights[0],
        None if bias is None else bias[0],
    )
