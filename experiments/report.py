"""Makes the tables and figures of README.md and experiments/README.md from `experiments/results/*.json` alone.

    python -m experiments.report              # with --reprice: after pricing the results by today's estimates of cycles

A table stands between `<!-- results: NAME -->` and `<!-- end -->`: in README.md and docs/explanation/method.md the
short one of a benchmark, in experiments/README.md the whole one, there of a variant too, such as
`cifar10_short_binary`. NAME `targets` gives what was asked of all benchmarks and what was reached, NAME `orders` what
the pairs take in instructions and in cycles, NAME `variants` what became of changes that were tried, NAME `searches`
the best binary nets that were found, NAME `own_data` the default recipe beside those tuned by hand, NAME `gaps` how
much of what an oracle's gate gains the nets can give, NAME `ideas` and `ideas_nets` what became of ideas for a
better gate and of the nets behind it, NAME `training_cost` what a training step costs.
"""

import itertools
import json
import pathlib
import re

import numpy as np
from absl import app, flags

from bcnet_keras.cli.train import REPEATS
from bcnet_keras.device.cycles import cycles_of, shares
from experiments.benchmarks import BUDGET, NAMES, VARIANTS
from experiments.prices import INSTRUCTIONS, priced, priced_budget, priced_search

HERE = pathlib.Path(__file__).parent
SHORT = ("int8", "binary", "coopnet", "cascade", "bcnet", "bcnet_accurate")
CORES = ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55")
FEWER = 0.19  # of the cost less than CoopNet's at equal accuracy, as the paper's abstract has it
MORE = 0.0345  # accuracy more than CoopNet's at equal cost, as the paper's abstract has it
_NEVER = "CoopNet does not get there"

_REPRICE = flags.DEFINE_bool("reprice", False, "Price the results anew, see `experiments.prices`.")
_RESULTS_DIR = flags.DEFINE_string("results_dir", str(HERE / "results"), "Folder of the results.")
_README = flags.DEFINE_list(
    "readme",
    [str(HERE.parent / "README.md"), str(HERE / "README.md"), str(HERE.parent / "docs/explanation/method.md")],
    "Files with short, with whole and again with short tables.",
)


def main(_):
    if _REPRICE.value:
        reprice(results_folder())
    write_all()


def results_folder():
    return pathlib.Path(_RESULTS_DIR.value)


def reprice(folder):
    """Writes the results in `folder` with costs of today."""
    for name in NAMES:
        for title in (name, *(f"{name}_{variant}" for variant in VARIANTS)):
            _rewrite(folder / f"{title}.json", priced)
        _rewrite(folder / f"search_{name}.json", lambda study, name=name: priced_search(study, name))
        summary = folder / f"{name}.json"
        _rewrite(
            folder / f"budget_{name}.json",
            lambda record, summary=summary: priced_budget(record, json.loads(summary.read_text())),
        )


def _rewrite(place, change):
    from bcnet_keras.utils.atomic_files import write_atomic

    if place.exists():
        write_atomic(place, json.dumps(change(json.loads(place.read_text())), indent=1) + "\n")


def write_all():
    """Writes all figures, and all marked tables anew."""
    from bcnet_keras.utils.atomic_files import replace_when_done, write_atomic

    folder = results_folder()
    summaries = read(folder)
    for name, summary in summaries.items():
        with replace_when_done(folder / f"{name}.png") as path:
            figure(name, summary).savefig(path, dpi=110)
    for readme, whole in zip(_README.value, (False, True, False), strict=False):
        if pathlib.Path(readme).exists():
            text = pathlib.Path(readme).read_text()
            write_atomic(readme, marked(text, tables(folder, whole)))


def read(folder):
    """{benchmark: summary} of the benchmarks that have results in `folder`."""
    places = {name: folder / f"{name}.json" for name in NAMES}
    return {name: json.loads(place.read_text()) for name, place in places.items() if place.exists()}


