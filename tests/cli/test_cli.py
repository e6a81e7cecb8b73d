"""The `bcnet` command: what it shows, what it refuses, and small files through `run` and `convert`."""

import concurrent.futures
import dataclasses
import importlib
import json
import re
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import bcnet_keras
import bcnet_keras as bc
from bcnet_keras.cli import train as cli_train
from bcnet_keras.convert import Gate, merge
from bcnet_keras.errors import BcnetError
from bcnet_keras.experiment import Settings, saved_settings
from bcnet_keras.runtime import choice
from bcnet_keras.tflite import flatbuffer, lce
from experiments import benchmarks

SHAPE = (3, 3, 2)
RUN_FLAGS = (
    "name runs_dir seed effort minutes epochs batch_size measure per_class core board max_cost confidence_level "
    "cost_weight weight_decay mixed_precision deterministic shared_stem binary_width binary_blocks search_minutes"
)
FLAGS = {
    "demo": f"{RUN_FLAGS} repeats",
    "train": f"dataset data_dir resize {RUN_FLAGS}",
    "calibrate": "max_cost min_accuracy confidence_level",
    "convert": "output gate threshold",
    "run": "input labels runtime output",
    "export": "format output name arena_size scratch_budget",
    "optimize": "output core board scratch_budget",
    "profile": "core board escalation_rate scratch_budget json html",
}


def _pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def _graph(op, type, inputs, output, options):
    """A flatbuffer of one operator."""
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    tensors = [builder.tensor(graph, str(index), type, shape, (0.1, 0)) for index, shape in enumerate(inputs)]
    answer = builder.tensor(graph, "answer", type, output, (0.1, 0))
    builder.operator(graph, op, tensors, [answer], options)
    graph.inputs, graph.outputs = np.array(tensors[:1], np.int32), np.array([answer], np.int32)
    return builder.finish()


def _image(path, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.zeros(size, np.uint8)).save(path)


def _small_pair():
    layers = tf.keras.layers
    inputs = tf.keras.Input((8, 8, 1))
    tensor = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Conv2D(4, 3)(inputs)))
    return bc.BCNet.from_keras(tf.keras.Model(inputs, layers.Dense(4)(tensor)), planes=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory, make_part):
    """A folder of good and of bad files."""
    folder, schema = tmp_path_factory.mktemp("files"), flatbuffer.schema
    parts = make_part(1, shape=SHAPE), make_part(2, shape=SHAPE)
    record = {"class_names": list("abcd"), "raw_range": [0, 255], "input_range": [-1.0, 127 / 128]}
    pair = merge(*parts, Gate.create(4, "score_margin", 0.5), record=record)
    wrong_sizes = _graph(
        "FULLY_CONNECTED", schema.TensorType.INT8, [[1, 7], [4, 9]], [1, 4], schema.FullyConnectedOptionsT()
    )
    wrong_shape = _graph("RESHAPE", schema.TensorType.INT8, [[1, 3, 3, 2]], [1, 5], schema.ReshapeOptionsT())
    for name, content in {
        "pair.tflite": pair,
        "net.tflite": parts[0],
        "cut.tflite": pair[: len(pair) // 2],
        "empty.tflite": b"",
        "text.tflite": b"this is not a flatbuffer",
        "noise.tflite": b"\x10\0\0\0TFL3" + np.random.default_rng(0).bytes(400),
        "floats.tflite": _graph("ABS", schema.TensorType.FLOAT32, [[1, 4]], [1, 4], schema.AbsOptionsT()),
        "wrong_sizes.tflite": wrong_sizes,
        "wrong_shape.tflite": wrong_shape,
        "garbage.keras": b"x" * 100,
        "text.npy": b"1, 2, 3\n",
        "cut.npy": b"\x93NUMPY\x01\x00v\x00{'descr'",
        "file": b"",
    }.items():
        (folder / name).write_bytes(content)
    images = _pixels(20)
    nan = images.astype(np.float32)
    nan[3, 0, 0, 0] = np.nan
    for name, array in {
        "images": images,
        "labels": np.arange(20) % 4,
        "nan": nan,
        "none": images[:0],
        "small": images[:, :2],
        "bool": images > 0,
        "text_pixels": images.astype(str),
        "few_labels": np.arange(19) % 4,
        "float_labels": np.zeros(20),
        "high_labels": np.arange(20) % 5,
        "negative_labels": np.arange(20) % 4 - 1,
        "number": np.float32(1),
        "sevens": np.zeros((2, 7), np.int8),
    }.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "objects.npy", np.array([images, None], object), allow_pickle=True)
    np.savez(folder / "several.npz", images=images)

    keras_pair = _small_pair()
    keras_pair.save(folder / "unset.keras")
    (folder / "cut.keras").write_bytes((folder / "unset.keras").read_bytes()[:4000])
    tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))]).save(folder / "plain.keras")

    for index in range(3):
        _image(folder / "one_class" / "cat" / f"{index}.png")
        _image(folder / "sizes" / "cat" / f"{index}.png")
        _image(folder / "sizes" / "dog" / f"{index}.png", size=(8, 9))
        _image(folder / "empty_class" / "cat" / f"{index}.png")
    (folder / "empty_class" / "dog").mkdir()
    (folder / "no_images").mkdir()
    (folder / "runs" / "damaged").mkdir(parents=True)
    (folder / "runs" / "damaged" / "settings.json").write_text('{"dataset": ')
    (folder / "runs" / "other").mkdir(parents=True)
    other = {"dataset": "digits", "data_dir": None, "seed": 5, "epochs": None, "max_cost": 0.5}
    (folder / "runs" / "other" / "settings.json").write_text(json.dumps(other))
    return folder


