"""Cycles and instructions that a flatbuffer costs on a Cortex-M core, from figures for each kind of operator.

    cost(data).cycles["cortex-m4"]                                  # Cycles(low=..., high=...)
    cost(data).instructions["cortex-m4"]
    cost(pair_data).expected_cycles(escalation_rate=0.3)["cortex-m4"]

Instructions are estimates of those executed, from counts under QEMU with a plugin that counts exactly. Cycles are
estimates by models of the cores, ranges from low to high (`bcnet_keras.device.cycles`), with memory that answers at
once: wait states of a board's flash are in `bcnet_keras.device.boards`. Code was built by arm-none-eabi-gcc 12.2 with
-Ofast or -O2 (CMSIS-NN) and -O3 (binary convolution).

An operator's instructions are a sum of counts (multiply-accumulates, outputs, ...) times figures. These are in its
record (`bcnet_keras.tflite.operators`), or here where many operators share them, and were fitted by non-negative least
squares on relative errors. Where they come from:

* int8 CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, ADD, MUL, pooling and int8 SOFTMAX: CMSIS-NN's functions, measured
  on five cores on 54 shapes. Convolutions of stride 1 are within 2 %, fully connected ones within 6 %.
* strided 1x1 convolutions, SUB, MEAN, QUANTIZE, LceQuantize, LceDequantize, LceBMaxPool2d and BcnetGate, and 3x3
  depthwise convolutions but on Cortex-M0+ and M3: single operators in TensorFlow Lite Micro's interpreter on Cortex-M4,
  M7 and M55, within 3 % (strided 1x1 on M55 20 %, depthwise on M55 7 %). On the other cores they are estimates.
* LceBconv2d: this project's kernels, measured by `tflm_ops/bench` on all cores; see `bcnet_keras.device.cost_bconv2d`.
* BcnetThermometer: `tflm_ops/kernels/thermometer.cc`, measured on these five cores on ten encodings of 1 to 96 bits and
  64 to 1,024 pixels, within 5 %: 2.5 to 3.2 instructions per bit for 8 or more planes per channel (Cortex-M0+: 4.0 to
  5.1).
* BcnetStem: `tflm_ops/kernels/stem`, measured on these five cores on 77 shapes of 8 to 64 filters, 1 to 12 planes and
  windows of 3x3 to 10x4, within 3 %, what `bcnet_keras.device.stem` counts times figures for each. Those of loops in
  assembly are their instructions.
* everything else is an estimate, which `OpCost.estimate` says: one shape of each operator was counted on Cortex-M4 in
  TensorFlow Lite Micro's interpreter, or its loops were read where none ran, and scaled to the other cores by the
  ratio of measured kinds. int16 has no figures but for what moves.

Whole models, counted in TensorFlow Lite Micro on Cortex-M4, M7 and M55, stand beside the sums of these figures in
`tflm_ops/examples/results.md`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from bcnet_keras.device import boards, cost_bconv2d, cycles, stem
from bcnet_keras.device.cycles import Cycles
from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer, operators
from bcnet_keras.tflite.flatbuffer import Tensors, custom_options, op_name, schema, shape, type_name
from bcnet_keras.utils.arguments import check_rate
from bcnet_keras.utils.types import Array, StrPath

Each = TypeVar("Each")
Counts = Mapping[str, int]
Parts = list[tuple[Mapping[str, Sequence[float]], Counts]]  # figures by column, and how many of each an operator takes

# Core -> column of figures. Cortex-M33 takes Cortex-M4's: its counts of CMSIS-NN's functions lie within 3 % of them.
_COLUMNS = {
    "cortex-m0plus": 0,
    "cortex-m3": 1,
    "cortex-m4": 2,
    "cortex-m7": 3,
    "cortex-m33": 2,
    "cortex-m55": 4,
}
CORES = tuple(_COLUMNS)
DEFAULT_CORE = "cortex-m4"
_TOLD = CORES.index(DEFAULT_CORE)  # the core by whose instructions a branch of an IF is called the dearer one

# Figures that many operators share: kind -> {what is counted: instructions for each, by column}. Those of one operator
# are in its record. All of these are estimates. Counts: byte = bytes copied.
_SHARED: dict[str, dict[str, tuple[float, ...]]] = {
    "branch": {"call": (480, 480, 480, 480, 480)},  # two subgraphs' tensors, looked up and copied
    "call": {"call": (400, 250, 250, 250, 250)},  # the interpreter's way from one operator to the next
    "copy": {"byte": (1, 0.5, 0.5, 0.5, 0.25)},
    "element-wise float": {"output": (200, 120, 25, 25, 25)},
    "multiplications in float": {"mac": (280, 170, 45, 45, 45), "output": (300, 160, 60, 60, 60)},
    "dense in float": {"mac": (250, 140, 8, 8, 8)},
    "pooling in float": {"window": (250, 150, 65, 65, 65), "output": (200, 120, 30, 30, 30)},
    "moved": {"output": (45, 30, 25, 25, 25)},  # element by element, to a place that is computed
    "element-wise int8": {"output": (91.4, 30.0, 36.1, 36.1, 36.1)},  # a multiplication, give or take an operation
    "exponential": {"output": (3500, 1800, 200, 200, 200)},
    "mean in float": {"input": (150, 80, 20, 20, 20), "output": (60, 40, 40, 40, 40)},
    "reduction": {"input": (400, 220, 175, 175, 175), "output": (60, 40, 40, 40, 40)},
}
_ESTIMATES = tuple(figures for kind, figures in _SHARED.items() if kind not in ("branch", "call"))


@dataclass(frozen=True)
class OpCost:
    """One operator of a flatbuffer.

    Attributes:
      subgraph: name of its subgraph, or its number where it has none.
      path: when it runs: "always"; "accepted" or "escalated", in one of the two branches of a pair; "sometimes", in a
        branch of any other IF; "loop", in a WHILE; "once", in the first inference; "never".
      name: that of the operator, such as "CONV_2D".
      layer: name of its first output, which converters take from the layer; "" where it has none.
      macs: multiply-accumulates.
      instructions: dict of core to instructions; None where there is no figure for the operator.
      cycles: dict of core to estimated `Cycles`; None as for instructions.
      problem: why there is no figure, such as "CONV_2D on int16"; None where there is one.
      estimate: whether the figure is read off the kernel's loops instead of measured.
      weights_bytes, activation_bytes: bytes of its constants, and of its other inputs and outputs.
    """

    subgraph: str
    path: str
    name: str
    layer: str
    macs: int
    instructions: dict[str, float] | None
    cycles: dict[str, Cycles] | None
    problem: str | None
    estimate: bool
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
        takes its cheaper and its dearer branch; None for any other. A pair's gate escalates to the dearer one.
      incomplete: why the figures are less than the whole, a tuple of sentences; empty where they are the whole.
      cycles, least_cycles, accepted_cycles, escalated_cycles: the same as dicts of core to estimated `Cycles`.
    """

    instructions: dict[str, float]
    least: dict[str, float]
    flash_bytes: int
    ops: tuple[OpCost, ...]
    accepted: dict[str, float] | None
    escalated: dict[str, float] | None
    incomplete: tuple[str, ...]
    cycles: dict[str, Cycles]
    least_cycles: dict[str, Cycles]
    accepted_cycles: dict[str, Cycles] | None
    escalated_cycles: dict[str, Cycles] | None

    def expected(self, escalation_rate: float) -> dict[str, float]:
        """Dict of core to the mean instructions of a pair that escalates `escalation_rate` (0 to 1) of its inputs."""
        accepted, escalated = _of_pair(self.accepted, self.escalated, escalation_rate)
        return {core: (1 - escalation_rate) * accepted[core] + escalation_rate * escalated[core] for core in CORES}

    def expected_cycles(self, escalation_rate: float) -> dict[str, Cycles]:
        """Dict of core to the mean `Cycles` of a pair that escalates `escalation_rate` (0 to 1) of its inputs."""
        accepted, escalated = _of_pair(self.accepted_cycles, self.escalated_cycles, escalation_rate)
        return {core: accepted[core] * (1 - escalation_rate) + escalated[core] * escalation_rate for core in CORES}