def tables(folder, whole=False):
    """{NAME of a mark: its table} of the results in `folder`; `whole` as in `table`."""
    summaries = read(folder)
    tried = {}
    for name in summaries:
        places = {variant: folder / f"{name}_{variant}.json" for variant in VARIANTS}
        found = {variant: json.loads(place.read_text()) for variant, place in places.items() if place.exists()}
        if found:
            tried[name] = found
    every = summaries | {
        f"{name}_{variant}": summary for name, found in tried.items() for variant, summary in found.items()
    }
    made = {name: table(summary, whole) for name, summary in every.items()}
    studies = {name: folder / f"search_{name}.json" for name in NAMES}
    studies = {name: json.loads(place.read_text()) for name, place in studies.items() if place.exists()}
    makers = {"own_data": own_data, "ideas": ideas, "ideas_nets": ideas, "training_cost": training_cost}
    for name, make in makers.items():
        if (folder / f"{name}.json").exists():
            made[name] = make(json.loads((folder / f"{name}.json").read_text()))
    return made | {
        "targets": targets(summaries),
        "orders": orders(summaries),
        "variants": variants(summaries, tried),
        "searches": searches(studies),
        "gaps": gaps(every),
        **{f"{name}_verdicts": verdicts(summary) for name, summary in summaries.items() if summary.get("verdicts")},
    }


