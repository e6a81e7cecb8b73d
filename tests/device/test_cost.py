"""The cost model against instruction counts that were measured under QEMU."""

import json
import math
import re
from pathlib import Path

import fit
import numpy as np
import pytest
from flatbuffers_of import binary_convolution, branching_net, convolution, stem_net

from bcnet_keras.convert import Gate, merge
from bcnet_keras.device import cost_bconv2d, cycles
from bcnet_keras.device.cost import CORES, cost
from bcnet_keras.device.profile import Profile
from bcnet_keras.tflite import flatbuffer

# Instructions per MAC of CMSIS-NN's arm_convolve_wrapper_s8 and arm_fully_connected_s8 on Cortex-M0+, M3, M4, M7 and
# M55: (height and width, input channels, output channels, kernel) -> figures.
INT8_CONVOLUTIONS = {
    (32, 32, 32, 3): (6.702, 2.870, 1.925, 1.927, 0.2530),
    (16, 64, 64, 3): (6.332, 2.670, 1.761, 1.762, 0.2057),
    (8, 128, 128, 3): (6.161, 2.582, 1.690, 1.690, 0.1871),
    (8, 128, 128, 1): (6.833, 2.837, 1.790, 1.757, 0.2821),
    (32, 3, 32, 3): (10.73, 4.737, 4.158, 4.177, 1.039),
}
FULLY_CONNECTED = {(1024, 10): (6.323, 3.652, 1.936, 1.937, 0.574)}
MEASURED = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55")
# Instructions of the whole operator BcnetThermometer: (height and width, channels, planes) -> figures on MEASURED.
THERMOMETERS = {
    (8, 1, 15): (4664, 2788, 2862, 2783, 2800),
    (8, 1, 32): (8983, 5376, 5524, 5366, 5401),
    (32, 3, 10): (144321, 88379, 85325, 85295, 82252),
    (32, 3, 21): (299641, 187976, 191083, 186926, 182904),
    (28, 1, 8): (31692, 19638, 19641, 19633, 18857),
    (16, 3, 32): (97715, 62650, 64234, 62620, 62721),
    (16, 1, 40): (43204, 27685, 28219, 27671, 27456),
    (16, 2, 8): (20709, 13110, 13114, 13102, 12607),
}
# And of BcnetStem: (height, width, channels), (filters, planes), (height, width of the window), stride, padding.
STEMS = {
    ((32, 32, 3), (16, 4), (3, 3), 1, 0): (1430579, 1410794, 695020, 696712, 266931),
    ((24, 24, 4), (8, 4), (3, 3), 1, 0): (539216, 515444, 415973, 417286, 121917),
    ((30, 20, 3), (12, 4), (5, 5), 2, 0): (374288, 357596, 201070, 202380, 70229),
    ((40, 40, 1), (8, 1), (3, 3), 1, 1): (431328, 417727, 220890, 223545, 172437),
    ((64, 64, 3), (32, 2), (3, 3), 2, 0): (2676972, 2640784, 1198357, 1200305, 504490),
    ((49, 10, 1), (48, 4), (10, 4), 2, 0): (741105, 707746, 425713, 430839, 162224),
    ((16, 16, 3), (64, 1), (3, 3), 1, 0): (1126935, 1105343, 548907, 550811, 240318),
    ((14, 14, 1), (32, 8), (5, 5), 1, 0): (623490, 608760, 373016, 374686, 186555),
    ((98, 20, 1), (32, 4), (8, 4), 3, 1): (627828, 600589, 310923, 315710, 126234),
    ((20, 24, 3), (24, 6), (3, 3), 1, 0): (1148468, 1133775, 646923, 648275, 320052),
    ((28, 28, 1), (16, 3), (3, 3), 1, 1): (628315, 619365, 330370, 332265, 247698),
    ((32, 32, 3), (16, 8), (5, 5), 2, 0): (851846, 827659, 481859, 483335, 183884),
    ((16, 16, 3), (32, 2), (3, 3), 1, 0): (686004, 672668, 313860, 315188, 130407),
    ((16, 16, 5), (30, 12), (3, 3), 1, 0): (1231438, 1206245, 821505, 823322, 303061),
    ((25, 20, 2), (24, 5), (5, 3), 1, 0): (1353214, 1325139, 817086, 818683, 388873),
}
# Instructions of the interpreter from one operator to the next, an estimate.
INTERPRETER = {core: 400 if core == "cortex-m0plus" else 250 for core in CORES}
BENCH = Path(__file__).parents[2] / "tflm_ops" / "bench"
# Millions of instructions of one inference in TensorFlow Lite Micro.
MLPERF_TINY = {
    "pretrainedResnet_quant": {"cortex-m4": 29.86, "cortex-m7": 30.03, "cortex-m55": 4.91},
    "kws_ref_model": {"cortex-m4": 7.70, "cortex-m7": 7.65, "cortex-m55": 1.82},
    "vww_96_int8": {"cortex-m4": 24.10, "cortex-m7": 24.03, "cortex-m55": 6.56},
    "ad01_int8": {"cortex-m4": 0.583, "cortex-m7": 0.583, "cortex-m55": 0.150},
}
schema = flatbuffer.schema


