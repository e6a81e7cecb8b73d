"""What the planner of the binary convolution knows of a core: estimated cycles that only serve to compare.

`plan_costs.json` is the one table of them; `python tflm_ops/bench/fit.py` fits it to the bench's results.
`cost_bconv2d` plans by it in Python; `make sources` writes it as the header by which the operators plan
(`tflm_ops/kernels/bconv2d/plan_costs.h`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUTPUTS = ("float32", "int8", "bitpacked")  # in the order of the operators' Bconv2dOutput
INDEX_BYTES = {3: 68, 5: 36}  # of the table indices of an input word, by the inputs of a table
# Kernels with tables are told apart by the inputs of a table, 3 (one full adder) or 5 (two), and by the filter.
FILTERS = ("other", "1x1", "3x3")
TABLES = [f"{inputs} {filters}" for inputs in (3, 5) for filters in FILTERS]
PARTS = ("build", "index", "block", "pixel")  # of what a kernel with tables does
CARRY_SAVE = ("eight words", "four words", "first word", "last word", "tap", "tap word", "call")
# By the name in C++: what tells the architecture to a compiler, and the core that was measured.
ARCHITECTURES = {
    "kCoreArmv6M": ("BCNET_THUMB1", "cortex-m0plus"),
    "kCoreArmv7M": ("defined(__ARM_ARCH_7M__)", "cortex-m3"),
    "kCoreArmv7EM": ("defined(__ARM_ARCH_7EM__) && !BCNET_DOUBLE_PRECISION", "cortex-m4"),
    "kCoreArmv7EMDouble": ("defined(__ARM_ARCH_7EM__)", "cortex-m7"),
    "kCoreArmv8M": ("!BCNET_HELIUM", "cortex-m33"),
    "kCoreHelium": ("", "cortex-m55"),
}
# Of cores that were not measured: one that was, of the same architecture.
_ALIKE = {
    "cortex-m0": "cortex-m0plus",
    "cortex-m1": "cortex-m0plus",
    "cortex-m23": "cortex-m0plus",
    "cortex-m35p": "cortex-m33",
    "cortex-m52": "cortex-m55",
    "cortex-m85": "cortex-m55",
}


@dataclass(frozen=True)
class CoreCosts:
    """Cycles on a core; `helium` is empty where there are no vectors, and stands for four pixels or input words.

    Attributes:
      sliced, helium: "build" of the tables of a block of 32 inputs and 32 output channels, "index" of an input word,
        "block" of a pixel and "pixel" of 32 output channels, each behind an entry of `TABLES`; "pass" over 32 output
        channels; "channel block" of a pixel, for each but the first; "row" of pixels of a pass and a channel block;
        "call"; the type of the output, of 32 output channels of a pixel; and the same with "value", of each output.
      carry_save: `CARRY_SAVE`, as in `cost_bconv2d.candidate_plans`, and the type of an output.
    """

    sliced: dict[str, int]
    carry_save: dict[str, int]
    helium: dict[str, int]


def _read() -> dict[str, CoreCosts]:
    text: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
    return {name: CoreCosts(**text[name]) for name in ARCHITECTURES}


CORES = _read()  # by the name in C++


def of_core(core: str) -> CoreCosts:
    """The costs of a core: `CoreCosts` by a name such as "cortex-m4"."""
    known = {measured: name for name, (_, measured) in ARCHITECTURES.items()}
    return CORES[known.get(_ALIKE.get(core, core), "kCoreArmv7EM")]


def header() -> str:
    """The table as C++."""
    cores = "\n".join(f"constexpr Bconv2dCore {name} = {_core(costs)};" for name, costs in CORES.items())
    chosen: list[str] = []
    for name, (condition, _) in ARCHITECTURES.items():
        chosen.append(f"#{'elif' if chosen else 'if'} {condition}" if condition else "#else")
        chosen.append(f"constexpr Bconv2dCore kCoreMeasured = {name};")
    lines = "\n".join(chosen)
    return f"""// The planner's table, of bcnet_keras/device/plan_costs.json: `make sources` writes it here.
#ifndef TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_
#define TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_

#include "tflm_ops/kernels/bconv2d/bitsliced/digits.h"
#include "tflm_ops/kernels/bconv2d/plan.h"

namespace bcnet {{

// clang-format off
{cores}

// What was measured on a core like the one that this is compiled for.
{lines}
#endif
// clang-format on

}}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_"""


def _core(costs: CoreCosts) -> str:
    carry_save = costs.carry_save
    parts = [
        _tables(costs.sliced),
        _listed([*(carry_save[what] for what in CARRY_SAVE), _listed(carry_save[output] for output in OUTPUTS)]),
        _listed(INDEX_BYTES[inputs] for inputs in (3, 5)),
    ]
    vectors = f"true,\n    {_tables(costs.helium)}" if costs.helium else "false, {}"
    return "{\n    " + ",\n    ".join(parts) + f",\n#if BCNET_PLANS_HELIUM\n    {vectors}\n#endif\n}}"


def _tables(costs: dict[str, int]) -> str:
    rows = [_listed(costs[f"{table} {part}"] for part in PARTS) for table in TABLES]
    tables = _listed([_listed(rows[:3]), _listed(rows[3:])])
    others = [costs[what] for what in ("pass", "channel block", "row", "call")]
    outputs = [_listed(costs[f"{output}{each}"] for output in OUTPUTS) for each in ("", " value")]
    return _listed([tables, *others, *outputs])


def _listed(items: Iterable[object]) -> str:
    return "{" + ", ".join(map(str, items)) + "}"


if __name__ == "__main__":
    print(header())