def _of_pair(accepted: Each | None, escalated: Each | None, escalation_rate: float) -> tuple[Each, Each]:
    """The costs of both paths; raises ValueError for a net alone, and for what is no rate."""
    if accepted is None or escalated is None:
        raise FlatbufferError("this flatbuffer is a net alone and does not escalate; give the cost of a pair")
    check_rate(escalation_rate)
    return accepted, escalated


def cost(
    source: StrPath | bytes,
    scratch_budget: int = cost_bconv2d.SCRATCH_BUDGET,
    partial: bool = False,
    board_name: str | None = None,
) -> Cost:
    """The `Cost` of a flatbuffer, given as bytes or as a path.

    Arguments:
      scratch_budget: bytes of scratch memory that a binary convolution may use, as the application sets it.
      partial: whether figures may be less than the whole, with `Cost.incomplete` saying why.
      board_name: one of `bcnet_keras.device.boards.BOARDS`, whose core's cycles are then those with code and weights in
        its flash; None for memory that answers at once.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: no flatbuffer; and without `partial` one whose figures would be incomplete.
    """
    data = flatbuffer.load(source)
    model = flatbuffer.read(data)
    graphs = [
        [_op_cost(model, number, operator, scratch_budget, board_name) for operator in graph.operators]
        for number, graph in enumerate(model.subgraphs)
    ]

    @functools.cache
    def total(number: int, choose: Callable[[Array, Array], Array], branch: int | None = None) -> Array:
        """Costs of a subgraph, float [core, 3]: instructions, and cycles at least and at most.

        Of its own IF it takes `branch`, of any other the one that `choose`, np.maximum or np.minimum, picks.
        """
        result = np.zeros((len(CORES), 3))
        for operator, op in zip(model.subgraphs[number].operators, graphs[number], strict=True):
            result = result + _as_array(op)
            called = [total(index, choose) for index in flatbuffer.called_subgraphs(operator)]
            if _is_branch(operator):
                result = result + (functools.reduce(choose, called) if branch is None else called[branch])
            elif isinstance(operator.builtinOptions, schema.WhileOptionsT):
                result = result + sum(called)  # one pass, which `incomplete` says
        return result

    worst, least = total(0, np.maximum), total(0, np.minimum)
    escalated = accepted = dearer = None
    if sum(map(_is_branch, model.subgraphs[0].operators)) == 1:
        branches = [total(0, np.maximum, branch) for branch in (0, 1)]
        dearer = max((0, 1), key=lambda branch: float(branches[branch][_TOLD, 0]))
        escalated, accepted = np.maximum(*branches), np.minimum(*branches)
    paths = _paths(model, dearer)
    ops = tuple(replace(op, path=path) for graph, path in zip(graphs, paths, strict=True) for op in graph)
    incomplete = _incomplete(model, ops, paths)
    if incomplete and not partial:
        raise FlatbufferError(incomplete[0])
    return Cost(
        instructions=_instructions(worst),
        least=_instructions(least),
        flash_bytes=len(data),
        ops=ops,
        accepted=None if accepted is None else _instructions(accepted),
        escalated=None if escalated is None else _instructions(escalated),
        incomplete=incomplete,
        cycles=_cycles(worst),
        least_cycles=_cycles(least),
        accepted_cycles=None if accepted is None else _cycles(accepted),
        escalated_cycles=None if escalated is None else _cycles(escalated),
    )


