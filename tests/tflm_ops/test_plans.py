"""The planner of binary convolutions in Python beside that of the operators, which plans for any core on a host."""

import re
from pathlib import Path

import numpy as np
import pytest
from cases import SAME, VALID, window

from bcnet_keras.device import cost_bconv2d, plan_costs
from bcnet_keras.runtime import kernels
from bcnet_keras.tflite import flatbuffer

OUTPUTS = {"float32": "float32", "int8": "int8", "bitpacked": "uint32"}


def random_layer(rng):
    """(options, shapes of input, filter and output, type of the output, scratch budget) of a layer of any size."""

    def pick(*choices):
        return choices[rng.integers(len(choices))]

    groups = pick(1, 1, 1, 2, 3)
    depth = pick(1, 2, 3, 4, 5, 8, 16)
    filters = groups * pick(1, 10, 32, 40, 64, 96, 160)
    taps = pick((1, 1), (3, 3), (3, 3), (5, 5), (1, 3), (3, 1), (2, 4), (7, 7))
    strides, dilations = ((pick(1, 1, 2, 3), pick(1, 1, 2)) for _ in range(2))
    padding = pick(SAME, VALID)
    size = [int(rng.integers(1, pick(6, 34, 70))) + (t - 1) * d for t, d in zip(taps, dilations, strict=True)]
    output = pick(*OUTPUTS)
    outputs = [window(*axis, padding) for axis in zip(size, taps, strides, dilations, strict=True)]
    channels = -(-filters // 32) if output == "bitpacked" else filters
    options = {"channels_in": 32 * depth * groups, "padding": padding, "pad_values": 1, "fused_activation_function": 0}
    options |= {"stride_height": strides[0], "stride_width": strides[1]}
    options |= {"dilation_height_factor": dilations[0], "dilation_width_factor": dilations[1]}
    shapes = (1, *size, depth * groups), (filters, *taps, depth), (1, *outputs, channels)
    shape = cost_bconv2d.Shape(depth * groups, filters, taps, tuple(outputs), strides, groups, dilations)
    return flatbuffer.encode_options(options), shapes, shape, output, int(2 ** rng.uniform(6, 19))


@pytest.mark.parametrize("core", [core for _, core in plan_costs.ARCHITECTURES.values()])
def test_both_planners_plan_alike(core):
    rng = np.random.default_rng(len(core))
    seen = set()
    for _ in range(1000):
        options, shapes, shape, output, budget = random_layer(rng)
        plan = kernels.plan_bconv2d(options, *shapes, OUTPUTS[output], core, budget)
        kernel = plan.kernel + (f"-{plan.table_inputs}" if plan.table_inputs else "")
        found = cost_bconv2d._chosen(shape, output, core, budget)
        expected = found.kernel.split(" ")[0].replace("-s", "_s")
        if expected == "carry_save" and not found.scratch_bytes:
            expected = "portable"
        assert (expected, found.scratch_bytes) == (kernel, plan.scratch_bytes), (shape, output, budget, found)
        seen.add(kernel)
    kind = "helium" if core == "cortex-m55" else "sliced"
    assert seen >= {f"{kind}-5", f"{kind}-3", "carry_save", "portable"}


def test_operators_have_the_table_of_the_package():
    header = Path(__file__).parents[2] / "tflm_ops/kernels/bconv2d/plan_costs.h"
    assert header.read_text() == plan_costs.header() + "\n", "make sources"


def test_the_scratch_budget_is_that_of_the_operator():
    header = (Path(__file__).parents[2] / "tflm_ops/micro/bcnet_ops.h").read_text()
    factors = re.search(r"kDefaultScratchBudget = (\d+) \* (\d+);", header)
    assert int(factors[1]) * int(factors[2]) == cost_bconv2d.SCRATCH_BUDGET