@pytest.fixture(scope="module")
def bench_operators():
    return json.loads((BENCH / "results.json").read_text())["operators"]


@pytest.fixture(scope="module")
def bench_records():
    return json.loads((BENCH / "results.json").read_text())["records"]


@pytest.mark.parametrize("layer", INT8_CONVOLUTIONS, ids=str)
def test_int8_convolutions_match_the_counts(layer):
    (op,) = cost(convolution("CONV_2D", *layer)).ops
    size, channels, filters, kernel = layer
    assert op.macs == size**2 * channels * filters * kernel**2
    figures = [op.instructions[core] / op.macs for core in MEASURED]
    assert figures == pytest.approx(INT8_CONVOLUTIONS[layer], rel=0.05)


def test_binary_convolutions_match_the_bench(bench_records):
    figures = cost_bconv2d.figures()
    assert set(figures) == set(CORES)
    for record in bench_records:
        if record["kernel"] in ("portable", "CMSIS-NN int8"):
            continue
        for budget in record["budgets"] or (cost_bconv2d.SCRATCH_BUDGET,):
            plans = cost_bconv2d.candidate_plans(fit.shape_of(record), record["output"], budget)
            (plan,) = (plan for plan in plans if plan.kernel == record["kernel"])
            row = figures[record["core"]][plan.row]
            instructions = sum(row[what] * count for what, count in plan.counts.items())
            assert instructions == pytest.approx(record["instructions"], rel=0.06), record


def test_cycles_of_binary_convolutions_match_the_bench(bench_records):
    for record in bench_records:
        for budget in record["budgets"]:
            told = cost_bconv2d.cycles(fit.shape_of(record), record["output"], record["core"], budget)
            assert (told.low, told.high) == pytest.approx(record["cycles"], rel=0.08), record


def test_fully_connected_matches_the_bench(make_part, bench_operators):
    """CMSIS-NN's functions take four outputs at a time: few outputs take up to half as much again for each."""
    for record in (record for record in bench_operators if record["operator"] == "FULLY_CONNECTED"):
        size, units = map(int, record["shape"].split("-"))
        op = cost(make_part(0, units, (1, 1, size))).ops[1]
        assert (op.name, op.macs) == ("FULLY_CONNECTED", size * units)
        told = op.instructions[record["core"]] - INTERPRETER[record["core"]]
        assert told == pytest.approx(record["instructions"], rel=0.06), record


def test_cycles_of_1x1_convolutions_match_the_bench(bench_operators):
    """CMSIS-NN has functions of their own for them; on Cortex-M7 an instruction takes a tenth fewer cycles there."""
    for record in (record for record in bench_operators if record["operator"] == cycles.CONVOLUTION_1X1):
        height, width, channels, filters, kernel, _ = map(int, re.findall(r"\d+", record["shape"]))
        if height != width or not record["shape"].endswith("s1"):
            continue
        (op,) = cost(convolution("CONV_2D", height, channels, filters, kernel)).ops
        told = op.cycles[record["core"]].middle / op.instructions[record["core"]]
        assert told == pytest.approx(sum(record["cycles"]) / 2 / record["instructions"], rel=0.11), record


def test_cycles_of_other_operators_match_the_bench(bench_operators):
    records = bench_operators
    assert {record["core"] for record in records} == set(CORES)
    assert fit.cycles_of_instruction(records) == cycles.figures()
    # An operator's cycles per instruction hardly depend on its shape: a copy of ten bytes is ten cycles off.
    for record in records:
        told = cycles.of_instructions(record["operator"], record["core"], record["instructions"])
        assert sum(record["cycles"]) / 2 == pytest.approx(told.middle, rel=0.2, abs=10), record


