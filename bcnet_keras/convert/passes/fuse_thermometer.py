"""Fuses the thermometer encoding at a binary net's input: int8 channels are compared with thresholds, giving bits.

Larq Compute Engine (LCE) writes a `ThermometerEncoding` as two operators: an int8 CONV_2D of 1x1 (DEPTHWISE_CONV_2D for
a `CalibratedThermometer`) whose output channel c * planes + p is x_c less a level, and an `LceQuantize` that takes the
signs. `fuse_thermometer` replaces both by one `BcnetThermometer`, which takes a few instructions per bit instead of
some 50:

    input 0   int8 [n, h, w, c]
    input 1   constant int32 [c * planes], each in [-128, 128]
    output    int32 [n, h, w, words]: bit c * planes + p is 1 where x_c < threshold c * planes + p, in words of 32 bits

`expand_thermometer` is the inverse, for runtimes without that operator. It writes a CONV_2D with a multiplier of
exactly 1, so that no runtime can round a difference to another sign.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bcnet_keras.convert.passes import run_passes
from bcnet_keras.errors import FlatbufferError
from bcnet_keras.moved import renamed
from bcnet_keras.tflite import fixed_point, flatbuffer
from bcnet_keras.tflite.flatbuffer import op_name, schema, shape, text
from bcnet_keras.utils.types import Array

THERMOMETER = "BcnetThermometer"
_CODES = np.arange(-128, 128, dtype=np.int8)


def fuse_thermometer(model: schema.ModelT) -> bool:
    """Fuses each thermometer encoding of a `schema.ModelT` into one `BcnetThermometer`, in place.

    Both operators are computed for all 256 codes of each channel; the thresholds follow from the bits. Operators whose
    bits are not "x_c < threshold" in this order stay.

    Returns:
      Whether the model changed.
    """
    graph = model.subgraphs[0]
    found = [(pair, _thresholds(model, *pair)) for pair in _encodings(model, graph)]
    found = [(pair, thresholds) for pair, thresholds in found if thresholds is not None]
    for (convolution, quantize), thresholds in found:
        image, bits = convolution.inputs[0], quantize.outputs[0]
        builder = flatbuffer.Builder.extending(model)
        constant = builder.constant(graph, name_beside(graph, bits, "thresholds"), thresholds)
        builder.operator(graph, THERMOMETER.encode(), [image, constant], [bits])
        replace_operators(graph, (convolution, quantize), 1)
    return bool(found)


def expand_thermometer(model: schema.ModelT) -> bool:
    """Writes each `BcnetThermometer` of a `schema.ModelT` as CONV_2D and `LceQuantize`, in place.

    `fuse_thermometer` restores the same file.

    Returns:
      Whether the model changed.

    Raises:
      ValueError: a `BcnetThermometer` has no constant thresholds, or inputs that do not fit it.
    """
    graph = model.subgraphs[0]
    found = [operator for operator in graph.operators if op_name(model, operator) == THERMOMETER]
    for operator in found:
        _expand_operator(model, graph, operator)
    return bool(found)


__getattr__ = renamed(
    __name__,
    fuse=("run_passes(data, fuse_thermometer)", lambda data: run_passes(data, fuse_thermometer)),
    expand=("run_passes(data, expand_thermometer)", lambda data: run_passes(data, expand_thermometer)),
)


def _expand_operator(model, graph, operator):
    image = operator.inputs[0]
    thresholds = flatbuffer.constant(model, graph.tensors[operator.inputs[1]])
    quantization, form = flatbuffer.quantization(graph.tensors[image]), shape(graph.tensors[image])
    if thresholds is None or quantization is None or len(form) != 4 or len(thresholds) % form[3]:
        raise FlatbufferError(
            "a BcnetThermometer of the flatbuffer is not sound: expected an int8 input [n, h, w, c] with a scale and "
            "constant thresholds, as many for each channel; convert the net again"
        )
    (_, zero_point), channels = quantization, form[3]
    # The sum of products is x - threshold in steps of the input.
    weights = np.repeat(np.eye(channels, dtype=np.int8), len(thresholds) // channels, axis=0)
    weights = weights.reshape(-1, 1, 1, channels)
    biases = zero_point - thresholds
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
    write_differences(model, graph, operator, weights, biases.astype(np.int32), options)


def write_differences(
    model: schema.ModelT,
    graph: schema.SubGraphT,
    operator: schema.OperatorT,
    weights: Array,
    biases: Array,
    options: schema.Conv2DOptionsT,
) -> None:
    """Writes an operator that makes bits of its first input as CONV_2D and `LceQuantize`, in its place.

    Each bit is the sign of a difference, the sum of int8 `weights` [bits, height, width, c] times the input plus int32
    `biases` [bits]. It is in steps of the input, and the CONV_2D's output has just that step: a multiplier of 1.
    """
    image, bits, types = operator.inputs[0], operator.outputs[0], schema.TensorType
    quantization = flatbuffer.quantization(graph.tensors[image])
    assert quantization is not None  # both callers saw to it
    scale, _ = quantization
    builder = flatbuffer.Builder.extending(model)

    def add(name, type, form, quantization, data=None):
        return builder.tensor(graph, name_beside(graph, bits, name), type, form, quantization, data)

    inputs = [
        image,
        add("weights", types.INT8, weights.shape, (1.0, 0), weights),
        add("biases", types.INT32, biases.shape, (scale, 0), biases),
    ]
    form = [*shape(graph.tensors[bits])[:3], len(biases)]
    differences = add("differences", types.INT8, form, (scale, 0))
    builder.operator(graph, "CONV_2D", inputs, [differences], options, version=3)
    builder.operator(graph, b"LceQuantize", [differences], [bits])
    replace_operators(graph, [operator], 2)


def name_beside(graph: schema.SubGraphT, bits: int, name: str) -> str:
    """The name of a tensor that belongs to the operator which writes the tensor `bits`."""
    return f"{text(graph.tensors[bits].name)}/{name}"


def replace_operators(graph: schema.SubGraphT, old: Sequence[schema.OperatorT], count: int) -> None:
    """Moves the last `count` operators of the graph to the place of those in `old`."""
    new, rest = graph.operators[-count:], graph.operators[:-count]
    position = rest.index(old[0])
    graph.operators = [*rest[:position], *new, *(operator for operator in rest[position:] if operator not in old)]


def _encodings(model, graph):
    """Yields pairs of a convolution and an `LceQuantize` that could be an encoding of int8 channels."""
    for convolution in graph.operators:
        if op_name(model, convolution) not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            continue
        image, weights, result = (graph.tensors[index] for index in (*convolution.inputs[:2], convolution.outputs[0]))
        readers = [operator for operator in graph.operators if convolution.outputs[0] in operator.inputs]
        options, kernel = convolution.builtinOptions, flatbuffer.constant(model, weights)
        if (
            {tensor.type for tensor in (image, weights, result)} == {schema.TensorType.INT8}
            and flatbuffer.quantization(image) is not None
            and (options.strideH, options.strideW) == (1, 1)
            and kernel is not None
            and reads_channels_in_order(op_name(model, convolution), kernel, shape(image)[-1])
            and [op_name(model, reader) for reader in readers] == ["LceQuantize"]
            and convolution.outputs[0] not in graph.outputs
        ):
            yield convolution, readers[0]


def reads_channels_in_order(name: str, kernel: Array, channels: int) -> bool:
    """Whether filter c * planes + p of a 1x1 kernel reads channel c alone."""
    if name == "DEPTHWISE_CONV_2D":
        return kernel.shape[:3] == (1, 1, 1) and kernel.shape[3] % channels == 0
    filters, height, width, depth = kernel.shape
    if (height, width, depth) != (1, 1, channels) or filters % channels:
        return False
    others = np.repeat(~np.eye(channels, dtype=bool), filters // channels, axis=0)
    return not kernel[:, 0, 0][others].any()


def _thresholds(model, convolution, quantize):
    """Returns the int32 thresholds by which the two operators make bits of their input; None if there are none."""
    graph, options = model.subgraphs[0], convolution.builtinOptions
    image, weights, *_ = (graph.tensors[index] for index in convolution.inputs)
    biases = [flatbuffer.constant(model, graph.tensors[index]) for index in convolution.inputs[2:] if index >= 0]
    scale, zero_point = flatbuffer.quantization(image)
    output = flatbuffer.quantization(graph.tensors[convolution.outputs[0]])
    if options.fusedActivationFunction or output is None or any(bias is None for bias in biases):
        return None
    kernel = flatbuffer.constant(model, weights).astype(np.int64)
    factors = kernel.reshape(-1) if op_name(model, convolution) == "DEPTHWISE_CONV_2D" else kernel.sum(axis=(1, 2, 3))
    sums = (_CODES.astype(np.int64)[:, np.newaxis] - zero_point) * factors + (biases[0] if biases else 0)
    steps = scale * np.asarray(weights.quantization.scale, np.float64) / output[0]
    codes = fixed_point.multiply(sums, *fixed_point.quantized_multiplier(steps)) + output[1]
    bits = np.clip(codes, -128, 127) < output[1]
    thresholds = bits.sum(axis=0, dtype=np.int32) - 128
    return thresholds if np.array_equal(bits, _CODES[:, np.newaxis] < thresholds) else None
