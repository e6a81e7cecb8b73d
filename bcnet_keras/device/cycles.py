"""Estimated cycles: ranges, and the cycles that an operator's instructions take on a core.

Instructions are counted; cycles are estimated from what was executed, by models of the cores (`tflm_ops/bench/cycles`),
whose sources leave some rules open. So they are a range, low to high, and any sum of them is.

`cycles.json`, written by `make bench`, has the cycles of an instruction by core and operator: of those that a pair is
made of measured on shapes of real nets, of copies, and "other", for all that were not: the range of all that were.
Cycles of the binary convolution are in `bcnet_keras.device.cost_bconv2d`, by what its kernels do.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COPY = "copy"  # the name of what moves bytes, whichever operator
# Figures of an operator whose instructions take other cycles than the rest.
CONVOLUTION_1X1 = "CONV_2D (1x1)"
STEM_OF_OTHER_PLANES = "BcnetStem (other planes)"  # than 1, 2 and 4


@dataclass(frozen=True)
class Cycles:
    """Cycles at least and at most, with memory that answers at once unless something else is said."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The estimate where one number is asked for."""
        return (self.low + self.high) / 2

    def __add__(self, other: Cycles) -> Cycles:
        return Cycles(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> Cycles:
        return Cycles(self.low * factor, self.high * factor)

    def text(self) -> str:
        """For a reader: "1,230,000 (1,180,000 to 1,290,000)"."""
        return f"{_rounded(self.middle)} ({self.range_text()})"

    def range_text(self) -> str:
        """For a reader: "1,180,000 to 1,290,000"."""
        low, high = _rounded(self.low), _rounded(self.high)
        return low if low == high else f"{low} to {high}"

    def short_text(self) -> str:
        """The same of small numbers, such as milliseconds: "1.18 to 1.29"."""
        low, high = short(self.low), short(self.high)
        return low if low == high else f"{low} to {high}"


def short(number: float) -> str:
    """A number, 0 or more, to three digits for a reader: "0.00123", "1.2", "7,640,000"."""
    text = f"{number:.3g}"
    return f"{float(text):,.0f}" if "e+" in text else text


def as_record(cycles: dict[str, Cycles]) -> dict[str, list[float]]:
    """{core: [low, high]} of {core: `Cycles`}, as JSON takes it."""
    return {core: [each.low, each.high] for core, each in cycles.items()}


def cycles_of(row: dict[str, Any], core: str, key: str = "cycles") -> Cycles:
    """The `Cycles` on a core of a row of results, of a run or of a benchmark."""
    return Cycles(*row[key][core])


def shares(rows: dict[str, dict[str, Any]], core: str) -> dict[str, float]:
    """{name of a row of results: its cycles on a core over those of the int8 net alone}, by the middles of ranges."""
    whole = cycles_of(rows["int8"], core).middle
    return {name: cycles_of(row, core).middle / whole for name, row in rows.items()}


def _rounded(number: float) -> str:
    """A number to three digits, for a reader."""
    digits = max(0, len(str(round(number))) - 3)
    return f"{round(number, -digits):,.0f}"


@functools.cache
def figures() -> dict[str, dict[str, tuple[float, float]]]:
    """{core: {operator, or "other": [low, high] cycles of an instruction}}"""
    tables: dict[str, dict[str, dict[str, tuple[float, float]]]] = json.loads(
        Path(__file__).with_suffix(".json").read_text()
    )
    return tables["cycles of an instruction"]


def of_instructions(name: str, core: str, instructions: float) -> Cycles:
    """`Cycles` of so many instructions of the operator `name`, any that was not measured included."""
    known = figures()[core]
    low, high = known.get(name, known["other"])
    return Cycles(low * instructions, high * instructions)
