"""The tensor arena that a flatbuffer takes in TensorFlow Lite Micro on a microcontroller.

    arena(data, "cortex-m4").bytes

The arena holds, from one end, activations and scratch memory, which overlap where they are not needed at the same time,
and from the other end records that stay: of tensors, operators, and what operators prepare. This module follows
TensorFlow Lite Micro's own rules for both (memory_planner/greedy_memory_planner.cc, micro_allocation_info.cc and
micro_allocator.cc): lifetimes, those in subgraphs that IF, WHILE and CALL_ONCE run included; the greedy planner,
largest buffer first, into the first gap; sizes of its records with pointers of 32 bits; the scratch memory of
CMSIS-NN's kernels for the core. Sizes are those of its revision 90b983c. Operators whose record is not known
count with an allowance; those whose memory is not known make the arena a lower bound (`Arena.incomplete`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bcnet_keras.device import cost_bconv2d, stem
from bcnet_keras.device.cost import DEFAULT_CORE
from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer, operators
from bcnet_keras.tflite.flatbuffer import ONLINE, Tensors, custom_options, op_name, schema, shape, type_name
from bcnet_keras.tflite.verify import MOST_BYTES
from bcnet_keras.utils.types import StrPath

Spans = tuple[tuple[int, int], ...]
Needs = tuple[list[int], list[int]]  # bytes to keep, and bytes of scratch buffers

_ALIGNMENT = 16
_TYPE_BYTES = {"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "int64": 8, "resource": 4}
_TYPE_BYTES |= {"int32": 4, "uint32": 4, "float32": 4, "uint64": 8, "float64": 8}
_DSP = {"cortex-m4", "cortex-m7", "cortex-m33"}
_HELIUM = {"cortex-m55"}
REFERENCE = "reference"  # stands for the reference kernels, on any core, in the place of CMSIS-NN's

# Bytes of structs of the interpreter: itself (allocators and planner); a subgraph; a tensor; an operator; an input or
# output of the model, its quantisation, and a number of it; a scratch buffer; and, while the arena is planned, a
# request for scratch memory, a tensor or scratch buffer, and one that is placed.
_ALLOCATORS, _SUBGRAPH, _TENSOR, _OPERATOR = (36, 44, 36, 8), 8, 12, 32
_MODEL_TENSOR, _QUANTIZATION, _NUMBER, _HANDLE = 32, 12, 4, 4
_REQUEST, _SPARE_REQUESTS, _PLANNED, _PLACED = 12, 12, 24, 40
_ALLOWANCE = (8, 4, 128)  # of an operator whose record is not known: options, their alignment, data
_VARIABLES, _VARIABLE = 12, 20  # all resource variables, and each
_SOFTMAX_TABLE = 1026  # of int16
_MATRICES = 28  # quantisation of a product of matrices
_GATE = 20
_NEVER = ((-1, -1),)
_MOST_STEPS = 100_000  # a sound net has a few hundred; nested branches multiply them


@dataclass(frozen=True)
class Buffer:
    """A tensor or scratch buffer: bytes, rounded up to 16; its place; the first and last step in which it is needed."""

    name: str
    bytes: int
    offset: int
    first: int
    last: int


@dataclass(frozen=True)
class Request:
    """A tensor or scratch buffer that needs memory.

    Attributes:
      name: of the tensor, or what it is scratch memory of.
      bytes: rounded up to 16.
      spans: (first step, last step) of each call of its subgraph; one that nothing uses has `_NEVER`.
      offset: in bytes, from a plan in the flatbuffer; `ONLINE` where the interpreter's planner decides.
      tensor: number among the tensors of all subgraphs; None for scratch memory.
    """

    name: str
    bytes: int
    spans: Spans
    offset: int = ONLINE
    tensor: int | None = None

    @property
    def first(self) -> int:
        """First step of all calls: the interpreter's planner does not tell them apart."""
        return self.spans[0][0]

    @property
    def last(self) -> int:
        """Last step of all calls."""
        return self.spans[-1][1]


