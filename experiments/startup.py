"""What the command line costs before it does anything: CPU time and memory of short commands, of one build or of two.

    python -m experiments.startup runs/demo/pair.tflite                               # this build
    python -m experiments.startup runs/demo/pair.tflite --before=../old/.venv/bin/bcnet

Each command runs `--repeats` times in turns with the other build's; the table has medians. With `--before` the last
columns are this build's part of the other's.
"""

import os
import pathlib
import resource
import statistics
import subprocess
import sys

from absl import app, flags

from bcnet_keras.utils.pages import text_table

FLAGS = flags.FLAGS
flags.DEFINE_string("before", None, "The `bcnet` command of another build to compare with.")
flags.DEFINE_integer("repeats", 5, "Runs of each command.", lower_bound=1)


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


def main(arguments):
    if len(arguments) != 2 or not os.path.isfile(arguments[1]):
        raise app.UsageError("expected one argument, a .tflite file")
    here = str(pathlib.Path(sys.executable).with_name("bcnet"))
    builds = [here] if FLAGS.before is None else [here, FLAGS.before]
    heading = ["command", "CPU time", "memory"]
    cells = [heading if len(builds) == 1 else [*heading, "CPU time before", "memory before", "CPU time", "memory"]]
    for command in (["--help"], ["profile", arguments[1]]):
        runs = {build: [] for build in builds}
        for _ in range(FLAGS.repeats):
            for build in builds:
                runs[build].append(measure([build, *command]))
        figures = [[statistics.median(values) for values in zip(*runs[build], strict=True)] for build in builds]
        row = [f"bcnet {' '.join(command)}"]
        row += [text for seconds, size in figures for text in (f"{seconds:.2f} s", f"{size:.0f} MiB")]
        if len(figures) == 2:
            row += [f"{mine / other:.3f}" for mine, other in zip(*figures, strict=True)]
        cells.append(row)
    print(text_table(cells))


if __name__ == "__main__":
    app.run(main)
