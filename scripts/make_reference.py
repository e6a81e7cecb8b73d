#!/usr/bin/env python3
"""Writes the pages of docs/reference that follow from the code: Python, command line, layers, operators, boards.

    python scripts/make_reference.py            # writes what has changed
    python scripts/make_reference.py --check    # writes nothing; exit status 1 where a page is out of date

A test compares the committed pages, so that none of them goes stale.
"""

import pathlib
import sys

import bcnet_keras as bc
from bcnet_keras.utils.atomic_files import write_atomic

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "reference"
_NOTE = "<!-- Written by scripts/make_reference.py; change the code, not this page. -->\n"

# Heading of the Python page -> modules of public names that stand below it, as `bcnet_keras` lists them.
_AREAS = {
    "Pairs and twins": ("models.pair", "models.twins"),
    "Training": ("training",),
    "Calibration": ("calibration",),
    "Conversion": ("convert",),
    "Running and profiling": ("runtime.choice", "device.profile"),
    "Layers": ("layers",),
    "Errors": ("errors",),
}
# Functions that have the name of their package.
_CALLABLE = {"Conversion": ("convert.pair.convert", "export.formats.export")}
# Classes -> the methods that are shown below them.
_METHODS = {
    "BCNet": ("from_keras", "profile", "preprocess", "threshold", "escalation_rate", "compile"),
    "AccuracyCostCurve": ("pick", "upper_cost"),
    "Interpreter": ("predict",),
    "Profile": ("of", "text", "json", "shortage"),
}


def api():
    """The public names with their docstrings."""
    lines = [
        _NOTE,
        "# Python\n",
        "All names below are attributes of `bcnet_keras`, imported as `bc`. Import it before `tf.keras` is used: it "
        "switches TensorFlow to the legacy Keras.\n",
    ]
    left = set(bc._PUBLIC)
    for area, modules in _AREAS.items():
        lines.append(f"## {area}\n")
        for name in _CALLABLE.get(area, ()):
            lines.append(f"::: bcnet_keras.{name}\n")
        for name in (name for name, module in bc._PUBLIC.items() if module in modules):
            left.remove(name)
            value = getattr(bc, name)
            lines.append(f"::: {value.__module__}.{value.__name__}")
            members = _METHODS.get(name, ())
            lines.append(f"    options: {{members: [{', '.join(members)}]}}\n" if members else "")
    if left:
        sys.exit(f"scripts/make_reference.py has no place for {', '.join(sorted(left))}: add its module to _AREAS.")
    return "\n".join(lines)


def cli():
    """The commands with their flags."""
    from bcnet_keras.cli import COMMANDS, USAGE

    what = dict(line.strip().split(maxsplit=1) for line in USAGE.splitlines() if line.startswith("  "))
    lines = [
        _NOTE,
        "# Command line\n",
        "Exit status: 0, 1 after an error (one line on standard error), 2 for a wrong command line. Every command "
        "takes `--help`, and `--debug` for the traceback of an error. `bcnet --version` prints the version.\n",
    ]
    for name, (_, _, usage) in COMMANDS.items():
        lines += [f"## bcnet {name}\n", f"{what[name][0].upper()}{what[name][1:]}.\n", f"```text\n{usage}\n```\n"]
        if name == "demo":  # the same but for what it trains on
            left_out = {flag.name for flag in flags_of("train")} - {flag.name for flag in flags_of(name)}
            without = ", ".join(f"`--{flag}`" for flag in sorted(left_out))
            lines.append(f"Its flags are those of `bcnet train` below, without {without}.\n")
            continue
        cells = [["flag", "default", "meaning"]]
        for flag in sorted(flags_of(name), key=lambda flag: flag.name):
            values = getattr(flag.parser, "enum_values", ())
            choices = f" One of {', '.join(f'`{value}`' for value in values)}." if values else ""
            shown = "" if flag.default is None else f"`{str(flag.default).lower()}`" if flag.boolean else _shown(flag)
            cells.append([f"`--{'[no]' * flag.boolean}{flag.name}`", shown, _cell(flag.help) + choices])
        lines.append(_table(cells))
    return "\n".join(lines)


def flags_of(command):
    """The absl flags that a command declares."""
    import importlib

    from absl import flags

    from bcnet_keras.cli import COMMANDS

    module, define, _ = COMMANDS[command]
    values = flags.FlagValues()
    getattr(importlib.import_module(f"bcnet_keras.cli.{module}"), define)(values)
    return [values[name] for name in values]