def _as_array(op: OpCost) -> Array:
    """Costs of an operator, float [core, 3]: instructions, and cycles at least and at most; 0 where nobody knows."""
    if op.instructions is None or op.cycles is None:
        return np.zeros((len(CORES), 3))
    return np.array([(op.instructions[core], op.cycles[core].low, op.cycles[core].high) for core in CORES])


def _instructions(costs: Array) -> dict[str, float]:
    """The instructions of what `_as_array` is the form of, by core."""
    return {core: float(row[0]) for core, row in zip(CORES, costs, strict=True)}


def _cycles(costs: Array) -> dict[str, Cycles]:
    """The `Cycles` of the same."""
    return {core: Cycles(float(row[1]), float(row[2])) for core, row in zip(CORES, costs, strict=True)}


def _is_branch(operator: schema.OperatorT) -> bool:
    return isinstance(operator.builtinOptions, schema.IfOptionsT)


def _paths(model: schema.ModelT, dearer: int | None) -> list[str]:
    """When each subgraph runs, as `OpCost.path`; a list. `dearer`: which branch of the net's one IF is it, or None."""
    found: list[set[str]] = [set() for _ in model.subgraphs]

    def walk(number: int, path: str) -> None:
        if path in found[number]:
            return
        found[number].add(path)
        operators = model.subgraphs[number].operators
        gated = number == 0 and dearer is not None
        for operator in operators:
            called = flatbuffer.called_subgraphs(operator)
            if len(set(called)) == 1 and _is_branch(operator):
                inner = [path] * 2  # both branches are the same subgraph
            elif gated and _is_branch(operator):
                inner = ["accepted", "escalated"] if dearer else ["escalated", "accepted"]
            elif _is_branch(operator):
                inner = ["sometimes" if path != "once" else "once"] * 2
            elif isinstance(operator.builtinOptions, schema.WhileOptionsT):
                inner = ["loop" if path != "once" else "once"] * 2
            else:
                inner = ["once"]
            for index, each in zip(called, inner, strict=False):
                walk(index, each)

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


