"""Fits what the kernels' steps cost to the bench's results, and writes it where `bcnet_keras.device.cost` reads it."""

import re

import numpy as np
from scipy.optimize import nnls

from bcnet_keras.device import cost_bconv2d


def shape_of(record):
    """The `cost_bconv2d.Shape` of a record."""
    height, width, channels, filters, kernel, stride = map(int, re.findall(r"\d+", record["shape"]))
    output = -(-height // stride), -(-width // stride)
    return cost_bconv2d.Shape(-(-channels // 32), filters, (kernel, kernel), output, stride)


def fit(records):
    """{core: {row: {what: instructions of each}}} that come closest to the records, relative to their size."""
    known = {}
    for record in records:
        for budget in record["budgets"] or (cost_bconv2d.SCRATCH_BUDGET,):
            for kernel, row, counts, _ in cost_bconv2d.ways(shape_of(record), record["output"], budget):
                if kernel == record["kernel"]:
                    cases = known.setdefault(record["core"], {}).setdefault(row, [])
                    cases.append((counts, record["instructions"]))
    return {core: {row: _solve(cases) for row, cases in rows.items()} for core, rows in known.items()}


def _solve(cases):
    names = sorted({what for counts, _ in cases for what in counts})
    matrix = np.array([[counts.get(what, 0) / instructions for what in names] for counts, instructions in cases])
    solution, _ = nnls(matrix, np.ones(len(cases)))
    return {what: float(f"{value:.5g}") for what, value in zip(names, solution, strict=True)}
