"""The `bcnet` command: `bcnet --help` lists its commands, `bcnet COMMAND --help` the flags of one."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import traceback
from typing import NoReturn

USAGE = """Trains, converts and runs cooperating binary and int8 nets.

usage: bcnet COMMAND [flags]

  demo       train four pairs, each on 2,000 of MNIST's digits, and report what they are worth; minutes on two cores
  train      the same on a data set or on a folder of your own images
  calibrate  pick another threshold for a finished run, by budget or by accuracy
  convert    turn a saved pair into a .tflite file
  run        run a .tflite file on images
  optimize   plan the memory of a .tflite file, so that its arena is smaller
  export     turn a .tflite file into the source of a firmware: C, CMake, Arduino, Zephyr or PlatformIO
  profile    show what a .tflite file needs: cycles of every operator, flash, RAM; milliseconds on a board

bcnet COMMAND --help lists the flags of a command.
"""

# Command -> (module of this package, its function that declares the flags, usage). Its function `run` does the work.
COMMANDS = {
    "demo": ("train", "define_demo", "bcnet demo [flags]"),
    "train": ("train", "define", "bcnet train [flags]"),
    "calibrate": ("calibrate", "define", "bcnet calibrate FOLDER (--max_cost=C | --min_accuracy=A)"),
    "convert": ("convert", "define", "bcnet convert PAIR.keras [flags]"),
    "run": ("run", "define", "bcnet run FILE.tflite --input=IMAGES.npy [flags]"),
    "optimize": ("optimize", "define", "bcnet optimize FILE.tflite [flags]"),
    "export": ("export", "define", "bcnet export FILE.tflite --format=FORMAT --output=FOLDER [flags]"),
    "profile": ("profile", "define", "bcnet profile FILE.tflite (--core=C | --board=B) [flags]"),
}


def main() -> NoReturn:
    """Entry point of the `bcnet` command. Exit status 0; 1 after an error; 2 for a wrong command line."""
    # TensorFlow leaves its faster kernels off where a processor lacks AVX-512: with AVX2 training takes a third longer.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow loads: it talks about GPUs while it does
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("help", "--help", "-h", "--helpfull"):
        _show(USAGE)
        sys.exit(0 if arguments else 2)
    name, *rest = arguments
    if name == "--version":
        from bcnet_keras import __version__

        print(f"bcnet-keras {__version__}")
        sys.exit(0)
    if name not in COMMANDS:
        print(f"bcnet: unknown command {name!r}; there are {', '.join(COMMANDS)}.", file=sys.stderr)
        sys.exit(2)
    sys.exit(_command(name, rest))


def _command(name, arguments):
    """Runs one command; returns its exit status."""
    from absl import flags

    module, define, usage = COMMANDS[name]
    command, values = importlib.import_module(f"bcnet_keras.cli.{module}"), flags.FlagValues()
    getattr(command, define)(values)
    flags.DEFINE_bool("help", False, "Show this text.", short_name="h", flag_values=values)
    flags.DEFINE_bool("debug", False, "Show the traceback of every error.", flag_values=values)
    arguments = getattr(command, "prepare", list)(arguments)
    try:
        _, *positional = values([f"bcnet {name}", *arguments])
    except flags.Error as error:
        print(f"bcnet {name}: {error}", file=sys.stderr)
        return 2
    if values.help:
        _show(f"usage: {usage}\n\n{values.get_help()}")
        return 0
    set_up_logging()
    return _checked(name, command, values, positional)


def _show(text):
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _read_enough()


def _read_enough():
    """Drops the rest of the output: whoever read it, such as `head`, has enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def set_up_logging(prefix: str = "") -> None:
    """Sends the package's lines to standard error, each behind `prefix`, and silences TensorFlow's."""
    from absl import flags
    from absl import logging as absl_logging

    flags.FLAGS.mark_as_parsed()  # absl's own: until then its logging warns that they are not
    absl_logging.use_absl_handler()
    absl_logging.set_verbosity(absl_logging.INFO)
    if prefix:
        absl_logging.get_absl_handler().setFormatter(logging.Formatter(f"{prefix}%(message)s"))
    for noisy in ("tensorflow", "absl"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    logging.getLogger("bcnet_keras").setLevel(logging.INFO)


def _checked(name, command, values, positional):
    """Runs a command: what the user can mend ends in one line, a fault of this program in a traceback."""
    from bcnet_keras.errors import BcnetError, named_packages

    try:
        with contextlib.suppress(KeyboardInterrupt), named_packages():
            command.run(values, positional)
            return 0
        print(f"bcnet {name}: stopped; run the same command again to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _read_enough()
        return 0
    except (BcnetError, OSError) as error:
        if values.debug:
            traceback.print_exc()
        print(f"bcnet {name}: {error}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
        print(f"bcnet {name}: this is a fault of bcnet-keras; please report it with the lines above.", file=sys.stderr)
    return 1
