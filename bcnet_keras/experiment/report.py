"""Tables, plots and pages: of a training run, from its record and its answers to the test set, and of a profile."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from bcnet_keras.calibration import Answers, curve, operating_point
from bcnet_keras.datasets import Split
from bcnet_keras.device.cycles import cycles_of, shares
from bcnet_keras.experiment.explorer import threshold_explorer
from bcnet_keras.experiment.verdict import Verdict
from bcnet_keras.utils.atomic_files import write_atomic
from bcnet_keras.utils.pages import html_page, html_table, image, new_figure, picture
from bcnet_keras.utils.types import Range, StrPath

TITLES = {
    "int8": "int8 net alone",
    "binary": "binary net alone",
    "coopnet": "CoopNet (trained apart, swap)",
    "cascade": "cascade (trained apart, sum)",
    "bcnet": "BC-Net (trained together)",
    "bcnet_accurate": "BC-Net, most accurate threshold",
    "bcnet_no_boosting": "BC-Net without boosting",
    "bcnet_no_sum": "BC-Net without the sum",
    "bcnet_no_cooperative": "BC-Net without the cooperative stage",
    "bcnet_no_learned_threshold": "BC-Net without a learned threshold",
    "bcnet_no_distillation": "BC-Net without distillation",
    "oracle": "BC-Net with an oracle for a gate",
}
COLOURS = {"int8": "#444444", "binary": "#999999", "coopnet": "#c2703d", "cascade": "#5b8fb0", "bcnet": "#1b7a4b"}
_SHOWN = 24  # images of each kind on the page


def _device(settings):
    """Whose cycles are the cost: the name of a board, or of a core."""
    return settings.get("board") or settings["core"]


def table(results: dict[str, Any]) -> list[list[str]]:
    """The run's rows as cells: a list of lists of str, headings first."""
    core, parts = results["settings"]["core"], shares(results["rows"], results["settings"]["core"])
    heads = ["", "test accuracy", "escalated", f"estimated {_device(results['settings'])} cycles", "of int8"]
    cells = [[*heads, "instructions", "arena", "flash with code"]]
    for name, row in results["rows"].items():
        cells.append(
            [
                TITLES[name],
                f"{100 * row['accuracy']:.2f} %",
                f"{100 * row['escalation_rate']:.1f} %",
                (cycles_of(row, core) * 1e-6).short_text() + " M",
                f"{parts[name]:.3f}",
                f"{row['instructions'][core] / 1e6:.3f} M",
                f"{row['arena_bytes'] / 1024:.1f} KiB",
                f"{(row['flash_bytes'] + row['code_bytes']) / 1024:.1f} KiB",
            ]
        )
    return cells


