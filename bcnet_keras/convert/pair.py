"""Converts a pair of Keras nets to one flatbuffer; `convert.cooperative` describes its layout.

`convert.emit` writes the operators of nets of this package's layers. Nets with other layers go through the converters
of Larq Compute Engine and TensorFlow Lite, whose output is parsed once. All passes work in memory, and a pair is packed
once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf

from bcnet_keras.convert.cooperative import DESCRIPTION, OLDEST_RUNTIME, check_part, merge_models
from bcnet_keras.convert.emit import NotEmitted, emit
from bcnet_keras.convert.lce import lower_binary, lower_int8
from bcnet_keras.convert.passes.add_gate import Gate
from bcnet_keras.convert.passes.fuse_stem import fuse_front
from bcnet_keras.errors import ArgumentTypeError, MissingPackageError
from bcnet_keras.layers import ConfidenceGate, FakeQuant, front_affine
from bcnet_keras.layers.common import check_finite
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import schema
from bcnet_keras.tflite.metadata import write_record
from bcnet_keras.utils.arguments import threshold_and_rate
from bcnet_keras.utils.types import Range

log = logging.getLogger(__name__)


@runtime_checkable
class Pair(Protocol):
    """What is read of a pair: `bcnet_keras.BCNet` has it, and comes later in the order of the folders."""

    binary: tf.keras.Model
    int8: tf.keras.Model
    gate: ConfidenceGate
    combine: str
    boost: tf.Variable
    output_quant: FakeQuant
    class_names: tuple[str, ...] | None
    raw_range: Range
    input_range: Range

    @property
    def escalation_rate(self) -> float | None:
        """Part of the calibration data that escalates at the gate's threshold; None where that is not known."""

    @property
    def front_end(self) -> dict[str, Any] | None:
        """How a recorded signal becomes the data; None for images."""


def convert(pair: Pair, gate: str = "custom", parts: tuple[bytes, bytes] | None = None, threshold: Any = None) -> bytes:
    """Converts a cooperative pair into one flatbuffer.

    Arguments:
      pair: a `bcnet_keras.BCNet`, trained and with a threshold.
      gate: "custom" for the operator `BcnetGate` and the one that makes bits of the image, `BcnetThermometer` or
        `BcnetStem`; or "builtin" for operators of TensorFlow Lite and Larq Compute Engine in their place.
      parts: the result of `convert_parts(pair)`, if it is at hand; the nets are then not converted again.
      threshold: a number in [0, 1], one per class, or an `OperatingPoint`, that replaces the pair's own. The file keeps
        the escalation rate of an operating point, this one or the pair's own.

    Returns:
      bytes: input `image` int8 [1, h, w, c]; outputs `logits` int8 [1, classes] and `escalated` bool [1].

    Examples:
      >>> converted = bc.convert(pair, threshold=0.5)
      >>> converted[4:8]
      b'TFL3'

    Raises:
      TypeError: `pair` is no pair.
      ValueError: a net does not convert to integers only, the threshold is missing, or the two nets do not fit.
    """
    if not isinstance(pair, Pair):
        raise ArgumentTypeError(f"expected a bcnet_keras.BCNet, got {type(pair).__name__}")
    classes = int(pair.binary.output_shape[-1])
    weights = bias = None
    if pair.gate.measure == "learned":
        weights, bias = np.asarray(pair.gate.weights_vector), float(np.asarray(pair.gate.bias))
    if threshold is None:
        threshold, rate = pair.gate.threshold, pair.escalation_rate
    else:
        threshold, rate = threshold_and_rate(threshold)
    spec = Gate.create(classes, pair.gate.measure, threshold, weights, bias)
    binary, int8 = _lower(pair) if parts is None else map(flatbuffer.read, parts)
    return merge_models(
        binary,
        int8,
        spec,
        kind=gate,
        combine=pair.combine,
        boost=float(np.asarray(pair.boost)),
        output_range=_trained_range(pair.output_quant),
        record=_record(pair) | ({} if rate is None else {"escalation_rate": rate}),
    )


def convert_parts(pair: Pair) -> tuple[bytes, bytes]:
    """Converts each net of a pair alone.

    What makes bits of the binary net's image becomes one operator: a `ThermometerEncoding` a `BcnetThermometer`, an
    int8 convolution with the signs or the thermometer behind it a `BcnetStem`. `passes.fuse_stem.expand_front` writes
    them in operators of Larq Compute Engine.

    Returns:
      (binary flatbuffer, int8 flatbuffer), both bytes, each `image` -> `logits` in int8.
    """
    record = _record(pair)
    binary, int8 = (_pack(model, record) for model in _lower(pair))
    return binary, int8


def _lower(pair):
    """Turns both nets into operators; returns a `schema.ModelT` for each."""
    binary = lower(pair.binary, lower_binary)
    fuse_front(binary)
    check_part(binary, "binary")
    int8 = lower(pair.int8, lambda net: lower_int8(net, pair.input_range))
    check_part(int8, "int8")
    return binary, int8


def lower(net: tf.keras.Model, by_converter: Callable[[tf.keras.Model], schema.ModelT]) -> schema.ModelT:
    """Turns a Keras net into a `schema.ModelT`: written by `emit`, or by a converter where it has foreign layers."""
    check_finite(net)
    try:
        return emit(net)
    except NotEmitted as error:
        reason = error
    log.info("left to the converters: %s", reason)
    try:
        return by_converter(net)
    except MissingPackageError as error:
        raise MissingPackageError(f"{reason}. A converter may take it, but {error}") from None


def _record(pair):
    names = pair.class_names
    return {
        "class_names": None if names is None else list(names),
        "raw_range": [float(value) for value in pair.raw_range],
        "input_range": [float(value) for value in _image_range(pair)],
        **({} if pair.front_end is None else {"front_end": pair.front_end}),
    }


def _image_range(pair):
    """Returns the (lowest, highest) value of the converted nets' image: the pair's input range behind their front."""
    scale, offset = front_affine(pair.binary)
    return [scale * value + offset for value in pair.input_range]


def _trained_range(output_quant):
    """Returns the range that a `FakeQuant` layer has learned from data; None if there is no layer or no data yet."""
    if output_quant is None or not output_quant.built:
        return None
    if not output_quant.fixed and output_quant.range == output_quant.initial_range:
        return None
    return output_quant.range


def _pack(model, record):
    """Packs a net alone into bytes, with the signature and the record that a merged flatbuffer has."""
    builder = flatbuffer.Builder(DESCRIPTION)
    main = builder.subgraph("main")
    indices = builder.splice(main, model)
    graph = model.subgraphs[0]
    main.inputs, main.outputs = indices[graph.inputs], indices[graph.outputs]
    builder.signature(0, {"image": main.inputs[0]}, {"logits": main.outputs[0]})
    write_record(builder, record)
    builder.min_runtime_version(OLDEST_RUNTIME, [model])
    return builder.finish()
