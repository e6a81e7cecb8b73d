"""Whether shapes, options and sizes of a flatbuffer go together, told before anything computes with them.

    verify(flatbuffer.read(data))       # ValueError with one sentence

`flatbuffer.read` sees to tables and indices. Interpreters trust the rest as well: a dimension that does not belong to
the one before it makes them read elsewhere, and sizes computed from it are absurd. An operator's record names its rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer, operators
from bcnet_keras.tflite.flatbuffer import custom_options, op_name, shape, type_name
from bcnet_keras.tflite.operands import foreign_type, scales_problem, unscaled

if TYPE_CHECKING:
    from bcnet_keras.tflite.flatbuffer import Tensors, schema

MOST_BYTES = 1 << 30  # a Cortex-M's whole region for external RAM
_MOST = 1 << 15  # of strides, dilations and window sizes
_SIZES = ("strideH", "strideW", "dilationHFactor", "dilationWFactor", "filterHeight", "filterWidth")
_CUSTOM_WINDOW = ("filter_height", "filter_width")
_CUSTOM_SIZES = ("stride_height", "stride_width", "dilation_height_factor", "dilation_width_factor", *_CUSTOM_WINDOW)
_WIDTHS = {"64": 8, "32": 4, "16": 2}
DAMAGED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def verify(model: schema.ModelT) -> None:
    """Raises ValueError, with one sentence, where an operator's shapes or options contradict each other.

    Arguments:
      model: a `schema.ModelT`, as `flatbuffer.read` gives it.
    """
    flatbuffer.planned_offsets(model)
    for number, graph in enumerate(model.subgraphs):
        for tensor in graph.tensors:
            if _bytes(tensor) > MOST_BYTES:
                name = flatbuffer.text(tensor.name)[:40]
                raise FlatbufferError(
                    f"the tensor {name!r} of the shape {list(shape(tensor))[:6]} is larger than any memory of a "
                    "microcontroller; write the file again"
                )
            problem = scales_problem(tensor, flatbuffer.is_constant(model, tensor))
            if problem:
                name = flatbuffer.text(tensor.name)[:40]
                raise FlatbufferError(f"the tensor {name!r} has {problem}; write the file again")
        for index, operator in enumerate(graph.operators):
            name = op_name(model, operator)
            where = f"operator {name[:40]} (number {index} of subgraph {number})"
            try:
                problem = _problem(model, graph, operator, name)
            except DAMAGED:
                raise FlatbufferError(
                    f"the {where} lacks inputs, dimensions or options; convert the model again"
                ) from None
            if problem:
                raise FlatbufferError(f"the {where} has {problem}; write the file again")


def _bytes(tensor: schema.TensorT) -> int:
    return math.prod(shape(tensor)) * _WIDTHS.get(type_name(tensor)[-2:], 1)


def _problem(model: schema.ModelT, graph: schema.SubGraphT, operator: schema.OperatorT, name: str) -> str | None:
    options = operator.builtinOptions
    for field in _SIZES:
        value = getattr(options, field, 1)
        if not 1 <= value < _MOST:
            return f"the option {field} = {value}"
    if getattr(options, "padding", 0) not in (0, 1):
        return f"the unknown padding {options.padding}"
    if not 0 <= getattr(options, "fusedActivationFunction", 0) <= 5:
        return f"the unknown activation {options.fusedActivationFunction}"
    record = operators.OPERATORS.get(name)
    if record is None:
        return None
    inputs, outputs = flatbuffer.operands(graph, operator)
    foreign = foreign_type(record, inputs, outputs, anywhere=True)
    if foreign is not None:
        what, found, wanted = foreign
        return f"the type {found} as {what}, where it takes {wanted}"
    without = unscaled(record, inputs, outputs)
    if without is not None:
        return f"tensors of {without} without a scale, with which it computes"
    rule = record.shapes
    if rule is None:
        return None
    if rule in _ON_MODEL:
        return _ON_MODEL[rule](model, operator, inputs, outputs)
    if _RULES[rule](operator, inputs, outputs):
        return None
    shapes = [list(shape(tensor)) for tensor in inputs if tensor is not None][:3]
    return f"shapes that do not fit: {', '.join(map(str, shapes))} to {list(shape(outputs[0]))}"


def _size(tensor: schema.TensorT) -> int:
    return math.prod(shape(tensor))


def _same(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    return shape(inputs[0]) == shape(outputs[0])


def _broadcast(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    try:
        return np.broadcast_shapes(*map(shape, inputs)) == shape(outputs[0])
    except ValueError:
        return False


def _variable(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    """A handle, and what is put into the variable or taken out of it."""
    return len(shape(inputs[0])) >= 0 and _size((*inputs[1:], *outputs)[0]) > 0


def _same_size(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    return _size(inputs[0]) == _size(outputs[0])


def _all_of_it(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    return sum(map(_size, inputs)) == sum(map(_size, outputs))


def _split(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    data = max(inputs, key=_size)
    return _size(data) == sum(map(_size, outputs))


def _part(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    return _size(outputs[0]) <= _size(inputs[0])


def _reduction(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    return _size(outputs[0]) > 0 and _size(inputs[0]) % _size(outputs[0]) == 0


def _permutation(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    return sorted(shape(inputs[0])) == sorted(shape(outputs[0]))


def _padding(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    return len(shape(inputs[0])) == len(shape(outputs[0])) and all(
        before <= after for before, after in zip(shape(inputs[0]), shape(outputs[0]), strict=True)
    )


def _fits(
    image: schema.TensorT,
    result: schema.TensorT,
    window: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: int,
) -> bool:
    """Whether height and width of `result` are what a window leaves of `image`: both are NHWC."""
    if len(shape(image)) != 4 or len(shape(result)) != 4 or shape(image)[0] != shape(result)[0]:
        return False
    for before, after, taps, stride, dilation in zip(
        shape(image)[1:3], shape(result)[1:3], window, strides, dilations, strict=True
    ):
        covered = before if padding == 0 else before - (taps - 1) * dilation
        if after != max(0, -(-covered // stride)):
            return False
    return True


def _bias_fits(inputs: Tensors, channels: int) -> bool:
    return len(inputs) < 3 or inputs[2] is None or _size(inputs[2]) == channels


def _convolution(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    options, (filters, *window, depth) = operator.builtinOptions, shape(inputs[1])
    strides = options.strideH, options.strideW
    dilations = options.dilationHFactor, options.dilationWFactor
    return (
        _fits(inputs[0], outputs[0], window, strides, dilations, options.padding)
        and shape(outputs[0])[-1] == filters
        and shape(inputs[0])[-1] % depth == 0
        and _bias_fits(inputs, filters)
    )


def _depthwise_convolution(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    options, (one, *window, channels) = operator.builtinOptions, shape(inputs[1])
    strides = options.strideH, options.strideW
    dilations = options.dilationHFactor, options.dilationWFactor
    return (
        one == 1
        and _fits(inputs[0], outputs[0], window, strides, dilations, options.padding)
        and shape(outputs[0])[-1] == channels
        and channels % shape(inputs[0])[-1] == 0
        and _bias_fits(inputs, channels)
    )


def _fully_connected(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    units, size = shape(inputs[1])
    rows, left = divmod(_size(inputs[0]), size)
    return (
        left == 0
        and _size(outputs[0]) == rows * units
        and (shape(outputs[0])[-1] == units or rows * units == 1)
        and _bias_fits(inputs, units)
    )


def _transposed_convolution(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    """The output, larger, gives the input as a convolution would."""
    options, (filters, *window, depth) = operator.builtinOptions, shape(inputs[1])
    strides = options.strideH, options.strideW
    return (
        _fits(outputs[0], inputs[2], window, strides, (1, 1), options.padding)
        and shape(outputs[0])[-1] == filters
        and shape(inputs[2])[-1] == depth
        and _bias_fits(inputs[1:], filters)
    )


def _matrices(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    options, (left, right, result) = operator.builtinOptions, map(shape, (*inputs[:2], outputs[0]))
    rows, depth = left[:-3:-1] if options.adjX else left[-2:]
    other, columns = right[:-3:-1] if options.adjY else right[-2:]
    return (
        depth == other
        and tuple(result[-2:]) == (rows, columns)
        and np.broadcast_shapes(left[:-2], right[:-2]) == result[:-2]
    )


def _pooling(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    options = operator.builtinOptions
    window, strides = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    fits = _fits(inputs[0], outputs[0], window, strides, (1, 1), options.padding)
    return fits and shape(inputs[0])[-1] == shape(outputs[0])[-1]


def _packed(tensor: schema.TensorT, channels: int) -> bool:
    """Whether the last dimension of a tensor of words holds the bits of as many channels."""
    return shape(tensor)[-1] == -(-channels // 32)


def _packing(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    return shape(inputs[0])[:-1] == shape(outputs[0])[:-1] and _packed(outputs[0], shape(inputs[0])[-1])


def _unpacking(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    return shape(inputs[0])[:-1] == shape(outputs[0])[:-1] and _packed(inputs[0], shape(outputs[0])[-1])


def _sizes(options: dict[str, Any], names: Sequence[str]) -> list[int]:
    values = [options[name] if "dilation" not in name else options.get(name, 1) for name in names]
    if not all(isinstance(value, int) and 1 <= value < _MOST for value in values):
        raise ValueError(f"options {values}")
    return values


def _window_padding(options: dict[str, Any]) -> int:
    """That of the builtin operators: 0 to keep the size, 1 for none; the custom ones count the other way round."""
    padding: int = options.get("padding", 1)
    if padding not in (0, 1, 2):
        raise ValueError(f"padding {padding}")
    return padding


def _binary_pooling(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    options = custom_options(operator)
    window, strides = _sizes(options, _CUSTOM_SIZES[4:]), _sizes(options, _CUSTOM_SIZES[:2])
    same, valid = (_fits(inputs[0], outputs[0], window, strides, (1, 1), padding) for padding in (0, 1))
    _window_padding(options)
    return (same or valid) and shape(inputs[0])[-1] == shape(outputs[0])[-1]


def _binary_convolution(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    options, (filters, *window, _) = custom_options(operator), shape(inputs[1])
    strides, dilations = _sizes(options, _CUSTOM_SIZES[:2]), _sizes(options, _CUSTOM_SIZES[2:4])
    same, valid = (_fits(inputs[0], outputs[0], window, strides, dilations, padding) for padding in (0, 1))
    _window_padding(options)
    bits = type_name(outputs[0]) == "int32"
    if shape(inputs[0])[-1] % shape(inputs[1])[-1]:
        return False
    vectors = [tensor for tensor in inputs[2:] if tensor is not None]
    return (
        (same or valid)
        and (_packed(outputs[0], filters) if bits else shape(outputs[0])[-1] == filters)
        and all(_size(tensor) == filters for tensor in vectors)
    )


def _thermometer(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    (bits,), channels = shape(inputs[1]), shape(inputs[0])[-1]
    return shape(inputs[0])[:-1] == shape(outputs[0])[:-1] and bits % channels == 0 and _packed(outputs[0], bits)


def _stem(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    options, (filters, *window, depth), (bits,) = custom_options(operator), shape(inputs[1]), shape(inputs[2])
    return (
        options["padding"] in (0, 1)
        and _fits(inputs[0], outputs[0], window, _sizes(options, _CUSTOM_SIZES[:2]), (1, 1), options["padding"])
        and shape(inputs[0])[-1] == depth
        and bits > 0
        and bits % filters == 0
        and _packed(outputs[0], bits)
    )


def _gate(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> bool:
    options = custom_options(operator)
    return len(options["threshold"]) in (1, shape(inputs[0])[-1]) and _size(outputs[0]) == 1


def _forms(tensors: Iterable[schema.TensorT]) -> list[tuple[tuple[int, ...], str]]:
    """Shape and type of each."""
    return [(shape(tensor), type_name(tensor)) for tensor in tensors]


def _interface(graph: schema.SubGraphT) -> tuple[Any, Any]:
    """Shapes and types of a subgraph's inputs, and of its outputs."""
    inputs, outputs = (_forms(graph.tensors[index] for index in side) for side in (graph.inputs, graph.outputs))
    return inputs, outputs