def _shown(flag):
    return f"`{','.join(map(str, flag.default)) if isinstance(flag.default, list) else flag.default}`"


def _cell(text):
    """A help text in a cell of a table: absl puts the choices of an enumeration in front."""
    text = " ".join(text.split())
    return (text.partition(">: ")[2] if text.startswith("<") else text).replace("|", "\\|")


def _table(cells):
    rows = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([rows[0], "|---" * len(cells[0]) + "|", *rows[1:]]) + "\n"


def layers():
    """The Keras layers of which twins are made."""
    from bcnet_keras.models.twins import SUPPORTED

    kinds, activations, _, functions = SUPPORTED.split("; ")
    return "\n".join(
        [
            _NOTE,
            "# Keras layers\n",
            "What a float model for `BCNet.from_keras`, `int8_twin` and `binary_twin` may be made of. Models may be "
            "functional or sequential, and may hold others. An error names every layer that cannot be converted.\n",
            "## Layers\n",
            *_bullets(kinds),
            "\n## Activations\n",
            "By name in a layer, or in an `Activation`.\n",
            *_bullets(activations.removeprefix("activations ")),
            "\n## Functions on tensors\n",
            *_bullets(functions.removeprefix("and ").replace(" and tf.", ", tf.", 1)),
            "",
        ]
    )


def _bullets(names):
    return [f"- `{name.strip()}`" for name in names.split(", ")]


def operators():
    """The operators that a flatbuffer may have."""
    from bcnet_keras.tflite.operators import OPERATORS

    cells = [["operator", "data", "weights", "kernel", "cost known", "`MicroMutableOpResolver`"]]
    for record in OPERATORS.values():
        weights = record.weights and sorted(set().union(*record.weights.values()))
        types = record.types or (record.weights and set(record.weights))
        cells.append(
            [
                f"`{record.name}`",
                "not restricted here" if types is None else ", ".join(sorted(types)),
                "" if weights is None else ", ".join(weights),
                "this project" if record.ours else "TensorFlow Lite Micro",
                "" if record.cost is None else "estimate" if record.estimate else "yes",
                "`bcnet::RegisterBcnetOps`" if record.ours else f"`{record.resolver_method}`",
            ]
        )
    return "\n".join(
        [
            _NOTE,
            "# Operators\n",
            "What `bcnet profile`, `bcnet export` and the runtimes take in a `.tflite` file. Types are those that "
            "TensorFlow Lite Micro's kernels take. A cost is an `estimate` where it was read off the kernel and not "
            "counted. Where none is known, `bcnet profile` says so and gives a lower bound.\n",
            _table(cells),
        ]
    )


def boards():
    """The boards that `--board` takes."""
    from bcnet_keras.device.boards import BOARDS
    from bcnet_keras.device.cost import CORES

    cells = [["`--board`", "core", "MHz", "flash", "RAM", "wait states of the flash", "where these come from"]]
    for name, board in BOARDS.items():
        memories = (f"{size >> 10:,} KiB" for size in (board.flash_bytes, board.ram_bytes))
        source = board.flash.source + ("" if board.flash.sure else " (partly assumed: the range is wider)")
        cells.append([f"`{name}`", board.core, str(board.mhz), *memories, str(board.flash.wait_states), source])
    return "\n".join(
        [
            _NOTE,
            "# Boards\n",
            "Boards with the clock and the memories of their makers' data sheets. RAM is all that one program can use; "
            "where a board has it in several parts, an arena can be no larger than one of them. [Fit a board]"
            "(../howto/board.md) says how to use the names, `CONTRIBUTING.md` how to add one.\n",
            _table(cells),
            f"Without a board, `--core` names a core alone: {', '.join(f'`{core}`' for core in CORES)}.\n",
        ]
    )


PAGES = {"api": api, "cli": cli, "layers": layers, "operators": operators, "boards": boards}


def main():
    status = 0
    for name, page in PAGES.items():
        path, text = FOLDER / f"{name}.md", page()
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in sys.argv:
            print(f"{path} is out of date: run python scripts/make_reference.py", file=sys.stderr)
            status = 1
        else:
            write_atomic(path, text)
    return status


if __name__ == "__main__":
    sys.exit(main())
