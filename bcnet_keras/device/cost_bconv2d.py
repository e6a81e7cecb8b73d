"""Instructions and estimated cycles of the binary convolution's kernels, as functions of a layer's shape.

`ways` counts what a kernel does; the figures for each count, in `cost_bconv2d.json`, are fitted to the bench's results
by `tflm_ops/bench/fit.py`. Which way the backend takes is found as the backend finds it, by its own rounder figures: so
scratch memory is told to the byte even where two ways take nearly as many instructions.
"""

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path

from bcnet_keras.device.cycles import Cycles
from bcnet_keras.tflite import flatbuffer

SCRATCH_BUDGET = 48 * 1024  # bytes, that of the operator unless the application sets another


@dataclass(frozen=True)
class _Tables:
    """Bytes of a block of 32 x 32 weights, blocks that lie `together`, and bytes of the choices of an input word."""

    block: int
    together: int
    index: int


_TABLES = {"sliced-5": _Tables(2048, 9, 36), "sliced-3": _Tables(512, 1, 68)}
_PAIR = 8  # bytes that a block leaves for a pixel
# The same of the Helium kernel: bytes of a block, of the choices of input words of four pixels, and of a vector.
_HELIUM_TABLES = {"helium-5": 2112, "helium-3": 640}
_HELIUM_INDEX = 64
_VECTOR = 16
# The instructions by which the backend chooses (`plan.cc`, `plan_helium.cc`): of what `ways` counts, of an output word
# with outputs that are not bits, and of the carry-save kernel's words of weights, outputs and pixels.
_SLICED = {"part": 110, "pass": 1200, "bitpacked": 0, "int8": 180, "float32": 400}
_ESTIMATES = {
    "sliced-3": {"build": 930, "index": 85, "block": 131, "output word": 440, **_SLICED},
    "sliced-5": {"build": 1200, "index": 50, "block": 87, "output word": 90, **_SLICED},
    "carry-save": {"word": 9, "output": 110, "pixel": 0},
}
_SLICED_THUMB1 = {"part": 220, "pass": 1780, "bitpacked": 0, "int8": 980, "float32": 1200}
_ESTIMATES_THUMB1 = {
    "sliced-3": {"build": 1790, "index": 170, "block": 227, "output word": 443, **_SLICED_THUMB1},
    "sliced-5": {"build": 2710, "index": 86, "block": 114, "output word": 134, **_SLICED_THUMB1},
    "carry-save": {"word": 15, "output": 175, "pixel": 880},
}
_HELIUM = {"part": 200, "pass": 600, "row": 150, "output word": 105, "bitpacked": 0, "int8": 720, "float32": 2600}
_ESTIMATES_HELIUM = _ESTIMATES | {
    "helium-3": {"build": 300, "index": 80, "block": 132, **_HELIUM},
    "helium-5": {"build": 660, "index": 72, "block": 120, **_HELIUM},
}


@dataclass(frozen=True)
class Shape:
    """A binary convolution of one image; `words` and `filters` are those of all groups together."""

    words: int  # of an input pixel, 32 channels each
    filters: int
    kernel: tuple  # height, width
    output: tuple  # height, width
    stride: int = 1
    groups: int = 1


