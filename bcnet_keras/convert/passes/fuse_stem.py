"""Fuses the int8 convolution of the image with the bits that a binary net makes of it, so that no int8 map is stored.

A binary net that begins with an int8 CONV_2D takes its codes apart behind it: by the `LceQuantize` of signs, or by the
`BcnetThermometer` of a stem that both nets share. A code grows with the sum of products that it is rounded from. So
"the code is below a threshold" is "the sum is below another one", and `fuse_stem` replaces both operators by one:

    input 0   int8 [n, h, w, c], whose zero point is the value of pixels outside
    input 1   constant int8 [filters, height, width, c]: the weights of the CONV_2D
    input 2   constant int32 [filters * planes]
    options   padding (0: SAME, 1: VALID), stride_height, stride_width
    output    int32 [n, h', w', words]: bit f * planes + p is 1 where the sum of weights times pixels, with neither bias
              nor zero point, is below threshold f * planes + p

In a pair whose nets share the stem, an escalated sample computes it once more, by the int8 net's own CONV_2D; both
operators read the same weights. Where its map is smaller than the image, `keep_smaller_map` leaves the map and the two
operators instead. `expand_stem` is the inverse, for runtimes without that operator: a CONV_2D of
filters * planes outputs with a multiplier of exactly 1, so that no runtime can round a difference to another sign, and
an `LceQuantize`.
"""

from __future__ import annotations

import copy

import numpy as np

from bcnet_keras.convert.passes.fuse_thermometer import (
    THERMOMETER,
    expand_thermometer,
    fuse_thermometer,
    name_beside,
    reads_channels_in_order,
    replace_operators,
    write_differences,
)
from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import fixed_point, flatbuffer
from bcnet_keras.tflite.flatbuffer import op_name, schema, shape
from bcnet_keras.utils.types import Array

STEM = "BcnetStem"
_MOST_TAPS = 1 << 15  # of a filter, so that differences of two sums stay below 2^30


def fuse_front(model: schema.ModelT) -> bool:
    """Fuses all that makes bits of the image into one operator of this project, in place: both passes in their order.

    Returns:
      Whether the model changed.
    """
    changed = [fuse_thermometer(model), fuse_stem(model)]
    return any(changed)


def expand_front(model: schema.ModelT) -> bool:
    """Writes what `fuse_front` fuses in operators of TensorFlow Lite and Larq Compute Engine, in place.

    Returns:
      Whether the model changed.
    """
    changed = [expand_stem(model), expand_thermometer(model)]
    return any(changed)


def fuse_stem(model: schema.ModelT) -> bool:
    """Fuses each CONV_2D of the image with the `BcnetThermometer` or `LceQuantize` behind it, in place.

    A map that something else reads as well, or that has a fused activation other than those of ReLU's kind, stays.

    Returns:
      Whether the model changed.
    """
    graph = model.subgraphs[0]
    found = [(pair, _thresholds(model, *pair)) for pair in _stems(model, graph)]
    for (convolution, bits), thresholds in found:
        weights = flatbuffer.constant(model, graph.tensors[convolution.inputs[1]])
        assert weights is not None  # `_stems` saw to it
        weights, planes = _without_copies(weights, thresholds.shape[1])
        options = convolution.builtinOptions
        fields = {"padding": options.padding, "stride_height": options.strideH, "stride_width": options.strideW}
        builder, output = flatbuffer.Builder.extending(model), bits.outputs[0]
        inputs = [
            convolution.inputs[0],
            builder.constant(graph, name_beside(graph, output, "weights"), weights),
            builder.constant(graph, name_beside(graph, output, "thresholds"), thresholds.reshape(-1)),
        ]
        builder.operator(graph, STEM.encode(), inputs, [output], custom_options=flatbuffer.encode_options(fields))
        replace_operators(graph, (convolution, bits), 1)
    return bool(found)


def expand_stem(model: schema.ModelT) -> bool:
    """Writes each `BcnetStem` of a `schema.ModelT` as CONV_2D and `LceQuantize`, in place.

    `fuse_stem` restores the same file.

    Returns:
      Whether the model changed.

    Raises:
      ValueError: a `BcnetStem` lacks constants or options, or has inputs that do not fit it.
    """
    graph = model.subgraphs[0]
    found = [operator for operator in graph.operators if op_name(model, operator) == STEM]
    for operator in found:
        _expand_operator(model, graph, operator)
    return bool(found)


