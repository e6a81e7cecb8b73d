"""Instructions that a flatbuffer costs on a Cortex-M core, from a table of figures for each kind of operator.

    cost(data).instructions["cortex-m4"]
    cost(pair_data).expected(escalation_rate=0.3)["cortex-m4"]

All figures are estimates of *instructions executed*, from counts under QEMU with a plugin that counts exactly; they are
not cycles: wait states, flash caches, dual issue and load latencies are not in them. Code was built by
arm-none-eabi-gcc 12.2 with -Ofast (CMSIS-NN) and -O3 (binary convolution).

An operator's instructions are a sum of counts (multiply-accumulates, outputs, ...) times the table's figures, which
were fitted by non-negative least squares on relative errors. Where they come from:

* int8 CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, ADD, MUL, pooling and int8 SOFTMAX: CMSIS-NN's functions, measured
  on five cores on 54 shapes. Convolutions of stride 1 are within 2 %, strided 1x1 and fully connected ones within
  15 %.
* LceBconv2d: this project's kernels, measured by `tflm_ops/bench` on all cores; see `bcnet_keras.cost_bconv2d`.
* BcnetThermometer: `tflm_ops/kernels/thermometer.cc`, measured on these five cores on ten encodings of 1 to 96 bits and
  64 to 1,024 pixels, within 5 %: 2.5 to 3.2 instructions a bit from 8 planes a channel on (4.0 to 5.1 on Cortex-M0+).
* everything else, marked "estimate" in the table: read off the loops of TensorFlow Lite Micro's reference kernels and
  scaled to the other cores by the ratio of the nearest measured kind. They are a small part of any net here.

Whole nets measured in TensorFlow Lite Micro are 29.87 / 29.94 / 4.81 million instructions for MLPerf Tiny's ResNet-8
and 7.85 / 7.76 / 1.79 million for its DS-CNN on Cortex-M4, M7 and M55; the sums of this table lie within 1.5 % of them.
"""

import math
from dataclasses import dataclass

import numpy as np

from bcnet_keras import cost_bconv2d
from bcnet_keras.convert import flatbuffer
from bcnet_keras.convert.flatbuffer import custom_options, op_name, shape, type_name

# Core -> column of the table. Cortex-M33 takes Cortex-M4's: its counts of CMSIS-NN's functions lie within 3 % of them.
_COLUMNS = {
    "cortex-m0plus": 0,
    "cortex-m3": 1,
    "cortex-m4": 2,
    "cortex-m7": 3,
    "cortex-m33": 2,
    "cortex-m55": 4,
}
CORES = tuple(_COLUMNS)