def _incomplete(model: schema.ModelT, ops: Sequence[OpCost], paths: Sequence[str]) -> tuple[str, ...]:
    """Sentences on what the figures leave out."""
    problems = dict.fromkeys(op.problem for op in ops if op.problem is not None and op.path not in ("never", "once"))
    sentences = []
    if problems:
        sentences.append(
            f"there are no figures for the operator{'s' * (len(problems) > 1)} {', '.join(problems)} in "
            "bcnet_keras.device.cost; add them there"
        )
    reached = [graph for graph, path in zip(model.subgraphs, paths, strict=True) if path not in ("never", "once")]
    if any(isinstance(o.builtinOptions, schema.WhileOptionsT) for graph in reached for o in graph.operators):
        sentences.append("a WHILE counts as one pass, since a flatbuffer does not say how often its body runs")
    return tuple(sentences)


def _op_cost(
    model: schema.ModelT,
    number: int,
    operator: schema.OperatorT,
    scratch_budget: int,
    board_name: str | None,
) -> OpCost:
    """The `OpCost` of an operator of subgraph `number`, without its path."""
    graph, name = model.subgraphs[number], op_name(model, operator)
    inputs = [graph.tensors[index] for index in operator.inputs if index >= 0]
    outputs = [graph.tensors[index] for index in operator.outputs]
    subgraph = flatbuffer.text(graph.name) or str(number)
    record = operators.operator(name)
    try:
        parts = _parts(_Op(record, operator, inputs, outputs))
        macs = _macs(record, inputs, outputs)
        layer = cost_bconv2d.layer_of(operator, inputs, outputs) if record.cost == "binary convolution" else None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise FlatbufferError(
            f"the operator {name} of subgraph {subgraph!r} lacks inputs, dimensions or options; convert the model again"
        ) from None
    instructions: dict[str, float] | None = None
    estimated: dict[str, Cycles] | None = None
    problem = None
    types = [type_name(tensor) for tensor in (*inputs[record.data_input :][:1], *outputs[:1])]
    if parts is None:
        problem = f"{name} on {' to '.join(dict.fromkeys(types))}"
    else:
        instructions = {
            core: sum(figures[what][column] * count for figures, counts in parts for what, count in counts.items())
            for core, column in _COLUMNS.items()
        }
        kind = _kind_of_cycles(record, types, [figures for figures, _ in parts])
        estimated = {core: cycles.of_instructions(kind, core, instructions[core]) for core in CORES}
        if layer is not None:
            for core in CORES:
                instructions[core] += cost_bconv2d.instructions(*layer, core, scratch_budget)
                estimated[core] += cost_bconv2d.cycles(*layer, core, scratch_budget)
        if board_name is not None:
            core = boards.board(board_name).core
            estimated[core] = boards.in_flash(estimated[core], name, board_name)
    weights, activations = (
        sum(_bytes(tensor) for tensor in (*inputs, *outputs) if flatbuffer.is_constant(model, tensor) == constant)
        for constant in (True, False)
    )
    estimate = parts is not None and (
        record.estimate or any(figures is shared for figures, _ in parts for shared in _ESTIMATES)
    )
    layer_name = flatbuffer.text(outputs[0].name) if outputs else ""
    return OpCost(
        subgraph, "", name, layer_name, macs, instructions, estimated, problem, estimate, weights, activations
    )


