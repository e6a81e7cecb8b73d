"""Counts what whole models take under QEMU and writes it beside what `bcnet profile` tells, into ``results.json`` and
``results.md`` here.

    python tflm_ops/examples/compare.py                        # --pair NAME=pair.tflite for a pair of your own

The models are pairs of `models.networks` after a few steps of training on noise (the weights do not change the
count, once the ranges of the outputs are those of the data), each on both its paths, and MLPerf Tiny's four reference
models, from the folders `trained_models` of github.com/mlcommons/tiny. It needs a tree of TensorFlow Lite Micro and its
libraries for the cores, see README.md.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import bench
import cycles

from bcnet_keras.convert import convert, set_threshold
from bcnet_keras.device.profile import Profile
from bcnet_keras.runtime import native
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.utils import atomic_files as files
from bcnet_keras.utils.pages import text_table
from bcnet_keras.utils.silence import captured_output

HERE = Path(__file__).resolve().parent
CORES = {"cortex-m4": "cortex-m4+fp", "cortex-m7": "cortex-m7+fp", "cortex-m55": "cortex-m55"}
PAIRS = {"digits": (8, 8, 1), "images": (32, 32, 3)}  # network -> shape of an image
MODELS = ("pretrainedResnet_quant", "kws_ref_model", "vww_96_int8", "ad01_int8")
MARKERS = ("count_start", "count_stop")
BOUND = 0.05


def tree():
    """Folder of TensorFlow Lite Micro's tree."""
    return Path(os.environ.get("TFLM_DIR", Path.home() / ".cache" / "bcnet" / "tflm"))


def tflm_library(core):
    """Where TensorFlow Lite Micro's makefile writes its library for a core."""
    folder = tree() / "gen" / f"cortex_m_generic_{CORES[core]}_release_cmsis_nn_gcc"
    return folder / "lib" / "libtensorflow-microlite.a"


def build(core, folder, data, images, *options):
    """Builds the example for a core with a flatbuffer and int8 images [n, ...]; returns the program.

    `options` are further ones of CMake.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes(flatbuffer.write(flatbuffer.read(data)))
    np.ascontiguousarray(images, np.int8).tofile(folder / "images.bin")
    model, codes = f"-DBCNET_MODEL={folder / 'model.tflite'}", f"-DBCNET_IMAGES={folder / 'images.bin'}"
    fixed_options = (
        f"-DTFLM_DIR={tree()}",
        f"-DTFLM_LIBRARY={tflm_library(core)}",
        "-DBCNET_TESTS=OFF",
        "-DBCNET_BOARD=",
    )
    options = (*fixed_options, model, codes, *options)  # those of an earlier build in the folder do not stay
    for command in (
        ["cmake", "--preset", core, "-B", folder, *options],
        ["cmake", "--build", folder, "--parallel", "2", "--target", "classify"],
    ):
        run = subprocess.run(
            list(map(str, command)), cwd=native.source_root() / "tflm_ops", capture_output=True, text=True
        )
        if run.returncode != 0:
            raise RuntimeError(f"{command[0]} failed: {(run.stderr or run.stdout).strip()[-2000:]}")
    return folder / "examples" / "classify"


def run(core, program):
    """(bytes of the arena, [(class, whether both nets ran or None, logits)], `cycles.Trace` of each image)."""
    output, traces = bench.count(program, bench.BOARDS[core], markers=MARKERS)
    lines = output.splitlines()
    if not lines or not lines[0].startswith("arena "):
        raise RuntimeError(f"the example says: {output[:300]}")
    answers = []
    for line in lines[1:]:
        words, _, logits = line.partition(", logits")
        both = True if ", both nets," in words else False if ", binary net," in words else None
        answers.append((int(words.split("class ")[1].split(",")[0]), both, [int(code) for code in logits.split()]))
    return int(lines[0].split()[1]), answers, traces


def quick_pair(network, shape, classes=10, steps=48):
    """The flatbuffer of a pair of networks whose binary net was trained for a few steps on noise."""
    import tensorflow as tf

    from bcnet_keras import BCNet
    from bcnet_keras.models.networks import NETWORKS
    from bcnet_keras.models.twins import int8_twin

    tf.keras.utils.set_random_seed(0)
    float_net, binary = NETWORKS[network](shape, classes)
    pair = BCNet(binary, int8_twin(float_net))
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (32 * steps, *shape)), random.integers(0, classes, 32 * steps)
    pair.compile(tf.keras.optimizers.Adam(0.005), stage="binary")
    pair.fit(pair.preprocess(images.astype(np.uint8)), labels, batch_size=32, verbose=0)
    pair.threshold = 0.5
    with captured_output():
        return convert(pair)


def cases(data, name):
    """[(name of the case, flatbuffer, path)]: both paths of a pair."""
    if Profile.of(data).cost.accepted is None:
        return [(name, data, "escalated")]
    return [
        (f"{name}, accepted", set_threshold(data, 0.0), "accepted"),
        (f"{name}, escalated", set_threshold(data, 1.0), "escalated"),
    ]


def measure(core, folder, name, data, path):
    """The record of one case."""
    model = flatbuffer.read(data)
    size = flatbuffer.shape(model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]])[1:]
    image = np.random.default_rng(0).integers(-128, 128, (1, *size))
    program = build(core, folder, data, image)
    used, _, (trace,) = run(core, program)
    profile = Profile.of(data, core)
    told = getattr(profile, f"{path}_cycles")
    return {
        "core": core,
        "model": name,
        "counted": trace.instructions,
        "profile": getattr(profile, path),
        "cycles_estimated": [round(bound) for bound in cycles.Program(program).cycles(trace, core)],
        "cycles_profile": [round(told.low), round(told.high)],
        "arena_counted": used,
        "arena_profile": profile.arena.used_bytes,
    }


def error(record):
    """Relative error of the profile's instructions."""
    return record["profile"] / record["counted"] - 1