# Kind of operator -> {what is counted: instructions for each, by column}.
_TABLE = {
    # Counts: mac = multiply-accumulates; rest = inputs of a filter modulo 4, an output; vector = 16 inputs begun, an
    # output; output = output elements (requantisation); position = filter positions gathered, an output pixel;
    # element = elements gathered; pixel = output pixels.
    "CONV_2D": {
        "mac": (3.462, 2.206, 1.216, 1.205, 0.0),
        "rest": (2.663, 0.370, 1.814, 1.802, 0.0),
        "vector": (40.02, 4.634, 6.509, 6.679, 2.773),
        "output": (81.89, 39.04, 43.77, 43.64, 13.91),
        "position": (41.79, 37.85, 36.12, 37.98, 19.79),
        "element": (13.38, 6.092, 3.163, 3.170, 0.050),
        "pixel": (103.6, 106.1, 154.6, 157.2, 96.23),
    },
    "CONV_2D 1x1": {  # stride 1: nothing is gathered
        "mac": (6.010, 2.504, 1.482, 1.447, 0.005),
        "rest": (0.0, 0.0, 1.351, 1.411, 0.0),
        "vector": (0.818, 0.797, 0.0, 0.0, 2.602),
        "output": (98.19, 36.36, 39.97, 39.91, 14.68),
    },
    "DEPTHWISE_CONV_2D 3x3": {
        "mac": (35.72, 9.267, 8.205, 8.102, 2.007),
        "position": (35.85, 12.90, 14.39, 14.25, 24.44),
    },
    "DEPTHWISE_CONV_2D": {"mac": (39.01, 17.83, 10.40, 10.12, 2.224)},  # one shape: 16x16x24, kernel 5x5
    "FULLY_CONNECTED": {
        "mac": (5.372, 2.583, 1.792, 1.792, 0.0),
        "vector": (12.90, 15.89, 1.325, 1.333, 8.5),
        "output": (85.58, 11.61, 49.36, 49.50, 12.57),
        "call": (350, 327, 136, 137, 161),
    },
    "ADD": {"output": (239.0, 84.0, 81.6, 81.9, 13.75), "call": (119, 88, 127, 124, 120)},
    "MUL": {"output": (91.4, 30.0, 36.1, 36.1, 6.76)},
    # Counts: window = elements of all windows; output and position as above.
    "AVERAGE_POOL_2D": {
        "window": (19.19, 11.59, 5.963, 5.962, 1.033),
        "output": (147.9, 62.25, 14.16, 14.15, 12.21),
        "position": (0.0, 0.0, 19.40, 19.34, 0.732),
    },
    "MAX_POOL_2D": {
        "window": (38.97, 7.239, 7.251, 7.256, 0.906),
        "output": (0.0, 4.888, 5.082, 5.063, 0.892),
        "position": (44.99, 36.79, 36.98, 35.48, 25.67),
    },
    "SOFTMAX": {"output": (1913, 506, 510, 519, 539), "call": (660, 240, 242, 260, 338)},
    # Counts: pass = pixels of all passes over the image, of which each makes up to 16 bits; pair = of these, pairs of
    # bits; threshold = thresholds, which are packed before.
    "BcnetThermometer": {
        "pair": (5.24, 3.44, 3.45, 3.38, 3.43),
        "pass": (19.32, 11.62, 11.54, 11.67, 10.58),
        "threshold": (41.1, 15.2, 20.5, 17.2, 21.4),
    },
    # Estimates from here on. Counts: input and output = elements read and written, byte = bytes copied.
    "LceQuantize": {"input": (5, 3, 3, 3, 0.6)},
    "LceDequantize": {"output": (6, 4, 4, 4, 1)},
    "LceBMaxPool2d": {"window word": (6, 4, 4, 4, 1.5), "output word": (30, 20, 20, 20, 10)},
    "MEAN": {"input": (20, 15, 15, 15, 15), "output": (200, 60, 60, 60, 60)},
    "QUANTIZE": {"output": (91.4, 30.0, 36.1, 36.1, 36.1)},  # one requantisation, as MUL, without vectors
    "element-wise int8": {"output": (91.4, 30.0, 36.1, 36.1, 36.1)},
    "copy": {"byte": (1, 0.5, 0.5, 0.5, 0.25)},
    "PAD": {"byte": (6, 4, 4, 4, 4)},
    "DEQUANTIZE": {"output": (150, 100, 8, 8, 8)},  # without a floating-point unit on the first two
    "element-wise float": {"output": (200, 120, 25, 25, 25)},
    "reduction": {"input": (150, 80, 20, 20, 20), "output": (60, 40, 40, 40, 40)},
    "exponential": {"output": (3500, 1800, 200, 200, 200)},
    "FULLY_CONNECTED float": {"mac": (250, 140, 8, 8, 8)},
    "ARG_MAX": {"input": (10, 8, 8, 8, 8)},
    "GATHER": {"output": (60, 40, 40, 40, 40)},
    "BcnetGate": {"input": (4000, 2100, 250, 250, 250)},  # softmax of the logits, its two largest values
    "call": {"call": (400, 250, 250, 250, 250)},  # the interpreter's way from one operator to the next
}