def marked(text, tables):
    """`text` with each table between its marks replaced; marks without a table stay as they are."""

    def replace(match):
        name = match[1]
        return f"<!-- results: {name} -->\n{tables[name]}\n<!-- end -->" if name in tables else match[0]

    return re.sub(r"<!-- results: (\w+) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


def table(summary, whole=False):
    """A summary as a Markdown table with what it rests on beneath."""
    from bcnet_keras.experiment.report import TITLES
    from bcnet_keras.utils.pages import text_table

    core, rows = summary["settings"]["core"], summary["rows"]
    parts = {other: shares(rows, other) for other in CORES}
    heads = ["", "test accuracy", "escalated", f"cycles, {core}", "of int8", "worst case", "instructions"]
    heads += ["flash", "arena"]
    if whole:
        heads += [*(f"of int8, {other}" for other in CORES if other != core), "AURC", "AUROC"]
    cells = [heads]
    for name, row in summary["rows"].items():
        if not whole and name not in SHORT:
            continue
        cells.append(
            [
                TITLES[name],
                _percent(row["accuracy"]),
                f"{100 * row['escalation_rate']['mean']:.1f} %",
                _millions(cycles_of(row, core)),
                f"{parts[core][name]:.3f}",
                _millions(cycles_of(row, core, "worst_cycles")),
                f"{row['instructions'][core] / 1e6:.2f} M",
                f"{row['flash_bytes'] / 1024:.0f} KiB",
                f"{row['arena_bytes'] / 1024:.0f} KiB",
            ]
        )
        if whole:
            others = [parts[other][name] for other in CORES if other != core]
            measures = [f"{row[key]['mean']:.4f}" if key in row else "" for key in ("aurc", "auroc")]
            cells[-1] += [*(f"{other:.3f}" for other in others), *measures]
    lines = [text_table(cells), "", _basis(summary)]
    if whole and summary["gates"]:
        gates = [["measure of confidence, same pair", "test accuracy", "escalated", "of int8", "AURC", "AUROC"]]
        for name, values in summary["gates"].items():
            gates.append(
                [
                    name.replace("_", " "),
                    _percent(values["accuracy"]),
                    f"{100 * values['escalation_rate']['mean']:.1f} %",
                    *(f"{values[key]['mean']:.{digits}f}" for key, digits in (("cost", 3), ("aurc", 4), ("auroc", 4))),
                ]
            )
        lines += ["", text_table(gates)]
    return "\n".join(lines)


def _millions(cycles):
    return f"{(cycles * 1e-6).short_text()} M"


def _percent(spread):
    deviation = f" ± {100 * spread['std']:.2f}" if len(spread["per_seed"]) > 1 else ""
    return f"{100 * spread['mean']:.2f}{deviation} %"


def _basis(summary):
    count = len(summary["seeds"])
    sizes = {
        split: f"{min(each):,}" + (f" to {max(each):,}" if len(set(each)) > 1 else "")
        for split, each in summary["data"]["images"].items()
    }
    seeds = f"Mean and standard deviation of {count} seeds" if count > 1 else "One seed"
    fewer = {len(row["accuracy"]["per_seed"]) for row in summary["rows"].values()} - {count}
    rows = f" ({min(fewer)} for the rows with a part left out)" if fewer else ""
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    note = f" {summary['note']}" if summary["note"] else ""
    budget = f"a budget of {summary['settings']['max_cost']:.3g}"
    if summary["picked_by"] == INSTRUCTIONS:
        budget += " in instructions (cycles were estimated later)"
    if level := summary["settings"]["confidence_level"]:
        budget += f" that fresh samples keep to with a probability of {level:g}"
    return (
        f"{seeds}{rows}; {sizes['train']} training, {sizes['validation']} validation and {sizes['test']} test samples; "
        f"thresholds picked on the validation samples for {budget}; "
        "accuracy of the converted flatbuffers, except for the oracle's; cycles estimated by models of the cores, "
        f'from low to high, "of int8" by the middles{_ends(summary)}; instructions from counts under QEMU, arena by '
        "the planner's rules."
        f"{note} `{summary['commands'][0]}` ({versions})."
    )


def _ends(summary):
    """How far ratios of cycles lie from those of the middles where all that is open is at one of its ends."""
    core, rows = summary["settings"]["core"], summary["rows"]
    parts, whole = shares(rows, core), cycles_of(rows["int8"], core)
    found = [
        (getattr(cycles_of(rows[name], core), end) / getattr(whole, end), parts[name])
        for name in rows
        for end in ("low", "high")
    ]
    return f" (at either end at most {max(abs(ratio - middle) for ratio, middle in found):.3f} away)"


def against_coopnet(summary):
    """CoopNet's curve beside BC-Net's point, on the test set.

    Keys: `fewer`: share of CoopNet's cycles that BC-Net saves where CoopNet first reaches the accuracy of
    BC-Net's point, None where it never does; `curves`: the same of both curves, where each first reaches the int8 net's
    accuracy and the greatest of CoopNet's; `more`: BC-Net's accuracy less CoopNet's at that point's cycles;
    `largest`: (difference, cost) where BC-Net's curve is furthest above CoopNet's.
    """
    core = summary["settings"]["core"]
    rows, coopnet = summary["rows"], summary["curves"]["coopnet"]
    cost = shares(rows, core)["bcnet"]
    bcnet = summary["curves"]["bcnet"]
    accuracy = rows["bcnet"]["accuracy"]["mean"]
    coopnet_cost = _first_cost(coopnet, accuracy)
    levels = (rows["int8"]["accuracy"]["mean"], max(coopnet["accuracy"]))
    both = [(_first_cost(bcnet, level), _first_cost(coopnet, level)) for level in levels]
    grid = np.linspace(max(coopnet["cost"][0], bcnet["cost"][0]), min(coopnet["cost"][-1], bcnet["cost"][-1]), 200)
    above = np.interp(grid, bcnet["cost"], bcnet["accuracy"]) - np.interp(grid, coopnet["cost"], coopnet["accuracy"])
    return {
        "fewer": coopnet_cost and 1 - cost / coopnet_cost,
        "curves": tuple(None if None in pair else 1 - pair[0] / pair[1] for pair in both),
        "more": accuracy - float(np.interp(cost, coopnet["cost"], coopnet["accuracy"])),
        "largest": (float(above.max()), float(grid[above.argmax()])),
    }


def _first_cost(curve, accuracy):
    """The cost at which a curve first reaches an accuracy, None where it never does."""
    reached = np.maximum.accumulate(curve["accuracy"])
    return float(np.interp(accuracy, reached, curve["cost"])) if reached[-1] >= accuracy else None


def targets(summaries):
    """What was asked of every benchmark, and what was reached, as a Markdown table."""
    from bcnet_keras.utils.pages import text_table

    cells = [
        [
            "",
            "BC-Net - int8, points (asked: -0.1)",
            f"cycles of int8 (asked: {BUDGET:.3f})",
            "most accurate - int8, points (asked: +0.5)",
            f"fewer cycles than CoopNet at equal accuracy, % (asked: {100 * FEWER:.0f})",
            "the same of both curves, at the int8 net's and at CoopNet's greatest accuracy",
            f"more accuracy than CoopNet at equal cycles, points ({100 * MORE:g} claimed)",
        ]
    ]
    for name, summary in summaries.items():
        rows, core = summary["rows"], summary["settings"]["core"]
        beside = against_coopnet(summary)
        gain = {row: 100 * _more(rows[row], rows["int8"]) for row in rows}
        part = shares(rows, core)["bcnet"]
        cells.append(
            [
                name,
                _judged(gain["bcnet"], gain["bcnet"] >= -0.1, "+.2f"),
                _judged(part, part <= BUDGET, ".3f"),
                _judged(gain["bcnet_accurate"], gain["bcnet_accurate"] >= 0.5, "+.2f"),
                _NEVER if beside["fewer"] is None else _judged(100 * beside["fewer"], beside["fewer"] >= FEWER, ".1f"),
                ", ".join("not reached" if share is None else f"{100 * share:.1f}" for share in beside["curves"]),
                f"{100 * beside['more']:+.2f} at this point, {100 * beside['largest'][0]:+.2f} at most "
                f"(at {beside['largest'][1]:.2f})",
            ]
        )
    return text_table(cells)


def orders(summaries):
    """What BC-Net takes of the int8 net on each core, in instructions and in cycles, as a Markdown table.

    Beneath it, which rows of which benchmark changed places.
    """
    from bcnet_keras.experiment.report import TITLES
    from bcnet_keras.utils.pages import text_table

    cores = list(next(iter(summaries.values()))["rows"]["int8"]["cycles"]) if summaries else []
    cells, lines = [["BC-Net of int8, in instructions -> in cycles", *cores]], []
    for name, summary in summaries.items():
        rows = summary["rows"]
        cells.append([name])
        for core in cores:
            counted = {row: values["instructions"][core] for row, values in rows.items()}
            parts = shares(rows, core)
            cells[-1].append(f"{counted['bcnet'] / counted['int8']:.3f} -> {parts['bcnet']:.3f}")
            dearer = {}
            for one, other in itertools.permutations(rows, 2):
                if counted[one] < counted[other] and parts[one] > parts[other] + 5e-4:
                    dearer.setdefault(other, []).append(TITLES[one])
            lines += [
                f"- {name} on {core}: dearer than the {TITLES[other]} in cycles, and cheaper in instructions: "
                f"{', '.join(found)}."
                for other, found in dearer.items()
            ]
    return "\n".join([text_table(cells), "", *(lines or ["No two rows of a benchmark change places on any core."])])


def variants(summaries, tried):
    """What became of the benchmarks' variants, each below the benchmark itself, as a Markdown table.

    `tried`: {benchmark: {variant: summary}}.
    """
    from bcnet_keras.utils.pages import text_table

    stages = ("float", "binary", "boosted", "cooperative")
    heads = ["", "seeds", f"epochs: {', '.join(stages)}"]
    heads += ["int8 alone", "binary alone", "of int8", "CoopNet", "of int8", "BC-Net", "of int8"]
    heads += ["BC-Net - int8, points", "most accurate - int8, points"]
    cells = [[*heads, "fewer cycles than CoopNet at equal accuracy, %"]]
    for name, found in tried.items():
        for title, summary in {name: summaries[name], **{VARIANTS[each][0]: found[each] for each in found}}.items():
            rows, core = summary["rows"], summary["settings"]["core"]
            epochs = ", ".join(str(summary["epochs"][stage]) for stage in stages)
            cells.append([title, str(len(summary["seeds"])), epochs, _percent(rows["int8"]["accuracy"])])
            for row in ("binary", "coopnet", "bcnet"):
                cells[-1] += [_percent(rows[row]["accuracy"]), f"{shares(rows, core)[row]:.3f}"]
            for row in ("bcnet", "bcnet_accurate"):
                gain = rows[row]["accuracy"]["mean"] - rows["int8"]["accuracy"]["mean"]
                cells[-1].append(f"{100 * gain:+.2f}")
            fewer = against_coopnet(summary)["fewer"]
            cells[-1].append(_NEVER if fewer is None else f"{100 * fewer:.1f}")
    return text_table(cells)


def searches(studies, best=3):
    """The best nets of each search and the benchmark's own, as a Markdown table.

    `studies`: {benchmark: record of `experiments.search`}.
    """
    from bcnet_keras.utils.pages import text_table

    heads = ["", "first layer", "convolutions (filters/stride)", "of int8", "in instructions"]
    cells = [[*heads, "pair's validation accuracy"]]
    for name, study in studies.items():
        trials = study["trials"]
        states = [trial["state"] for trial in trials]
        heading = f"{name}: {len(trials)} trials, {states.count('over budget')} over budget"
        heading += f", {states.count('pruned')} stopped early"
        finished = [trial for trial in trials if trial["state"] == "complete"]
        for trial in finished[:best] + [trial for trial in finished[best:] if trial["own"]]:
            blocks = ", ".join(f"{filters}/{stride}" for filters, stride in trial["blocks"])
            stem = "int8"
            if trial["planes"] is not None:
                stem = "shared stem" if trial["shared_stem"] else "thermometer"
                stem += f", {trial['planes']} plane" + "s" * (trial["planes"] > 1)
            accuracy = f"{100 * trial['validation_accuracy']:.2f} %" + " (the benchmark's own)" * trial["own"]
            counted = trial.get("cost_in_instructions")  # of before costs were cycles
            then = "" if counted is None else f"{counted:.3f}"
            cells.append([heading, stem, blocks, f"{trial['cost']:.3f}", then, accuracy])
            heading = ""
        if heading:
            cells.append([heading, "", "none was trained to the end", "", "", ""])
    commands = "\n".join(f"- `{command}`" for study in studies.values() for command in study["commands"])
    return f"{text_table(cells)}\n\n{commands}"


def verdicts(summary):
    """What the pair of each seed is worth, as a Markdown table with a count beneath.

    A pair is ahead of CoopNet or the cascade where it is more accurate for no more cycles, or as accurate for fewer: as
    counted on the seed's test images, at the thresholds that its validation images gave.
    """
    from bcnet_keras.experiment.report import TITLES
    from bcnet_keras.experiment.verdict import WORTH_IT
    from bcnet_keras.utils.pages import text_table

    core, rows = summary["settings"]["core"], summary["rows"]
    others = ("coopnet", "cascade")
    heads = ["seed", "verdict", "BC-Net - int8, points (95 % interval)", "of int8 (95 % interval)"]
    cells = [[*heads, *(f"BC-Net - {TITLES[name].split(' (')[0]}, points" for name in others), "CPU seconds"]]
    ahead = dict.fromkeys(others, 0)
    for index, (seed, each) in enumerate(zip(summary["seeds"], summary["verdicts"], strict=True)):
        figures = each["figures"]
        beside, costs = figures["beside"], figures["costs"]
        low, high = figures["cost_interval"]
        cells.append(
            [str(seed), each["outcome"], _interval(beside["int8"]), f"{costs['bcnet']:.3f} ({low:.3f} to {high:.3f})"]
        )
        for name in others:
            difference, saved = beside[name]["difference"], costs[name] - costs["bcnet"]
            won = (difference > 0 and saved >= 0) or (difference >= 0 and saved > 0)
            ahead[name] += won
            cells[-1].append(
                f"{100 * difference:+.2f} at {costs['bcnet']:.3f} against {costs[name]:.3f}" + " (ahead)" * won
            )
        cells[-1].append(f"{summary['wall_time'][index]['cpu_seconds_since_last_start']:.0f}")
    count = len(summary["seeds"])
    worth = sum(each["outcome"] in WORTH_IT for each in summary["verdicts"])
    means = {name: _more(rows["bcnet"], rows[name]) for name in ("int8", *others)}
    part = shares(rows, core)["bcnet"]
    return (
        f"{text_table(cells)}\n\n"
        f"Worth it in {worth} of {count} seeds, ahead of CoopNet in {ahead['coopnet']}, of the cascade in "
        f"{ahead['cascade']}. In the mean {100 * means['int8']:+.2f} points beside the int8 net for {part:.3f} of its "
        f"estimated cycles, {100 * means['coopnet']:+.2f} beside CoopNet, {100 * means['cascade']:+.2f} beside the "
        f"cascade."
        f"{_groups(summary['verdicts'])}"
    )


def _groups(verdicts, size=REPEATS):
    """How many groups of seeds are ahead in the mean of each; `bcnet demo` tells the mean of as many."""
    if len(verdicts) < 2 * size:
        return ""
    gains = [[each["figures"]["beside"][name]["difference"] for name in ("coopnet", "cascade")] for each in verdicts]
    groups = [
        np.mean([gains[index] for index in group], axis=0) for group in itertools.combinations(range(len(gains)), size)
    ]
    ahead = sum(bool(np.all(group > 0)) for group in groups)
    return (
        f" Of the {len(groups)} groups of {size} seeds, {ahead} are more accurate in the mean than both the CoopNets "
        "and the cascades."
    )


def _interval(found):
    return f"{100 * found['difference']:+.2f} ({100 * found['low']:+.2f} to {100 * found['high']:+.2f})"


def own_data(record):
    """The int8 net by the default recipe beside the best that was tuned by hand, for each set, as a Markdown table.

    `record`: that of `experiments.own_data`. The best is that of the most accurate int8 net on validation images.
    """
    from bcnet_keras.utils.pages import text_table

    heads = [
        "",
        "training images",
        "default recipe, test",
        "best by hand (tried), test",
        "difference, points (asked: -2)",
    ]
    cells = [[*heads, "default: float steps", "training, minutes", "mirrored"]]
    most = max(len(found) for found in record["cells"].values())
    for name, found in record["cells"].items():
        by_hand = {recipe: cell for recipe, cell in found.items() if recipe != "default"}
        default = found.get("default")
        if default is None:
            continue
        best, difference = "not trained", ""
        if by_hand:
            title, cell = max(by_hand.items(), key=lambda item: item[1]["validation"])
            best = f"{100 * cell['test']:.2f} % ({title}, of {len(by_hand)})"
            points = 100 * (default["test"] - cell["test"])
            finished = len(found) == most
            difference = _judged(points, points >= -2, "+.2f") if finished else f"{points:+.2f} (not finished)"
        mirrored = "yes" if default["augmentation"]["mirror"] else "no"
        cells.append([name, f"{default['images']['train']:,}", f"{100 * default['test']:.2f} %", best, difference])
        cells[-1] += [f"{default['steps']:,}", f"{default['seconds'] / 60:.0f}", mirrored]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    commands = ", ".join(f"`{command}`" for command in record["commands"])
    return (
        f"{text_table(cells)}\n\nAccuracy of the int8 flatbuffer, one seed ({record['seed']}); recipes picked on "
        f"validation images.{_second_opinions(record.get('verdicts', {}))} {commands} ({versions})."
    )


def gaps(summaries):
    """How much of what an oracle's gate gains lies below the sum's own accuracy, as a Markdown table.

    A gate that knows where the sum changes the answer escalates these images and has the sum's accuracy; what the
    oracle has beyond it are images that the sum would spoil.
    """
    from bcnet_keras.utils.pages import text_table

    cells = [["", "BC-Net", "the sum on every image", "oracle", "share of the gap up to the sum"]]
    for name, summary in summaries.items():
        if "oracle" in summary["rows"]:
            own, oracle = (summary["rows"][row]["accuracy"]["mean"] for row in ("bcnet", "oracle"))
            whole = summary["curves"]["bcnet"]["accuracy"][-1]
            share = f"{(whole - own) / (oracle - own):+.2f}" if oracle > own else ""
            cells.append([name, *(f"{100 * value:.2f} %" for value in (own, whole, oracle)), share])
    return text_table(cells)


def ideas(record):
    """What became of ideas for a better gate, as Markdown tables; `record`: that of `experiments.ideas`.

    The first table judges by validation images, those behind it have each set's test images.
    """
    from bcnet_keras.utils.pages import text_table

    cells = record["cells"]
    places = [(name, seed) for name in cells for seed in cells[name] if "base" in cells[name][seed]]
    heads = ["", "share of the gap closed, mean", *(f"{name}, seed {seed}" for name, seed in places), "outcome"]
    lines = [heads]
    for idea, title in record["titles"].items():
        shares = [_share(cells[name][seed].get(idea)) for name, seed in places]
        known = [share for share in shares if share is not None]
        mean = f"{np.mean(known):+.2f}" if known else ""
        texts = ["" if share is None else f"{share:+.2f}" for share in shares]
        lines.append([title, mean, *texts, idea_outcome(record, idea)])
    parts = [text_table(lines)]
    # Records of before there was such a mean have none.
    meant = all(
        "over_budgets" in row["test"] for seeds in cells.values() for rows in seeds.values() for row in rows.values()
    )
    for name, seeds in cells.items():
        heads = [name, "binary alone", "accuracy", "of int8", "share closed", "AUROC", "AURC", "CPU seconds"]
        lines = [[*heads[:5], *(["mean over budgets"] if meant else []), *heads[5:]]]
        for idea, title in record["titles"].items():
            rows = [rows[idea] for rows in seeds.values() if idea in rows]
            if not rows:
                continue
            test = [row["test"] for row in rows]
            lines.append(
                [
                    title,
                    ", ".join(f"{100 * row['binary']['test']:.2f} %" for row in rows),
                    ", ".join(f"{100 * each['accuracy']:.2f} %" for each in test),
                    ", ".join(f"{each['cost']:.3f}" for each in test),
                    ", ".join(f"{each['share']:+.2f}" for each in test),
                    *([", ".join(f"{100 * each['over_budgets']:.2f} %" for each in test)] if meant else []),
                    *(", ".join(f"{each[key]:.4f}" for each in test) for key in ("auroc", "aurc")),
                    ", ".join(f"{row['seconds']:g}" for row in rows),
                ]
            )
        against = [rows["base"]["against"]["test"] for rows in seeds.values() if "base" in rows]
        lines.append(["oracle, nets of the base", "", ", ".join(f"{100 * each['oracle']:.2f} %" for each in against)])
        lines[-1] += [""] * (len(lines[0]) - len(lines[-1]))
        parts.append(text_table(lines))
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    commands = ", ".join(f"`{command}`" for command in record["commands"])
    parts.append(
        "The first table is of the validation images that judge, the others of test images, one figure for each seed. "
        f"{_MEANT * meant}CPU seconds are those of the row's own training, with one thread. {commands} ({versions})."
    )
    return "\n\n".join(parts)


_MEANT = (
    "The mean over budgets is that of the accuracy at budgets from 0.25 to 0.6 of the int8 net's cycles, each at the "
    "threshold by which the test images cost as much. "
)


def idea_outcome(record, idea):
    """Returns "goes on" or "stopped" by the rule in `experiments.ideas`; "not finished" where cells lack the idea."""
    cells = [rows for seeds in record["cells"].values() for rows in seeds.values()]
    if idea in ("base", "on"):
        return "beside it the others stand"
    if idea in ("disagreement", "both_nets"):
        return "no gate on a device"
    if len(cells) < record["number"] or any(idea not in rows for rows in cells):
        return "not finished"
    shares = [_share(rows[idea]) for rows in cells]
    if np.mean(shares) < record["part"] or min(shares) < 0:
        return "stopped"
    if idea in record["tuned"]:
        if any("on" not in rows for rows in cells):
            return "not finished"
        if np.mean(shares) <= np.mean([_share(rows["on"]) for rows in cells]):
            return "stopped"
    return "goes on"


def _share(row):
    return None if row is None else row["pick"]["share"]


def training_cost(records):
    """CPU time of a step of each way to train, and its parts, as a Markdown table for each kind of processor.

    `records`: those of `experiments.training_cost`.
    """
    return "\n\n".join(map(_training_cost, records.values()))


def _training_cost(record):
    from bcnet_keras.utils.pages import text_table

    cells = [["", "a step", "of this build's", "teacher", "binary net, forward", "products alone", "first losses"]]
    own = record["seconds"]["this build"]["step"]
    for name, seconds in record["seconds"].items():
        ends = (f"{1e3 * end(record['rounds'][name]):.0f}" for end in (min, max))
        cells.append([name, f"{1e3 * seconds['step']:.0f} ms ({' to '.join(ends)})", f"{seconds['step'] / own:.2f}"])
        cells[-1] += [f"{1e3 * seconds[part]:.0f} ms" for part in ("teacher", "forward", "products")]
        cells[-1].append(", ".join(f"{loss:.4f}" for loss in record["losses"][name]))
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"{text_table(cells)}\n\nCPU time of {record['images']} images on one thread, median over "
        f"{len(record['rounds']['this build'])} processes of each way in turns, with the least and the greatest; "
        f"vector instructions: {record['processor']}. `{record['command']}` ({versions})."
    )


