"""Instructions and estimated cycles of the binary convolution's kernels, as functions of a layer's shape.

`candidate_plans` counts what a kernel does; the figures for each count, in `cost_bconv2d.json`, are fitted to the
bench's results by `tflm_ops/bench/fit.py`. Which plan the backend takes is found as the backend finds it, by its own
rounder figures (`plan_costs`): so scratch memory is told to the byte even where two plans take nearly as many
cycles.

The backend's planner is C++ (`tflm_ops/kernels/bconv2d/plan.cc`). It is written here once more because nets are priced
on machines without a compiler, and in a second; `tests/tflm_ops/test_plans.py` holds both to the same plans.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bcnet_keras.device import plan_costs
from bcnet_keras.device.cycles import Cycles
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import Tensors, schema

SCRATCH_BUDGET = 48 * 1024  # bytes, that of the operator unless the application sets another


@dataclass(frozen=True)
class _Tables:
    """Bytes of a block of 32 x 32 weights, blocks that lie `together`, and bytes of an input word's table indices."""

    block: int
    together: int
    index: int


_TABLES = {
    "sliced-5": _Tables(2048, 9, plan_costs.INDEX_BYTES[5]),
    "sliced-3": _Tables(512, 1, plan_costs.INDEX_BYTES[3]),
}
_PAIR = 8  # bytes that a block leaves for a pixel
# The same of the Helium kernel: bytes of a block, of the table indices of input words of four pixels, and of a vector.
_HELIUM_TABLES = {"helium-5": 2112, "helium-3": 640}
_HELIUM_INDEX = 64
_VECTOR = 16


class Candidate(NamedTuple):
    """A plan by which a layer can be computed.

    Attributes:
      kernel: its name in the bench's results.
      row: the kernel's row in the figures.
      counts: what the kernel does: how many of each.
      scratch_bytes: bytes of scratch memory.
    """

    kernel: str
    row: str
    counts: dict[str, int]
    scratch_bytes: int


@dataclass(frozen=True)
class Shape:
    """A binary convolution of one image; `words` and `filters` are those of all groups together."""

    words: int  # of an input pixel, 32 channels each
    filters: int
    kernel: tuple[int, int]  # height, width
    output: tuple[int, int]  # height, width
    strides: tuple[int, int] = (1, 1)
    groups: int = 1
    dilations: tuple[int, int] = (1, 1)

    @property
    def span(self) -> tuple[int, int]:
        """Rows and columns from the first to the last tap."""
        rows, columns = ((taps - 1) * step + 1 for taps, step in zip(self.kernel, self.dilations, strict=True))
        return rows, columns

    @property
    def has_tables(self) -> bool:
        """Whether the kernels with tables take it: no word of output channels belongs to two groups."""
        return self.groups == 1 or self.filters // self.groups % 32 == 0