_COPIES = {"RESHAPE", "CONCATENATION", "SQUEEZE", "EXPAND_DIMS", "STRIDED_SLICE", "SLICE", "SPLIT", "PACK", "UNPACK"}
_ELEMENTWISE = {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "LESS", "EQUAL", "SELECT_V2", "RELU", "RELU6", "ABS"}
_EXPONENTIAL = {"SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "EXP", "LOG", "TANH"}
_ANY_TYPE = {"DEQUANTIZE", "QUANTIZE", "GATHER", "LceQuantize", "LceDequantize", "BcnetGate"}
_REDUCTIONS = {"REDUCE_MAX", "REDUCE_MIN", "SUM", "MEAN"}


@dataclass(frozen=True)
class OpCost:
    """One operator: its subgraph, when it runs ("always", "accepted", "escalated" or "never"), its name, the row of the
    table, multiply-accumulates, instructions by core; bytes of its constants and of its other inputs and outputs."""

    subgraph: str
    path: str
    name: str
    kind: str
    macs: int
    instructions: dict
    weights_bytes: int
    activation_bytes: int


@dataclass(frozen=True)
class Cost:
    """What a flatbuffer costs.

    Attributes:
      instructions: dict of core to instructions of one inference; of an escalated one when it is a pair.
      flash_bytes: size of the flatbuffer.
      ops: tuple of `OpCost`, in the order of execution.
      accepted, escalated: for a pair, dicts of core to instructions of an inference that the gate accepts or escalates;
        None for a net alone.
    """

    instructions: dict
    flash_bytes: int
    ops: tuple
    accepted: dict | None
    escalated: dict | None

    def expected(self, escalation_rate):
        """Dict of core to the mean instructions of a pair that escalates `escalation_rate` (0 to 1) of its inputs."""
        if self.accepted is None:
            raise ValueError("this flatbuffer is a net alone and does not escalate; give the cost of a pair")
        if not 0 <= escalation_rate <= 1:
            raise ValueError(f"the escalation rate must lie between 0 and 1, got {escalation_rate}")
        return {
            core: (1 - escalation_rate) * self.accepted[core] + escalation_rate * self.escalated[core] for core in CORES
        }


def cost(source, scratch_budget=cost_bconv2d.SCRATCH_BUDGET):
    """The `Cost` of a flatbuffer, given as bytes or as a path.

    Arguments:
      scratch_budget: bytes of scratch memory that a binary convolution may use, as the application sets it.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: no flatbuffer, or one with an operator that the table does not have.
    """
    data = flatbuffer.load(source)
    model = flatbuffer.read(data)
    paths = {0: "always"}
    for operator in model.subgraphs[0].operators:
        if isinstance(operator.builtinOptions, flatbuffer.schema.IfOptionsT):
            paths[operator.builtinOptions.thenSubgraphIndex] = "escalated"
            paths[operator.builtinOptions.elseSubgraphIndex] = "accepted"
            break
    ops = tuple(
        _op_cost(model, number, paths.get(number, "never"), operator, scratch_budget)
        for number, graph in enumerate(model.subgraphs)
        for operator in graph.operators
    )
    escalated, accepted = (_sum(op for op in ops if op.path in ("always", path)) for path in ("escalated", "accepted"))
    if len(paths) == 1:
        return Cost(escalated, len(data), ops, None, None)
    return Cost(escalated, len(data), ops, accepted, escalated)


def pair_cost(pair, core="cortex-m4", parts=None):
    """(accepted, escalated): instructions of a pair's two paths over those of its int8 net alone, on `core`.

    The pair needs no threshold yet. `parts` is what `convert_parts(pair)` gave, when it is at hand.
    """
    from bcnet_keras.convert import convert, convert_parts

    if core not in CORES:
        raise ValueError(f"unknown core {core!r}: expected one of {', '.join(CORES)}")
    parts = convert_parts(pair) if parts is None else parts
    whole, int8 = cost(convert(pair, parts=parts, threshold=0.5)), cost(parts[1])
    return whole.accepted[core] / int8.instructions[core], whole.escalated[core] / int8.instructions[core]


def _sum(ops):
    ops = tuple(ops)
    return {core: sum(op.instructions[core] for op in ops) for core in CORES}


def _op_cost(model, number, path, operator, scratch_budget):
    graph, name = model.subgraphs[number], op_name(model, operator)
    inputs = [graph.tensors[index] for index in operator.inputs if index >= 0]
    outputs = [graph.tensors[index] for index in operator.outputs]
    subgraph = flatbuffer.text(graph.name) or str(number)
    try:
        kinds = _counts(name, operator, inputs, outputs)
        macs = _macs(name, inputs, outputs)
        layer = cost_bconv2d.layer_of(operator, inputs, outputs) if name == "LceBconv2d" else None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise ValueError(
            f"the operator {name} of subgraph {subgraph!r} lacks inputs, dimensions or options; convert the model again"
        ) from None
    if kinds is None:
        kind = " on float32" if "float32" in map(type_name, (inputs[0], outputs[0])) else ""
        raise ValueError(f"there are no figures for the operator {name}{kind} in bcnet_keras.cost; add them there")
    instructions = {
        core: sum(
            _TABLE[kind][what][column] * count for kind, counts in kinds.items() for what, count in counts.items()
        )
        for core, column in _COLUMNS.items()
    }
    if layer is not None:
        for core in CORES:
            instructions[core] += cost_bconv2d.instructions(*layer, core, scratch_budget)
    weights, activations = (
        sum(_bytes(tensor) for tensor in (*inputs, *outputs) if flatbuffer.is_constant(model, tensor) == constant)
        for constant in (True, False)
    )
    return OpCost(subgraph, path, name, next(iter(kinds)), macs, instructions, weights, activations)


def _counts(name, operator, inputs, outputs):
    """{row of the table: {what: how many}} of one operator, the table's row of its kind first; None without a row."""
    read, written = _size(inputs[0]), _size(outputs[0])
    is_float = type_name(inputs[0]) == "float32" or type_name(outputs[0]) == "float32"
    call = {"call": {"call": 1}}
    if name == "LceBconv2d":  # the rest is in cost_bconv2d
        return {name: {}} | call
    if name in ("CONV_2D", "DEPTHWISE_CONV_2D") and not is_float:
        return _convolution(name, operator, inputs, outputs) | call
    if name in ("MAX_POOL_2D", "AVERAGE_POOL_2D") and not is_float:
        options = operator.builtinOptions
        positions = options.filterHeight * options.filterWidth
        pixels = written // shape(outputs[0])[-1]
        counts = {"window": written * positions, "output": written, "position": pixels * positions}
        return {name: counts} | call
    if name == "FULLY_CONNECTED":
        units, size = shape(inputs[1])
        if is_float:
            return {"FULLY_CONNECTED float": {"mac": units * size}} | call
        rows = written // units
        counts = {"mac": units * size, "vector": units * math.ceil(size / 16), "output": units, "call": 1}
        return {name: {what: rows * count for what, count in counts.items()}} | call
    if name == "LceBMaxPool2d":
        options = custom_options(operator)
        window = options["filter_height"] * options["filter_width"]
        return {name: {"window word": written * window, "output word": written}} | call
    if name == "BcnetThermometer":
        return {name: _thermometer(inputs)} | call
    if name in _EXPONENTIAL and not (name == "SOFTMAX" and not is_float):
        return {"exponential": {"output": written}} | call
    if name in _REDUCTIONS and (is_float or name != "MEAN"):
        return {"reduction": {"input": read, "output": written}} | call
    if name == "ARG_MAX":
        return {name: {"input": read}} | call
    if name in _COPIES:
        return {"copy": {"byte": sum(_bytes(tensor) for tensor in outputs)}} | call
    if name == "IF":  # the condition stays; image, logits and the answer are copied
        return {"copy": {"byte": sum(_bytes(tensor) for tensor in [*inputs[1:], *outputs])}} | call
    if name in _ELEMENTWISE and (is_float or "bool" in (type_name(inputs[0]), type_name(outputs[0]))):
        return {"element-wise float": {"output": written}} | call
    if name in _ELEMENTWISE and name not in _TABLE:
        return {"element-wise int8": {"output": written}} | call
    if name in ("PAD", "PADV2"):
        return {"PAD": {"byte": _bytes(outputs[0])}} | call
    if name not in _TABLE or (is_float and name not in _ANY_TYPE):
        return None
    counts = {"input": read, "output": written, "call": 1}
    return {name: {what: counts[what] for what in _TABLE[name]}} | call


def _convolution(name, operator, inputs, outputs):
    channels, height, width, depth = shape(inputs[1])
    pixels = _size(outputs[0]) // shape(outputs[0])[-1]
    if name == "DEPTHWISE_CONV_2D":  # filters are [1, height, width, channels]
        kind = f"{name} 3x3" if (height, width) == (3, 3) else name
        counts = {"mac": pixels * depth * height * width, "position": pixels * height * width}
        return {kind: {what: counts[what] for what in _TABLE[kind]}}
    size, outputs_count = height * width * depth, pixels * channels
    counts = {
        "mac": outputs_count * size,
        "rest": outputs_count * (size % 4),
        "vector": outputs_count * math.ceil(size / 16),
        "output": outputs_count,
    }
    options = operator.builtinOptions
    if (height, width, options.strideH, options.strideW) == (1, 1, 1, 1):
        return {"CONV_2D 1x1": counts}
    return {name: counts | {"position": pixels * height * width, "element": pixels * size, "pixel": pixels}}


def _thermometer(inputs):
    # A pass ends with the channel, with the word, or after 16 bits.
    (*_, channels), (bits,) = shape(inputs[0]), shape(inputs[1])
    pixels, planes = _size(inputs[0]) // channels, bits // channels
    passes, bit = [], 0
    while bit < bits:
        passes.append(min(planes - bit % planes, 32 - bit % 32, 16))
        bit += passes[-1]
    pairs = sum(math.ceil(count / 2) for count in passes)
    return {"pair": pixels * pairs, "pass": pixels * len(passes), "threshold": bits}


def _macs(name, inputs, outputs):
    """Multiply-accumulates as the nets' papers count them: those of convolutions and fully connected layers."""
    pixels = _size(outputs[0]) // shape(outputs[0])[-1] if shape(outputs[0]) else 1
    if name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "LceBconv2d"):
        return 0
    return pixels * _size(inputs[1]) * (32 if name == "LceBconv2d" else 1)


def _size(tensor):
    return int(np.prod(shape(tensor)))


def _bytes(tensor):
    return _size(tensor) * {"float32": 4, "int32": 4, "int64": 8, "int16": 2}.get(type_name(tensor), 1)