def _second_opinions(verdicts):
    """Verdicts on a folder's own test images beside what the public test images say, as Markdown; empty without any."""
    from bcnet_keras.utils.pages import text_table

    if not verdicts:
        return ""
    heads = ["", "verdict", "pair - int8, points, own test images", "the same, second test images", "contradicted"]
    cells = [[*heads, "pair, binary net alone: second test images"]]
    for name, found in verdicts.items():
        for recipe, cell in found.items():
            points = [f"{_interval(each)} of {each['samples']:,}" for each in (cell["own"], cell["second"])]
            title = name if recipe == "default" else f"{name}, {recipe}"
            cells.append([title, cell["outcome"], *points, "yes" if cell["contradicted"] else "no"])
            cells[-1].append(", ".join(f"{100 * cell['accuracy'][net]:.2f} %" for net in ("pair", "binary")))
    return f"\n\n{text_table(cells)}\n\nIn brackets the 95 % interval, behind it the number of images."


def _more(row, other):
    """How much more accurate a row is than another, without the rounding errors that print a minus before zero."""
    return round(row["accuracy"]["mean"] - other["accuracy"]["mean"], 9) + 0.0


def _judged(value, reached, form):
    return f"{value:{form}} ({'reached' if reached else 'missed'})"


def figure(name, summary):
    """Mean accuracy-cost curves on the test set with their spread, and the points that were picked."""
    from bcnet_keras.experiment.report import COLOURS, TITLES
    from bcnet_keras.utils.pages import new_figure

    picture, ((axes,),) = new_figure(8, 4.5)
    core = summary["settings"]["core"]
    parts = shares(summary["rows"], core)
    for row, curve in summary["curves"].items():
        if row in COLOURS:
            cost, accuracy, std = (np.asarray(curve[key]) for key in ("cost", "accuracy", "std"))
            axes.plot(cost, 100 * accuracy, color=COLOURS[row], lw=2 if row == "bcnet" else 1.2)
            axes.fill_between(cost, 100 * (accuracy - std), 100 * (accuracy + std), color=COLOURS[row], alpha=0.1, lw=0)
    for row, values in summary["rows"].items():
        if row in COLOURS:
            marker = "s" if row in ("int8", "binary") else "o"
            place = parts[row], 100 * values["accuracy"]["mean"]
            axes.plot(*place, marker, color=COLOURS[row], label=TITLES[row], ms=8, mec="white")
    axes.set_xlabel(f"expected {core} cycles (estimated), over those of the int8 net")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(
        f"{name}, {len(summary['seeds'])} seeds: curves over the threshold, points picked on validation data"
    )
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right")
    return picture


if __name__ == "__main__":
    app.run(main)