def test_cycles_of_what_was_not_measured_span_all_that_was():
    for core, known in cycles.figures().items():
        assert {"CONV_2D", "MEAN", "QUANTIZE", "DEQUANTIZE", "SUB", cycles.COPY} < set(known)
        other = cycles.of_instructions("TRANSPOSE", core, 1000)
        for name in known:
            measured = cycles.of_instructions(name, core, 1000)
            assert other.low <= measured.low <= measured.middle <= measured.high <= other.high


def test_copies_take_the_cycles_of_copies(make_part):
    """RESHAPE moves bytes; IF does so behind the interpreter's own code, which was not measured."""
    ops = {op.name: op for op in cost(merge(make_part(0), make_part(1), Gate.create(4, "score_margin", 0.5))).ops}
    for core, known in cycles.figures().items():
        for name, kind in (("RESHAPE", cycles.COPY), ("IF", "other"), ("FULLY_CONNECTED", "FULLY_CONNECTED")):
            low, high = (bound * ops[name].instructions[core] for bound in known[kind])
            assert (ops[name].cycles[core].low, ops[name].cycles[core].high) == pytest.approx((low, high)), (core, name)


def test_cycles_of_a_pair_add_up(make_part):
    costs = cost(merge(make_part(0), make_part(1), Gate.create(4, "score_margin", 0.5)))
    for core in CORES:
        for path, total in (("accepted", costs.accepted_cycles), ("escalated", costs.escalated_cycles)):
            ops = [op.cycles[core] for op in costs.ops if op.path in ("always", path)]
            assert sum(cycles.low for cycles in ops) == pytest.approx(total[core].low)
            assert sum(cycles.high for cycles in ops) == pytest.approx(total[core].high)
        mean = costs.expected_cycles(0.25)[core]
        assert mean.low == pytest.approx(
            0.75 * costs.accepted_cycles[core].low + 0.25 * costs.escalated_cycles[core].low
        )
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        costs.expected_cycles(1.5)


def test_scratch_memory_is_the_chosen_kernels(bench_records):
    for record in bench_records:
        for budget in record["budgets"]:
            layer = fit.shape_of(record), record["output"], record["core"]
            assert cost_bconv2d.scratch_bytes(*layer, budget) == record["scratch_bytes"], (budget, record)


def test_layers_of_networks_cost_what_the_bench_counts(bench_records):
    for record in bench_records:
        if record["layer"] == record["shape"] or cost_bconv2d.SCRATCH_BUDGET not in record["budgets"]:
            continue
        (op,) = cost(binary_convolution(record)).ops
        instructions = op.instructions[record["core"]] - INTERPRETER[record["core"]]
        assert instructions == pytest.approx(record["instructions"], rel=0.04), record


def test_figures_of_binary_convolutions_are_those_of_the_bench(bench_records):
    fitted, known = fit.fit(bench_records), json.loads(Path(cost_bconv2d.__file__).with_suffix(".json").read_text())
    assert set(fitted) == set(known) == {"instructions", "cycles"}
    assert fitted["instructions"].keys() == cost_bconv2d.figures().keys()
    for unit, cores in known.items():
        assert {core: set(rows) for core, rows in fitted[unit].items()} == {
            core: set(rows) for core, rows in cores.items()
        }
        for core, rows in cores.items():
            for row, expected in rows.items():
                for what, figure in expected.items():
                    # Least squares end in other digits on another processor.
                    assert fitted[unit][core][row][what] == pytest.approx(figure, rel=1e-3, abs=1e-6), (core, row, what)


