"""What a training step of CIFAR-10's binary net costs, where it goes, and beside another build.

    python -m experiments.training_cost
    python -m experiments.training_cost --before=../old/.venv/bin/python   # that build's part, in the same run

The nets are those of the benchmark `cifar10`, the step is that of the binary stage with a teacher, on 128 random
images. Each round starts a process for each way to train, in turns; a process has one thread and tells the CPU time of
its median step. `experiments/results/training_cost.json` has the median over rounds for each kind of processor;
`experiments.report` makes tables of it. "products alone" is what the binary convolutions' products take at the speed of
one large matrix product in float32: forward, gradients of the weights, and gradients of the input where something
before it trains.
"""

import json
import os
import statistics
import subprocess
import sys

from absl import app, flags

from experiments import report

IMAGES = 128
BFLOAT16 = "in bfloat16"
WAYS = {
    "this build": {"TF_ENABLE_ONEDNN_OPTS": "1"},
    "kernels that TensorFlow takes without AVX-512": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    BFLOAT16: {"TF_ENABLE_ONEDNN_OPTS": "1", "PRECISION": "mixed_bfloat16"},
}
# Run by each build's Python, so it takes of the package what earlier builds have too.
STEP = """
import json, os, statistics, sys, time
import numpy as np
import tensorflow as tf
from bcnet_keras.layers import BinaryConv2D, with_precision
try:
    from bcnet_keras.models.networks import NETWORKS
    from bcnet_keras.models.pair import BCNet
    from bcnet_keras.models.twins import int8_twin, share_stem
except ModuleNotFoundError:  # a build of before these modules moved
    from bcnet_keras.model import BCNet
    from bcnet_keras.networks import NETWORKS
    from bcnet_keras.twins import int8_twin, share_stem

images, repeats = int(sys.argv[1]), int(sys.argv[2])
tf.keras.utils.set_random_seed(0)
teacher, binary = NETWORKS["images"]((32, 32, 3), 10, shared_stem=True)
binary = with_precision(binary, os.environ.get("PRECISION", "float32"))
int8 = int8_twin(teacher)
batch = tf.random.uniform((images, 32, 32, 3), -1, 0.99), tf.range(images) % 10
share_stem(binary, int8, [batch[0]])
pair = BCNet(binary, int8)
pair.compile(tf.keras.optimizers.Adam(3e-3, clipnorm=1.0), stage="binary", teacher=teacher)

def measured(function):
    function = tf.function(function)
    function()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)

losses = [float(pair.train_step(batch)["loss"]) for _ in range(2)]
found = {"step": measured(lambda: pair.train_step(batch))}
found["teacher"] = measured(lambda: teacher(batch[0], training=False))
found["forward"] = measured(lambda: binary(batch[0], training=True))
products, first = 0.0, True
for layer in (each for each in binary.layers if isinstance(each, BinaryConv2D)):
    height, width, channels, filters = layer.kernel.shape
    rows = images * layer.output_shape[1] * layer.output_shape[2]
    one, other = tf.ones((rows, height * width * channels)), tf.ones((height * width * channels, filters))
    products += (2 if first else 3) * measured(lambda: one @ other)
    first = False
print(json.dumps({"seconds": {**found, "products": products}, "losses": losses}))
"""

_BEFORE = flags.DEFINE_string("before", None, "The Python of another build to compare with.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Processes of each way.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Steps that a process measures.", lower_bound=1)


def main(_):
    from bcnet_keras.experiment.provenance import command_line, revision, versions
    from bcnet_keras.layers import fastest_precision
    from bcnet_keras.utils.atomic_files import write_atomic

    ways = {name: (sys.executable, more) for name, more in WAYS.items()}
    if fastest_precision() == "float32":
        del ways[BFLOAT16]  # each product would be converted one by one
    if _BEFORE.value:  # which leaves it to TensorFlow what kernels it takes
        ways["the build before"] = _BEFORE.value, {}
        if BFLOAT16 in ways:
            ways[f"the build before, {BFLOAT16}"] = _BEFORE.value, {"PRECISION": "mixed_bfloat16"}
    found = {name: [] for name in ways}
    for _ in range(_ROUNDS.value):
        for name, (python, more) in ways.items():
            found[name].append(_measured(python, more))
            print(f"{name}: {found[name][-1]}", flush=True)
    record = {
        "seconds": {
            name: {part: statistics.median(each["seconds"][part] for each in rounds) for part in rounds[0]["seconds"]}
            for name, rounds in found.items()
        },
        "rounds": {name: [each["seconds"]["step"] for each in rounds] for name, rounds in found.items()},
        "losses": {name: rounds[0]["losses"] for name, rounds in found.items()},
        "images": IMAGES,
        "command": command_line("python -m experiments.training_cost"),
        "revision": revision(),
        "versions": versions(),
        "processor": _processor(),
    }
    place = report.results_folder() / "training_cost.json"
    every = json.loads(place.read_text()) if place.exists() else {}
    write_atomic(place, json.dumps(every | {record["processor"]: record}, indent=1) + "\n")
    report.write_all()


def _measured(python, more):
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", **threads, **more}
    command = [os.path.abspath(python), "-c", STEP, str(IMAGES), str(_REPEATS.value)]
    folder = (
        None if python == sys.executable else os.path.dirname(command[0])
    )  # not this one, whose package comes first
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _processor():
    """Which vector instructions the processor has, as far as they matter here."""
    import re

    from bcnet_keras.layers.binary import CPU_INFO

    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    text = CPU_INFO.read_text() if CPU_INFO.is_file() else ""
    return ", ".join(name for name in known if re.search(rf"\b{name}\b", text)) or "unknown"


if __name__ == "__main__":
    app.run(main)