def mean_table(records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows of several runs as cells: means and standard deviations (n - 1), a list of lists of str, headings first."""
    core = records[0]["settings"]["core"]
    cells = [["", "test accuracy", "escalated", "of int8"]]
    for name in records[0]["rows"]:
        rows = [record["rows"][name] for record in records]
        accuracies = [100 * row["accuracy"] for row in rows]
        costs = [shares(record["rows"], core)[name] for record in records]
        cells.append(
            [
                TITLES[name],
                f"{np.mean(accuracies):.2f} ± {np.std(accuracies, ddof=1):.2f} %",
                f"{100 * np.mean([row['escalation_rate'] for row in rows]):.1f} %",
                f"{np.mean(costs):.3f} ± {np.std(costs, ddof=1):.3f}",
            ]
        )
    return cells


def mean_sentence(records: Sequence[dict[str, Any]]) -> str:
    """What the pairs of several runs are worth in the mean, beside the int8 net and the same nets trained apart."""
    core = records[0]["settings"]["core"]
    rows = [record["rows"] for record in records]
    cost, device = np.mean([shares(each, core)["bcnet"] for each in rows]), _device(records[0]["settings"])
    gains = {
        what: [100 * (each["bcnet"]["accuracy"] - each[name]["accuracy"]) for each in rows]
        for name, what in (("int8", "the int8 net"), ("coopnet", "CoopNet"), ("cascade", "the untrained cascade"))
    }
    listed = [f"{np.mean(gain):+.2f} points beside {what}" for what, gain in gains.items()]
    ahead = [f"{what} in {sum(value > 0 for value in gain)}" for what, gain in gains.items()]
    return (
        f"In the mean of {len(records)} splits the pair takes {cost:.3f} of the int8 net's estimated {device} cycles "
        f"and has {', '.join(listed[:-1])} and {listed[-1]}. It is ahead of {', '.join(ahead[:-1])} and of {ahead[-1]} "
        "of them."
    )


def accuracy_cost_figure(records: Sequence[dict[str, Any]]) -> Any:
    """Figure of the accuracy-cost curves on the test set and the points that were picked, of one or more runs."""
    figure, ((axes,),) = new_figure(8, 4.5)
    core = records[0]["settings"]["core"]
    for index, record in enumerate(records):
        parts = shares(record["rows"], core)
        for name, points in record["curves"].items():
            if name not in COLOURS:
                continue
            points = np.asarray(points)
            label = f"{TITLES[name]}: curve" if index == 0 else None
            width = 2 if name == "bcnet" else 1.2
            axes.plot(points[:, 0], 100 * points[:, 1], color=COLOURS[name], label=label, lw=width)
        for name, row in record["rows"].items():
            if name not in COLOURS:
                continue
            alone = name in ("int8", "binary")
            marker = "s" if alone else "o"
            label = (TITLES[name] if alone else f"{TITLES[name]}: picked") if index == 0 else None
            axes.plot(parts[name], 100 * row["accuracy"], marker, color=COLOURS[name], label=label, ms=8, mec="white")
    device = _device(records[0]["settings"])
    axes.set_xlabel(f"expected {device} cycles (estimated), over those of the int8 net")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{records[0]['settings']['dataset']}: curves over the threshold, points picked on validation data")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=8)
    return figure


def _in_words(results):
    """What the figure of accuracy and cost shows."""
    rows, parts = results["rows"], shares(results["rows"], results["settings"]["core"])
    points = [
        f"{TITLES[name]} {100 * row['accuracy']:.2f} % at {parts[name]:.3f}"
        for name, row in rows.items()
        if name in COLOURS
    ]
    return f"Test accuracy over cost, of the int8 net's: {'; '.join(points)}."


def _thresholds(values):
    """One threshold, or one per class, with as many digits as tell float32 numbers apart in a text of this kind."""
    return ", ".join(f"{float(value):.6g}" for value in np.ravel(values))


def write_report(results: dict[str, Any], answers: Answers, test: Split, pair_cost: Range, path: StrPath) -> None:
    """Writes one self-contained HTML page.

    Arguments:
      results: the record of `experiment.run`.
      answers: `confidence.Answers` of the cooperative pair to the test set.
      test: the test `Split`, images as the data set gives them.
      pair_cost: (cost of an accepted sample, cost of an escalated one), both over the int8 net's.
    """
    settings, data, same = results["settings"], results["data"], results["agreement"]
    nets = results["nets"]
    searched = ""
    if "search" in results:
        tried, minutes = len(results["search"]["trials"]), results["search"]["minutes"]
        searched = f" (of {tried} tried in {minutes:g} minutes)"
    if settings["max_cost"] is None:
        target = f"for an accuracy of at least {settings['min_accuracy']:g}"
    else:
        target = f"for at most {settings['max_cost']:g} of the int8 net's estimated cycles"
        if settings["confidence_level"] is not None:
            target += f" with a probability of {settings['confidence_level']:g}"
    counts = ", ".join(f"{count:,} {name}" for name, count in data["images"].items())
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    threshold = np.asarray(results["rows"]["bcnet"]["threshold"], np.float32)
    margin = threshold[answers.binary] if threshold.ndim else threshold
    body = f"""<h1>{html.escape(settings["dataset"])}: a binary and an int8 net that cooperate</h1>
{_verdict(results["verdict"])}
<h2>Figures</h2>
<p>Thresholds were picked on validation data, {target}; accuracy was
measured on the test set by running the converted flatbuffers. The row in bold is the pair at the picked threshold,
{_thresholds(threshold)}. Cycles are estimates for {html.escape(_device(settings))}, from low to high, by a model of
its core; "of int8" is the ratio of the middles. Instructions are from counts under QEMU and tell no time.
<code>bcnet profile</code> estimates milliseconds on a board.</p>
{html_table(table(results), list(results["rows"]).index("bcnet"))}
<h2>Accuracy and cost</h2>{image(accuracy_cost_figure([results]), _in_words(results))}
{_explorer(results, answers, threshold, pair_cost)}
<h2>When the binary net is right, and when not</h2>{
        image(
            _confidence_figure(answers, margin, settings["measure"]),
            "Histogram of the binary net's confidence in test images, of right and of wrong answers.",
        )
    }
<h2>Which images escalate</h2>
<p>The {_SHOWN} test images of which the binary net is least sure (they escalate), and the {_SHOWN} of which it is
surest. Below each: the pair's answer, with the right one where it differs.</p>
{_gallery(answers, margin, test, data["classes"])}
<h2>Class by class</h2>
{html_table(_by_class(answers, margin, data["classes"]))}
<h2>How it was made</h2>
<p>Float net, of which int8 came: {html.escape(nets["float"])}.<br>
Binary net: {html.escape(nets["binary"])}{searched}.<br>
{html.escape(data["source"])}<br>Images: {counts}. Seed {settings["seed"]}. Epochs:
{html.escape(", ".join(f"{name} {count}" for name, count in results["epochs"].items()))}.<br>
Flatbuffer and Keras agree on {same["images"]} test images: class of the binary net {100 * same["binary"]:.1f} %,
of the int8 net {100 * same["int8"]:.1f} %, of the pair {100 * same["pair"]:.1f} %, escalation
{100 * same["escalation"]:.1f} % ({html.escape(same["interpreter"])}).<br>
<code>{html.escape(results["command"])}</code>, Python {results["python"]}, {html.escape(versions)},
{html.escape(results["machine"])}; {results["wall_time"]["training_seconds"]:g} s for
{results["wall_time"]["epochs_timed"]} epochs.</p>"""
    write_atomic(path, html_page(f"{settings['dataset']}: cooperative pair", body))


def _explorer(results, answers, threshold, pair_cost):
    int8, core = results["rows"]["int8"], results["settings"]["core"]
    classes = len(results["data"]["classes"]) if threshold.ndim else None
    return threshold_explorer(
        curve(answers, pair_cost, core, classes).points,
        operating_point(answers, threshold, pair_cost),
        int8["accuracy"],
        cycles_of(int8, core).middle,
        f"estimated {_device(results['settings'])} cycles",
    )


def _verdict(record):
    verdict = Verdict.of(record)
    advice = "".join(f"<li>{html.escape(each)}</li>" for each in verdict.advice)
    return (
        f"<h2>Verdict</h2><p><strong>{html.escape(verdict.sentence)}</strong> {html.escape(verdict.beside)}</p>"
        f"{f'<p>What to try next:</p><ul>{advice}</ul>' if advice else ''}"
    )


def _confidence_figure(answers, threshold, measure):
    figure, ((axes,),) = new_figure(8, 3.5)
    right = answers.binary == answers.labels
    bins = np.linspace(0, 1, 41)
    parts = [answers.confidence[right], answers.confidence[~right]]
    axes.hist(parts, bins, stacked=True, color=["#1b7a4b", "#b03a2e"], label=["binary net right", "wrong"])
    if np.ndim(threshold) == 0:
        axes.axvline(float(threshold), color="black", lw=1.5, label=f"threshold {_thresholds(threshold)}")
    axes.set_yscale("log")
    axes.set_xlabel(f"{measure.replace('_', ' ')} of the binary net")
    axes.set_ylabel("test images")
    axes.legend()
    return figure


def _gallery(answers, threshold, test, classes):
    """The least and the most sure test images with the pair's answers, as HTML."""
    escalated = ~(answers.confidence >= threshold)
    predicted = np.where(escalated, answers.combined, answers.binary)
    order = np.argsort(answers.confidence, kind="stable")
    parts = []
    for title, chosen in (("Least sure:", order[:_SHOWN]), ("Surest:", order[::-1][:_SHOWN])):
        figures = "".join(_shown(index, test, predicted, classes) for index in chosen)
        parts.append(f'<p>{title}</p><div class="gallery">{figures}</div>')
    return "\n".join(parts)


def _shown(index, test, predicted, classes):
    """One test image with the pair's answer below it, and the right one where that is wrong."""
    answer, right = (html.escape(classes[int(each[index])]) for each in (predicted, test.labels))
    wrong = predicted[index] != test.labels[index]
    return (
        f'<figure{" class=wrong" if wrong else ""}><img src="{picture(test.images[index])}" alt="test image {index}">'
        f"<figcaption>{answer}{f', not {right}' if wrong else ''}</figcaption></figure>"
    )


def _by_class(answers, threshold, classes):
    """For each class its test images, how many escalate, and accuracies: cells, headings first."""
    escalated = ~(answers.confidence >= threshold)
    predicted = np.where(escalated, answers.combined, answers.binary)
    cells = [["class", "test images", "escalated", "binary net", "pair"]]
    for label, name in enumerate(classes):
        of_class = answers.labels == label
        if of_class.any():
            parts = (escalated[of_class], answers.binary[of_class] == label, predicted[of_class] == label)
            cells.append([name, f"{of_class.sum():,}", *(f"{100 * part.mean():.1f} %" for part in parts)])
    return cells