def _branches(model: schema.ModelT, operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> str | None:
    if _size(inputs[0]) != 1:
        return f"a condition of {_size(inputs[0])} elements"
    for number in flatbuffer.called_subgraphs(operator):
        if _interface(model.subgraphs[number]) != (_forms(inputs[1:]), _forms(outputs)):
            return f"other inputs or outputs than subgraph {number}, which it runs"
    return None


def _loop(model: schema.ModelT, operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> str | None:
    forms = _forms(inputs)
    condition, body = (_interface(model.subgraphs[number]) for number in flatbuffer.called_subgraphs(operator))
    if _forms(outputs) != forms or condition[0] != forms or body != (forms, forms):
        return "other inputs or outputs than the subgraphs that it runs"
    return None


_RULES = {
    "variable": _variable,
    "all of it": _all_of_it,
    "binary convolution": _binary_convolution,
    "binary pooling": _binary_pooling,
    "broadcast": _broadcast,
    "convolution": _convolution,
    "depthwise convolution": _depthwise_convolution,
    "fully connected": _fully_connected,
    "gate": _gate,
    "matrices": _matrices,
    "packing": _packing,
    "padding": _padding,
    "part": _part,
    "permutation": _permutation,
    "pooling": _pooling,
    "reduction": _reduction,
    "same": _same,
    "same size": _same_size,
    "split": _split,
    "stem": _stem,
    "thermometer": _thermometer,
    "transposed convolution": _transposed_convolution,
    "unpacking": _unpacking,
}
_ON_MODEL = {"branches": _branches, "loop": _loop}
RULES = {*_RULES, *_ON_MODEL}