@dataclass(frozen=True)
class Arena:
    """What an arena holds, in bytes.

    Attributes:
      activation_bytes: activations and scratch memory, planned so that they overlap.
      record_bytes: what stays for as long as the model.
      setup_bytes: what AllocateTensors needs for a while, records included; it may be more than running takes.
      buffers: tuple of `Buffer`, all activations and scratch buffers.
      steps: name of the operator of each step, None where a subgraph begins.
      incomplete: operators whose memory is not known, such as "SVDF on int16", a tuple; the sizes are then too small.
    """

    activation_bytes: int
    record_bytes: int
    setup_bytes: int
    buffers: tuple[Buffer, ...]
    steps: tuple[str | None, ...]
    incomplete: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Size of the smallest arena, aligned to 16 bytes, that serves the model."""
        return max(self.activation_bytes + self.record_bytes, self.setup_bytes)

    @property
    def used_bytes(self) -> int:
        """What the interpreter's `arena_used_bytes()` tells."""
        return self.activation_bytes + self.record_bytes


def arena(
    source: StrPath | bytes | schema.ModelT, core: str = DEFAULT_CORE, scratch_budget: int = cost_bconv2d.SCRATCH_BUDGET
) -> Arena:
    """The `Arena` of a flatbuffer, given as bytes, as a path or parsed, on a core.

    Arguments:
      core: one of `bcnet_keras.device.cost.CORES` with CMSIS-NN's kernels, or `REFERENCE`.
      scratch_budget: bytes of scratch memory that a binary convolution may use, as the application sets it.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: no flatbuffer, or one with a tensor of a type that TensorFlow Lite Micro does not plan.
    """
    model = source if isinstance(source, schema.ModelT) else flatbuffer.read(flatbuffer.load(source))
    lifetimes = _lifetimes(model, core, scratch_budget)
    nodes, requests = lifetimes.nodes, lifetimes.requests()
    buffers = tuple(
        Buffer(each.name, each.bytes, offset, each.first, each.last)
        for each, offset in zip(requests, place(requests), strict=True)
    )
    records, setup = _records(model, nodes, len(buffers), len(set(lifetimes.handles.values())))
    activations = max((buffer.offset + buffer.bytes for buffer in buffers), default=0)
    if activations > MOST_BYTES:
        raise FlatbufferError(
            f"activations of {activations / 2**30:.1f} GiB are more than any memory of a microcontroller; write the "
            "flatbuffer again"
        )
    if activations > sum(buffer.bytes for buffer in buffers):  # the interpreter's own planner leaves no such gaps
        raise FlatbufferError(
            f"the flatbuffer's memory plan takes {activations:,} bytes, more than all of its tensors together; run the "
            "tool that wrote the plan again"
        )
    unknown = dict.fromkeys(node.unknown for group in nodes for node in group if node.unknown is not None)
    return Arena(activations, records, setup, buffers, tuple(lifetimes.steps), tuple(unknown))


def requests_of(model: schema.ModelT, core: str, scratch_budget: int = cost_bconv2d.SCRATCH_BUDGET) -> list[Request]:
    """The `Request`s of a parsed flatbuffer, in the order in which the interpreter's planner gets them."""
    return _lifetimes(model, core, scratch_budget).requests()


def _lifetimes(model: schema.ModelT, core: str, scratch_budget: int) -> _Lifetimes:
    nodes = [[_node(model, graph, o, core, scratch_budget) for o in graph.operators] for graph in model.subgraphs]
    variables = flatbuffer.resource_variables(model)
    _keep_variables(model, nodes, variables)
    return _Lifetimes(model, nodes, variables)


def tensor_bytes(tensor: schema.TensorT) -> int:
    """Bytes of a tensor's elements."""
    name = type_name(tensor)
    if name == "int4":
        return (math.prod(shape(tensor)) + 1) // 2
    if name not in _TYPE_BYTES:
        raise FlatbufferError(
            f"tensor {flatbuffer.text(tensor.name)!r} has the type {name}, expected a type of numbers"
        )
    return math.prod(shape(tensor)) * _TYPE_BYTES[name]


def _keep_variables(model: schema.ModelT, nodes: list[list[_Node]], variables: dict[tuple[int, int], Any]) -> None:
    """The first operator that assigns to a variable keeps its memory."""
    assigned = set()
    for number, group in enumerate(nodes):
        for node in group:
            # A handle that comes from another subgraph is not known yet when the operator is prepared.
            handle = variables.get((number, int(node.operator.inputs[0]))) if node.name == "ASSIGN_VARIABLE" else None
            if handle is not None and handle not in assigned:
                assigned.add(handle)
                node.kept = [tensor_bytes(model.subgraphs[number].tensors[node.operator.inputs[1]])]


def _node(
    model: schema.ModelT, graph: schema.SubGraphT, operator: schema.OperatorT, core: str, scratch_budget: int
) -> _Node:
    try:
        return _Node(model, graph, operator, core, scratch_budget)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        name = op_name(model, operator)
        raise FlatbufferError(
            f"the operator {name} lacks inputs, dimensions or options; convert the model again"
        ) from None


