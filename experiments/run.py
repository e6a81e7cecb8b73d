"""Trains a benchmark over several seeds and writes what came of it, with tables and figures.

    python -m experiments.run --benchmark=fashion_mnist --data_dir=~/datasets

Each seed is a run of `experiment.training_run` in `runs/<benchmark>_<seed>`, where a killed one goes on and a finished
one is not repeated. `experiments/results/<benchmark>.json` holds the outcome, of which `experiments.report` makes
tables and figures.

With `--variant=wide` (or another of `benchmarks.VARIANTS`) it is the benchmark with that change, without BC-Net's parts
left out, and `<benchmark>_wide` takes the place of `<benchmark>`.
"""

import dataclasses
import gc
import json
import pathlib

import numpy as np
from absl import app, flags

from experiments import benchmarks, report
from experiments.prices import CYCLES, spread

_BENCHMARK = flags.DEFINE_enum("benchmark", "digits", benchmarks.NAMES, "What to run.")
_VARIANT = flags.DEFINE_enum("variant", None, list(benchmarks.VARIANTS), "A change that is tried.")
_SEEDS = flags.DEFINE_integer("seeds", None, "Number of seeds, from 0. By default the benchmark's own.", lower_bound=1)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder that holds the data sets.")
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs", "Folder in which each seed's run gets its folder.")
_ABLATIONS = flags.DEFINE_bool("ablations", True, "Train BC-Net with each part left out, too.")
_EPOCHS = flags.DEFINE_list("epochs", None, "Four numbers in place of the data set's own epochs, to try things out.")

_CURVE = np.linspace(0, 1, 51)  # escalation rates at which curves are kept


def main(_):
    from bcnet_keras.experiment.saved_settings import take_float_net
    from bcnet_keras.experiment.training_run import run

    # TensorFlow's 270,000 objects stay: the collector need not look at them each time that a step is traced (7 % of
    # the time that the digits take).
    gc.freeze()
    benchmark, variant = benchmarks.load(_BENCHMARK.value), _VARIANT.value
    name = f"{_BENCHMARK.value}_{variant}" if variant else _BENCHMARK.value
    ablations = _ABLATIONS.value and not variant and getattr(benchmark, "ABLATIONS", True)
    records = []
    for seed in range(_SEEDS.value or benchmark.SEEDS):
        folder = pathlib.Path(_RUNS_DIR.value) / f"{name}_{seed}"
        print(f"{folder}: seed {seed}", flush=True)
        epochs = _EPOCHS.value and tuple(map(int, _EPOCHS.value))
        settings = dataclasses.replace(benchmark.SETTINGS, data_dir=_DATA_DIR.value, seed=seed, epochs=epochs)
        if variant:
            unvaried, settings = settings, benchmarks.varied(settings, variant)
            take_float_net(folder.with_name(f"{_BENCHMARK.value}_{seed}"), folder, unvaried)
        records.append(_finished(folder, settings, ablations) or run(settings, folder, verbose=2, ablations=ablations))
    write(records, name, benchmark.NOTE, report.results_folder())
    report.write_all()


def _finished(folder, settings, ablations):
    """The record of a run that is finished with these settings, or None."""
    from bcnet_keras.experiment.saved_settings import read_settings
    from bcnet_keras.experiment.training_run import chosen_nets

    place = folder / "results.json"
    if not place.exists():
        return None
    record = json.loads(place.read_text())
    complete = (
        "verdict" in record and "cycles" in record["rows"]["int8"] and ("oracle" in record["rows"] or not ablations)
    )
    # A run writes the nets that it chose.
    nets = settings.nets or chosen_nets(settings, *benchmarks.SHAPES[settings.dataset])
    return record if complete and read_settings(folder) == dataclasses.replace(settings, nets=nets) else None


def write(records, benchmark, note, folder):
    """Writes the outcome of the seeds' records as JSON into `folder`."""
    from bcnet_keras.utils.atomic_files import write_atomic

    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{benchmark}.json", json.dumps(summarise(records, note), indent=1) + "\n")


def summarise(records, note=""):
    """One record of all seeds: means, standard deviations (n - 1) and each seed's figures.

    A row that some seeds lack has those of the others.
    """
    from bcnet_keras.experiment.provenance import command_line

    names = list(dict.fromkeys(name for record in records for name in record["rows"]))
    first = records[0]
    images = first["data"]["images"]
    return {
        "rows": {name: _row([record["rows"][name] for record in records if name in record["rows"]]) for name in names},
        "curves": {
            name: _curve([r["curves"][name] for r in records if name in r["curves"]]) for name in first["curves"]
        },
        "gates": {
            name: {key: spread([r["gates"][name][key] for r in records if "gates" in r]) for key in values}
            for name, values in first.get("gates", {}).items()
        },
        "note": note,
        "picked_by": CYCLES,
        "agreement": [record["agreement"] for record in records],
        "seeds": [record["settings"]["seed"] for record in records],
        "settings": {key: value for key, value in first["settings"].items() if key not in ("seed", "data_dir")},
        **{key: first[key] for key in ("epochs", "versions", "python", "machine")},
        # Splits by speaker differ in size from seed to seed.
        "data": first["data"] | {"images": {split: [r["data"]["images"][split] for r in records] for split in images}},
        "revisions": [record["revision"] for record in records],
        "binary_precisions": [record["binary_precision"] for record in records],
        "commands": [command_line("python -m experiments.run"), *(each["command"] for each in records)],
        "wall_time": [record["wall_time"] for record in records],
        "verdicts": [record["verdict"] for record in records],
    }


def _row(rows):
    return {
        "accuracy": spread([row["accuracy"] for row in rows]),
        "escalation_rate": spread([row["escalation_rate"] for row in rows]),
        **{
            kind: {core: np.mean([row[kind][core] for row in rows], axis=0).tolist() for core in rows[0][kind]}
            for kind in ("cycles", "worst_cycles")
        },
        **{
            kind: {core: float(np.mean([row[kind][core] for row in rows])) for core in rows[0][kind]}
            for kind in ("instructions", "worst_instructions")
        },
        **{key: int(np.mean([row[key] for row in rows])) for key in ("flash_bytes", "arena_bytes")},
        **{key: spread([row[key] for row in rows]) for key in ("aurc", "auroc") if rows[0].get(key) is not None},
    }


def _curve(curves):
    """Accuracy and cost at common escalation rates, from each seed's [cost, accuracy, escalation rate] points."""
    by_rate = [np.asarray(curve)[np.argsort([point[2] for point in curve], kind="stable")] for curve in curves]
    at = [[np.interp(_CURVE, curve[:, 2], curve[:, column]) for curve in by_rate] for column in (0, 1)]
    return {
        "escalation_rate": _CURVE.tolist(),
        "cost": np.mean(at[0], axis=0).tolist(),
        "accuracy": np.mean(at[1], axis=0).tolist(),
        "std": np.std(at[1], axis=0, ddof=min(1, len(curves) - 1)).tolist(),
    }


if __name__ == "__main__":
    app.run(main)