def _kind_of_cycles(record: operators.Operator, types: list[str], priced: list[Mapping[str, Sequence[float]]]) -> str:
    """The name under which `cycles.json` has the cycles of an operator's instructions.

    Arguments:
      types: of input and output.
      priced: figures by which it is priced.
    """
    if record.cost in ("copy", "assignment"):
        return cycles.COPY
    for rule, parts, name in (
        ("stem", stem.OTHERS, cycles.STEM_OF_OTHER_PLANES),
        ("convolution", ("1x1", "1x1 strided"), cycles.CONVOLUTION_1X1),
    ):
        if record.cost == rule and any(figures is record.figures[part] for figures in priced for part in parts):
            return name
    # What was measured is int8 or bits, but for what gives floats.
    return "other" if {"float32", "int16"}.intersection(types) and record.name != "DEQUANTIZE" else record.name


@dataclass(frozen=True)
class _Op:
    """An operator of a flatbuffer, as the rules see it: its record, and tensors without those that it leaves out."""

    record: operators.Operator
    operator: schema.OperatorT
    inputs: Tensors
    outputs: Tensors

    @property
    def read(self) -> int:
        return _size(self.inputs[0])

    @property
    def written(self) -> int:
        return _size(self.outputs[0])

    @property
    def pixels(self) -> int:
        """Output elements without the channels."""
        return self.written // shape(self.outputs[0])[-1]

    @property
    def types(self) -> set[str]:
        return {type_name(tensor) for tensor in (*self.inputs[:1], *self.outputs[:1])}

    @property
    def is_float(self) -> bool:
        return "float32" in self.types

    def priced(self, counts: Counts, variant: str = "") -> Parts:
        """The figures of the record, and what they need of `counts`."""
        figures = self.record.figures[variant]
        return [(figures, {what: counts[what] for what in figures})]


def _parts(op: _Op) -> Parts | None:
    """[(figures, {what they count: how many})] of an operator; None where there are no figures for it."""
    if op.record.cost not in _ON_VARIABLES:
        op.read, op.written  # noqa: B018 (an operator without them is damaged, whatever it is)
    rule = None if op.record.cost is None else _RULES.get(op.record.cost)
    if rule is None or ("int16" in op.types and op.record.cost not in _COUNT_BYTES):
        return None  # figures of what is computed are those of int8 and float32
    parts = rule(op)
    return None if parts is None else [*parts, (_SHARED["call"], {"call": 1})]


def _counted(op: _Op) -> Parts:
    counts = {"input": op.read, "output": op.written, "call": 1}
    larger = op.inputs[0] if op.read > op.written else op.outputs[0]
    counts["pixel"] = max(op.read, op.written) // (shape(larger) or (1,))[-1]
    return op.priced(counts)


def _copy(op: _Op) -> Parts:
    return [(_SHARED["copy"], {"byte": sum(map(_bytes, op.outputs))})]


def _assignment(op: _Op) -> Parts:
    return [(_SHARED["copy"], {"byte": _bytes(op.inputs[1])})]


def _moved(op: _Op) -> Parts:
    counts = {"output": sum(map(_size, op.outputs))}
    return op.priced(counts) if op.record.figures else [(_SHARED["moved"], counts)]


def _branch(op: _Op) -> Parts:
    # The condition stays; image, logits and the answer are copied.
    copied = sum(map(_bytes, [*op.inputs[1:], *op.outputs]))
    return [(_SHARED["branch"], {"call": 1}), (_SHARED["copy"], {"byte": copied})]


def _loop(op: _Op) -> Parts:
    # Copies for the condition, for the body, and back.
    return [(_SHARED["branch"], {"call": 1}), (_SHARED["copy"], {"byte": 5 * sum(map(_bytes, op.inputs))})]