# --- what it shows ---


@pytest.mark.parametrize("command", FLAGS)
def test_help_lists_every_flag(bcnet, command):
    status, out, err = bcnet(command, "--help")
    assert (status, err) == (0, "") and out.startswith(f"usage: bcnet {command}")
    shown = {line.split()[0].rstrip(":") for line in out.splitlines() if line.strip().startswith("--")}
    shown = {flag.removeprefix("--").removeprefix("[no]") for flag in shown}
    assert set(FLAGS[command].split()) <= shown
    assert bcnet(command, "-h") == (status, out, err)


def test_the_demo_is_the_benchmark_with_ten_seeds(bcnet, monkeypatch):
    asked = []

    def run(settings, folder, **_):
        asked.append(settings)
        raise BcnetError(f"stopped before {folder}")

    monkeypatch.setattr("bcnet_keras.experiment.training_run.run", run)
    status, _, err = bcnet("demo", "--seed=3", "--repeats=1")
    assert status == 1 and err == "bcnet demo: stopped before runs/demo\n"
    assert asked == [dataclasses.replace(benchmarks.load("mnist_5k").SETTINGS, seed=3)]


def test_the_demo_tells_the_mean_of_its_repeats(bcnet, monkeypatch):
    asked = []

    def run(settings, folder, **_):
        """A record in which the pair gains half a point, then loses 0.3."""
        asked.append((settings.seed, str(folder)))
        gain = 0.005 if len(asked) == 1 else -0.003
        costs = {"int8": 100, "binary": 20, "coopnet": 40, "cascade": 40, "bcnet": 30 if len(asked) == 1 else 50}
        rows = {
            name: {
                "accuracy": 0.9 + (gain if name == "bcnet" else 0),
                "escalation_rate": 0.25,
                "cycles": {"cortex-m4": [0.9 * cost, 1.1 * cost]},
                "instructions": {"cortex-m4": cost},
                **dict.fromkeys(("arena_bytes", "flash_bytes", "code_bytes"), 1024),
            }
            for name, cost in costs.items()
        }
        verdict = {"outcome": "no gain", "sentence": "", "beside": "", "advice": [], "figures": {}}
        return {"settings": {"core": "cortex-m4"}, "rows": rows, "verdict": verdict}

    monkeypatch.setattr("bcnet_keras.experiment.training_run.run", run)
    monkeypatch.setattr(cli_train, "_workers", lambda number: concurrent.futures.ThreadPoolExecutor(1))
    status, out, _ = bcnet("demo", "--seed=3", "--repeats=2")
    assert status == 0 and asked == [(3, "runs/demo"), (1003, "runs/demo_2")]
    assert re.search(r"BC-Net \(trained together\) +\| 90.10 ± 0.57 % \| 25.0 % +\| 0.400 ± 0.141 \|", out)
    assert "In the mean of 2 splits the pair takes 0.400 of" in out
    assert "+0.10 points beside the untrained cascade. It is ahead of the int8 net in 1" in out.replace("\n", " ")


