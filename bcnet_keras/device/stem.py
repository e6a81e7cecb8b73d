"""How `BcnetStem` is laid out in its scratch memory, and how often it does what; as tflm_ops/kernels/stem has it.

    layout("dsp", (16, 3, 3, 3), planes=4, stride=1, width=32).scratch_bytes

It comes in four forms: "thumb" on Cortex-M0+ and M3, with one multiplication for two filters, "dsp" on Cortex-M4, M7
and M33, whose SMLAD adds two products, "helium" on Cortex-M55, and "portable" where there is no assembly. All copy
columns of the image side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_COLUMNS, _WEIGHTS = 4096, 4096  # budgets of scratch memory, in bytes
_UNROLLED = 8  # words in a round of the loop with SMLAD
_FAST = (" of one", " of three")  # channels
_KNOWN = {1: "one plane", 2: "two planes", 4: "four planes"}
OTHERS = ("fours of planes", "odd planes", "even planes")  # by the planes modulo 4, 1 and 3 alike


@dataclass(frozen=True)
class Layout:
    """What is worked on at a time: outputs of a row and filters; and the bytes of all scratch memory."""

    tile: int
    group: int
    scratch_bytes: int


def layout(form: str, filters: Sequence[int], planes: int, stride: int, width: int) -> Layout:
    """The `Layout` of a stem, as `LayOut` in the headers of tflm_ops/kernels/stem computes it.

    Arguments:
      form: "portable", "thumb", "dsp" or "helium".
      filters: shape of its filters, OHWI.
      planes: thresholds of a filter.
      stride: of the width.
      width: of the output.
    """
    count, height, taps, channels = filters
    column = height * channels
    step, weights = min(stride, taps), column * taps
    even = _round_up(weights, 2)
    each = {"portable": 2 * weights, "thumb": 2 * even, "dsp": 2 * even, "helium": _round_up(weights, 16)}[form]
    bytes_of_two, missing = {"thumb": (8 * column, 0), "dsp": (8 * column, step)}.get(form, (2 * column, 0))
    fitting = 2 * _COLUMNS // bytes_of_two + missing - taps
    tile = min(2 if fitting < step else (fitting // step + 1) // 2 * 2, _round_up(width, 2))
    unit = max(4, 32 // math.gcd(planes, 32))  # filters whose bits fill words
    group = min(max(_WEIGHTS // each // unit * unit, unit), count)
    columns = (tile - 1) * step + taps - missing
    if form == "portable":
        size = _round_up(columns * column, 4) + -(-group // 2) * weights * 4
    elif form == "thumb":
        size = 4 * (columns * column + even - weights) + _round_up(group, 4) * each
        size += 4 * planes * (_round_up(group, 4) if planes == 1 else group)
    elif form == "dsp":
        four = _round_up(group, 4)
        columns += step + _round_up(step, 2)  # beside those that both pixels of a pair see
        size = 8 * -(-columns * column // 2) + four * each + 4 * planes * (four if planes in (1, 2, 4) else group)
    else:
        if (planes % 2 and planes > 1) or (count % 2 and 16 % planes):  # sums are stored
            more = 8 * _round_up(group, 4) + 2 * _round_up(planes * group, 2)
        else:
            more = 4 * planes * (group + 1) * (count % 2)
        size = _round_up(columns * column + 15, 4) + _round_up(group, 2) * each + more
    return Layout(tile, group, size)


def variant(planes: int) -> str:
    """The name of the figures of a stem with so many thresholds a filter."""
    return _KNOWN.get(planes) or OTHERS[1 if planes % 2 else planes % 4]


def counts(
    image: Sequence[int], filters: Sequence[int], planes: int, strides: Sequence[int], size: Sequence[int]
) -> dict[str, int]:
    """How often the forms do what their figures price.

    Arguments:
      image: shape of the input, NHWC.
      filters: shape of its filters, OHWI.
      planes: thresholds of a filter.
      strides: of height and width.
      size: height and width of the output.
    """
    (batches, image_height, _, channels), (filter_count, height, width, _) = image, filters
    (rows, columns), taps = size, height * width * channels
    pixels, pairs = batches * rows * columns, batches * rows * -(-columns // 2)
    words = -(-taps // 2)  # of two weights
    result = {
        "two taps": pixels * -(-filter_count // 4) * words,
        "eight of two taps": pixels * -(-filter_count // 4) * -(-words // _UNROLLED),
        "pixel": pixels,
        "pixel and four filters": pixels * -(-filter_count // 4),
        "pixel and filter": pixels * filter_count,
        "bit of a pixel": pixels * filter_count * planes,
        "word of a pixel": pixels * -(-filter_count * planes // 32),
        "two filters": pairs * -(-filter_count // 2),
        "vector": pairs * -(-filter_count // 2) * -(-taps // 16),
        "four filters": pairs * -(-filter_count // 4),
        "word": pairs * -(-filter_count // 4) * words,
        "round": pairs * -(-filter_count // 4) * -(-(words - 1) // _UNROLLED),
        "filter": pairs * filter_count,
        "bit": pairs * filter_count * planes,
        "output word": pairs * -(-filter_count * planes // 32),
        "pair": pairs,
        "weight": filter_count * taps,
    }
    pad = max(0, (rows - 1) * strides[0] + height - image_height) // 2
    outside = singles = twos = lasts = 0
    for y in range(rows):
        row, top = 0, y * strides[0] - pad
        while row < height:
            inside = 0 <= top + row < image_height
            fast = inside and row % 2 == 0 and channels in (1, 3)
            if fast and row + 1 < height and top + row + 1 < image_height:
                twos += 1
                row += 1
            elif fast and row + 1 == height:
                lasts += 1
            elif inside:
                singles += 1
            else:
                outside += 1
            row += 1
    for form, name in (("thumb", "number"), ("helium", "byte"), ("dsp", "halfword")):
        laid = layout(form, filters, planes, strides[1], columns)
        step, tiles, groups = min(strides[1], width), -(-columns // laid.tile), -(-filter_count // laid.group)
        seen = (columns - 1) * step + width + (tiles - 1) * (width - step)
        result[f"line of {name}s"] = batches * groups * tiles * rows
        kind = {1: " of one", 3: " of three"}.get(channels, " of any")
        if form == "dsp":
            result |= {f"two rows{each}": batches * groups * twos * seen * (each == kind) for each in _FAST}
            result |= {f"last row{each}": batches * groups * lasts * seen * (each == kind) for each in _FAST}
            result[name] = batches * groups * (outside + singles) * seen * channels
            result["row of halfwords"] = batches * groups * tiles * (outside + singles) * channels
            result["fast row"] = batches * groups * tiles * (twos + lasts)
        else:
            result[f"row of {name}s"] = batches * groups * tiles * rows * height
            all_of_them = batches * groups * rows * height * seen * channels
            result |= {f"{name}{each}": all_of_them * (each == kind) for each in (*_FAST, " of any")}
    return result


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
