"""Instructions and estimated cycles of the binary convolution's kernels, as functions of a layer's shape.

`ways` counts what a kernel does; the figures for each count, in `cost_bconv2d.json`, are fitted to the bench's results
by `tflm_ops/bench/fit.py`. Which way the backend takes is found as the backend finds it, by its own rounder figures
(`plan_costs`): so scratch memory is told to the byte even where two ways take nearly as many instructions.

The backend's planner is C++ (`tflm_ops/kernels/bconv2d/plan.cc`). It is written here once more because nets are priced
on machines without a compiler, and in a second; `tests/tflm_ops/test_plans.py` holds both to the same plans.
"""

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path

from bcnet_keras.device import plan_costs
from bcnet_keras.device.cycles import Cycles
from bcnet_keras.tflite import flatbuffer

SCRATCH_BUDGET = 48 * 1024  # bytes, that of the operator unless the application sets another


@dataclass(frozen=True)
class _Tables:
    """Bytes of a block of 32 x 32 weights, blocks that lie `together`, and bytes of the choices of an input word."""

    block: int
    together: int
    index: int


_TABLES = {
    "sliced-5": _Tables(2048, 9, plan_costs.INDEX_BYTES[5]),
    "sliced-3": _Tables(512, 1, plan_costs.INDEX_BYTES[3]),
}
_PAIR = 8  # bytes that a block leaves for a pixel
# The same of the Helium kernel: bytes of a block, of the choices of input words of four pixels, and of a vector.
_HELIUM_TABLES = {"helium-5": 2112, "helium-3": 640}
_HELIUM_INDEX = 64
_VECTOR = 16


@dataclass(frozen=True)
class Shape:
    """A binary convolution of one image; `words` and `filters` are those of all groups together."""

    words: int  # of an input pixel, 32 channels each
    filters: int
    kernel: tuple  # height, width
    output: tuple  # height, width
    strides: tuple = (1, 1)
    groups: int = 1
    dilations: tuple = (1, 1)

    @property
    def span(self):
        """Rows and columns from the first to the last tap."""
        return tuple((taps - 1) * dilation + 1 for taps, dilation in zip(self.kernel, self.dilations, strict=True))

    @property
    def has_tables(self):
        """Whether the kernels with tables take it: no word of output channels belongs to two groups."""
        return self.groups == 1 or self.filters // self.groups % 32 == 0


