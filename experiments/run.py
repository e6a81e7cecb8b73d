"""Trains a benchmark over several seeds and writes its table, its figure and its place in the README.

    python -m experiments.run --benchmark=fashion_mnist --seeds=3 --data_dir=~/datasets

Each seed is a run of `bcnet_keras.experiment` in `runs/<benchmark>_<seed>`, where a killed one goes on and a finished
one is not repeated. `experiments/results/<benchmark>.json` and `.png` hold the outcome.
"""

import dataclasses
import json
import pathlib

import numpy as np
from absl import app, flags

HERE = pathlib.Path(__file__).parent
BENCHMARKS = ("digits", "fashion_mnist")

_BENCHMARK = flags.DEFINE_enum("benchmark", "digits", BENCHMARKS, "What to run.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Number of seeds, from 0.", lower_bound=1)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder that holds the data sets.")
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs", "Folder in which each seed's run gets its folder.")
_RESULTS_DIR = flags.DEFINE_string("results_dir", str(HERE / "results"), "Where the outcome is written.")
_README = flags.DEFINE_string("readme", str(HERE.parent / "README.md"), "File whose marked table is written anew.")


def main(_):
    from bcnet_keras.experiment import Settings, run

    folders = [pathlib.Path(_RUNS_DIR.value) / f"{_BENCHMARK.value}_{seed}" for seed in range(_SEEDS.value)]
    records = []
    for seed, folder in enumerate(folders):
        print(f"{folder}: seed {seed}", flush=True)
        settings = Settings(dataset=_BENCHMARK.value, data_dir=_DATA_DIR.value, seed=seed)
        records.append(_finished(folder, settings) or run(settings, folder, verbose=2))
    write(records, _BENCHMARK.value, pathlib.Path(_RESULTS_DIR.value), pathlib.Path(_README.value))


def _finished(folder, settings):
    """The record of a run that is finished with these settings, or None."""
    place = folder / "results.json"
    if not place.exists():
        return None
    record = json.loads(place.read_text())
    return record if record["settings"] == json.loads(json.dumps(dataclasses.asdict(settings))) else None


def write(records, benchmark, folder, readme):
    """Writes the outcome of the seeds' records as JSON and PNG into `folder`, and the table into `readme`."""
    from bcnet_keras.files import replace_when_done, write_atomic
    from bcnet_keras.report import accuracy_cost_figure

    summary = summarise(records)
    write_atomic(folder / f"{benchmark}.json", json.dumps(summary, indent=1) + "\n")
    with replace_when_done(folder / f"{benchmark}.png") as path:
        accuracy_cost_figure(records).savefig(path, dpi=110)
    text = readme.read_text() if readme.exists() else ""
    begin, end = f"<!-- results: {benchmark} -->", "<!-- end -->"
    if begin in text:
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        write_atomic(readme, f"{before}{begin}\n{markdown(summary)}\n{end}{after}")


def summarise(records):
    """One record of all seeds: rows with the mean, the standard deviation (n - 1) and each seed's accuracy."""
    from bcnet_keras.experiment import command_line

    first = records[0]
    return {
        "rows": {name: _row([record["rows"][name] for record in records]) for name in first["rows"]},
        "agreement": [record["agreement"] for record in records],
        "seeds": [record["settings"]["seed"] for record in records],
        "settings": {key: value for key, value in first["settings"].items() if key not in ("seed", "data_dir")},
        **{key: first[key] for key in ("epochs", "data", "versions", "python", "machine")},
        "commands": [command_line("python -m experiments.run"), *(each["command"] for each in records)],
        "seconds_since_last_start": [record["seconds_since_last_start"] for record in records],
    }


def _row(rows):
    return {
        "accuracy": _spread([row["accuracy"] for row in rows]),
        "escalation_rate": _spread([row["escalation_rate"] for row in rows]),
        "instructions": {
            core: float(np.mean([row["instructions"][core] for row in rows])) for core in rows[0]["instructions"]
        },
        "flash_bytes": int(np.mean([row["flash_bytes"] for row in rows])),
    }


def _spread(values):
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": deviation, "per_seed": values}


def markdown(summary):
    """The summary as a Markdown table with its command beneath."""
    from bcnet_keras.report import TITLES, text_table

    core = summary["settings"]["core"]
    whole = summary["rows"]["int8"]["instructions"][core]
    cells = [["", "test accuracy", "escalated", f"instructions, {core}", "of int8", "flash"]]
    count = len(summary["seeds"])
    spread = " ± {:.2f}" if count > 1 else ""
    for name, row in summary["rows"].items():
        accuracy, instructions = row["accuracy"], row["instructions"][core]
        cells.append(
            [
                TITLES[name],
                f"{100 * accuracy['mean']:.2f}{spread.format(100 * accuracy['std'])} %",
                f"{100 * row['escalation_rate']['mean']:.1f} %",
                f"{instructions / 1e6:.2f} M",
                f"{instructions / whole:.3f}",
                f"{row['flash_bytes'] / 1024:.0f} KiB",
            ]
        )
    images = summary["data"]["images"]
    seeds = f"Mean and standard deviation of {count} seeds" if count > 1 else "One seed"
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    return (
        f"{text_table(cells)}\n\n"
        f"{seeds}; {images['train']:,} training, {images['validation']:,} "
        f"validation and {images['test']:,} test images; thresholds picked on the validation images for a budget of "
        f"{summary['settings']['max_cost']:g}; accuracy of the converted flatbuffers; instructions estimated from "
        f"counts under QEMU. `{summary['commands'][0]}` ({versions})."
    )


if __name__ == "__main__":
    app.run(main)
