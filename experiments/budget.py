"""A runtime budget on a stream whose mix of classes shifts: simulates a finished run's pair on held-out images.

    python -m experiments.budget --run=runs/fashion_mnist_0

The stream has four parts of --length images each, drawn from the test images: all classes alike; the hard classes,
which escalate most on the validation images; all alike; the easy ones. A fixed threshold, at which the part --rate of
the validation images escalates, spends what the mix asks for. `bcnet_keras.runtime.kernels.Budget` starts at the same
threshold and holds what that costs on the validation images. Writes `budget_<dataset>.json` and `.png`.
"""

import json
import pathlib

import numpy as np
from absl import app, flags

from experiments import report
from experiments.prices import CYCLES

CORE = "cortex-m4"

_RUN = flags.DEFINE_string("run", "runs/fashion_mnist_0", "Folder of a finished run.")
_RATE = flags.DEFINE_float("rate", 0.1, "Part of the images that the budget lets escalate.", 0.0, 1.0)
_LENGTH = flags.DEFINE_integer("length", 5000, "Images in each part of the stream.", lower_bound=1)
_WINDOWS = flags.DEFINE_list("windows", ["256", "2048"], "Windows of the controllers to compare.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the stream.")


def main(_):
    from bcnet_keras import datasets
    from bcnet_keras.device.cost import cost
    from bcnet_keras.experiment.provenance import command_line, versions
    from bcnet_keras.experiment.saved_settings import read_settings
    from bcnet_keras.utils.atomic_files import replace_when_done, write_atomic

    folder = pathlib.Path(_RUN.value)
    settings = read_settings(folder)
    data = datasets.load(settings.dataset, settings.data_dir, settings.seed)
    price = cost(folder / "pair.tflite")
    validation, test = (answers(folder, split.images) for split in (data.validation, data.test))
    threshold = float(np.quantile(validation[0], _RATE.value))
    classes = len(data.class_names)
    rate = np.array([np.mean(validation[0][data.validation.labels == label] < threshold) for label in range(classes)])
    ordered = np.argsort(rate)
    parts = {
        "all classes": np.arange(classes),
        "hard classes": ordered[-(classes // 3) :],
        "all again": np.arange(classes),
        "easy classes": ordered[: classes // 3],
    }
    budget = round(price.expected_cycles(float(np.mean(validation[0] < threshold)))[CORE].middle)
    stream = draw(parts, data.test.labels, _LENGTH.value, _SEED.value)
    costs = price.accepted_cycles[CORE].middle, price.escalated_cycles[CORE].middle
    policies = simulate(stream, data.test.labels, test, threshold, budget, costs, [int(w) for w in _WINDOWS.value])
    record = {
        "command": command_line("python -m experiments.budget"),
        "dataset": settings.dataset,
        "core": CORE,
        "unit": CYCLES,
        "budget": budget,
        "accepted_cost": round(costs[0]),
        "escalated_cost": round(costs[1]),
        "threshold": threshold,
        "parts": {name: ", ".join(data.class_names[label] for label in labels) for name, labels in parts.items()},
        "images_in_each_part": _LENGTH.value,
        "policies": {name: summary(policy, parts, budget) for name, policy in policies.items()},
        "versions": versions(),
    }
    results = report.results_folder()
    write_atomic(results / f"budget_{settings.dataset}.json", json.dumps(record, indent=1) + "\n")
    with replace_when_done(results / f"budget_{settings.dataset}.png") as path:
        figure(policies, parts, budget, settings.dataset).savefig(path, dpi=90)
    print(table(record))


def answers(folder, images):
    """(confidence, answer when accepted, answer when escalated) of the run's pair to images: arrays [n]."""
    from bcnet_keras import set_threshold
    from bcnet_keras.convert.passes.add_gate import CUSTOM_OP
    from bcnet_keras.runtime import kernels
    from bcnet_keras.runtime.tflite import Interpreter
    from bcnet_keras.tflite import flatbuffer

    pair = (folder / "pair.tflite").read_bytes()
    model = flatbuffer.read(pair)
    (gate,) = (
        operator
        for operator in model.subgraphs[0].operators
        if model.operatorCodes[operator.opcodeIndex].customCode == CUSTOM_OP
    )
    options = np.asarray(gate.customOptions, np.uint8).tobytes()
    logits = Interpreter(folder / "binary.tflite").predict(images).logits
    confidence = np.float32([kernels.gate(row, options).confidence for row in logits])
    either = [Interpreter(set_threshold(pair, value)).predict(images).predicted for value in (0.0, 1.0)]
    return confidence, *either


def draw(parts, labels, length, seed):
    """Indices of images, `length` for each part, each of its classes alike."""
    random = np.random.default_rng(seed)
    return np.concatenate(
        [
            [random.choice(np.flatnonzero(labels == label)) for label in random.choice(members, length)]
            for members in parts.values()
        ]
    )


def simulate(stream, labels, answers, threshold, budget, costs, windows):
    """Name of a policy -> (right or not, cost in estimated cycles) for each image of the stream."""
    from bcnet_keras.runtime.kernels import Budget

    confidence, accepted, escalated = (column[stream] for column in answers)
    accepted_cost, escalated_cost = map(round, costs)
    decisions = {"fixed threshold": confidence < np.float32(threshold)}
    for window in windows:
        controller = Budget(accepted_cost, escalated_cost, budget, threshold, window)
        decisions[f"budget, window {window}"] = controller.run(confidence)
    decisions["int8 net always"] = np.ones(len(stream), bool)
    truth = labels[stream]
    return {
        name: (np.where(asked, escalated, accepted) == truth, np.where(asked, escalated_cost, accepted_cost))
        for name, asked in decisions.items()
    }


def summary(policy, parts, budget):
    """Accuracy, and mean cost as a part of the budget, of the whole stream and of each part of it."""
    right, cost = policy
    pieces = {"whole": slice(None)}
    length = len(right) // len(parts)
    pieces |= {name: slice(index * length, (index + 1) * length) for index, name in enumerate(parts)}
    return {
        name: {
            "accuracy": round(float(right[piece].mean()), 4),
            "cost_of_budget": round(float(cost[piece].mean()) / budget, 4),
        }
        for name, piece in pieces.items()
    }


def table(record):
    """The record as a Markdown table."""
    pieces = ["whole", *record["parts"]]
    lines = ["| | " + " | ".join(pieces) + " |", "|---|" + "---|" * len(pieces)]
    for name, policy in record["policies"].items():
        cells = [f"{100 * policy[p]['accuracy']:.1f} %, {policy[p]['cost_of_budget']:.2f}" for p in pieces]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figure(policies, parts, budget, dataset):
    """Mean cost and accuracy over the last images, along the stream."""
    from matplotlib.figure import Figure

    result = Figure((9, 5), layout="constrained")
    upper, lower = result.subplots(2, 1, sharex=True)
    length = len(next(iter(policies.values()))[0]) // len(parts)
    span = max(length // 5, 1)
    for (name, (right, cost)), style in zip(policies.items(), ("--", "-", "-", ":"), strict=False):
        smoothed = [np.convolve(values, np.ones(span) / span, "valid") for values in (cost / budget, 100.0 * right)]
        along = np.arange(len(smoothed[0])) + span - 1
        if name != "int8 net always":
            upper.plot(along, smoothed[0], style, label=name)
        lower.plot(along, smoothed[1], style, label=name)
    upper.axhline(1, color="black", linewidth=0.8)
    upper.set_ylabel("cost / budget")
    lower.set_ylabel("accuracy, %")
    lower.set_xlabel(f"image; each point is the mean of {span}")
    for axes in (upper, lower):
        for index in range(1, len(parts)):
            axes.axvline(index * length, color="grey", linewidth=0.8)
        axes.grid(alpha=0.3)
    for index, name in enumerate(parts):
        upper.text(index * length, 1.02, f" {name}", transform=upper.get_xaxis_transform(), fontsize=8)
    lower.legend(fontsize=8)
    result.suptitle(f"A budget under a shift of the class mix: {dataset}, test images", fontsize=10)
    return result


if __name__ == "__main__":
    app.run(main)