def _elementwise(op: _Op) -> Parts:
    if op.is_float or type_name(op.inputs[0]) == "bool":
        return [(_SHARED["element-wise float"], {"output": op.written})]
    if op.record.figures:
        return _counted(op)
    return [(_SHARED["element-wise int8"], {"output": op.written})]


def _exponential(op: _Op) -> Parts:
    if op.record.figures and not op.is_float:
        return _counted(op)
    return [(_SHARED["exponential"], {"output": op.written})]


def _reduction(op: _Op) -> Parts:
    if op.record.figures and not op.is_float:
        return _counted(op)
    kind = "mean in float" if op.record.name == "MEAN" else "reduction"
    return [(_SHARED[kind], {"input": op.read, "output": op.written})]


def _float_macs(op: _Op, macs: int) -> Parts:
    return [(_SHARED["multiplications in float"], {"mac": macs, "output": op.written})]


def _convolution(op: _Op) -> Parts:
    if op.is_float:
        return _float_macs(op, op.written * math.prod(shape(op.inputs[1])[1:]))
    channels, height, width, depth = shape(op.inputs[1])
    pixels = op.pixels
    size, outputs_count = height * width * depth, pixels * channels
    counts = {
        "mac": outputs_count * size,
        "rest": outputs_count * (size % 4),
        "vector": outputs_count * math.ceil(size / 16),
        "output": outputs_count,
    }
    options = op.operator.builtinOptions
    if (height, width) == (1, 1) and depth == shape(op.inputs[0])[-1]:
        if (options.strideH, options.strideW) == (1, 1):
            return op.priced(counts, "1x1")
        rows, columns = math.prod(shape(op.outputs[0])[:2]), shape(op.outputs[0])[2]
        counts |= {"row": rows, "row output": rows * channels, "row weight": rows * channels * size, "call": 1}
        counts["four vectors"] = rows * math.ceil(columns / 4) * channels * math.ceil(size / 16)
        return op.priced(counts, "1x1 strided")
    return op.priced(counts | {"position": pixels * height * width, "element": pixels * size, "pixel": pixels})


def _depthwise_convolution(op: _Op) -> Parts:
    _, height, width, channels = shape(op.inputs[1])
    if op.is_float:
        return _float_macs(op, op.written * height * width)
    positions = op.pixels * height * width
    return op.priced({"mac": positions * channels, "position": positions}, "3x3" if (height, width) == (3, 3) else "")


def _transposed_convolution(op: _Op) -> Parts:
    macs = _size(op.inputs[2]) * math.prod(shape(op.inputs[1])[:3])
    return _float_macs(op, macs) if op.is_float else op.priced({"mac": macs, "output": op.written})


def _matrices(op: _Op) -> Parts:
    depth = shape(op.inputs[0])[-2 if op.operator.builtinOptions.adjX else -1]
    turned = sum(map(_size, op.inputs[:2]))  # at most
    moved = [(_SHARED["moved"], {"output": turned})]
    if op.is_float:
        return _float_macs(op, op.written * depth) + moved
    return op.priced({"mac": op.written * depth, "output": op.written}) + moved


def _rank_decomposition(op: _Op) -> Parts:
    macs = _size(op.inputs[0]) * shape(op.inputs[1])[0] + shape(op.inputs[0])[0] * _size(op.inputs[2])
    return _float_macs(op, macs) if op.is_float else op.priced({"mac": macs, "output": op.written})


def _recurrent(op: _Op) -> Parts:
    features, units = shape(op.inputs[0])[-1], shape(op.outputs[0])[-1]
    steps = op.read // features
    counts = {"mac": steps * 4 * units * (features + units), "output": steps * units}
    if op.is_float:
        activations = [(_SHARED["exponential"], {"output": 5 * steps * units})]
        return _float_macs(op, counts["mac"]) + activations
    return op.priced(counts)


def _sum_of_several(op: _Op) -> Parts:
    counts = {"input": sum(map(_size, op.inputs))}
    return [(_SHARED["element-wise float"], {"output": counts["input"]})] if op.is_float else op.priced(counts)


