"""What the package costs before it does anything: short commands, a conversion, the installation.

    python -m experiments.startup runs/demo/pair.tflite                               # this build
    python -m experiments.startup runs/demo/pair.tflite --before=../old/.venv/bin/bcnet --pair=runs/demo/pair.keras

Each command runs `--repeats` times in turns with the other build's; the table has medians of CPU time and memory. With
`--before` the last columns are this build's part of the other's. The conversion of `--pair` is the call of
`bcnet_keras.convert` alone, its memory what the process grows by. The last line tells the size of what is installed
without and with the extra "train".
"""

import os
import pathlib
import resource
import statistics
import subprocess
import sys
from importlib import metadata

from absl import app, flags
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bcnet_keras.utils.pages import text_table

FLAGS = flags.FLAGS
flags.DEFINE_string("before", None, "The `bcnet` command of another build to compare with.")
flags.DEFINE_string("pair", None, "A saved pair, to measure its conversion.")
flags.DEFINE_integer("repeats", 5, "Runs of each command.", lower_bound=1)

CONVERSION = """
import resource, sys, time
import tensorflow as tf
import bcnet_keras as bc
bc.BCNet
pair = tf.keras.models.load_model(sys.argv[1])
bc.convert
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
bc.convert(pair)
print(time.process_time() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def measure(command):
    """(seconds of CPU time, MiB of peak memory) of a process with all that it started."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # a process of its own, so that its children's usage is of this command alone
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.write(write, f"{usage.ru_utime + usage.ru_stime} {usage.ru_maxrss / 1024}".encode())
        if done.returncode:
            sys.stderr.write(done.stderr)
        os._exit(done.returncode)
    os.close(write)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        seconds, mebibytes = map(float, pipe.read().split())
    if status:
        raise app.UsageError(f"{' '.join(command)} failed")
    return seconds, mebibytes


def convert(build, pair):
    """(seconds of CPU time, MiB that memory grows by) of a conversion by the build of that `bcnet` command."""
    folder = pathlib.Path(build).absolute().parent  # not this one, whose package would come first
    command = [str(folder / "python"), "-c", CONVERSION, str(pathlib.Path(pair).absolute())]
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return tuple(map(float, done.stdout.splitlines()[-1].split()))


def installed_size(*extras):
    """Bytes of bcnet-keras and all that it requires, as installed here, with its extras."""
    found, pending = {}, [("bcnet-keras", extras)]
    while pending:
        name, wanted = pending.pop()
        if (name, wanted) not in found:
            found[name, wanted] = distribution = metadata.distribution(name)
            for each in map(Requirement, distribution.requires or ()):
                if any(each.marker is None or each.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                    pending.append((canonicalize_name(each.name), tuple(sorted(each.extras))))
    files = {file.locate() for distribution in found.values() for file in distribution.files or ()}
    return sum(path.stat().st_size for path in files if path.is_file())


def main(arguments):
    if len(arguments) != 2 or not os.path.isfile(arguments[1]):
        raise app.UsageError("expected one argument, a .tflite file")
    here = str(pathlib.Path(sys.executable).with_name("bcnet"))
    builds = [here] if FLAGS.before is None else [here, FLAGS.before]
    heading = ["command", "CPU time", "memory"]
    cells = [heading if len(builds) == 1 else [*heading, "CPU time before", "memory before", "CPU time", "memory"]]
    measured = {
        "bcnet --help": lambda build: measure([build, "--help"]),
        f"bcnet profile {arguments[1]}": lambda build: measure([build, "profile", arguments[1]]),
    }
    if FLAGS.pair is not None:
        measured[f"convert(pair) of {FLAGS.pair}"] = lambda build: convert(build, FLAGS.pair)
    for name, measurement in measured.items():
        runs = {build: [] for build in builds}
        for _ in range(FLAGS.repeats):
            for build in builds:
                runs[build].append(measurement(build))
        figures = [[statistics.median(values) for values in zip(*runs[build], strict=True)] for build in builds]
        row = [name]
        row += [text for seconds, size in figures for text in (f"{seconds:.2f} s", f"{size:.0f} MiB")]
        if len(figures) == 2:
            row += [f"{mine / other:.3f}" for mine, other in zip(*figures, strict=True)]
        cells.append(row)
    print(text_table(cells))
    base, train = installed_size(), installed_size("train")
    print(f"installed: {base / 1e6:,.0f} MB, with [train] {train / 1e6:,.0f} MB: {base / train:.3f}")


if __name__ == "__main__":
    app.run(main)
