"""What the planner of the binary convolution knows of a core: instructions, measured, that only serve to compare.

This is the one table of them. `cost_bconv2d` plans by it in Python; `make sources` writes it as the header by which the
operators plan (`tflm_ops/kernels/bconv2d/plan_costs.h`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OUTPUTS = ("float32", "int8", "bitpacked")  # in the order of the operators' Bconv2dOutput
INDEX_BYTES = {3: 68, 5: 36}  # of the table indices of an input word, by the inputs of a table


@dataclass(frozen=True)
class TableCosts:
    """Of a kernel with tables: instructions for each of what they do.

    Attributes:
      build: the tables of a block of 32 inputs and 32 output channels.
      index: the table indices of an input word.
      block: a block, of a pixel.
      pixel: 32 output channels of a pixel.
    """

    build: int
    index: int
    block: int
    pixel: int


@dataclass(frozen=True)
class SlicedCosts:
    """Instructions of a kernel with tables; with Helium, "pixel" and "input word" stand for four of them.

    Attributes:
      tables: by the inputs of a table, 3 (one full adder) or 5 (two).
      each_pass: per pass over 32 output channels.
      channel_block: per pixel, for each block of the input channels but the first.
      row: per row of pixels of a pass.
      outputs: per pixel, by the type of the output.
    """

    tables: dict[int, TableCosts]
    each_pass: int
    channel_block: int
    row: int
    outputs: dict[str, int]


@dataclass(frozen=True)
class CarrySaveCosts:
    """Instructions of the carry-save kernel: per word of weights of an output, per output, and per pixel."""

    word: int
    output: int
    pixel: int


@dataclass(frozen=True)
class CoreCosts:
    """Of a core; `helium` is None where there are no vectors."""

    sliced: SlicedCosts
    carry_save: CarrySaveCosts
    helium: SlicedCosts | None = None


_THUMB1 = CoreCosts(
    SlicedCosts(
        {3: TableCosts(1790, 170, 227, 443), 5: TableCosts(2710, 86, 114, 134)},
        each_pass=1780,
        channel_block=220,
        row=0,
        outputs={"float32": 1200, "int8": 980, "bitpacked": 0},
    ),
    CarrySaveCosts(15, 175, 880),
)
_THUMB2 = CoreCosts(
    SlicedCosts(
        {3: TableCosts(930, 85, 131, 440), 5: TableCosts(1200, 50, 87, 90)},
        each_pass=1200,
        channel_block=110,
        row=0,
        outputs={"float32": 400, "int8": 180, "bitpacked": 0},
    ),
    CarrySaveCosts(9, 110, 0),
)
_HELIUM = CoreCosts(
    _THUMB2.sliced,
    _THUMB2.carry_save,
    SlicedCosts(
        {3: TableCosts(300, 80, 132, 105), 5: TableCosts(660, 72, 120, 105)},
        each_pass=600,
        channel_block=200,
        row=150,
        outputs={"float32": 2600, "int8": 720, "bitpacked": 0},
    ),
)
# By the name in C++: measured on a Cortex-M0+, M4 and M55.
CORES = {"kCoreThumb1": _THUMB1, "kCoreThumb2": _THUMB2, "kCoreHelium": _HELIUM}


def of_core(core: str) -> CoreCosts:
    """The costs of a core: `CoreCosts` by a name such as "cortex-m4"."""
    return {"cortex-m0plus": _THUMB1, "cortex-m55": _HELIUM}.get(core, _THUMB2)


def header() -> str:
    """The table as C++."""
    cores = "\n".join(f"constexpr Bconv2dCore {name} = {_core(costs)};" for name, costs in CORES.items())
    return f"""// The planner's table, of bcnet_keras/device/plan_costs.py: `make sources` writes it here.
#ifndef TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_
#define TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_

#include "tflm_ops/kernels/bconv2d/plan.h"

namespace bcnet {{

// clang-format off
{cores}
// clang-format on

}}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_"""


def _core(costs: CoreCosts) -> str:
    none = SlicedCosts({inputs: TableCosts(0, 0, 0, 0) for inputs in (3, 5)}, 0, 0, 0, dict.fromkeys(OUTPUTS, 0))
    parts = [
        _sliced(costs.sliced),
        _listed(vars(costs.carry_save).values()),
        _sliced(costs.helium or none),
        "true" if costs.helium else "false",
        _listed(INDEX_BYTES[inputs] for inputs in (3, 5)),
    ]
    return "{\n    " + ",\n    ".join(parts) + "}"


def _sliced(costs: SlicedCosts) -> str:
    tables = ", ".join(_listed(vars(costs.tables[inputs]).values()) for inputs in (3, 5))
    outputs = _listed(costs.outputs[output] for output in OUTPUTS)
    return f"{{{{{tables}}}, {costs.each_pass}, {costs.channel_block}, {costs.row}, {outputs}}}"


def _listed(numbers: Iterable[int]) -> str:
    return "{" + ", ".join(map(str, numbers)) + "}"


if __name__ == "__main__":
    print(header())