def test_nobody_waits_for_other_pairs_where_one_fails(bcnet, tmp_path):
    for seed, name in enumerate(("demo", "demo_2")):
        (tmp_path / name).mkdir()
        saved_settings.write_settings(tmp_path / name, Settings(dataset="mnist_5k", seed=1000 * seed))
    saved_settings.write_settings(tmp_path / "demo", Settings(dataset="mnist_5k", seed=5))
    status, _, err = bcnet("demo", f"--runs_dir={tmp_path}", "--repeats=2")
    assert status == 1 and "seed was 5, is 0" in err.splitlines()[-1] and "Traceback" not in err
    assert not (tmp_path / "demo_2" / "results.json").exists()


def test_a_process_that_ends_early_is_told_in_one_line(bcnet, monkeypatch):
    class Broken(concurrent.futures.ThreadPoolExecutor):
        def submit(self, *_):
            future = concurrent.futures.Future()
            future.set_exception(concurrent.futures.BrokenExecutor())
            return future

    monkeypatch.setattr(cli_train, "_workers", Broken)
    status, _, err = bcnet("demo", "--repeats=3")
    assert status == 1 and "with 0 of 3 pairs done; the same command resumes" in err and len(err.splitlines()) == 1


def test_a_fault_of_the_program_shows_its_traceback(bcnet, monkeypatch):
    def run(settings, folder, **_):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("bcnet_keras.experiment.training_run.run", run)
    status, _, err = bcnet("demo", "--repeats=1")
    assert status == 1 and "Traceback" in err and "ZeroDivisionError: a fault" in err
    assert err.endswith("bcnet demo: this is a fault of bcnet-keras; please report it with the lines above.\n")


def test_debug_shows_the_traceback_of_an_error_in_the_input(bcnet):
    status, _, err = bcnet("profile", "absent.tflite", "--debug")
    assert status == 1 and err.startswith("Traceback") and err.splitlines()[-1].startswith("bcnet profile: there is no")


def test_version(bcnet):
    assert bcnet("--version") == (0, f"bcnet-keras {bcnet_keras.__version__}\n", "")


def test_help_of_the_command_lists_the_commands(bcnet):
    status, out, _ = bcnet("--help")
    assert status == 0 and all(f"\n  {command} " in out for command in FLAGS)
    assert bcnet() == (2, out, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "nonsense",
            "there are demo, train, calibrate, convert, run, optimize, export, profile.",
        ),
        ("train --nonsense=1", "bcnet train: Unknown command line flag 'nonsense'"),
        ("demo --dataset=digits", "bcnet demo: Unknown command line flag 'dataset'"),
        ("train --measure=luck", "value should be one of <score_margin|max_probability|entropy|learned>"),
        ("train --seed=-1", "flag --seed=-1"),
        ("train --batch_size=0", "flag --batch_size=0"),
        ("train --effort=much", "value should be one of <quick|default|best>"),
        ("train --core=z80", "cortex-m4"),
        ("profile pair.tflite --core=z80", "value should be one of <cortex-m0plus|cortex-m3|"),
        ("profile pair.tflite --escalation_rate=often", "flag --escalation_rate=often"),
        ("profile pair.tflite --scratch_budget=-1", "flag --scratch_budget=-1"),
        ("run pair.tflite --runtime=onnx", "value should be one of <tflite|tflm|numpy>"),
        ("convert pair.tflite --gate=none", "value should be one of <custom|builtin>"),
        ("export pair.tflite --format=mbed", "value should be one of <c|cmake|arduino|zephyr|platformio>"),
        ("export pair.tflite --arena_size=0", "flag --arena_size=0"),
        ("calibrate runs/other --min_accuracy=90", "flag --min_accuracy=90"),
        ("calibrate runs/other --max_cost=-1", "flag --max_cost=-1"),
        ("calibrate runs/other --max_cost=high", "flag --max_cost=high"),
    ],
)
def test_wrong_command_lines_end_with_status_2(bcnet, arguments, message):
    status, out, err = bcnet(*arguments.split())
    assert (status, out) == (2, "") and message in err and err.count("\n") == 1, err


