"""Fits what the kernels' steps cost to the bench's results, and writes it where `bcnet_keras.device.cost` reads it."""

import re

import numpy as np
from scipy.optimize import nnls

from bcnet_keras.device import cost_bconv2d


def shape_of(record):
    """The `cost_bconv2d.Shape` of a record."""
    height, width, channels, filters, kernel, stride = map(int, re.findall(r"\d+", record["shape"]))
    output = -(-height // stride), -(-width // stride)
    return cost_bconv2d.Shape(-(-channels // 32), filters, (kernel, kernel), output, (stride, stride))


def fit(records):
    """{"instructions": {core: {row: {what: instructions of each}}}, "cycles": the same with [low, high] of each}.

    They come closest to the records, relative to their size.
    """
    cases = _cases(records)
    instructions, low, high = (
        {core: {row: _solve(found, value) for row, found in rows.items()} for core, rows in cases.items()}
        for value in (
            lambda record: record["instructions"],
            lambda record: record["cycles"][0],
            lambda record: record["cycles"][1],
        )
    )
    cycles = {
        core: {row: {what: [figures[what], high[core][row][what]] for what in figures} for row, figures in rows.items()}
        for core, rows in low.items()
    }
    return {"instructions": instructions, "cycles": cycles}


def _cases(records):
    """{core: {row: [(counts, record)]}}"""
    known = {}
    for record in records:
        for budget in record["budgets"] or (cost_bconv2d.SCRATCH_BUDGET,):
            for plan in cost_bconv2d.candidate_plans(shape_of(record), record["output"], budget):
                if plan.kernel == record["kernel"]:
                    cases = known.setdefault(record["core"], {}).setdefault(plan.row, [])
                    cases.append((plan.counts, record))
    return known


def _solve(cases, value):
    names = sorted({what for counts, _ in cases for what in counts})
    matrix = np.array([[counts.get(what, 0) / value(record) for what in names] for counts, record in cases])
    # What is always done as often as something else, as lines and blocks of 1x1 kernels are, costs nothing beside it.
    same = np.all(matrix[:, :, np.newaxis] == matrix[:, np.newaxis, :], axis=0)
    matrix[:, np.triu(same, 1).any(axis=0)] = 0
    solution, _ = nnls(matrix, np.ones(len(cases)))
    return {what: float(f"{value:.5g}") for what, value in zip(names, solution, strict=True)}


def cycles_of_instruction(records):
    """{core: {operator: [low, high] cycles of an instruction}}, and "other" for what was not measured: all of these."""
    result = {}
    for core in dict.fromkeys(record["core"] for record in records):
        mine = [record for record in records if record["core"] == core]
        known = result[core] = {}
        for name in dict.fromkeys(record["operator"] for record in mine):
            cases = [record for record in mine if record["operator"] == name]
            instructions = sum(record["instructions"] for record in cases)
            known[name] = [
                float(f"{sum(record['cycles'][bound] for record in cases) / instructions:.4g}") for bound in (0, 1)
            ]
        known["other"] = [pick(figures[bound] for figures in known.values()) for bound, pick in ((0, min), (1, max))]
    return result
