"""The `bcnet` command: `bcnet --help` lists its commands, `bcnet COMMAND --help` the flags of one."""

import contextlib
import dataclasses
import logging as python_logging
import os
import pathlib
import sys
import zipfile

import numpy as np
from absl import app, flags, logging

USAGE = """Trains, converts and runs cooperating binary and int8 nets.

usage: bcnet COMMAND [flags]

  demo       train a pair on 2,000 images of MNIST's digits and say what it is worth; minutes on two cores
  train      the same on a data set or on a folder of your own images
  calibrate  pick another threshold for a finished run, by budget or by accuracy
  convert    turn a saved pair into a .tflite file
  run        run a .tflite file on images
  export     turn a .tflite file into the source of a firmware: C, CMake, Arduino, Zephyr or PlatformIO
  profile    instructions of every operator, flash and RAM of a .tflite file on a core or a board

bcnet COMMAND --help lists the flags of a command.
"""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command: `define` declares its flags, `run` takes their values and the positional arguments."""

    define: object
    run: object
    usage: str


def _define_run_flags(values, dataset, name):
    from bcnet_keras.boards import BOARDS
    from bcnet_keras.cost import CORES
    from bcnet_keras.datasets import NAMES

    string, integer, number = flags.DEFINE_string, flags.DEFINE_integer, flags.DEFINE_float
    if dataset is None:
        string("dataset", "digits", f"Data set: {', '.join(NAMES)}.", flag_values=values)
        string(
            "data_dir",
            None,
            "Folder that holds the data sets. By default $BCNET_DATA_DIR, or ~/datasets.",
            flag_values=values,
        )
        string(
            "resize",
            None,
            "Scale the images of a folder to this height and width, such as 32x32. By default they have one size.",
            flag_values=values,
        )
    string("name", name, "Name of the run. By default that of the data set and the seed.", flag_values=values)
    string("runs_dir", "runs", "Folder in which the run gets its folder.", flag_values=values)
    integer("seed", 0, "Seed of splits, weights and the order of training.", flag_values=values, lower_bound=0)
    flags.DEFINE_enum(
        "effort", "default", ["quick", "default", "best"], "How long to train; see --minutes.", flag_values=values
    )
    number(
        "minutes",
        None,
        "Fit the training to about so many minutes on this machine: steps are timed before it begins.",
        flag_values=values,
        lower_bound=0.0,
    )
    flags.DEFINE_list(
        "epochs",
        None,
        "Epochs of the float net, the binary net, the boosted and the cooperative stage: four numbers. "
        "By default as the number of images asks for.",
        flag_values=values,
    )
    integer(
        "batch_size",
        None,
        "Batch size. By default as the number of images asks for.",
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "measure",
        "score_margin",
        ["score_margin", "max_probability", "entropy", "learned"],
        "Confidence measure of the binary net's answer.",
        flag_values=values,
    )
    flags.DEFINE_bool("per_class", False, "One threshold a class instead of one for all.", flag_values=values)
    flags.DEFINE_enum(
        "core",
        None,
        list(CORES),
        "Core whose instructions are the cost. By default that of the board, or cortex-m4.",
        flag_values=values,
    )
    string(
        "board",
        None,
        f"Board whose memories the pair must fit: {', '.join(BOARDS)}. Nets for images of your own follow it.",
        flag_values=values,
    )
    number(
        "max_cost",
        0.5,
        "Budget of the pair, as a part of the int8 net's instructions. Thresholds are picked for it on validation data;"
        " the binary net for images of your own takes at most half of it.",
        flag_values=values,
        lower_bound=0.0,
    )
    _define_confidence_level(values)
    number(
        "cost_weight",
        0.1,
        "Price of running the int8 net on every sample in the cooperative stage, in nats.",
        flag_values=values,
        lower_bound=0.0,
    )
    number(
        "weight_decay",
        None,
        "Decay of the float net's kernels, as a part of the learning rate (AdamW). By default the recipe's own.",
        flag_values=values,
        lower_bound=0.0,
    )
    flags.DEFINE_bool(
        "mixed_precision",
        False,
        "Train binary layers in bfloat16, which is faster, where the hardware has it.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "shared_stem",
        None,
        "Both nets begin with the float net's first block, run once. By default chosen for images of your own, and not "
        "so for named data sets.",
        flag_values=values,
    )
    number(
        "binary_width",
        1.0,
        "Multiplies the filters of the binary net's convolutions, in steps of 32.",
        flag_values=values,
        lower_bound=0.0,
    )
    flags.DEFINE_string(
        "binary_blocks",
        None,
        "Filters and strides (1, 2 or pool) of the binary net's convolutions in place of the data set's own, on "
        "thermometer-coded pixels where it begins with their planes, such as '10 planes, 64/pool, 128/2, 128/1'.",
        flag_values=values,
    )
    number(
        "search_minutes",
        0.0,
        "Time in which other binary nets are tried, once the float net is trained, on validation data.",
        flag_values=values,
        lower_bound=0.0,
    )


def _train(values, arguments):
    from bcnet_keras.experiment import Settings

    _expect(arguments, 0)
    dataset = values.dataset if "dataset" in values else "mnist_5k"
    epochs = values.epochs
    if epochs is not None:
        if len(epochs) != 4 or not all(count.strip().isdigit() and int(count) > 0 for count in epochs):
            raise ValueError(f"--epochs takes four numbers above 0, such as 20,40,14,6; got {','.join(epochs)!r}.")
        epochs = tuple(int(count) for count in epochs)
    if values.minutes is not None and (epochs is not None or not values.minutes > 0):
        raise ValueError("--minutes takes a number above 0, and no --epochs beside it.")
    resize = values.resize if "resize" in values else None
    if resize is not None:
        sides = resize.split("x")
        if len(sides) != 2 or not all(side.isdigit() and int(side) > 0 for side in sides):
            raise ValueError(f"--resize takes height and width, such as 32x32; got {resize!r}.")
        resize = tuple(map(int, sides))
    settings = Settings(
        dataset=dataset,
        data_dir=values.data_dir if "data_dir" in values else None,
        epochs=epochs,
        resize=resize,
        **{
            name: values[name].value
            for name in (
                "seed",
                "effort",
                "minutes",
                "batch_size",
                "measure",
                "per_class",
                "core",
                "board",
                "max_cost",
                "confidence_level",
                "cost_weight",
                "weight_decay",
                "mixed_precision",
                "shared_stem",
                "binary_width",
                "binary_blocks",
                "search_minutes",
            )
        },
    )
    name = values.name or f"{dataset.rpartition('/')[2].replace(':', '_')}_{values.seed}"
    _finish(settings, pathlib.Path(values.runs_dir) / name)


def _finish(settings, folder):
    """Runs (or goes on with) a run and prints its table."""
    from bcnet_keras.experiment import run
    from bcnet_keras.report import table, text_table
    from bcnet_keras.verdict import Verdict

    results = run(settings, folder, verbose="auto" if sys.stdout.isatty() else 2)
    print(f"\n{text_table(table(results))}\n\n{Verdict.of(results['verdict']).text(folder)}\n")
    print(f"The cooperative pair: {folder / 'pair.tflite'}")
    print(f"The same for plain TensorFlow Lite: {folder / 'pair_builtin.tflite'}")
    print(f"Report: {folder / 'report.html'}")


def _define_calibrate_flags(values):
    number = flags.DEFINE_float
    number(
        "max_cost",
        None,
        "Most accurate threshold within this part of the int8 net's instructions.",
        flag_values=values,
        lower_bound=0.0,
    )
    number(
        "min_accuracy",
        None,
        "Cheapest threshold that reaches this accuracy, 0 to 1.",
        flag_values=values,
        lower_bound=0.0,
        upper_bound=1.0,
    )

    _define_confidence_level(values)


def _define_confidence_level(values):
    flags.DEFINE_float(
        "confidence_level",
        None,
        "Pick thresholds that keep to the budget on fresh samples with this probability, 0 to 1. By default they keep "
        "to it on the validation data.",
        flag_values=values,
        lower_bound=0.0,
        upper_bound=1.0,
    )


def _calibrate(values, arguments):
    from bcnet_keras.experiment import TARGET, read_settings

    (folder,) = _expect(arguments, 1, "the folder of a run")
    if (values.max_cost is None) == (values.min_accuracy is None):
        raise ValueError("give either --max_cost or --min_accuracy.")
    if values.confidence_level is not None and values.max_cost is None:
        raise ValueError("--confidence_level goes with --max_cost.")
    target = {name: values[name].value for name in TARGET}
    _finish(dataclasses.replace(read_settings(folder), **target), pathlib.Path(folder))


def _define_convert_flags(values):
    flags.DEFINE_string("output", None, "File to write. By default the input with .tflite.", flag_values=values)
    flags.DEFINE_enum(
        "gate",
        "custom",
        ["custom", "builtin"],
        "Gate and thermometer as custom operators, or in builtin ones.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "threshold", None, "Threshold in [0, 1] instead of the pair's own; one, or one a class.", flag_values=values
    )


def _convert(values, arguments):
    (source,) = _expect(arguments, 1, "a saved pair (.keras file or SavedModel folder) or a converted one (.tflite)")
    from bcnet_keras.convert import convert, replace_gate, set_threshold
    from bcnet_keras.files import write_atomic

    threshold = None if values.threshold is None else [_number(value, "--threshold") for value in values.threshold]
    if threshold is not None and len(threshold) == 1:
        (threshold,) = threshold
    source = pathlib.Path(source)
    if not source.exists():
        raise FileNotFoundError(f"there is no file {source}.")
    if source.suffix == ".tflite":
        converted = replace_gate(source.read_bytes(), values.gate)
        if threshold is not None:
            converted = set_threshold(converted, threshold)
    else:
        converted = convert(_load_pair(source), gate=values.gate, threshold=threshold)
    output = pathlib.Path(values.output or source.with_suffix(".tflite"))
    write_atomic(output, converted)
    print(f"{output}: {len(converted):,} bytes")


def _load_pair(source):
    import tensorflow as tf

    from bcnet_keras.model import BCNet

    try:
        pair = tf.keras.models.load_model(source)
    except Exception as error:  # a damaged file may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{source} is not a saved pair: {reason}") from None
    if not isinstance(pair, BCNet):
        raise ValueError(f"{source} holds a {type(pair).__name__}, expected a BCNet saved by pair.save.")
    return pair


def _define_interpret_flags(values):
    flags.DEFINE_string(
        "input", None, "Images as the data set gives them: .npy, [n, h, w, c] or [n, h, w].", flag_values=values
    )
    flags.DEFINE_string(
        "labels", None, "Class numbers [n]: .npy. With them the accuracy is printed.", flag_values=values
    )
    flags.DEFINE_enum(
        "runtime",
        "tflite",
        ["tflite", "tflm"],
        "TensorFlow Lite (with Larq Compute Engine), or TensorFlow Lite Micro.",
        flag_values=values,
    )
    flags.DEFINE_string("output", None, "Where to write logits, predicted and escalated: .npz.", flag_values=values)


def _interpret(values, arguments):
    (source,) = _expect(arguments, 1, "a .tflite file")
    if values.input is None:
        raise ValueError("--input is missing: give the images as a .npy file.")
    images = _array(values.input, "images")
    labels = None if values.labels is None else _array(values.labels, "labels")
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]):
        raise ValueError(
            f"{values.labels}: labels must be whole numbers of shape {images.shape[:1]}, "
            f"got {labels.dtype} {labels.shape}."
        )
    if values.runtime == "tflm":
        from bcnet_keras.runtime.tflm import Interpreter
    else:
        from bcnet_keras.runtime.tflite import Interpreter
    interpreter = Interpreter(source)
    if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < interpreter.classes:
        raise ValueError(
            f"{values.labels}: labels must go from 0 to {interpreter.classes - 1}, "
            f"found {labels.min()} to {labels.max()}."
        )
    prediction = interpreter.predict(images, verbose=int(sys.stderr.isatty()))
    if values.output is not None:
        from bcnet_keras.files import replace_when_done

        outputs = {"logits": prediction.logits, "predicted": prediction.predicted}
        if prediction.escalated is not None:
            outputs["escalated"] = prediction.escalated
        with replace_when_done(pathlib.Path(values.output)) as path, open(path, "wb") as file:
            np.savez(file, **outputs)
    print(f"{len(images)} images", end="")
    if prediction.escalated is not None:
        print(f", {100 * np.mean(prediction.escalated):.1f} % escalated", end="")
    if labels is not None:
        print(f", accuracy {np.mean(prediction.predicted == labels):.4f}", end="")
    print()


def _define_export_flags(values):
    from bcnet_keras.export import FORMATS

    flags.DEFINE_enum("format", None, list(FORMATS), "Build system to write for.", flag_values=values)
    flags.DEFINE_string("output", None, "Folder to write, which must not exist.", flag_values=values)
    flags.DEFINE_string(
        "name", None, "Start of the names of files and symbols. By default that of the file.", flag_values=values
    )
    flags.DEFINE_integer(
        "arena_size",
        None,
        "Bytes of the tensor arena. By default as many as the net takes.",
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "scratch_budget",
        48 << 10,
        "Bytes of the arena that a binary convolution may use to need fewer instructions.",
        flag_values=values,
        lower_bound=0,
        upper_bound=(1 << 31) - 1,
    )


def _export(values, arguments):
    (source,) = _expect(arguments, 1, "a .tflite file")
    for flag, what in (("format", "the build system"), ("output", "the folder to write")):
        if values[flag].value is None:
            raise ValueError(f"--{flag} is missing: give {what}.")
    from bcnet_keras.convert.cooperative import verdict_of
    from bcnet_keras.export import export

    options = {name: values[name].value for name in ("name", "arena_size", "scratch_budget")}
    folder = export(source, values.format, values.output, **options)
    if (verdict := verdict_of(source)) is not None:
        print(verdict)
    print(f"{folder}: {folder / 'README.md'} says how to build it")


def _define_profile_flags(values):
    from bcnet_keras.boards import BOARDS
    from bcnet_keras.cost import CORES
    from bcnet_keras.cost_bconv2d import SCRATCH_BUDGET

    flags.DEFINE_enum(
        "core", None, list(CORES), "Core. By default that of the board, or cortex-m4.", flag_values=values
    )
    flags.DEFINE_string("board", None, f"Board: {', '.join(BOARDS)}.", flag_values=values)
    flags.DEFINE_float(
        "escalation_rate",
        None,
        "Part of the inputs that a pair escalates, 0 to 1, as `bcnet run` or the report of a run tells it. By default "
        "1, the most that the pair can cost.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "scratch_budget",
        SCRATCH_BUDGET,
        "Bytes of the arena that a binary convolution may use to need fewer instructions, as the application sets it.",
        flag_values=values,
        lower_bound=0,
    )
    flags.DEFINE_string("json", None, "Where to write the profile as JSON.", flag_values=values)
    flags.DEFINE_string("html", None, "Where to write the profile as a page with pictures.", flag_values=values)


def _profile(values, arguments):
    (source,) = _expect(arguments, 1, "a .tflite file")
    from bcnet_keras.convert.cooperative import verdict_of
    from bcnet_keras.files import write_atomic
    from bcnet_keras.profile import Profile
    from bcnet_keras.report import profile_page

    profile = Profile.of(source, values.core, values.board, values.escalation_rate, values.scratch_budget)
    print(profile.text())
    if (verdict := verdict_of(source)) is not None:
        print(f"\n{verdict}")
    for path, content in ((values.json, profile.json), (values.html, lambda: profile_page(profile))):
        if path is not None:
            write_atomic(path, content())
            print(f"{path}: written")
    if profile.shortage():
        raise ValueError(profile.shortage())


def _array(path, what):
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path} with {what}.") from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{path} is not a .npy file of {what}.") from None
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise ValueError(f"{path} must hold one array of {what}; save it by numpy.save.")
    return array


def _number(text, flag):
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{flag} takes numbers, got {text!r}.") from None


def _expect(arguments, number, what=""):
    if len(arguments) != number:
        expected = what if number else "no arguments besides flags"
        raise ValueError(f"expected {expected}, got {' '.join(arguments) or 'nothing'}.")
    return arguments


COMMANDS = {
    "demo": Command(lambda values: _define_run_flags(values, "mnist_5k", "demo"), _train, "bcnet demo [flags]"),
    "train": Command(lambda values: _define_run_flags(values, None, None), _train, "bcnet train [flags]"),
    "calibrate": Command(
        _define_calibrate_flags, _calibrate, "bcnet calibrate FOLDER (--max_cost=C | --min_accuracy=A)"
    ),
    "convert": Command(_define_convert_flags, _convert, "bcnet convert PAIR.keras [flags]"),
    "run": Command(_define_interpret_flags, _interpret, "bcnet run FILE.tflite --input=IMAGES.npy [flags]"),
    "export": Command(
        _define_export_flags, _export, "bcnet export FILE.tflite --format=FORMAT --output=FOLDER [flags]"
    ),
    "profile": Command(_define_profile_flags, _profile, "bcnet profile FILE.tflite (--core=C | --board=B) [flags]"),
}


def main():
    """Entry point of the `bcnet` command. Exit status 0; 1 after an error; 2 for a wrong command line."""
    # TensorFlow leaves its faster kernels off where a processor lacks AVX-512: with AVX2 training takes a third longer.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("help", "--help", "-h", "--helpfull"):
        print(USAGE)
        sys.exit(0 if arguments else 2)
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"bcnet: unknown command {name!r}; there are {', '.join(COMMANDS)}.", file=sys.stderr)
        sys.exit(2)
    command, values = COMMANDS[name], flags.FlagValues()
    command.define(values)
    flags.DEFINE_bool("help", False, "Show this text.", short_name="h", flag_values=values)
    try:
        _, *positional = values([f"bcnet {name}", *rest])
    except flags.Error as error:
        print(f"bcnet {name}: {error}", file=sys.stderr)
        sys.exit(2)
    if values.help:
        print(f"usage: {command.usage}\n\n{values.get_help()}")
        sys.exit(0)
    app.run(lambda _: _checked(name, command, values, positional), argv=[sys.argv[0]])


def _checked(name, command, values, positional):
    """Runs a command; what the user can mend ends in one line, without a traceback."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    for noisy in ("tensorflow", "absl"):
        python_logging.getLogger(noisy).setLevel(python_logging.ERROR)
    python_logging.getLogger("bcnet_keras").setLevel(python_logging.INFO)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            command.run(values, positional)
            return 0
        print(f"bcnet {name}: stopped; run the same command again to go on.", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        print(f"bcnet {name}: {error}", file=sys.stderr)
        return 1