@pytest.mark.parametrize("encoding", THERMOMETERS, ids=str)
def test_thermometer_matches_the_counts(encoding):
    size, channels, planes = encoding
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    image = builder.tensor(graph, "image", schema.TensorType.INT8, [1, size, size, channels], (1.0, 0))
    thresholds = builder.constant(graph, "thresholds", np.zeros(channels * planes, np.int32))
    words = -(-channels * planes // 32)
    bits = builder.tensor(graph, "bits", schema.TensorType.INT32, [1, size, size, words])
    builder.operator(graph, b"BcnetThermometer", [image, thresholds], [bits])
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array([bits], np.int32)
    (op,) = cost(builder.finish()).ops
    figures = [op.instructions[core] - INTERPRETER[core] for core in MEASURED]
    assert op.macs == 0 and figures == pytest.approx(THERMOMETERS[encoding], rel=0.05)


@pytest.mark.parametrize("layer", STEMS, ids=str)
def test_stem_matches_the_counts(layer):
    image, (filters, planes), window, stride, padding = layer
    data = stem_net(image, (filters, *window, image[-1]), planes, stride, padding)
    (op,) = cost(data).ops
    figures = [op.instructions[core] - INTERPRETER[core] for core in MEASURED]
    assert figures == pytest.approx(STEMS[layer], rel=0.05)
    size = [(side - (taps if padding else 1)) // stride + 1 for side, taps in zip(image[:2], window, strict=True)]
    assert op.macs == math.prod(size) * filters * math.prod(window) * image[-1]


def test_fully_connected_matches_the_count(make_part):
    for (size, units), figures in FULLY_CONNECTED.items():
        ops = cost(make_part(0, units, (1, 1, size))).ops
        assert [op.instructions[core] / op.macs for op in ops[1:] for core in MEASURED] == pytest.approx(
            figures, rel=0.05
        )


@pytest.mark.parametrize("name", MLPERF_TINY)
def test_whole_nets_match_the_counts(name):
    path = Path.home() / "datasets" / "mlperf-tiny" / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"needs MLPerf Tiny's reference model {path}")
    result = cost(path)
    for core, millions in MLPERF_TINY[name].items():
        assert result.instructions[core] == pytest.approx(1e6 * millions, rel=0.05)
    assert result.flash_bytes == path.stat().st_size
    for core in CORES:
        assert result.instructions[core] == pytest.approx(sum(op.instructions[core] for op in result.ops))


@pytest.mark.parametrize("kind", ["custom", "builtin"])
@pytest.mark.parametrize("measure", ["score_margin", "max_probability", "entropy", "learned"])
def test_a_pair_has_two_paths(make_part, kind, measure):
    parts = make_part(0, shape=(8, 8, 3)), make_part(1, shape=(8, 8, 3))
    learned = measure == "learned"
    gate = Gate.create(4, measure, [0.5] * 4, [1.0] * 7 if learned else None, 0.0 if learned else None)
    pair, (binary, int8) = cost(merge(*parts, gate, kind)), map(cost, parts)
    assert (
        pair.instructions == pair.escalated and pair.expected(0) == pair.accepted and pair.expected(1) == pair.escalated
    )
    for core in CORES:
        assert pair.accepted[core] > binary.instructions[core]
        assert pair.escalated[core] > binary.instructions[core] + int8.instructions[core]
        assert pair.expected(0.25)[core] == pytest.approx(0.75 * pair.accepted[core] + 0.25 * pair.escalated[core])
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="escalation rate"):
            pair.expected(rate)
    with pytest.raises(ValueError, match="does not escalate"):
        binary.expected(0.5)


