"""Instructions that a flatbuffer costs on a Cortex-M core, from a table of figures for each kind of operator.

    cost(data).instructions["cortex-m4"]
    cost(pair_data).expected(escalation_rate=0.3)["cortex-m4"]

All figures are estimates of *instructions executed*, from counts under QEMU with a plugin that counts exactly; they are
not cycles: wait states, flash caches, dual issue and load latencies are not in them. Code was built by
arm-none-eabi-gcc 12.2 with -Ofast or -O2 (CMSIS-NN) and -O3 (binary convolution).

An operator's instructions are a sum of counts (multiply-accumulates, outputs, ...) times the table's figures, which
were fitted by non-negative least squares on relative errors. Where they come from:

* int8 CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, ADD, MUL, pooling and int8 SOFTMAX: CMSIS-NN's functions, measured
  on five cores on 54 shapes. Convolutions of stride 1 are within 2 %, fully connected ones within 15 %.
* strided 1x1 convolutions, SUB, MEAN, QUANTIZE, LceQuantize, LceDequantize, LceBMaxPool2d and BcnetGate, and 3x3
  depthwise convolutions but on Cortex-M0+ and M3: single operators in TensorFlow Lite Micro's interpreter on Cortex-M4,
  M7 and M55, within 3 % (strided 1x1 on M55 20 %, depthwise on M55 7 %). On the other cores they are estimates.
* LceBconv2d: this project's kernels, measured by `tflm_ops/bench` on all cores; see `bcnet_keras.device.cost_bconv2d`.
* BcnetThermometer: `tflm_ops/kernels/thermometer.cc`, measured on these five cores on ten encodings of 1 to 96 bits and
  64 to 1,024 pixels, within 5 %: 2.5 to 3.2 instructions a bit from 8 planes a channel on (4.0 to 5.1 on Cortex-M0+).
* everything else, marked "estimate" in the table: read off the loops of TensorFlow Lite Micro's reference kernels and
  scaled to the other cores by the ratio of the nearest measured kind. They are a small part of any net here.

Whole models, counted in TensorFlow Lite Micro on Cortex-M4, M7 and M55, stand beside the sums of this table in
`tflm_ops/examples/results.md`.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from bcnet_keras.device import cost_bconv2d
from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import custom_options, op_name, shape, type_name

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
    # Counts: row output = output channels, a row of output; row weight = weights, a row of output; four vectors = 16
    # inputs begun for four pixels of a row begun, an output channel; row = rows of output.
    "CONV_2D 1x1 strided": {
        "mac": (6.01, 2.504, 1.461, 1.392, 0.0),
        "output": (98.19, 36.36, 35.90, 34.87, 13.77),
        "row output": (80.0, 50.0, 30.40, 15.05, 0.0),
        "row weight": (9.3, 3.9, 2.259, 2.304, 0.0),
        "four vectors": (14.28, 14.28, 14.28, 19.59, 12.87),
        "row": (785, 785, 785, 1257, 0.0),
        "call": (0.0, 0.0, 0.0, 0.0, 1701),
    },
    "DEPTHWISE_CONV_2D 3x3": {
        "mac": (35.72, 9.267, 7.698, 7.698, 1.995),
        "position": (35.85, 12.90, 10.58, 10.58, 25.01),
    },
    "DEPTHWISE_CONV_2D": {"mac": (39.01, 17.83, 10.40, 10.12, 2.224)},  # one shape: 16x16x24, kernel 5x5
    "FULLY_CONNECTED": {
        "mac": (5.372, 2.583, 1.874, 1.874, 0.0),
        "vector": (12.90, 15.89, 0.0, 0.0, 8.5),
        "output": (85.58, 11.61, 49.62, 49.81, 12.57),
        "call": (473, 450, 259, 265, 290),
    },
    "ADD": {"output": (239.0, 84.0, 81.40, 80.66, 13.74), "call": (455, 424, 462, 465, 484)},
    "SUB": {"output": (258, 90.6, 88.02, 112.0, 95.03), "call": (540, 540, 540, 531, 578)},
    "MUL": {"output": (91.4, 30.0, 35.81, 35.81, 6.75), "call": (544, 544, 544, 552, 559)},
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
    "SOFTMAX": {"output": (1913, 506, 520.6, 529.6, 558.2), "call": (473, 53, 54.7, 72.6, 68.3)},
    # Counts: pass = pixels of all passes over the image, of which each makes up to 16 bits; pair = of these, pairs of
    # bits; threshold = thresholds, which are packed before.
    "BcnetThermometer": {
        "pair": (5.24, 3.44, 3.45, 3.38, 3.43),
        "pass": (19.32, 11.62, 11.54, 11.67, 10.58),
        "threshold": (41.1, 15.2, 20.5, 17.2, 21.4),
    },
    # From here on the first two columns are estimates, scaled from the third by the ratio of like operators. Counts:
    # input and output = elements read and written; pixel = pixels read or written; position as above.
    "LceQuantize": {
        "input": (17.3, 10.4, 10.39, 10.39, 9.39),
        "pixel": (28.5, 17.1, 17.12, 17.12, 17.11),
        "call": (347, 208, 208, 208, 212),
    },
    "LceDequantize": {
        "output": (10.9, 7.26, 7.26, 7.26, 7.26),
        "pixel": (15.8, 10.6, 10.56, 10.56, 9.57),
        "call": (179, 119, 119, 119, 122),
    },
    "LceBMaxPool2d": {
        "window word": (8.6, 5.74, 5.736, 5.736, 4.707),
        "output word": (50.2, 33.4, 33.44, 33.44, 37.54),
        "pixel": (106, 70.6, 70.55, 70.57, 70.55),
        "position": (0.8, 0.54, 0.537, 0.534, 0.437),
        "call": (96, 64, 64, 57, 68),
    },
    "MEAN": {
        "input": (194, 138, 138.3, 129.3, 132.2),
        "output": (140, 42, 42.03, 42.04, 42.03),
        "call": (1420, 1014, 1014, 1032, 985),
    },
    "QUANTIZE": {"output": (113, 37.2, 44.7, 44.9, 44.2)},
    "BcnetGate": {"input": (3250, 1710, 203.5, 118.0, 118.0), "call": (356, 188, 22.4, 49.3, 66.3)},
    # Estimates from here on. Counts: byte = bytes copied.
    "IF": {"call": (480, 480, 480, 480, 480)},  # two subgraphs' tensors, looked up and copied
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
    "call": {"call": (400, 250, 250, 250, 250)},  # the interpreter's way from one operator to the next
}

_COPIES = {"RESHAPE", "CONCATENATION", "SQUEEZE", "EXPAND_DIMS", "STRIDED_SLICE", "SLICE", "SPLIT", "PACK", "UNPACK"}
_ELEMENTWISE = {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "LESS", "EQUAL", "SELECT_V2", "RELU", "RELU6", "ABS"}
_ELEMENTWISE |= {"LEAKY_RELU", "PRELU", "HARD_SWISH"}  # like a multiplication, give or take an operation
_EXPONENTIAL = {"SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "EXP", "LOG", "TANH"}
_ANY_TYPE = {"DEQUANTIZE", "QUANTIZE", "GATHER", "LceQuantize", "LceDequantize", "BcnetGate"}
_REDUCTIONS = {"REDUCE_MAX", "REDUCE_MIN", "SUM", "MEAN"}


@dataclass(frozen=True)
class OpCost:
    """One operator of a flatbuffer.

    Attributes:
      subgraph: name of its subgraph, or its number where it has none.
      path: when it runs: "always"; "accepted" or "escalated", in one of the two branches of a pair; "sometimes", in a
        branch of any other IF; "loop", in a WHILE; "once", in the first inference; "never".
      name: that of the operator, such as "CONV_2D".
      macs: multiply-accumulates.
      instructions: dict of core to instructions; None where the table has no figure for the operator.
      problem: why there is no figure, such as "TRANSPOSE on int8"; None where there is one.
      weights_bytes, activation_bytes: bytes of its constants, and of its other inputs and outputs.
    """

    subgraph: str
    path: str
    name: str
    macs: int
    instructions: dict | None
    problem: str | None
    weights_bytes: int
    activation_bytes: int


@dataclass(frozen=True)
class Cost:
    """What a flatbuffer costs.

    Attributes:
      instructions: dict of core to instructions of one inference, the dearest branch of every IF taken, which is that
        of an escalated one for a pair. A lower bound where `incomplete` says so.
      least: dict of core to instructions of one inference, the cheapest branch of every IF taken.
      flash_bytes: size of the flatbuffer.
      ops: tuple of `OpCost`, subgraph by subgraph.
      accepted, escalated: for a net with one IF, as a pair has it, dicts of core to instructions of an inference that
        takes its else branch (the gate accepts) or its then branch (the gate escalates); None for any other.
      incomplete: why the figures are less than the whole, a tuple of sentences; empty where they are the whole.
    """

    instructions: dict
    least: dict
    flash_bytes: int
    ops: tuple
    accepted: dict | None
    escalated: dict | None
    incomplete: tuple

    def expected(self, escalation_rate):
        """Dict of core to the mean instructions of a pair that escalates `escalation_rate` (0 to 1) of its inputs."""
        if self.accepted is None:
            raise FlatbufferError("this flatbuffer is a net alone and does not escalate; give the cost of a pair")
        if not 0 <= escalation_rate <= 1:
            raise FlatbufferError(f"the escalation rate must lie between 0 and 1, got {escalation_rate}")
        return {
            core: (1 - escalation_rate) * self.accepted[core] + escalation_rate * self.escalated[core] for core in CORES
        }


def cost(source, scratch_budget=cost_bconv2d.SCRATCH_BUDGET, partial=False):
    """The `Cost` of a flatbuffer, given as bytes or as a path.

    Arguments:
      scratch_budget: bytes of scratch memory that a binary convolution may use, as the application sets it.
      partial: whether figures may be less than the whole, with `Cost.incomplete` saying why.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: no flatbuffer; and without `partial` one whose figures would be incomplete.
    """
    data = flatbuffer.load(source)
    model = flatbuffer.read(data)
    paths = _paths(model)
    graphs = [
        [_op_cost(model, number, paths[number], operator, scratch_budget) for operator in graph.operators]
        for number, graph in enumerate(model.subgraphs)
    ]
    ops = tuple(op for graph in graphs for op in graph)
    incomplete = _incomplete(model, ops, paths)
    if incomplete and not partial:
        raise FlatbufferError(incomplete[0])

    @functools.cache
    def total(number, choose, branch=None):
        """Instructions of a subgraph: of its own IF `branch`, of any other the one that `choose`, max or min, picks."""
        result = dict.fromkeys(CORES, 0.0)
        for operator, op in zip(model.subgraphs[number].operators, graphs[number], strict=True):
            parts = [op.instructions or dict.fromkeys(CORES, 0.0)]
            called = [total(index, choose) for index in flatbuffer.called_subgraphs(operator)]
            if _is_branch(operator):
                parts += [{core: choose(each[core] for each in called) for core in CORES}] if branch is None else []
                parts += [called[branch]] if branch is not None else []
            elif isinstance(operator.builtinOptions, flatbuffer.schema.WhileOptionsT):
                parts += called  # one pass, which `incomplete` says
            for part in parts:
                result = {core: result[core] + part[core] for core in CORES}
        return result

    worst, least = total(0, max), total(0, min)
    gated = sum(map(_is_branch, model.subgraphs[0].operators)) == 1
    escalated, accepted = (total(0, max, branch) for branch in (0, 1)) if gated else (None, None)
    return Cost(worst, least, len(data), ops, accepted, escalated, incomplete)


def _is_branch(operator):
    return isinstance(operator.builtinOptions, flatbuffer.schema.IfOptionsT)


def _paths(model):
    """When each subgraph runs, as `OpCost.path`; a list."""
    found = [set() for _ in model.subgraphs]

    def walk(number, path):
        if path in found[number]:
            return
        found[number].add(path)
        operators = model.subgraphs[number].operators
        gated = number == 0 and sum(map(_is_branch, operators)) == 1
        for operator in operators:
            called = flatbuffer.called_subgraphs(operator)
            if gated and _is_branch(operator):
                ways = ("escalated", "accepted")
            elif _is_branch(operator):
                ways = ("sometimes",) * 2 if path != "once" else ("once",) * 2
            elif isinstance(operator.builtinOptions, flatbuffer.schema.WhileOptionsT):
                ways = ("loop",) * 2 if path != "once" else ("once",) * 2
            else:
                ways = ("once",)
            if len(set(called)) == 1 and _is_branch(operator):
                ways = (path,) * 2  # the same subgraph either way
            for index, way in zip(called, ways, strict=False):
                walk(index, way)

    walk(0, "always")
    order = ("always", "loop", "sometimes", "escalated", "accepted", "once")
    result = []
    for paths in found:
        if paths == {"escalated", "accepted"}:
            result.append("always")
        elif len(paths) > 1 and paths <= {"escalated", "accepted", "sometimes"}:
            result.append("sometimes")
        else:
            result.append(next((path for path in order if path in paths), "never"))
    return result


def _incomplete(model, ops, paths):
    """Sentences on what the figures leave out."""
    problems = dict.fromkeys(op.problem for op in ops if op.problem is not None and op.path not in ("never", "once"))
    sentences = []
    if problems:
        sentences.append(
            f"there are no figures for the operator{'s' * (len(problems) > 1)} {', '.join(problems)} in "
            "bcnet_keras.device.cost; add them there"
        )
    reached = [graph for graph, path in zip(model.subgraphs, paths, strict=True) if path not in ("never", "once")]
    if any(isinstance(o.builtinOptions, flatbuffer.schema.WhileOptionsT) for graph in reached for o in graph.operators):
        sentences.append("a WHILE counts as one pass, since a flatbuffer does not say how often its body runs")
    return tuple(sentences)


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
        raise FlatbufferError(
            f"the operator {name} of subgraph {subgraph!r} lacks inputs, dimensions or options; convert the model again"
        ) from None
    instructions = problem = None
    if kinds is None:
        types = dict.fromkeys(type_name(tensor) for tensor in (*inputs[:1], *outputs[:1]))
        problem = f"{name} on {' to '.join(types)}"
    else:
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
    return OpCost(subgraph, path, name, macs, instructions, problem, weights, activations)


def _counts(name, operator, inputs, outputs):
    """{row of the table: {what: how many}} of one operator; None where the table has no row for it."""
    call = {"call": {"call": 1}}
    if name in ("CALL_ONCE", "VAR_HANDLE"):
        return call
    if name == "ASSIGN_VARIABLE":
        return {"copy": {"byte": _bytes(inputs[1])}} | call
    if name == "READ_VARIABLE":
        return {"copy": {"byte": _bytes(outputs[0])}} | call
    read, written = _size(inputs[0]), _size(outputs[0])
    types = {type_name(inputs[0]), type_name(outputs[0])}
    if "int16" in types and name not in _COPIES | {"IF", "WHILE", "PAD", "PADV2"}:
        return None  # the figures are those of int8 and float32
    is_float = "float32" in types
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
            return {"FULLY_CONNECTED float": {"mac": written * size}} | call
        rows = written // units
        counts = {"mac": units * size, "vector": units * math.ceil(size / 16), "output": units, "call": 1}
        return {name: {what: rows * count for what, count in counts.items()}} | call
    if name == "LceBMaxPool2d":
        options = custom_options(operator)
        window = options["filter_height"] * options["filter_width"]
        pixels = written // shape(outputs[0])[-1]
        counts = {"window word": written * window, "output word": written}
        return {name: counts | {"pixel": pixels, "position": pixels * window, "call": 1}} | call
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
        return {name: {"call": 1}, "copy": {"byte": sum(_bytes(tensor) for tensor in [*inputs[1:], *outputs])}} | call
    if name == "WHILE":  # copies for the condition, for the body, and back
        return {"IF": {"call": 1}, "copy": {"byte": 5 * sum(map(_bytes, inputs))}} | call
    if name in _ELEMENTWISE and (is_float or "bool" in (type_name(inputs[0]), type_name(outputs[0]))):
        return {"element-wise float": {"output": written}} | call
    if name in _ELEMENTWISE and name not in _TABLE:
        return {"element-wise int8": {"output": written}} | call
    if name in ("PAD", "PADV2"):
        return {"PAD": {"byte": _bytes(outputs[0])}} | call
    if name not in _TABLE or (is_float and name not in _ANY_TYPE):
        return None
    larger = inputs[0] if read > written else outputs[0]
    pixels = max(read, written) // (shape(larger) or (1,))[-1]
    counts = {"input": read, "output": written, "pixel": pixels, "call": 1}
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
    if (height, width) == (1, 1) and depth == shape(inputs[0])[-1]:
        if (options.strideH, options.strideW) == (1, 1):
            return {"CONV_2D 1x1": counts}
        rows, columns = math.prod(shape(outputs[0])[:2]), shape(outputs[0])[2]
        strided = {"mac": counts["mac"], "output": outputs_count, "row": rows, "call": 1}
        strided |= {"row output": rows * channels, "row weight": rows * channels * size}
        strided["four vectors"] = rows * math.ceil(columns / 4) * channels * math.ceil(size / 16)
        return {"CONV_2D 1x1 strided": strided}
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
    if name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "LceBconv2d"):
        return 0
    pixels = _size(outputs[0]) // shape(outputs[0])[-1] if shape(outputs[0]) else 1
    return pixels * _size(inputs[1]) * (32 if name == "LceBconv2d" else 1)


def _size(tensor):
    return int(np.prod(shape(tensor)))


def _bytes(tensor):
    return _size(tensor) * {"float32": 4, "int32": 4, "int64": 8, "int16": 2}.get(type_name(tensor), 1)