def keep_smaller_map(binary: schema.ModelT, int8: schema.ModelT) -> bool:
    """Writes a `BcnetStem` that both nets share as CONV_2D and `BcnetThermometer`, where that takes less memory.

    An escalated sample needs the image, or the map that the shared convolution makes of it. Where the map is smaller,
    as behind large strides, both nets read it, and the image is not kept.

    Arguments:
      binary, int8: a `schema.ModelT` of each net; `binary` is changed in place.

    Returns:
      Whether it changed.
    """
    graph, other = binary.subgraphs[0], int8.subgraphs[0]
    for operator in graph.operators:
        if op_name(binary, operator) != STEM or operator.inputs[0] not in graph.inputs:
            continue
        for convolution in other.operators:
            if op_name(int8, convolution) == "CONV_2D" and _is_shared(binary, operator, int8, convolution):
                sizes = [np.prod(shape(other.tensors[i])) for i in (convolution.inputs[0], convolution.outputs[0])]
                if sizes[1] < sizes[0]:
                    _store_map(binary, operator, int8, convolution)
                    return True
    return False


def _is_shared(binary, stem, int8, convolution):
    """Whether the CONV_2D of the int8 net computes the sums that the stem of the binary net compares."""
    graph, other = binary.subgraphs[0], int8.subgraphs[0]
    fields, options = flatbuffer.custom_options(stem), convolution.builtinOptions
    images = graph.tensors[stem.inputs[0]], other.tensors[convolution.inputs[0]]
    weights = (
        flatbuffer.constant(binary, graph.tensors[stem.inputs[1]]),
        flatbuffer.constant(int8, other.tensors[convolution.inputs[1]]),
    )
    return (
        convolution.inputs[0] in other.inputs
        and [fields.get(name) for name in ("padding", "stride_height", "stride_width")]
        == [options.padding, options.strideH, options.strideW]
        and (options.dilationHFactor, options.dilationWFactor) == (1, 1)
        and fixed_point.activation_codes(options.fusedActivationFunction, 1.0, 0) is not None
        and flatbuffer.quantization(images[0]) == flatbuffer.quantization(images[1])
        and flatbuffer.quantization(other.tensors[convolution.outputs[0]]) is not None
        and all(flatbuffer.is_constant(int8, other.tensors[index]) for index in convolution.inputs[2:] if index >= 0)
        and np.array_equal(*weights)
        and _scales(other.tensors[convolution.inputs[1]]) in (1, len(weights[1]))
    )


def _store_map(binary, stem, int8, convolution):
    graph, other = binary.subgraphs[0], int8.subgraphs[0]
    builder, bits = flatbuffer.Builder.extending(binary), stem.outputs[0]
    least, most, codes = _sums(int8, convolution)
    sums = flatbuffer.constant(binary, graph.tensors[stem.inputs[2]]).reshape(len(least), -1).astype(np.int64)
    thresholds = np.where(sums > most, codes(most) + 1, codes(np.minimum(sums, most)))

    def copied(index, name):
        tensor = copy.deepcopy(other.tensors[index])
        tensor.name = name_beside(graph, bits, name)
        tensor.buffer = builder.buffer(int8.buffers[tensor.buffer].data) if flatbuffer.is_constant(int8, tensor) else 0
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    constants = [copied(index, f"input_{number}") for number, index in enumerate(convolution.inputs[1:]) if index >= 0]
    result = copied(convolution.outputs[0], "map")
    version = int8.operatorCodes[convolution.opcodeIndex].version
    options = copy.deepcopy(convolution.builtinOptions)
    builder.operator(graph, "CONV_2D", [stem.inputs[0], *constants], [result], options, version)
    constant = builder.constant(graph, name_beside(graph, bits, "thresholds"), thresholds.reshape(-1).astype(np.int32))
    builder.operator(graph, THERMOMETER.encode(), [result, constant], [bits])
    replace_operators(graph, [stem], 2)


def _stems(model, graph):
    """Yields pairs of a convolution of the image and of the operator that makes bits of its map."""
    for convolution in graph.operators:
        if op_name(model, convolution) != "CONV_2D" or convolution.inputs[0] not in graph.inputs:
            continue
        image, weights, result = (graph.tensors[index] for index in (*convolution.inputs[:2], convolution.outputs[0]))
        biases = [graph.tensors[index] for index in convolution.inputs[2:] if index >= 0]
        readers = [operator for operator in graph.operators if convolution.outputs[0] in operator.inputs]
        options, kernel = convolution.builtinOptions, flatbuffer.constant(model, weights)
        if (
            {tensor.type for tensor in (image, weights, result)} == {schema.TensorType.INT8}
            and None not in (flatbuffer.quantization(image), flatbuffer.quantization(result))
            and (options.dilationHFactor, options.dilationWFactor) == (1, 1)
            and fixed_point.activation_codes(options.fusedActivationFunction, 1.0, 0) is not None
            and kernel is not None
            and _scales(weights) in (1, len(kernel))
            and kernel.shape[3] == shape(image)[3]
            and np.prod(kernel.shape[1:]) <= _MOST_TAPS
            and all(flatbuffer.constant(model, bias) is not None for bias in biases)
            # What only scales channels is a thermometer of the image, which `fuse_thermometer` writes more cheaply.
            and not reads_channels_in_order("CONV_2D", kernel, kernel.shape[3])
            and [op_name(model, reader) in ("LceQuantize", THERMOMETER) for reader in readers] == [True]
            and convolution.outputs[0] not in graph.outputs
        ):
            yield convolution, readers[0]