# --- what it refuses ---


def _tree(folder):
    return {path: path.stat().st_size for path in folder.rglob("*")}


RUN, LABELLED = "run pair.tflite --input=", "run pair.tflite --input=images.npy --labels="
REFUSED = [
    # flatbuffers
    ("run", "expected a .tflite file, got nothing"),
    ("run pair.tflite net.tflite", "expected a .tflite file, got pair.tflite net.tflite"),
    ("run absent.tflite --input=images.npy", "there is no file 'absent.tflite'"),
    ("run runs --input=images.npy", "there is no file 'runs'; give the path of a .tflite file"),
    ("run cut.tflite --input=images.npy", "truncated or damaged TensorFlow Lite flatbuffer"),
    ("run cut.tflite --runtime=tflm --input=images.npy", "truncated or damaged TensorFlow Lite flatbuffer"),
    ("run empty.tflite --input=images.npy", "found an empty file; give a .tflite file"),
    ("run text.tflite --input=images.npy", "not a TensorFlow Lite flatbuffer"),
    ("run text.tflite --runtime=tflm --input=images.npy", "not a TensorFlow Lite flatbuffer"),
    ("run noise.tflite --input=images.npy", "truncated or damaged TensorFlow Lite flatbuffer"),
    ("run noise.tflite --runtime=tflm --input=images.npy", "truncated or damaged TensorFlow Lite flatbuffer"),
    ("run images.npy --input=images.npy", "not a TensorFlow Lite flatbuffer"),
    ("run floats.tflite --input=images.npy", "(float32)"),
    ("run floats.tflite --runtime=tflm --input=images.npy", "(float32)"),
    ("run wrong_shape.tflite --input=images.npy", "shapes that do not fit: [1, 3, 3, 2] to [1, 5]"),
    ("run wrong_shape.tflite --runtime=tflm --input=images.npy", "shapes that do not fit: [1, 3, 3, 2] to [1, 5]"),
    ("run wrong_sizes.tflite --input=sevens.npy", "shapes that do not fit: [1, 7], [4, 9] to [1, 4]"),
    ("profile", "expected a .tflite file, got nothing"),
    ("profile absent.tflite", "there is no file 'absent.tflite'"),
    ("profile cut.tflite", "truncated or damaged TensorFlow Lite flatbuffer"),
    ("profile empty.tflite", "found an empty file; give a .tflite file"),
    ("profile text.tflite", "not a TensorFlow Lite flatbuffer"),
    ("profile pair.tflite --board=toaster", "unknown board 'toaster': expected one of arduino-nano-33-ble, "),
    ("profile pair.tflite --board=nucleo-f767zi --core=cortex-m4", "nucleo-f767zi has a cortex-m7, not a cortex-m4"),
    ("profile pair.tflite --escalation_rate=1.5", "the escalation rate must lie between 0 and 1, got 1.5"),
    ("profile net.tflite --escalation_rate=0.5", "an escalation rate is for a pair"),
    # images
    ("run pair.tflite", "--input is missing: give the images as a .npy file"),
    (f"{RUN}absent.npy", "there is no file absent.npy with images"),
    (f"{RUN}text.npy", "text.npy is not a .npy file of images"),
    (f"{RUN}cut.npy", "cut.npy is not a .npy file of images"),
    (f"{RUN}file", "file is not a .npy file of images"),
    (f"{RUN}objects.npy", "objects.npy is not a .npy file of images"),
    (f"{RUN}several.npz", "several.npz must hold one array of images"),
    (f"{RUN}number.npy", "number.npy must hold one array of images"),
    (f"{RUN}runs", "Is a directory: 'runs'"),
    (f"{RUN}none.npy", "there is no image"),
    (f"{RUN}none.npy --runtime=tflm", "there is no image"),
    (f"{RUN}small.npy", "images must have the shape ['n', 3, 3, 2], got [20, 2, 3, 2]"),
    (f"{RUN}small.npy --runtime=tflm", "images must have the shape ['n', 3, 3, 2], got [20, 2, 3, 2]"),
    (f"{RUN}nan.npy", "image 3 has NaN or infinite values"),
    (f"{RUN}nan.npy --runtime=tflm", "image 3 has NaN or infinite values"),
    (f"{RUN}bool.npy", "images must be numbers (uint8, float or int8 codes), got bool"),
    (f"{RUN}text_pixels.npy", "images must be numbers (uint8, float or int8 codes), got <U"),
    # labels
    (f"{LABELLED}absent.npy", "there is no file absent.npy with labels"),
    (f"{LABELLED}text.npy", "text.npy is not a .npy file of labels"),
    (f"{LABELLED}few_labels.npy", "labels must be whole numbers of shape (20,), got int64 (19,)"),
    (f"{LABELLED}float_labels.npy", "labels must be whole numbers of shape (20,), got float64 (20,)"),
    (f"{LABELLED}high_labels.npy", "labels must go from 0 to 3, found 0 to 4"),
    (f"{LABELLED}negative_labels.npy", "labels must go from 0 to 3, found -1 to 2"),
    # outputs
    (f"{RUN}images.npy --output=file/answers.npz", "cannot write file/answers.npz: file is not a directory"),
    (f"{RUN}images.npy --output=runs", "cannot write runs: "),
    (
        "convert pair.tflite --threshold=0.5 --output=file/pair.tflite",
        "cannot write file/pair.tflite: file is not a directory",
    ),
    ("convert pair.tflite --threshold=0.5 --output=runs", "cannot write runs: "),
    ("train --dataset=digits --runs_dir=file", "cannot make the folder file/digits_0: Not a directory"),
    # pairs to convert
    ("convert", "expected a saved pair (.keras file or SavedModel folder) or a converted one (.tflite), got nothing"),
    ("convert pair.tflite", "pair.tflite is converted already; give --gate or --threshold to change it."),
    ("convert absent.keras", "there is no file absent.keras"),
    ("convert absent.tflite", "there is no file absent.tflite"),
    ("convert garbage.keras", "garbage.keras is not a saved pair: "),
    ("convert cut.keras", "cut.keras is not a saved pair: "),
    ("convert file", "file is not a saved pair: "),
    ("convert no_images", "no_images is not a saved pair: SavedModel file does not exist"),
    ("convert plain.keras", "plain.keras holds a Sequential, expected a BCNet saved by pair.save"),
    ("convert unset.keras", "the threshold is not set (NaN): calibrate the pair, or give a number between 0 and 1"),
    ("convert net.tflite", "not a cooperative pair: expected a flatbuffer that bcnet_keras.convert wrote"),
    ("convert floats.tflite", "not a cooperative pair"),
    ("convert cut.tflite", "truncated or damaged TensorFlow Lite flatbuffer"),
    ("convert text.tflite", "not a TensorFlow Lite flatbuffer"),
    # thresholds
    ("convert pair.tflite --threshold=1.5", "the threshold must lie between 0 and 1, got 1.5"),
    ("convert pair.tflite --threshold=-0.1", "the threshold must lie between 0 and 1, got -0.1"),
    ("convert pair.tflite --threshold=nan", "the threshold is not set (NaN)"),
    ("convert pair.tflite --threshold=high", "--threshold takes numbers, got 'high'"),
    ("convert pair.tflite --threshold=0.1,0.2", "must be one number or 4 (one per class), got an array of shape [2]"),
    ("convert unset.keras --threshold=1.5", "the threshold must lie between 0 and 1, got 1.5"),
    # exports
    ("export --format=c --output=new", "expected a .tflite file, got nothing"),
    ("export net.tflite --output=new", "--format is missing: give the build system"),
    ("export net.tflite --format=c", "--output is missing: give the folder to write"),
    ("export net.tflite --format=c --output=runs", "runs exists; give another folder, or delete it"),
    ("export net.tflite --format=c --output=file", "file exists; give another folder, or delete it"),
    ("export net.tflite --format=c --output=file/new", "cannot write file/new: file is not a directory"),
    ("export net.tflite --format=c --output=new --name=1", "the name must be a C identifier"),
    ("export net.tflite --format=c --output=new --arena_size=9", "an arena of 9 bytes is too small"),
    ("export absent.tflite --format=c --output=new", "there is no file 'absent.tflite'"),
    ("export cut.tflite --format=c --output=new", "truncated or damaged TensorFlow Lite flatbuffer"),
    ("export text.tflite --format=c --output=new", "not a TensorFlow Lite flatbuffer"),
    # data sets
    ("train --dataset=mnist", "unknown data set 'mnist'; there are digits, fashion_mnist, cifar10"),
    (
        "train --dataset=fashion_mnist --data_dir=no_images",
        "the data set fashion_mnist is not there: looked for",
    ),
    ("train --dataset=cifar10 --data_dir=no_images", "it can be had at https://"),
    ("train --dataset=speech_commands --data_dir=no_images", "the data set speech_commands is not there"),
    ("train --dataset=fer2013 --data_dir=absent", "the data set fer2013 is not there"),
    ("train --dataset=folder:absent", "there is no directory absent; it must have one folder of images per class"),
    ("train --dataset=folder:no_images", "no_images has 0 folders; one folder per class and at least two classes"),
    ("train --dataset=folder:one_class", "one_class has 1 folders; one folder per class and at least two classes"),
    ("train --dataset=folder:empty_class", "empty_class/dog has no images"),
    ("train --dataset=folder:sizes", "images differ in size: sizes/cat/0.png is 8 x 8, sizes/dog/0.png is 9 x 8"),
    # runs
    ("train", "give --dataset, one of digits, fashion_mnist,"),
    ("train --name=mine", "then both together, in runs/mine; bcnet demo needs no data."),
    ("train --dataset=digits --deterministic --minutes=5", "minutes and search_minutes go by the clock"),
    ("train again", "expected no arguments besides flags, got again"),
    ("train --epochs=1,2,3", "--epochs takes four numbers above 0, such as 20,40,14,6; got '1,2,3'"),
    ("train --epochs=1,2,3,0", "--epochs takes four numbers above 0"),
    ("train --epochs=1,2,3,x", "--epochs takes four numbers above 0"),
    ("train --minutes=0", "--minutes takes a number above 0, and no --epochs beside it"),
    ("train --minutes=5 --epochs=1,1,1,1", "--minutes takes a number above 0, and no --epochs beside it"),
    ("train --resize=32", "--resize takes height and width, such as 32x32; got '32'"),
    ("train --resize=0x32", "--resize takes height and width, such as 32x32; got '0x32'"),
    (
        "train --dataset=digits --resize=8x8",
        "resize is for images in folders; those of digits have the size that their nets are for",
    ),
    ("train --dataset=folder:sizes --resize=9999x8", "resize must be (height, width), each from 1 to 1024"),
    (
        "train --dataset=digits --name=other",
        "runs/other holds a run with other settings (seed was 5, is 0); use another name or delete it",
    ),
    ("calibrate runs/damaged --max_cost=0.5", "runs/damaged/settings.json is damaged or of another version"),
    ("calibrate", "expected the folder of a run, got nothing"),
    ("calibrate no_images --max_cost=0.5", "no_images is not the folder of a run: it has no settings.json"),
    ("calibrate absent --max_cost=0.5", "absent is not the folder of a run"),
    ("calibrate runs/other", "give either --max_cost or --min_accuracy"),
    ("calibrate runs/other --max_cost=0.5 --min_accuracy=0.5", "give either --max_cost or --min_accuracy"),
    ("calibrate runs/other --min_accuracy=0.5 --confidence_level=0.9", "--confidence_level goes with --max_cost"),
]