def cycles_error(record):
    """Relative error of the middle of the profile's cycles, against those of what was executed."""
    return sum(record["cycles_profile"]) / sum(record["cycles_estimated"]) - 1


def _cycles_cells(record):
    """Both ranges of cycles and the error; empty for a record of before there were any."""
    if "cycles_profile" not in record:
        return ["", "", ""]
    ranges = [" to ".join(f"{bound:,}" for bound in record[key]) for key in ("cycles_estimated", "cycles_profile")]
    return [*ranges, f"{100 * cycles_error(record):+.1f} %"]


def _paths_table(records):
    """Cells: what an accepted image takes of an escalated one, of each pair and core, in instructions and in cycles."""
    rows = [["pair", "core", "in instructions", "in cycles"]]
    known = {(record["model"], record["core"]): record for record in records if "cycles_profile" in record}
    for (model, core), accepted in known.items():
        name, _, path = model.rpartition(", ")
        if path == "accepted":
            escalated = known[f"{name}, escalated", core]
            rows.append([name, core, f"{accepted['counted'] / escalated['counted']:.3f}"])
            rows[-1].append(f"{sum(accepted['cycles_estimated']) / sum(escalated['cycles_estimated']):.3f}")
    return rows


def report(results):
    """The results as Markdown."""
    rows = [["model", "core", "counted", "profile", "error", "cycles", "cycles, profile", "their error"]]
    rows[0] += ["arena counted", "arena, profile"]
    for record in results["records"]:
        numbers = [f"{record[key]:,}" for key in ("counted", "profile")]
        arenas = [f"{record[key]:,}" for key in ("arena_counted", "arena_profile")]
        rows.append([record["model"], record["core"], *numbers, f"{100 * error(record):+.1f} %"])
        rows[-1] += [*_cycles_cells(record), *arenas]
    return f"""# Whole models: instructions, cycles and arena, counted and told by `bcnet profile`

Written by `{results["command"]}`. Counted: instructions of one Invoke under QEMU, and the interpreter's
`arena_used_bytes()`, in TensorFlow Lite Micro's release library with CMSIS-NN. Cycles: estimated from all that was
executed, by the models of the cores, with memory that answers at once; their error is that of the middles of the two
ranges. The image is random; arenas are in bytes, with 48 KB of scratch budget. {results["compiler"]};
{results["qemu"]}.

{text_table(rows)}

What an accepted image takes of an escalated one, counted, and in the middle of the estimated cycles:

{text_table(_paths_table(results["records"]))}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", nargs="+", choices=CORES, default=list(CORES))
    parser.add_argument("--pair", nargs="*", default=[], metavar="NAME=FILE", help="further flatbuffers")
    parser.add_argument("--models", type=Path, default=Path.home() / "datasets" / "mlperf-tiny", help="MLPerf Tiny's")
    parser.add_argument("--build", type=Path, help="folder that keeps the builds; by default a temporary one")
    arguments = parser.parse_args()
    missing = [name for name in MODELS if not (arguments.models / f"{name}.tflite").is_file()]
    if missing:
        sys.exit(f"error: {arguments.models} lacks {', '.join(missing)}: files .tflite of github.com/mlcommons/tiny")
    models = [(f"{name} pair", quick_pair(name, shape)) for name, shape in PAIRS.items()]
    models += [(name, (arguments.models / f"{name}.tflite").read_bytes()) for name in MODELS]
    models += [(name, Path(path).read_bytes()) for name, _, path in (pair.partition("=") for pair in arguments.pair)]
    records, command = [], ["python tflm_ops/examples/compare.py --cores", *arguments.cores]
    if arguments.pair:
        command += ["--pair", *map(shlex.quote, arguments.pair)]
    with tempfile.TemporaryDirectory() as folder:
        for name, data in models:
            for core in arguments.cores:
                for case in cases(data, name):
                    records.append(measure(core, (arguments.build or Path(folder)) / core, *case))
                    print(records[-1], f"{100 * error(records[-1]):+.2f} %", flush=True)
    results = {
        "command": " ".join(command),
        "compiler": bench.compiler_version(),
        "qemu": bench.qemu_version()[0],
        "records": records,
    }
    files.write_atomic(HERE / "results.json", json.dumps(results, indent=1) + "\n")
    files.write_atomic(HERE / "results.md", report(results))


if __name__ == "__main__":
    main()