def _binary_convolution(op: _Op) -> Parts | None:
    known = type_name(op.inputs[0]) == "int32" and type_name(op.outputs[0]) in ("int32", "int8", "float32")
    return [] if known else None  # all of it is in cost_bconv2d


def _fully_connected(op: _Op) -> Parts:
    units, size = shape(op.inputs[1])
    if op.is_float:
        return [(_SHARED["dense in float"], {"mac": op.written * size})]
    rows = op.written // units
    rest = units % 4  # most of CMSIS-NN's functions take four outputs at a time
    counts = {"mac": units * size, "vector": units * math.ceil(size / 16), "output": units, "call": 1}
    counts |= {"rest mac": rest * size, "rest output": rest}
    return op.priced({what: rows * count for what, count in counts.items()})


def _pooling(op: _Op) -> Parts:
    options = op.operator.builtinOptions
    positions = options.filterHeight * options.filterWidth
    if op.is_float:
        return [(_SHARED["pooling in float"], {"window": op.written * positions, "output": op.written})]
    counts = {"window": op.written * positions, "output": op.written, "position": op.pixels * positions}
    return op.priced(counts)


def _binary_pooling(op: _Op) -> Parts:
    options = custom_options(op.operator)
    window = options["filter_height"] * options["filter_width"]
    counts = {"window word": op.written * window, "output word": op.written}
    return op.priced(counts | {"pixel": op.pixels, "position": op.pixels * window, "call": 1})


def _thermometer(op: _Op) -> Parts:
    # A pass ends with the channel, with the word, or after 16 bits.
    (*_, channels), (bits,) = shape(op.inputs[0]), shape(op.inputs[1])
    pixels, planes = op.read // channels, bits // channels
    passes, bit = [], 0
    while bit < bits:
        passes.append(min(planes - bit % planes, 32 - bit % 32, 16))
        bit += passes[-1]
    pairs = sum(math.ceil(count / 2) for count in passes)
    return op.priced({"pair": pixels * pairs, "pass": pixels * len(passes), "threshold": bits})


def _stem(op: _Op) -> Parts:
    image, filters, (bits,) = (shape(tensor) for tensor in op.inputs)
    options, planes = custom_options(op.operator), bits // filters[0]
    strides = options["stride_height"], options["stride_width"]
    counts = stem.counts(image, filters, planes, strides, shape(op.outputs[0])[1:3])
    return op.priced(counts, stem.variant(planes))


_RULES: dict[str, Callable[[_Op], Parts | None]] = {
    "assignment": _assignment,
    "binary convolution": _binary_convolution,
    "binary pooling": _binary_pooling,
    "branch": _branch,
    "call": lambda op: [],
    "convolution": _convolution,
    "copy": _copy,
    "counted": _counted,
    "depthwise convolution": _depthwise_convolution,
    "element-wise": _elementwise,
    "exponential": _exponential,
    "fully connected": _fully_connected,
    "loop": _loop,
    "matrices": _matrices,
    "moved": _moved,
    "pooling": _pooling,
    "rank decomposition": _rank_decomposition,
    "recurrent": _recurrent,
    "reduction": _reduction,
    "stem": _stem,
    "sum of several": _sum_of_several,
    "thermometer": _thermometer,
    "transposed convolution": _transposed_convolution,
}
_WIDTHS = {"float32": 4, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8, "int16": 2}
_COUNT_BYTES = {"assignment", "branch", "call", "copy", "loop", "moved"}  # whatever the type
_ON_VARIABLES = {"assignment", "call"}


def _macs(record: operators.Operator, inputs: Tensors, outputs: Tensors) -> int:
    """Multiply-accumulates as the nets' papers count them: those of convolutions and fully connected layers."""
    if not record.macs:
        return 0
    pixels = _size(outputs[0]) // shape(outputs[0])[-1] if shape(outputs[0]) else 1
    return pixels * _size(inputs[1]) * record.macs


def _size(tensor: schema.TensorT) -> int:
    return int(np.prod(shape(tensor)))


def _bytes(tensor: schema.TensorT) -> int:
    return _size(tensor) * _WIDTHS.get(type_name(tensor), 1)