def _case(arguments, message):
    marks = [pytest.mark.needs_tflm] if arguments.startswith(RUN) and "--runtime=tflm" in arguments else []
    return pytest.param(arguments, message, id=arguments, marks=marks)


@pytest.mark.parametrize(("arguments", "message"), [_case(*each) for each in REFUSED])
def test_bad_input_is_refused_in_one_line(bcnet, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    before = _tree(files)
    status, out, err = bcnet(*arguments.split())
    assert (status, out) == (1, ""), err
    assert err.startswith(f"bcnet {arguments.split()[0]}: ") and message in err and err.count("\n") == 1, err
    assert _tree(files) == before


# --- run and convert on small files ---


def test_run_refuses_images_that_the_input_cannot_hold(bcnet, files):
    """Bytes into a net of scale 1/128 without a record: nearly all of them saturate."""
    status, out, err = bcnet("run", files / "net.tflite", f"--input={files / 'images.npy'}")
    assert (status, out) == (1, "") and err.count("\n") == 1
    assert "of the images' values saturate: the net expects values from -1 to 0.9922, found 0 to 255" in err


@pytest.mark.parametrize("runtime", [pytest.param("tflite", marks=pytest.mark.needs_lce), "tflm", "numpy"])
def test_run_writes_answers_and_prints_the_accuracy(bcnet, files, tmp_path, runtime):
    output, codes = tmp_path / "new" / "answers.npz", tmp_path / "codes.npy"
    np.save(codes, (np.load(files / "images.npy").astype(int) - 128).astype(np.int8))
    arguments = [files / "net.tflite", f"--input={codes}", f"--labels={files / 'labels.npy'}"]
    status, out, err = bcnet("run", *arguments, f"--runtime={runtime}", f"--output={output}")
    assert (status, err) == (0, "")
    answers, labels = np.load(output), np.load(files / "labels.npy")
    assert sorted(answers) == ["logits", "predicted"] and answers["logits"].shape == (20, 4)
    assert out == f"20 images, accuracy {np.mean(answers['predicted'] == labels):.4f}\n"


@pytest.fixture
def bare(monkeypatch):
    """An installation without Larq Compute Engine and TensorFlow Lite Micro."""
    monkeypatch.setattr(lce, "why_missing", lambda: "not installed")
    for name in ("tflite_micro", *(name for name in sys.modules if name.startswith("tflite_micro."))):
        monkeypatch.setitem(sys.modules, name, None)
    importlib.reload(choice)
    yield
    monkeypatch.undo()
    importlib.reload(choice)


def test_run_takes_numpy_where_nothing_else_is_installed(bcnet, bare, files):
    status, out, err = bcnet("run", files / "pair.tflite", f"--input={files / 'images.npy'}")
    assert (status, err) == (0, "") and re.fullmatch(r"20 images, [1-9]\d?\.\d % escalated\n", out)
    status, _, err = bcnet("run", files / "pair.tflite", "--runtime=tflm", f"--input={files / 'images.npy'}")
    assert status == 1 and "tflite_micro, which this needs, is not installed" in err and "use --runtime=numpy." in err


def test_run_says_how_many_escalate(bcnet, files, tmp_path):
    output = tmp_path / "answers.npz"
    status, out, _ = bcnet("run", files / "pair.tflite", f"--input={files / 'images.npy'}", f"--output={output}")
    escalated = np.load(output)["escalated"]
    assert (status, escalated.dtype) == (0, bool) and 0 < escalated.mean() < 1
    assert out == f"20 images, {100 * escalated.mean():.1f} % escalated\n"


def test_export_writes_a_folder(bcnet, files, tmp_path):
    folder = tmp_path / "new" / "library"
    arguments = ["--format=arduino", f"--output={folder}", "--name=mine", "--arena_size=20000", "--scratch_budget=0"]
    status, out, err = bcnet("export", files / "net.tflite", *arguments)
    assert (status, err) == (0, "") and f"{folder}: " in out and "README.md says how to build" in out
    header = (folder / "libraries" / "mine" / "src" / "mine_model.h").read_text()
    assert "#define MINE_ARENA_SIZE 20000\n" in header and "#define MINE_SCRATCH_BUDGET 0\n" in header


def test_convert_changes_gate_and_threshold_of_a_flatbuffer(bcnet, files, tmp_path):
    one, other = tmp_path / "one.tflite", tmp_path / "other.tflite"
    status, out, _ = bcnet("convert", files / "pair.tflite", "--gate=builtin", "--threshold=0.25", f"--output={one}")
    assert (status, out) == (0, f"{one}: {one.stat().st_size:,} bytes\n")
    assert bc.get_threshold(one.read_bytes()) == 0.25
    assert not flatbuffer.custom_ops(flatbuffer.read(one.read_bytes()))
    assert bcnet("convert", one, "--threshold=0.1,0.2,0.3,0.4", f"--output={other}")[0] == 0
    np.testing.assert_array_equal(bc.get_threshold(other.read_bytes()), np.float32([0.1, 0.2, 0.3, 0.4]))
    assert not flatbuffer.custom_ops(flatbuffer.read(other.read_bytes()))  # the gate that it had
    # Back to what it was: the same bytes.
    assert bcnet("convert", other, "--threshold=0.5", "--gate=custom")[0] == 0
    assert other.read_bytes() == (files / "pair.tflite").read_bytes()