def _scales(tensor):
    """The number of scales of a tensor."""
    parameters = tensor.quantization
    return 0 if parameters is None or parameters.scale is None else len(parameters.scale)


def _sums(model, convolution):
    """Of each filter [filters, 1]: its least sum of weights times pixels, its greatest, and a function to codes."""
    graph, options = model.subgraphs[0], convolution.builtinOptions
    image, weights, *biases = (graph.tensors[index] for index in convolution.inputs if index >= 0)
    (scale, zero_point), result = flatbuffer.quantization(image), graph.tensors[convolution.outputs[0]]
    output_scale, output_zero_point = flatbuffer.quantization(result)
    kernel = flatbuffer.constant(model, weights).astype(np.int64)
    kernel = kernel.reshape(len(kernel), -1)
    bias = flatbuffer.constant(model, biases[0]).astype(np.int64) if biases else np.zeros(len(kernel), np.int64)
    more = (bias - zero_point * kernel.sum(axis=1))[:, np.newaxis]
    factors = scale * np.asarray(weights.quantization.scale, np.float32).astype(np.float64) / output_scale
    multiplier = fixed_point.quantized_multiplier(np.broadcast_to(factors, len(kernel))[:, np.newaxis])
    lowest, highest = fixed_point.activation_codes(options.fusedActivationFunction, output_scale, output_zero_point)

    def codes(sums):
        rounded = fixed_point.multiply(sums + more, *multiplier) + output_zero_point
        return np.clip(rounded, lowest, highest)

    ends = kernel * -128, kernel * 127
    return np.minimum(*ends).sum(axis=1, keepdims=True), np.maximum(*ends).sum(axis=1, keepdims=True), codes


def _thresholds(model, convolution, bits):
    """int32 [filters, planes]: each bit is 1 where the sum of weights times pixels is below the threshold."""
    least, most, codes = _sums(model, convolution)
    graph = model.subgraphs[0]
    if op_name(model, bits) == THERMOMETER:
        compared = flatbuffer.constant(model, graph.tensors[bits.inputs[1]]).reshape(len(least), -1)
    else:
        _, zero_point = flatbuffer.quantization(graph.tensors[convolution.outputs[0]])
        compared = np.full_like(least, zero_point)
    # The first sum that is not below lies in [low, high]: halved until one is left.
    low, high = np.broadcast_to(least, compared.shape), np.broadcast_to(most + 1, compared.shape)
    while np.any(low < high):
        middle = (low + high) >> 1
        under = (codes(middle) < compared) & (low < high)
        low, high = np.where(under, middle + 1, low), np.where(under, high, np.minimum(middle, high))
    return low.astype(np.int32)


def _without_copies(weights: Array, planes: int) -> tuple[Array, int]:
    """Weights without the copies that stand behind each other, as `expand_stem` writes them, and planes with them."""
    filters = len(weights)
    for copies in range(filters, 1, -1):
        if filters % copies == 0:
            groups = weights.reshape(filters // copies, copies, *weights.shape[1:])
            if np.array_equal(groups, np.broadcast_to(groups[:, :1], groups.shape)):
                return groups[:, 0], copies * planes
    return weights, planes


def _expand_operator(model, graph, operator):
    try:
        image, weights, thresholds = operator.inputs
        kernel, limits = (flatbuffer.constant(model, graph.tensors[index]) for index in (weights, thresholds))
        _, zero_point = flatbuffer.quantization(graph.tensors[image])
        filters, *_ = kernel.shape
        fields = flatbuffer.custom_options(operator)
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = (
            fields[name] for name in ("padding", "stride_height", "stride_width")
        )
        copies = np.repeat(kernel, len(limits) // filters, axis=0)
        sums = copies.astype(np.int64).reshape(len(limits), -1).sum(axis=1)
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
        raise FlatbufferError(
            "a BcnetStem of the flatbuffer is not sound: expected an int8 image with a scale, constant weights "
            "[filters, height, width, c], constant thresholds, as many for each filter, and options for padding and "
            "strides; convert the net again"
        ) from None
    # The sum of products is that of the stem less its threshold, in steps of the image.
    biases = np.clip(zero_point * sums - limits, -(2**31), 2**31 - 1).astype(np.int32)
    write_differences(model, graph, operator, copies, biases, options)
