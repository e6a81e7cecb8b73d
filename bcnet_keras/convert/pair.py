"""From a pair of Keras nets to the flatbuffer that `convert.cooperative` makes of the two."""

import numpy as np

from bcnet_keras.convert.binary import convert_binary
from bcnet_keras.convert.cooperative import DESCRIPTION, OLDEST_RUNTIME, check_part, merge
from bcnet_keras.convert.int8 import convert_int8
from bcnet_keras.convert.passes.add_gate import Gate
from bcnet_keras.convert.passes.fuse_thermometer import fuse
from bcnet_keras.layers import front_affine
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.metadata import write_record


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


def _single(data, what, record):
    """The flatbuffer of a net alone, with the signature and the record that a merged one has."""
    model = flatbuffer.read(data)
    check_part(model, what)
    builder = flatbuffer.Builder(DESCRIPTION)
    main = builder.subgraph("main")
    indices = builder.splice(main, model)
    graph = model.subgraphs[0]
    main.inputs, main.outputs = indices[graph.inputs], indices[graph.outputs]
    builder.signature(0, {"image": main.inputs[0]}, {"logits": main.outputs[0]})
    write_record(builder, record)
    builder.min_runtime_version(OLDEST_RUNTIME, [model])
    return builder.finish()
