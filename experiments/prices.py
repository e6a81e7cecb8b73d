"""Prices committed results anew, in estimated cycles of today's operators, without training.

    python -m experiments.report --reprice

What a net takes follows from its shapes, not from its weights. So the nets of a benchmark are drawn from the settings
in its results (`planning.sketch`) and priced; with the escalation rates in the results that gives cycles, instructions
and arena of every row, and the cost of every curve and gate. Sizes of files stay. Thresholds stay as they were picked:
what validation samples gave at others is not in the results. `picked_by` says whether costs were instructions then.
"""

import dataclasses

import numpy as np

from bcnet_keras.device.cycles import as_record
from experiments import benchmarks

INSTRUCTIONS, CYCLES = "instructions", "estimated cycles"  # what costs were when thresholds were picked
_SWAPPED = ("coopnet", "bcnet_no_sum")  # rows whose int8 answer takes the binary one's place
_ALONE = ("int8", "binary")


def priced(summary):
    """The summary of a benchmark or of its variant, as `experiments.run` writes it, with costs of today.

    Raises ValueError where the nets have changed, or where a verdict would.
    """
    settings, drawn = summary["settings"], nets_of(summary)
    priced_nets = {name: net for name, (net, _) in drawn.items()}
    core, whole = settings["core"], priced_nets["int8"].cycles[settings["core"]].middle
    _check(summary, priced_nets)
    rows = {name: row | _row(*drawn[net_of_row(name)], row, name) for name, row in summary["rows"].items()}

    def relative(net):
        paths = net.accepted_cycles, net.escalated_cycles
        return [path[core].middle / whole for path in paths]

    def at(rate, name="bcnet"):
        accepted, escalated = relative(priced_nets[net_of_row(name)])
        return (1 - rate) * accepted + rate * escalated

    curves = {
        name: curve | {"cost": [at(rate, name) for rate in curve["escalation_rate"]]}
        for name, curve in summary["curves"].items()
    }
    gates = {
        name: gate | {"cost": spread([at(rate) for rate in gate["escalation_rate"]["per_seed"]])}
        for name, gate in summary["gates"].items()
    }
    result = summary | {"rows": rows, "curves": curves, "gates": gates}
    result["picked_by"] = summary.get("picked_by", INSTRUCTIONS)
    if "verdicts" in summary:
        binary = priced_nets["binary"].cycles[core].middle / whole
        pairs = {name: relative(priced_nets[net_of_row(name)]) for name in summary["rows"] if name not in _ALONE}
        result["verdicts"] = [
            _verdict(each, {row: (rows[row]["escalation_rate"]["per_seed"][seed], pairs[row]) for row in pairs}, binary)
            for seed, each in enumerate(summary["verdicts"])
        ]
    return result