class _Node:
    """An operator: sizes of its records, of what it prepares to keep, and of its scratch buffers."""

    def __init__(
        self, model: schema.ModelT, graph: schema.SubGraphT, operator: schema.OperatorT, core: str, scratch_budget: int
    ) -> None:
        self.operator = operator
        self.name = op_name(model, operator)
        record = operators.operator(self.name)
        options, alignment, self.data = record.record or _ALLOWANCE
        self.options = options, alignment
        inputs, outputs = flatbuffer.operands(graph, operator)
        self.tensors = [tensor for tensor in (*inputs, *outputs) if tensor is not None]
        type = type_name(inputs[0]) if inputs and inputs[0] is not None else "no input"
        self.unknown = f"{self.name} on {type}" if record.memory == "unknown" else None
        need = None if record.memory is None else _NEEDS.get(record.memory)
        self.kept, self.scratch = need(operator, inputs, outputs, core, scratch_budget) if need else ([], [])


def _convolution(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    """(bytes to keep, bytes of scratch memory) of CONV_2D and DEPTHWISE_CONV_2D, as lists."""
    type, weights = type_name(inputs[0]), type_name(inputs[1])
    if type == "float32":
        return [], []
    options, output = operator.builtinOptions, shape(outputs[0])
    size, filters = shape(inputs[0]), shape(inputs[1])
    kernel = filters[1:3]
    strides = options.strideH, options.strideW
    dilations = options.dilationHFactor, options.dilationWFactor
    padding = [
        max(0, (out - 1) * stride + (taps - 1) * dilation + 1 - length) // 2
        for length, out, taps, stride, dilation in zip(size[1:3], output[1:3], kernel, strides, dilations, strict=True)
    ]
    taps = math.prod(kernel)
    kept = [4 * output[-1]] * 2  # multiplier and shift of each output channel
    plain = dilations == (1, 1)
    depthwise = hasattr(options, "depthMultiplier")
    if core == REFERENCE:
        scratch = _unpacked(inputs[1])
    elif type == "int16":
        scratch = 0 if depthwise else _im2col_int16(taps * size[-1], core)
    elif depthwise:
        scratch = 0
        if core in _HELIUM and size[-1] == 1 and output[-1] > 1 and weights == "int8":  # as an ordinary convolution
            scratch = _im2col(taps, core) + output[-1] * taps
        elif size[-1] == output[-1] and size[0] == 1 and plain:
            if core in _HELIUM:
                scratch = 4 * 124 * taps
            elif core in _DSP and not (kernel == (3, 3) and max(padding) <= 1 and weights == "int8"):
                scratch = 2 * size[-1] * taps
    elif taps == 1 and not any(padding) and plain and size[-1] == filters[-1]:
        scratch = 0
    else:
        scratch = _im2col(taps * size[-1], core)
        row = size[1] == kernel[0] == dilations[1] == 1 and size[-1] == filters[-1]
        if core in _HELIUM and row and strides[1] * size[-1] % 4 == 0:
            scratch = _row_convolution(size, kernel[1], output[2], strides[1], padding[1]) or scratch
    return kept, [scratch] if scratch else []


def _unpacked(weights: schema.TensorT) -> int:
    """Bytes of int4 weights as int8 ones, which reference kernels make of them; 0 for others."""
    return math.prod(shape(weights)) if type_name(weights) == "int4" else 0


def _im2col_int16(elements: int, core: str) -> int:
    return 8 * _round_up(elements, 8) if core in _HELIUM else 4 * elements


def _im2col(elements: int, core: str) -> int:
    """Bytes of the inputs of some outputs side by side: four of int8 with Helium, else two of int16."""
    return 4 * _round_up(elements, 16) if core in _HELIUM else 4 * _round_up(elements, 4)


def _row_convolution(size: tuple[int, ...], taps: int, output: int, stride: int, padding: int) -> int:
    """Bytes that CMSIS-NN takes for a row with Helium; 0 where it computes it as any other convolution."""
    channels, odd = size[-1], ((output - 1) * stride + taps - size[2]) % 2
    right = max(1, (padding + odd + stride - 1) // stride) if padding + odd else 0
    left = max(1, (padding + stride - 1) // stride) if padding else 0
    if right + left > output:
        return 0
    past = right * channels if odd else padding * channels
    return max((taps + padding) * channels, (taps - 1) * channels + past)


def _fully_connected(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    units, size = shape(outputs[0])[-1], shape(inputs[1])[-1]
    quantization = inputs[1].quantization
    channels = 0 if quantization is None or quantization.scale is None else len(quantization.scale)
    int8 = type_name(inputs[0]) == type_name(inputs[1]) == "int8"
    kept = [4 * units] * 2 if channels > 1 and type_name(inputs[0]) != "float32" else []
    if core == REFERENCE:
        scratch = _unpacked(inputs[1])
        return kept, [scratch] if scratch else []
    if int8 and len(shape(outputs[0])) > 2 and size % 4 == 0:  # computed as a convolution
        return kept, [] if channels > 1 else [8 * units]
    return (kept + [4 * units] if int8 and core in _HELIUM else kept), []  # sums of the weights


def _average_pool(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    return [], [4 * shape(outputs[0])[-1]] if core in _DSP and type_name(inputs[0]) != "float32" else []


def _softmax(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    return [_SOFTMAX_TABLE] * 2 if type_name(inputs[0]) == "int16" else [], []


def _own_shape(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    """The shape of the output is copied out of the flatbuffer."""
    return [_shape_bytes(outputs[0])], []


def _shape_bytes(tensor: schema.TensorT) -> int:
    return 4 + 4 * len(shape(tensor))


def _reduction(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    return [], [4 * len(shape(inputs[0])), 4 * math.prod(shape(inputs[1]))]


def _mean(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, budget: int) -> Needs:
    sums = [4 * math.prod(shape(outputs[0]))] if type_name(inputs[0]) != "float32" else []
    return [], sums + _reduction(operator, inputs, outputs, core, budget)[1]


def _binary_convolution(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, budget: int) -> Needs:
    layer, output = cost_bconv2d.layer_of(operator, inputs, outputs)
    scratch = cost_bconv2d.scratch_bytes(layer, output, "cortex-m4" if core == REFERENCE else core, budget)
    return [] if output == "bitpacked" else [8 * layer.filters], [scratch] if scratch else []


def _stem(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    filters, width = shape(inputs[1]), shape(outputs[0])[2]
    form = "helium" if core in _HELIUM else "dsp" if core in _DSP else "portable" if core == REFERENCE else "thumb"
    planes = math.prod(shape(inputs[2])) // filters[0]
    return [], [stem.layout(form, filters, planes, custom_options(operator)["stride_width"], width).scratch_bytes]


def _gate(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    options = custom_options(operator)
    weights = options.get("weights")
    numbers = len(options["threshold"]) + (0 if weights is None else len(weights) + 1)
    return [_GATE + 4 * numbers], []


def _add_n(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    kept = [40] if type_name(outputs[0]) == "int8" else []
    return kept, [4 * len(inputs)]  # a pointer to each input


def _mirror_pad(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    return [], [4 * len(shape(inputs[0]))] * 2


def _transposed_convolution(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    """As arm_transpose_conv_get_buffer_sizes_s8.c of CMSIS-NN has it."""
    (filters, height, width, depth), output = shape(inputs[1]), shape(outputs[0])
    type, kept = type_name(inputs[2]), [4 * filters] * 2
    options = operator.builtinOptions
    if type == "float32":
        return kept, []
    if type == "int16":
        bias = inputs[3] if len(inputs) > 3 else None
        converted = [8 * filters] if bias is not None and type_name(bias) == "int16" else []
        return kept, [8 * math.prod(output), *converted]
    if core == REFERENCE:
        return kept, [4 * math.prod(output)]
    if options.strideH <= 2 and options.strideW <= 2 and depth > 16:  # as an ordinary convolution with turned filters
        return kept, [_im2col(height * width * depth, core), depth * width * height * filters]
    columns = (shape(inputs[2])[2] - 1) * options.strideW + max(width, options.strideH)
    return kept, [4 * columns * output[-1] * max(height, options.strideH), 0]


def _svdf(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    filters, batch = shape(inputs[1])[0], shape(inputs[0])[0]
    if type_name(inputs[0]) == "float32":
        return [], [4 * batch * filters]
    kept = [4 * filters] if core in _HELIUM else []
    return kept, [4 * batch * filters, 4 * batch * shape(outputs[0])[-1]]


def _matrices(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    """A copy for each matrix that is turned, with a tensor and a shape that describe it."""
    options, type = operator.builtinOptions, type_name(inputs[0])
    kept = []
    for tensor, turned in ((inputs[0], options.adjX), (inputs[1], not options.adjY)):
        if turned:
            kept += [_TENSOR, _shape_bytes(tensor), tensor_bytes(tensor)]
    kept.append(_shape_bytes(outputs[0]))
    if type == "float32":
        return kept, []
    # The rank of the smaller output is filled up in front, so that its width is the fourth dimension.
    return [*kept, _MATRICES], [4 * shape(outputs[0])[-1]] if core in _HELIUM and type == "int8" else []


def _recurrent(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    """Sums of the weights of four gates, for inputs and for states, and buffers of the size of a state."""
    type, state = type_name(inputs[0]), shape(inputs[18])
    buffers = [math.prod(state) * _TYPE_BYTES[type_name(inputs[19])]]
    if type == "float32" or core == REFERENCE:
        return [], 4 * buffers
    return [(4 if type == "int8" else 8) * state[-1]] * 8, 3 * buffers


def _detections(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors, core: str, _: int) -> Needs:
    """As detection_postprocess.cc of TensorFlow Lite Micro requests them."""
    options = custom_options(operator)
    boxes, (_, rows, columns) = shape(inputs[0])[1], shape(inputs[1])
    most = options["max_detections"]
    tables = [boxes * 4] * 2 + [most * boxes * 4] * 2
    chosen = [boxes * 4, most * boxes * 4, max(options["num_classes"], most) * boxes * 4, min(boxes, most) * boxes * 4]
    return [], [boxes, boxes * 16, rows * columns * 4, *tables, *chosen]


# Rule -> function, which gives lists of bytes to keep and of bytes of scratch memory.
_NEEDS = {
    "detections": _detections,
    "matrices": _matrices,
    "own shape": _own_shape,
    "recurrent": _recurrent,
    "softmax": _softmax,
    "average pooling": _average_pool,
    "binary convolution": _binary_convolution,
    "convolution": _convolution,
    "fully connected": _fully_connected,
    "gate": _gate,
    "mean": _mean,
    "mirrored padding": _mirror_pad,
    "rank decomposition": _svdf,
    "reduction": _reduction,
    "stem": _stem,
    "sum of several": _add_n,
    "transposed convolution": _transposed_convolution,
}


class _Lifetimes:
    """First and last step of every tensor and scratch buffer, as the interpreter counts them.

    A step is an operator or the beginning of a subgraph that it runs; the branches of an IF, the condition and the body
    of a WHILE, and what CALL_ONCE runs come between it and the operator behind it.
    """

    def __init__(self, model: schema.ModelT, nodes: list[list[_Node]], handles: dict[tuple[int, int], Any]) -> None:
        self.model, self.nodes, self.handles = model, nodes, handles
        self.steps: list[str | None] = [None]
        self.tensors: list[list[Spans]] = [[()] * len(graph.tensors) for graph in model.subgraphs]
        self.scratch: dict[tuple[int, int], Spans] = {}
        self._walk(0)

    def requests(self) -> list[Request]:
        """The `Request`s, in the order in which the planner gets them."""
        result, count, offsets = [], 0, flatbuffer.planned_offsets(self.model)
        for number, (graph, tensors) in enumerate(zip(self.model.subgraphs, self.tensors, strict=True)):
            for index, (tensor, spans) in enumerate(zip(graph.tensors, tensors, strict=True)):
                # The number of a resource variable lies among the data of its VAR_HANDLE.
                elsewhere = flatbuffer.is_constant(self.model, tensor) or (number, index) in self.handles
                size = 0 if elsewhere or tensor.isVariable else tensor_bytes(tensor)
                if size:  # what nothing uses gets memory too
                    offset = ONLINE if offsets is None else int(offsets[count])
                    name = flatbuffer.text(tensor.name)
                    result.append(Request(name, _round_up(size), spans or _NEVER, offset, count))
                count += 1
        for number, nodes in enumerate(self.nodes):
            for index, node in enumerate(nodes):
                spans = self.scratch.get((number, index), _NEVER)
                result += [Request(f"scratch memory of {node.name}", _round_up(size), spans) for size in node.scratch]
        return result

    def _walk(self, number: int) -> None:
        graph = self.model.subgraphs[number]
        call = len(self.steps) - 1
        self._use(number, graph.inputs, call)
        for index, node in enumerate(self.nodes[number]):
            self.steps.append(node.name)
            if len(self.steps) > _MOST_STEPS:
                raise FlatbufferError(
                    f"the flatbuffer's subgraphs run more than {_MOST_STEPS:,} operators; write it again"
                )
            begun = len(self.steps) - 1
            self._use(number, node.operator.outputs, call)
            for called in flatbuffer.called_subgraphs(node.operator):
                self.steps.append(None)
                self._walk(called)
            self._use(number, [i for i in node.operator.inputs if i >= 0], call)
            self._use(number, node.operator.outputs, call)
            self.scratch[number, index] = (*self.scratch.get((number, index), ()), (begun, len(self.steps) - 1))
        self._use(number, graph.outputs, call)

    def _use(self, number: int, indices: Iterable[int], call: int) -> None:
        """Notes that tensors are in use now, in the call of their subgraph that began with the step `call`."""
        now = len(self.steps) - 1
        for index in indices:
            spans = self.tensors[number][index]
            if spans and spans[-1][0] >= call:
                self.tensors[number][index] = (*spans[:-1], (spans[-1][0], now))
            else:
                self.tensors[number][index] = (*spans, (now, now))


def place(requests: Sequence[Request]) -> list[int]:
    """The offset of each `Request` as the interpreter's planner gives it.

    Those that have an offset keep it. The others follow, the largest first, each into the first gap between those that
    are in use with it.
    """
    offsets = [each.offset for each in requests]
    fixed = [index for index, offset in enumerate(offsets) if offset != ONLINE]
    online = [index for index, offset in enumerate(offsets) if offset == ONLINE]
    placed = [(offsets[index], number, index) for number, index in enumerate(fixed)]
    order = sorted(reversed(online), key=lambda index: -requests[index].bytes)
    for number, index in enumerate(order, len(fixed)):
        request, candidate = requests[index], 0
        for offset, _, other in sorted(placed):
            if requests[other].first > request.last or request.first > requests[other].last:
                continue
            if offset - candidate >= request.bytes:
                break
            candidate = max(candidate, offset + requests[other].bytes)
        offsets[index] = candidate
        placed.append((candidate, number, index))
    return offsets


def _records(model: schema.ModelT, nodes: list[list[_Node]], buffers: int, variables: int) -> tuple[int, int]:
    """(bytes of the records, bytes of the arena while tensors are allocated)."""
    graphs = model.subgraphs
    every = [node for group in nodes for node in group]
    used = 0

    def take(size: int, alignment: int = 4) -> None:
        nonlocal used
        used = _round_up(used + size, alignment)

    for size in _ALLOCATORS:
        take(size)
    if variables:
        take(_VARIABLES, _ALIGNMENT)
        take(_VARIABLE * variables, _ALIGNMENT)
    take(_SUBGRAPH * len(graphs))
    for graph in graphs:
        take(_TENSOR * len(graph.tensors))
    for graph in graphs:
        take(_OPERATOR * len(graph.operators))
    for node in every:
        if node.options[0]:
            take(*node.options)
    for node in every:
        if node.data:
            take(node.data, _ALIGNMENT)
    setup = requests = 0
    for node in every:
        for size in node.kept:
            take(size, _ALIGNMENT)
        # Preparing reads each tensor's description up to twice.
        temporary = 2 * sum(_model_tensor(tensor) for tensor in node.tensors)
        requests += len(node.scratch)
        setup = max(setup, used + _REQUEST * (requests + _SPARE_REQUESTS) + temporary)
    if requests:
        take(_HANDLE * requests)
    tensors = [tensor for graph in graphs for tensor in graph.tensors]
    for tensor in tensors:
        if tensor.isVariable:
            take(tensor_bytes(tensor), _ALIGNMENT)
    described = _REQUEST * (requests + _SPARE_REQUESTS) + 4 * len(graphs) + _PLANNED * (len(tensors) + requests)
    setup = max(setup, _round_up(used) + _round_up(described) + _PLACED * buffers)
    for indices in (graphs[0].inputs, graphs[0].outputs):
        take(_HANDLE * len(indices), _ALIGNMENT)
        for index in indices:
            take(_model_tensor(graphs[0].tensors[index]))
    return used, setup


def _model_tensor(tensor: schema.TensorT) -> int:
    """Bytes of a description of a tensor, with its quantisation."""
    quantization = tensor.quantization
    scales = 0 if quantization is None or quantization.scale is None else len(quantization.scale)
    if quantization is None or not scales or quantization.zeroPoint is None or not len(quantization.zeroPoint):
        return _MODEL_TENSOR
    return _MODEL_TENSOR + _QUANTIZATION + _NUMBER * (1 + scales)


def _round_up(size: int, multiple: int = _ALIGNMENT) -> int:
    return -(-size // multiple) * multiple