# Structure -> FULLY_CONNECTED and IF operators that run when every IF takes its dearest and its cheapest branch.
BRANCHES = {
    "one": ([1, ("IF", [1, 1], [])], (3, 1), (1, 1)),
    "in a row": ([1, ("IF", [1] * 4, [1]), 1, ("IF", [1], [1] * 3)], (9, 2), (4, 2)),
    "nested": ([("IF", [1, ("IF", [1] * 6, [1] * 2)], [1, 1])], (7, 2), (2, 1)),
    "in the else branch": ([("IF", [1], [("IF", [1] * 5, [])])], (5, 2), (0, 2)),
    "once": ([("ONCE", [1, 1, 1]), 1], (1, 0), (1, 0)),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_every_branch_counts(name):
    structure, (dense, branches), (least_dense, least_branches) = BRANCHES[name]
    found = cost(branching_net(structure))
    one = {op.name: op.instructions["cortex-m4"] for op in found.ops}
    once = one.get("CALL_ONCE", 0)
    branch = one.get("IF", 0)
    assert found.instructions["cortex-m4"] == pytest.approx(dense * one["FULLY_CONNECTED"] + branches * branch + once)
    assert found.least["cortex-m4"] == pytest.approx(
        least_dense * one["FULLY_CONNECTED"] + least_branches * branch + once
    )
    gated = sum(isinstance(part, tuple) and part[0] == "IF" for part in structure) == 1
    assert (found.accepted is not None) == gated and not found.incomplete


def test_the_dearer_branch_of_one_decision_is_the_worst_case():
    """Exits of other tools may lie in either branch; a pair escalates in the first."""
    exits = [branching_net([1, ("IF", *branches), 1]) for branches in (([1, 1, 1], [1]), ([1], [1, 1, 1]))]
    for found in map(cost, exits):
        one = {op.name: op.instructions for op in found.ops}
        for core in CORES:
            dense, branch = one["FULLY_CONNECTED"][core], one["IF"][core]
            assert found.instructions[core] == found.escalated[core] == pytest.approx(5 * dense + branch)
            assert found.least[core] == found.accepted[core] == pytest.approx(3 * dense + branch)
        paths = [op.path for op in found.ops]
        assert (paths.count("escalated"), paths.count("accepted")) == (3, 1)
    first, second = (Profile.of(data) for data in exits)
    assert first.expected == second.expected == second.escalated > second.accepted


def test_a_loop_makes_the_figures_a_lower_bound():
    loop = branching_net([1, ("WHILE", [1], [1, 1])])
    with pytest.raises(ValueError, match="a WHILE counts as one pass"):
        cost(loop)
    found = cost(loop, partial=True)
    assert [op.path for op in found.ops] == ["always", "always", "loop", "loop", "loop"]
    assert found.instructions["cortex-m4"] == pytest.approx(sum(op.instructions["cortex-m4"] for op in found.ops))


def test_a_subgraph_of_both_branches_always_runs(make_part):
    model = flatbuffer.read(branching_net([1, ("IF", [1, 1], [])]))
    (branch,) = (o for o in model.subgraphs[0].operators if flatbuffer.called_subgraphs(o))
    branch.builtinOptions.elseSubgraphIndex = branch.builtinOptions.thenSubgraphIndex
    found = cost(flatbuffer.write(model))
    assert {op.path for op in found.ops} == {"always"} and found.accepted == found.escalated


def test_rows_of_a_float_dense_layer_count():
    def dense(rows):
        builder = flatbuffer.Builder("test")
        graph, type = builder.subgraph("main"), schema.TensorType.FLOAT32
        image = builder.tensor(graph, "image", type, [1, rows, 16])
        weights = builder.tensor(graph, "weights", type, [8, 16], data=np.zeros((8, 16), np.float32))
        result = builder.tensor(graph, "result", type, [1, rows, 8])
        builder.operator(graph, "FULLY_CONNECTED", [image, weights, -1], [result], schema.FullyConnectedOptionsT())
        graph.inputs, graph.outputs = np.array([image], np.int32), np.array([result], np.int32)
        return cost(builder.finish()).instructions["cortex-m4"] - INTERPRETER["cortex-m4"]

    assert dense(32) == pytest.approx(32 * dense(1))


def test_sixteen_bits_have_no_figures_of_eight():
    with pytest.raises(ValueError, match="no figures for the operator CONV_2D on int16"):
        cost(convolution("CONV_2D", 8, 3, 8, 3, schema.TensorType.INT16))


def test_float_convolutions_are_estimates():
    (op,) = cost(convolution("CONV_2D", 8, 3, 8, 3, schema.TensorType.FLOAT32)).ops
    assert op.estimate and op.instructions["cortex-m4"] > op.macs == 8 * 8 * 3 * 3 * 3 * 8


def test_unknown_operators_are_named(make_part):
    with pytest.raises(ValueError, match="no figures for the operator GELU"):
        cost(make_part(0, end="GELU"))
    partial = cost(make_part(0, end="GELU"), partial=True)
    assert partial.ops[-1].instructions is None and partial.ops[-1].problem == "GELU on int8"
    assert partial.instructions == cost(make_part(0)).instructions and "GELU on int8" in partial.incomplete[0]
    with pytest.raises(ValueError, match="not a TensorFlow Lite flatbuffer"):
        cost(b"")


def test_a_binary_convolution_on_types_without_figures_is_named():
    """Its geometry is sound; what it would cost is not known."""
    record = {"shape": "8x8x32-32-k3-s1", "output": "bitpacked"}
    model = flatbuffer.read(binary_convolution(record))
    (operator,) = model.subgraphs[0].operators
    model.subgraphs[0].tensors[operator.outputs[0]].type = flatbuffer.schema.TensorType.INT64
    costs = cost(flatbuffer.write(model), partial=True)
    assert "LceBconv2d" in costs.incomplete[0]
