"""Fits what the kernels' steps cost to the bench's results, for `bcnet_keras.device.cost` to read.

    python tflm_ops/bench/fit.py        # the figures by which the operators choose a kernel

That writes ``bcnet_keras/device/plan_costs.json``. Then `make sources` writes them as C++, and the bench measures what
is chosen by them.
"""

import json
import re
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from bcnet_keras.device import cost_bconv2d, plan_costs
from bcnet_keras.utils import atomic_files as files

HERE = Path(__file__).resolve().parent
PLAN_COSTS = HERE.parents[1] / "bcnet_keras" / "device" / "plan_costs.json"


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


def fit_plans(records):
    """`plan_costs.json`: the middles of estimated cycles, in whole numbers."""
    found = {}
    for record in records:
        shape = shape_of(record)
        for plan in _plans(record):
            kernel, counts = cost_bconv2d.plan_counts(plan, shape, record["output"])
            found.setdefault((record["core"], kernel), []).append((counts, record))
    result = {}
    for name, (_, core) in plan_costs.ARCHITECTURES.items():
        costs = {
            kernel: _whole(_solve(found[core, kernel], lambda record: sum(record["cycles"]) / 2))
            for kernel in ("sliced", "carry_save", "helium")
            if (core, kernel) in found
        }
        for kernel in ("sliced", "helium"):
            if kernel in costs:
                costs[kernel] = _with_all_tables(costs[kernel])
        costs["carry_save"] = {
            what: costs["carry_save"][what] for what in (*plan_costs.CARRY_SAVE, *plan_costs.OUTPUTS)
        }
        result[name] = {"helium": {}} | costs
    return result


def _whole(costs):
    return {what: round(value) for what, value in costs.items()}


def _with_all_tables(costs):
    """The costs of all tables: of a filter that was not measured those of 3x3."""
    rows = {}
    for table in plan_costs.TABLES:
        measured = table if f"{table} block" in costs else f"{table[0]} 3x3"
        rows |= {f"{table} {part}": costs[f"{measured} {part}"] for part in plan_costs.PARTS}
    values = (f"{output} value" for output in plan_costs.OUTPUTS)
    others = ("pass", "channel block", "row", "call", *plan_costs.OUTPUTS, *values)
    return rows | {what: costs.get(what, 0) for what in others}


def _plans(record):
    """The plans that a record can be of."""
    shape = shape_of(record)
    for budget in record["budgets"] or (cost_bconv2d.SCRATCH_BUDGET,):
        for plan in cost_bconv2d.candidate_plans(shape, record["output"], budget):
            if plan.kernel == record["kernel"]:
                yield plan


def _cases(records):
    """{core: {row: [(counts, record)]}}"""
    known = {}
    for record in records:
        for plan in _plans(record):
            known.setdefault(record["core"], {}).setdefault(plan.row, []).append((plan.counts, record))
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


def main():
    results = json.loads((HERE / "results.json").read_text())
    files.write_atomic(PLAN_COSTS, json.dumps(fit_plans(results["records"]), indent=1) + "\n")


if __name__ == "__main__":
    main()