def spread(values):
    """Mean, standard deviation (n - 1) and each seed's value, as the results have them."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": deviation, "per_seed": values}


def net_of_row(row):
    """The name in `nets_of` of what a row is of."""
    return row if row in _ALONE else "swap" if row in _SWAPPED else "sum"


def nets_of(summary):
    """{"int8", "binary", and pairs that "sum" or "swap": (`device.cost.Cost`, bytes of the arena)} of its nets."""
    from bcnet_keras.convert import Gate, merge
    from bcnet_keras.device.arena import arena
    from bcnet_keras.device.cost import cost
    from bcnet_keras.experiment.saved_settings import settings_of
    from bcnet_keras.experiment.training_run import chosen_nets
    from bcnet_keras.planning.sketch import sketch_binary, sketch_int8

    settings = settings_of(summary["settings"])
    shape, classes = benchmarks.SHAPES[settings.dataset]
    nets = settings.nets or chosen_nets(settings, shape, classes)
    found = {"binary": sketch_binary(nets, shape, classes), "int8": sketch_int8(nets, shape, classes)}
    gate = Gate.create(classes, settings.measure, 0.5)
    parts = found["binary"], found["int8"]
    found |= {combine: merge(*parts, gate, combine=combine) for combine in ("sum", "swap")}
    return {
        name: (cost(data, board_name=settings.board), arena(data, settings.core).bytes) for name, data in found.items()
    }


def _check(summary, priced_nets):
    """Raises ValueError where the int8 net is not the one of which the results are."""
    core = summary["settings"]["core"]
    counted = priced_nets["int8"].instructions[core], summary["rows"]["int8"]["instructions"][core]
    if abs(counted[0] / counted[1] - 1) > 0.02:
        raise ValueError(
            f"the int8 net of {summary['settings']['dataset']} takes {counted[0]:,.0f} instructions, and the results "
            f"are of one that took {counted[1]:,.0f}; run the benchmark again."
        )


def _row(net, arena_bytes, row, name):
    rate = row["escalation_rate"]["mean"]
    alone = name in _ALONE
    return {
        "cycles": as_record(net.cycles if alone else net.expected_cycles(rate)),
        "worst_cycles": as_record(net.cycles),
        "instructions": dict(net.instructions if alone else net.expected(rate)),
        "worst_instructions": dict(net.instructions),
        "arena_bytes": arena_bytes,
    }


def _verdict(record, pairs, binary):
    """A seed's verdict with its costs anew; its sentence stays what the run said.

    Arguments:
      pairs: {row: (its escalation rate, (cost accepted, cost escalated))}. binary: cost of the binary net alone.
    """
    from bcnet_keras.experiment.verdict import Row

    images = np.arange(record["figures"]["test_images"])
    rows = {name: Row(images, *costs, images < round(rate * len(images))) for name, (rate, costs) in pairs.items()}
    costs = {"int8": 1.0, "binary": binary} | {name: row.cost for name, row in rows.items()}
    interval = rows["bcnet"].cost_interval()
    if (interval[1] < 1) != (record["figures"]["cost_interval"][1] < 1):
        raise ValueError(f"the verdict {record['outcome']!r} depends on the price; run the benchmark again.")
    costs = {name: costs[name] for name in record["figures"]["costs"]}
    return record | {"figures": record["figures"] | {"costs": costs, "cost_interval": list(interval)}}


def priced_search(study, name):
    """The record of a search for the binary net of a benchmark, with each trial's cost of today.

    What was over the budget when the trials were drawn stays so. `cost_in_instructions`: as it was then.
    """
    from bcnet_keras.experiment.training_run import chosen_nets
    from bcnet_keras.planning.choice import Plan

    settings, (shape, classes) = benchmarks.load(name).SETTINGS, benchmarks.SHAPES[name]
    nets = chosen_nets(settings, shape, classes)

    def cost(trial):
        blocks = tuple((filters, strides) for filters, strides in trial["blocks"])
        drawn = dataclasses.replace(nets, blocks=blocks, planes=trial["planes"], shared_stem=trial["shared_stem"])
        return Plan.of(drawn, shape, classes, **settings.device).cost[0]

    trials = [
        trial
        if trial["cost"] is None
        else trial | {"cost": cost(trial), "cost_in_instructions": trial.get("cost_in_instructions", trial["cost"])}
        for trial in study["trials"]
    ]
    return study | {"trials": trials}


def priced_budget(record, summary):
    """The record of `experiments.budget` with costs of today; `summary`: that of the benchmark, priced.

    The controller and its answers depend on the escalation rate that the budget allows, not on the unit of costs.
    """
    core = record["core"]
    before = record["accepted_cost"], record["escalated_cost"]
    row, rate = summary["rows"]["bcnet"], summary["rows"]["bcnet"]["escalation_rate"]["mean"]
    mean, escalated = (sum(row[key][core]) / 2 for key in ("cycles", "worst_cycles"))
    now = (mean - rate * escalated) / (1 - rate), escalated

    def again(cost):
        share = (cost - before[0]) / (before[1] - before[0])
        return now[0] + share * (now[1] - now[0])

    budget = again(record["budget"])
    policies = {
        policy: {
            piece: found | {"cost_of_budget": round(again(found["cost_of_budget"] * record["budget"]) / budget, 4)}
            for piece, found in pieces.items()
        }
        for policy, pieces in record["policies"].items()
    }
    costs = {"budget": round(budget), "accepted_cost": round(now[0]), "escalated_cost": round(now[1])}
    return record | costs | {"unit": CYCLES, "policies": policies}