def layer_of(operator, inputs, outputs):
    """(`Shape`, type of the output) of an operator of a flatbuffer with these tensors."""
    options = flatbuffer.custom_options(operator)
    # Filters are [channels, height, width, words]; input and bitpacked output count in words of 32 channels.
    filters, *kernel, depth = flatbuffer.shape(inputs[1])
    words = flatbuffer.shape(inputs[0])[-1]
    size = flatbuffer.shape(outputs[0])[1:3]
    layer = Shape(words, filters, tuple(kernel), size, options["stride_width"], words // depth)
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
        rows_read = min(_rows(rows, shape), rows * shape.kernel[0])
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
    all_rows = _rows(rows, shape)
    positions = passes * rows * columns
    for kernel, parts, kept, columns_read, strips, used in _helium_layouts(shape, words, passes, budget):
        counts = {
            "block": positions * height * width * words,
            "line": positions * height * words,
            "build": passes * height * width * words * (strips if parts > 1 else 1),
            "index": min(all_rows, rows * height) * columns_read * words * (shape.groups if kept else passes),
            "row": passes * parts * rows * strips,
            "output word": positions,
            "part": positions * (parts - 1),
            f"{output} pass": passes,
            "call": 1,
        }
        if output != "bitpacked":
            outputs = math.prod(shape.output) * shape.filters
            counts |= {f"{output} position": positions, f"{output} output": outputs}
        row = f"{kernel} {height}x{width}" if shape.kernel in ((3, 3), (1, 1)) else kernel
        yield f"{kernel} in {parts} parts" if parts > 1 else kernel, row, counts, used


def _rows(rows, shape):
    """Rows of input from the first to the last that so many rows of output look at."""
    return (rows - 1) * shape.stride + shape.kernel[0]


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
    step = 1 if width == 1 else shape.stride
    all_rows = _rows(rows, shape)
    digits = _digits(height * width * words * 32)
    if digits is None:
        return
    for kernel, table in _HELIUM_TABLES.items():
        for parts in range(1, words + 1):
            part = math.ceil(words / parts)
            if math.ceil(words / part) != parts:
                continue
            fixed = height * width * part * (table + 2 * _VECTOR)

            def size(rows_kept, strip, words_kept, fixed=fixed, parts=parts):
                index = rows_kept * ((strip - 1) * step + width) * words_kept * _HELIUM_INDEX
                aside = strip * rows * (digits + 1) * _VECTOR if parts > 1 else 0
                return fixed + index + aside

            used = size(all_rows, columns, words)
            kept, strips = passes > shape.groups and used <= budget, 1
            if not kept:
                sizes = ((n, size(min(height, all_rows), math.ceil(columns / n), part)) for n in range(1, columns + 1))
                strips, used = next(((n, used) for n, used in sizes if used <= budget), (0, 0))
                if not strips:
                    continue
            read = strips * ((math.ceil(columns / strips) - 1) * step + width)
            yield kernel, parts, kept, read, strips, used


def _layouts(shape, words, passes, budget):
    """The ways of a sliced kernel to use its scratch memory, as the backend's `plan.cc` finds them.

    Yields (kernel, parts of the input channels, words of a part, whether the choices of all rows are kept from one pass
    to the next, columns of choices that all strips take, strips that a row of output is cut into, bytes).
    """
    (height, width), (rows, columns) = shape.kernel, shape.output
    step = 1 if width == 1 else shape.stride
    all_rows = _rows(rows, shape)
    digits = _digits(height * width * words * 32)
    if digits is None:
        return
    for kernel, tables in _TABLES.items():
        if kernel == "sliced-5" and shape.kernel not in ((3, 3), (1, 1)):
            continue
        for parts in range(1, words + 1):
            part = math.ceil(words / parts)
            if parts > 1 and math.ceil(words / part) != parts:
                continue
            blocks = height * width * part
            fixed = math.ceil(blocks / tables.together) * tables.together * tables.block + blocks * _PAIR

            def size(rows_kept, strip, fixed=fixed, tables=tables, part=part, parts=parts):
                index = rows_kept * ((strip - 1) * step + width) * part * tables.index
                aside = strip * rows * (digits + 1) * 4 if parts > 1 else 0
                return fixed + index + aside

            strip = columns
            kept = passes > shape.groups and size(all_rows, columns) <= budget
            rows_kept = all_rows if kept else min(height, all_rows)
            if not kept:
                strip = next((s for s in range(columns, 0, -1) if size(rows_kept, s) <= budget), 0)
                if not strip:
                    continue
            strips = math.ceil(columns / strip)
            strip = math.ceil(columns / strips)
            read = strips * ((strip - 1) * step + width)
            yield kernel, parts, part, kept, read, strips, size(rows_kept, strip)


@functools.cache
def _tables():
    return json.loads(Path(__file__).with_suffix(".json").read_text())


def figures():
    """{core: {row: {what: instructions of each}}}"""
    return _tables()["instructions"]


def instructions(shape, output, core, budget=SCRATCH_BUDGET):
    """Instructions of a layer on a core."""
    _, row, counts, _ = _chosen(shape, output, core, budget)
    table = figures()[core][row]
    return sum(table[what] * count for what, count in counts.items())


def cycles(shape, output, core, budget=SCRATCH_BUDGET):
    """Estimated `Cycles` of a layer on a core."""
    _, row, counts, _ = _chosen(shape, output, core, budget)
    table = _tables()["cycles"][core][row]
    return Cycles(*(sum(table[what][bound] * count for what, count in counts.items()) for bound in (0, 1)))


def scratch_bytes(shape, output, core, budget=SCRATCH_BUDGET):
    """Bytes of scratch memory that a layer takes on a core, at most `budget`."""
    return _chosen(shape, output, core, budget)[-1]


def _chosen(shape, output, core, budget):
    """The one of `ways` that the backend takes on a core."""
    carry_save, *others = (way for way in ways(shape, output, budget) if way[1] in figures()[core])
    # A core with Helium takes the sliced kernel only where it has no room for the other.
    for kind in ("helium", "sliced"):
        known = [way for way in others if way[0].startswith(kind)]
        best = min(known, key=lambda way: _estimate(way, shape, output, core), default=carry_save)
        if _estimate(best, shape, output, core) < _estimate(carry_save, shape, output, core):
            return best
    return carry_save


def _estimate(way, shape, output, core):
    """Instructions of one of `ways` as the backend reckons them."""
    estimates = {"cortex-m0plus": _ESTIMATES_THUMB1, "cortex-m55": _ESTIMATES_HELIUM}.get(core, _ESTIMATES)
    name, _, counts, _ = way
    kernel = name.split(" ")[0]
    each = estimates[kernel]
    if kernel == "carry-save":
        words = math.prod(shape.kernel) * shape.words // shape.groups
        return math.prod(shape.output) * (shape.filters * (words * each["word"] + each["output"]) + each["pixel"])
    rows = _pieces(shape)[0] if kernel.startswith("helium") else shape.output[0]
    # It reckons with rows of input that no output looks at, too.
    index = counts["index"] * _rows(rows, shape) / min(_rows(rows, shape), rows * shape.kernel[0])
    counts = counts | {"index": index, "pass": counts[f"{output} pass"], output: counts["output word"]}
    return sum(figure * counts.get(what, 0) for what, figure in each.items())