def layer_of(operator, inputs, outputs):
    """(`Shape`, type of the output) of an operator of a flatbuffer with these tensors."""
    options = flatbuffer.custom_options(operator)
    # Filters are [channels, height, width, words]; input and bitpacked output count in words of 32 channels.
    filters, *kernel, depth = flatbuffer.shape(inputs[1])
    words = flatbuffer.shape(inputs[0])[-1]
    size = flatbuffer.shape(outputs[0])[1:3]
    strides = options["stride_height"], options["stride_width"]
    dilations = tuple(options.get(f"dilation_{axis}_factor", 1) for axis in ("height", "width"))  # outlines have none
    layer = Shape(words, filters, tuple(kernel), size, strides, words // depth, dilations)
    return layer, flatbuffer.type_name(outputs[0]).replace("int32", "bitpacked")


def ways(shape, output, budget=SCRATCH_BUDGET):
    """What the kernels that can compute a layer within a scratch budget do.

    Yields (name of the kernel in the bench's results, its row in the figures, {what: how many}, scratch bytes).

    `output` is "bitpacked", "int8" or "float32". Counts: block = 32 inputs x 32 output channels, an output pixel;
    line = lines of taps of a kernel, the same; build = such blocks of weights; index = input words whose choices of
    table entries are made; output word; part = output words that are put aside and taken up again; row = rows of
    output, a pass over them (32 output channels and a part of the input channels); words = words of weights, an
    output; tap = taps gathered, an output pixel; output.
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
    yield "carry-save", "carry-save", counts | written, window if window <= budget else 0
    for kernel, parts, part, kept, columns_read, strips, used in _layouts(shape, words, passes, budget):
        rows_read = _rows_read(rows, shape)
        counts = {
            "block": passes * pixels * blocks,
            "line": passes * pixels * shape.kernel[0] * words,
            "build": passes * blocks * (strips if parts > 1 else 1),
            # Every pass makes the choices of all parts, or all but the one that the pass before ended with.
            "index": rows_read * columns_read * part * (passes * parts - (passes - shape.groups if kept else 0)),
            "row": passes * parts * rows * strips,
            "output word": passes * pixels,
            "part": passes * pixels * (parts - 1),
            f"{output} pass": passes,
            "call": 1,
        }
        # There is code of its own for 3x3 and 1x1 with tables of 5 inputs.
        row = f"{kernel} {shape.kernel[0]}x{shape.kernel[1]}" if kernel == "sliced-5" else kernel
        name = f"{kernel} in {parts} parts" if parts > 1 else kernel
        yield name, row, counts if output == "bitpacked" else counts | written, used
    yield from _helium_ways(shape, output, words, passes, budget)


def _helium_ways(shape, output, words, passes, budget):
    """`ways` of the Helium kernel.

    A position is four pixels, one of each of the pieces that the output is cut into. Other counts than those of `ways`:
    block, line, output word, part = as there, but a position; index = input words of four pixels; position = positions,
    an output word, whose outputs are not bits.
    """
    height, width = shape.kernel
    rows, columns = _pieces(shape)
    positions = passes * rows * columns
    for kernel, parts, kept, columns_read, strips, used in _helium_layouts(shape, words, passes, budget):
        counts = {
            "block": positions * height * width * words,
            "line": positions * height * words,
            "build": passes * height * width * words * (strips if parts > 1 else 1),
            "index": _rows_read(rows, shape) * columns_read * words * (shape.groups if kept else passes),
            "row": passes * parts * rows * strips,
            "output word": positions,
            "part": positions * (parts - 1),
            f"{output} pass": passes,
            "call": 1,
        }
        if output != "bitpacked":
            outputs = math.prod(shape.output) * shape.filters
            counts |= {f"{output} position": positions, f"{output} output": outputs}
        row = f"{kernel} {height}x{width}" if shape.span in ((3, 3), (1, 1)) and shape.kernel == shape.span else kernel
        yield f"{kernel} in {parts} parts" if parts > 1 else kernel, row, counts, used


def _rows(rows, shape):
    """Rows of input from the first to the last that so many rows of output look at."""
    return (rows - 1) * shape.strides[0] + shape.span[0]


def _rows_read(rows, shape):
    """Those of them that an output looks at, as far as taps lie side by side."""
    return min(_rows(rows, shape), rows * shape.span[0])


def _pieces(shape):
    """Height and width of the four pieces that the Helium kernel cuts the output into."""
    rows, columns = shape.output
    return min(((math.ceil(rows * n / 4), math.ceil(columns / n)) for n in (4, 2, 1)), key=math.prod)


def _digits(bits):
    """Digits of the counters of a sum of so many bits; None for more than they hold."""
    return next((digits for digits in (9, 11, 13) if bits < 1 << digits), None)


def _helium_layouts(shape, words, passes, budget):
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
        for parts in range(1, words + 1):
            part = math.ceil(words / parts)
            if math.ceil(words / part) != parts:
                continue
            fixed = height * width * part * (table + 2 * _VECTOR)

            def size(rows_kept, strip, words_kept, fixed=fixed, parts=parts):
                index = rows_kept * ((strip - 1) * step + column_span) * words_kept * _HELIUM_INDEX
                aside = strip * rows * (digits + 1) * _VECTOR if parts > 1 else 0
                return fixed + index + aside

            used = size(all_rows, columns, words)
            kept, strip = passes > shape.groups and used <= budget, columns
            for strips in range(1, columns + 1) if not kept else ():
                strip = math.ceil(columns / strips)
                # The rows of a whole row of outputs may be all: then room is made for the table indices of all parts.
                kept = strips == 1 and row_span >= all_rows
                used = size(min(row_span, all_rows), strip, words if kept else part)
                if used <= budget:
                    break
            if used > budget:
                continue
            strips = math.ceil(columns / strip)
            read = strips * ((strip - 1) * step + column_span)
            yield kernel, parts, kept, read, strips, used


def _layouts(shape, words, passes, budget):
    """The ways of a sliced kernel to use its scratch memory, as the backend's `plan.cc` finds them.

    Yields (kernel, parts of the input channels, words of a part, whether the choices of all rows are kept from one pass
    to the next, columns of choices that all strips take, strips that a row of output is cut into, bytes).
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
        for parts in range(1, words + 1):
            part = math.ceil(words / parts)
            if parts > 1 and math.ceil(words / part) != parts:
                continue
            blocks = height * width * part
            fixed = math.ceil(blocks / tables.together) * tables.together * tables.block + blocks * _PAIR

            def size(rows_kept, strip, fixed=fixed, tables=tables, part=part, parts=parts):
                index = rows_kept * ((strip - 1) * step + column_span) * part * tables.index
                aside = strip * rows * (digits + 1) * 4 if parts > 1 else 0
                return fixed + index + aside

            strip = columns
            kept = passes > shape.groups and size(all_rows, columns) <= budget
            rows_kept = all_rows if kept else min(row_span, all_rows)
            if not kept:
                strip = next((s for s in range(columns, 0, -1) if size(rows_kept, s) <= budget), 0)
                if not strip:
                    continue
            strips = math.ceil(columns / strip)
            strip = math.ceil(columns / strips)
            read = strips * ((strip - 1) * step + column_span)
            yield kernel, parts, part, kept, read, strips, size(rows_kept, strip)


@functools.cache
def _tables():
    return json.loads(Path(__file__).with_suffix(".json").read_text())


def figures():
    """{core: {row: {what: instructions of each}}}"""
    return _tables()["instructions"]


def _row(table, row):
    """The figures of a row. Of Helium's tables of 5 inputs only 3x3 and 1x1 are measured; others take some 7 % more."""
    return table.get(row) or table[f"{row} 3x3"]


def instructions(shape, output, core, budget=SCRATCH_BUDGET):
    """Instructions of a layer on a core."""
    _, row, counts, _ = _chosen(shape, output, core, budget)
    table = _row(figures()[core], row)
    return sum(table[what] * count for what, count in counts.items())


def cycles(shape, output, core, budget=SCRATCH_BUDGET):
    """Estimated `Cycles` of a layer on a core."""
    _, row, counts, _ = _chosen(shape, output, core, budget)
    table = _row(_tables()["cycles"][core], row)
    return Cycles(*(sum(table[what][bound] * count for what, count in counts.items()) for bound in (0, 1)))


def scratch_bytes(shape, output, core, budget=SCRATCH_BUDGET):
    """Bytes of scratch memory that a layer takes on a core, at most `budget`."""
    return _chosen(shape, output, core, budget)[-1]


def _chosen(shape, output, core, budget):
    """The one of `ways` that the backend takes on a core."""
    carry_save, *others = ways(shape, output, budget)
    # A core with Helium takes the sliced kernel only where it has no room for the other.
    for kind in ("helium", "sliced") if plan_costs.of_core(core).helium else ("sliced",):
        known = [way for way in others if way[0].startswith(kind)]
        best = min(known, key=lambda way: _estimate(way, shape, output, core), default=carry_save)
        if _estimate(best, shape, output, core) < _estimate(carry_save, shape, output, core):
            return best
    return carry_save


def _estimate(way, shape, output, core):
    """Instructions of one of `ways` as the backend reckons them."""
    costs = plan_costs.of_core(core)
    name, _, counts, _ = way
    kernel = name.split(" ")[0]
    if kernel == "carry-save":
        each = costs.carry_save
        words = math.prod(shape.kernel) * shape.words // shape.groups
        return math.prod(shape.output) * (shape.filters * (words * each.word + each.output) + each.pixel)
    each = costs.helium if kernel.startswith("helium") else costs.sliced
    table = each.tables[int(kernel[-1])]
    rows = _pieces(shape)[0] if kernel.startswith("helium") else shape.output[0]
    # It reckons with rows of input that no output looks at, too.
    index = counts["index"] * _rows(rows, shape) // _rows_read(rows, shape)
    return (
        counts["build"] * table.build
        + index * table.index
        + counts["block"] * table.block
        + counts["output word"] * (table.pixel + each.outputs[output])
        + counts["part"] * each.part
        + counts["row"] * each.row
        + counts[f"{output} pass"] * each.each_pass
    )