def layer_of(operator: schema.OperatorT, inputs: Tensors, outputs: Tensors) -> tuple[Shape, str]:
    """(`Shape`, type of the output) of an operator of a flatbuffer with these tensors."""
    options = flatbuffer.custom_options(operator)
    # Filters are [channels, height, width, words]; input and bitpacked output count in words of 32 channels.
    filters, *kernel, depth = flatbuffer.shape(inputs[1])
    words = flatbuffer.shape(inputs[0])[-1]
    rows, columns = flatbuffer.shape(outputs[0])[1:3]
    strides = options["stride_height"], options["stride_width"]
    # Outlines have no dilations.
    dilations = options.get("dilation_height_factor", 1), options.get("dilation_width_factor", 1)
    height, width = kernel
    layer = Shape(words, filters, (height, width), (rows, columns), strides, words // depth, dilations)
    return layer, flatbuffer.type_name(outputs[0]).replace("int32", "bitpacked")


def candidate_plans(shape: Shape, output: str, budget: int = SCRATCH_BUDGET) -> Iterator[Candidate]:
    """Yields a `Candidate` for each plan that computes a layer within a scratch budget.

    `output` is "bitpacked", "int8" or "float32". Counts: block = 32 inputs x 32 output channels, per output pixel;
    line = lines of taps of a kernel, per the same; build = such blocks of weights; index = input words whose table
    indices are made; output word; channel block = output words whose counters are put aside and taken up again; row =
    rows of output, per pass over them (32 output channels and a block of the input channels); words = words of weights,
    per output; tap = taps gathered, per output pixel; output.
    """
    rows, columns = shape.output
    words = shape.words // shape.groups
    pixels, taps = rows * columns, math.prod(shape.kernel)
    outputs, blocks, passes = pixels * shape.filters, taps * words, math.ceil(shape.filters / 32)
    written = {f"{output} output": outputs}
    counts = {
        "eight words": outputs * (blocks // 8),
        "four words": outputs * (blocks // 4 % 2),
        # Their carries are seldom 0 behind others.
        "first word": outputs * (blocks % 4) if blocks < 8 else 0,
        "last word": outputs * (blocks % 4) if blocks >= 8 else 0,
        "tap": pixels * taps,
        "tap word": pixels * blocks,
        "call": 1,
    }
    window = blocks * 4
    yield Candidate("carry-save", "carry-save", counts | written, window if window <= budget else 0)
    for kernel, channel_blocks, block_words, kept, columns_read, tiles, used in _layouts(shape, words, passes, budget):
        rows_read = _rows_read(rows, shape)
        # Every pass makes the table indices of all channel blocks, or of all but the one that the last pass ended with.
        indexed = passes * channel_blocks - (passes - shape.groups if kept else 0)
        counts = {
            "block": passes * pixels * blocks,
            "line": passes * pixels * shape.kernel[0] * words,
            "build": passes * blocks * (tiles if channel_blocks > 1 else 1),
            "index": rows_read * columns_read * block_words * indexed,
            "row": passes * channel_blocks * rows * tiles,
            "output word": passes * pixels,
            "channel block": passes * pixels * (channel_blocks - 1),
            f"{output} pass": passes,
            "call": 1,
        }
        # There is code of its own for 3x3 and 1x1 with tables of 5 inputs.
        row = f"{kernel} {shape.kernel[0]}x{shape.kernel[1]}" if kernel == "sliced-5" else kernel
        name = f"{kernel} in {channel_blocks} channel blocks" if channel_blocks > 1 else kernel
        yield Candidate(name, row, counts if output == "bitpacked" else counts | written, used)
    yield from _helium_candidates(shape, output, words, passes, budget)


def _helium_candidates(shape: Shape, output: str, words: int, passes: int, budget: int) -> Iterator[Candidate]:
    """`candidate_plans` of the Helium kernel.

    A position is four pixels, one of each of the pieces that the output is cut into. Counts that differ from those
    there: block, line, output word, channel block = as there, but per position; index = input words of four pixels;
    position = positions, per output word, whose outputs are not bits.
    """
    height, width = shape.kernel
    rows, columns = _pieces(shape)
    positions = passes * rows * columns
    for kernel, channel_blocks, kept, columns_read, tiles, used in _helium_layouts(shape, words, passes, budget):
        counts = {
            "block": positions * height * width * words,
            "line": positions * height * words,
            "build": passes * height * width * words * (tiles if channel_blocks > 1 else 1),
            "index": _rows_read(rows, shape) * columns_read * words * (shape.groups if kept else passes),
            "row": passes * channel_blocks * rows * tiles,
            "output word": positions,
            "channel block": positions * (channel_blocks - 1),
            f"{output} pass": passes,
            "call": 1,
        }
        if output != "bitpacked":
            outputs = math.prod(shape.output) * shape.filters
            counts |= {f"{output} position": positions, f"{output} output": outputs}
        row = f"{kernel} {height}x{width}" if shape.span in ((3, 3), (1, 1)) and shape.kernel == shape.span else kernel
        yield Candidate(
            f"{kernel} in {channel_blocks} channel blocks" if channel_blocks > 1 else kernel, row, counts, used
        )


def _rows(rows: int, shape: Shape) -> int:
    """Rows of input from the first to the last that so many rows of output look at."""
    return (rows - 1) * shape.strides[0] + shape.span[0]


def _rows_read(rows: int, shape: Shape) -> int:
    """Those of them that an output looks at, as far as taps lie side by side."""
    return min(_rows(rows, shape), rows * shape.span[0])


def _pieces(shape: Shape) -> tuple[int, int]:
    """Height and width of the four pieces that the Helium kernel cuts the output into."""
    rows, columns = shape.output
    return min(((math.ceil(rows * n / 4), math.ceil(columns / n)) for n in (4, 2, 1)), key=math.prod)


def _digits(bits: int) -> int | None:
    """Digits of the counters of a sum of so many bits; None for more than they hold."""
    return next((digits for digits in (9, 11, 13) if bits < 1 << digits), None)


def _helium_layouts(
    shape: Shape, words: int, passes: int, budget: int
) -> Iterator[tuple[str, int, bool, int, int, int]]:
    """`_layouts` of the Helium kernel, as the backend's `plan_helium.cc` finds them."""
    height, width = shape.kernel
    rows, columns = _pieces(shape)
    step = 1 if width == 1 else shape.strides[1]
    all_rows = _rows(rows, shape)
    digits = _digits(height * width * words * 32)
    if digits is None or not shape.has_tables:
        return
    row_span, column_span = shape.span
    for kernel, table in _HELIUM_TABLES.items():
        for channel_blocks in range(1, words + 1):
            block_words = math.ceil(words / channel_blocks)
            if math.ceil(words / block_words) != channel_blocks:
                continue
            fixed = height * width * block_words * (table + 2 * _VECTOR)

            def size(
                rows_kept: int, tile: int, words_kept: int, fixed: int = fixed, channel_blocks: int = channel_blocks
            ) -> int:
                index = rows_kept * ((tile - 1) * step + column_span) * words_kept * _HELIUM_INDEX
                aside = tile * rows * (digits + 1) * _VECTOR if channel_blocks > 1 else 0
                return fixed + index + aside

            used = size(all_rows, columns, words)
            kept, tile = passes > shape.groups and used <= budget, columns
            for tiles in range(1, columns + 1) if not kept else ():
                tile = math.ceil(columns / tiles)
                # A row of outputs may meet all rows: then there is room for the indices of all channel blocks.
                kept = tiles == 1 and row_span >= all_rows
                used = size(min(row_span, all_rows), tile, words if kept else block_words)
                if used <= budget:
                    break
            if used > budget:
                continue
            tiles = math.ceil(columns / tile)
            read = tiles * ((tile - 1) * step + column_span)
            yield kernel, channel_blocks, kept, read, tiles, used


def _layouts(shape: Shape, words: int, passes: int, budget: int) -> Iterator[tuple[str, int, int, bool, int, int, int]]:
    """How a sliced kernel can use its scratch memory, as the backend's `plan.cc` finds them.

    Yields (kernel, blocks of the input channels, words of such a block, whether the table indices of all rows are kept
    from one pass to the next, columns of table indices that all tiles take, tiles that a row of output is cut into,
    bytes).
    """
    (height, width), (rows, columns) = shape.kernel, shape.output
    step = 1 if width == 1 else shape.strides[1]
    all_rows = _rows(rows, shape)
    digits = _digits(height * width * words * 32)
    if digits is None or not shape.has_tables:
        return
    row_span, column_span = shape.span
    for kernel, tables in _TABLES.items():
        if kernel == "sliced-5" and not (shape.kernel == (1, 1) or shape.kernel == shape.span == (3, 3)):
            continue
        for channel_blocks in range(1, words + 1):
            block_words = math.ceil(words / channel_blocks)
            if channel_blocks > 1 and math.ceil(words / block_words) != channel_blocks:
                continue
            blocks = height * width * block_words
            fixed = math.ceil(blocks / tables.together) * tables.together * tables.block + blocks * _PAIR

            def size(
                rows_kept: int,
                tile: int,
                fixed: int = fixed,
                tables: _Tables = tables,
                block_words: int = block_words,
                channel_blocks: int = channel_blocks,
            ) -> int:
                index = rows_kept * ((tile - 1) * step + column_span) * block_words * tables.index
                aside = tile * rows * (digits + 1) * 4 if channel_blocks > 1 else 0
                return fixed + index + aside

            tile = columns
            kept = passes > shape.groups and size(all_rows, columns) <= budget
            rows_kept = all_rows if kept else min(row_span, all_rows)
            if not kept:
                tile = next((s for s in range(columns, 0, -1) if size(rows_kept, s) <= budget), 0)
                if not tile:
                    continue
            tiles = math.ceil(columns / tile)
            tile = math.ceil(columns / tiles)
            read = tiles * ((tile - 1) * step + column_span)
            yield kernel, channel_blocks, block_words, kept, read, tiles, size(rows_kept, tile)


@functools.cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
    return tables


def figures() -> dict[str, dict[str, dict[str, float]]]:
    """{core: {row: {what: instructions of each}}}"""
    table: dict[str, dict[str, dict[str, float]]] = _tables()["instructions"]
    return table


def _row(table: dict[str, dict[str, Any]], row: str) -> dict[str, Any]:
    """The figures of a row. Of Helium's tables of 5 inputs only 3x3 and 1x1 are measured; others take some 7 % more."""
    return table.get(row) or table[f"{row} 3x3"]


def instructions(shape: Shape, output: str, core: str, budget: int = SCRATCH_BUDGET) -> float:
    """Instructions of a layer on a core."""
    chosen = _chosen(shape, output, core, budget)
    table: dict[str, float] = _row(figures()[core], chosen.row)
    return sum(table[what] * count for what, count in chosen.counts.items())


def cycles(shape: Shape, output: str, core: str, budget: int = SCRATCH_BUDGET) -> Cycles:
    """Estimated `Cycles` of a layer on a core."""
    chosen = _chosen(shape, output, core, budget)
    table = _row(_tables()["cycles"][core], chosen.row)
    low, high = (sum(table[what][bound] * count for what, count in chosen.counts.items()) for bound in (0, 1))
    return Cycles(low, high)


def scratch_bytes(shape: Shape, output: str, core: str, budget: int = SCRATCH_BUDGET) -> int:
    """Bytes of scratch memory that a layer takes on a core, at most `budget`."""
    return _chosen(shape, output, core, budget).scratch_bytes


def _chosen(shape: Shape, output: str, core: str, budget: int) -> Candidate:
    """The one of `candidate_plans` that the backend takes on a core."""
    carry_save, *others = candidate_plans(shape, output, budget)
    # A core with Helium takes the sliced kernel only where it has no room for the other.
    for kind in ("helium", "sliced") if plan_costs.of_core(core).helium else ("sliced",):
        known = [plan for plan in others if plan.kernel.startswith(kind)]
        if known:
            best = min(known, key=lambda plan: _estimate(plan, shape, output, core))
            most = _estimate(carry_save, shape, output, core)
            return best if _estimate(best, shape, output, core) < most else carry_save
    return carry_save


def plan_counts(plan: Candidate, shape: Shape, output: str) -> tuple[str, dict[str, int]]:
    """(the kernel's member of `plan_costs.CoreCosts`, how many of each of its costs the backend counts for a plan)."""
    counts = plan.counts
    kernel = plan.kernel.split(" ")[0]
    if kernel == "carry-save":
        outputs = counts[f"{output} output"]
        return "carry_save", {what: counts[what] for what in plan_costs.CARRY_SAVE} | {output: outputs}
    vectors = kernel.startswith("helium")
    rows = _pieces(shape)[0] if vectors else shape.output[0]
    filters = "1x1" if shape.kernel == (1, 1) else "3x3" if shape.kernel == shape.span == (3, 3) else "other"
    table = f"{kernel[-1]} {filters}"
    return "helium" if vectors else "sliced", {
        f"{table} build": counts["build"],
        # It reckons with rows of input that no output looks at, too.
        f"{table} index": counts["index"] * _rows(rows, shape) // _rows_read(rows, shape),
        f"{table} block": counts["block"],
        f"{table} pixel": counts["output word"],
        output: counts["output word"],
        # Some of the four pixels of a position may lie outside the output.
        f"{output} value": counts[f"{output} output"] if vectors and output != "bitpacked" else 0,
        "channel block": counts["channel block"],
        "row": counts["row"],
        "pass": counts[f"{output} pass"],
        "call": 1,
    }


def _estimate(plan: Candidate, shape: Shape, output: str, core: str) -> int:
    """Cycles of a plan as the backend reckons them."""
    kernel, counts = plan_counts(plan, shape, output)
    costs: dict[str, int] = getattr(plan_costs.of_core(core), kernel)
    return sum(costs[what] * count for what, count in counts.items())
