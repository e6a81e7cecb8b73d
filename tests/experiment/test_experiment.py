"""A tiny run through the `bcnet` command: what it writes, is it true, and does it survive being killed."""

import contextlib
import html
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

import bcnet_keras as bc
from bcnet_keras import datasets
from bcnet_keras.cli import train as cli_train
from bcnet_keras.device.cycles import shares
from bcnet_keras.experiment import training_run
from bcnet_keras.experiment.report import table
from bcnet_keras.runtime import tflite
from bcnet_keras.utils.sealed_files import read_record, write_record

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]  # first on the path of the processes, wherever they start
ROWS = ("int8", "binary", "coopnet", "cascade", "bcnet", "bcnet_accurate")
CALIBRATION = "calibration, conversion"  # what the log says when training is over


def _start(*arguments, log):
    """Starts `bcnet` with its output in the file `log`."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from bcnet_keras.cli import main; main()", *map(str, arguments)]
    with open(log, "w") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def _bcnet(*arguments, log):
    """Runs `bcnet` to its end; returns what it said."""
    status = _start(*arguments, log=log).wait(timeout=900)
    output = log.read_text()
    assert status == 0, output[-3000:]
    assert "Traceback" not in output and "retracing" not in output
    return output


@contextlib.contextmanager
def _killed(*arguments, log, when):
    """Starts `bcnet` and kills it as soon as `when()` is true; yields what it had said."""
    process = _start(*arguments, log=log)
    try:
        ends = time.time() + 900
        while not when() and time.time() < ends:
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    yield log.read_text()


def _results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """(folder of a finished run, what the command said)."""
    place = tmp_path_factory.mktemp("demo")
    arguments = ("--dataset=digits", "--name=demo", "--epochs=1,1,1,1", f"--runs_dir={place}", "--max_cost=0.9")
    output = _bcnet("train", *arguments, log=place / "log")
    return place / "demo", output


@pytest.fixture(scope="session")
def test_split(tmp_path_factory):
    """(test images, labels, path of the images, path of the labels) of digits, the latter as .npy."""
    split, folder = datasets.load("digits").test, tmp_path_factory.mktemp("digits")
    np.save(folder / "images.npy", split.images)
    np.save(folder / "labels.npy", split.labels)
    return *split, folder / "images.npy", folder / "labels.npy"


# --- what a run writes ---


def test_results_have_every_row(demo):
    results = _results(demo[0])
    assert tuple(results["rows"]) == ROWS
    for name, row in results["rows"].items():
        assert 0 <= row["accuracy"] <= 1 and 0 <= row["escalation_rate"] <= 1
        assert set(row["instructions"]) >= {"cortex-m4", "cortex-m7", "cortex-m55"}
        assert all(count > 0 for count in row["instructions"].values()) and row["flash_bytes"] > 0, name
        assert set(row["cycles"]) == set(row["worst_cycles"]) == set(row["instructions"])
        for core, (low, high) in row["cycles"].items():
            assert 0.5 * row["instructions"][core] < low <= high <= 2.2 * row["instructions"][core], (name, core)
            assert row["worst_cycles"][core][1] >= high
    rows = results["rows"]
    assert (rows["binary"]["escalation_rate"], rows["int8"]["escalation_rate"]) == (0, 1)
    assert rows["int8"]["accuracy"] > 0.3  # ten classes: it has learned something
    for name, minimum in (("binary", 0.9), ("int8", 0.9), ("pair", 0.9), ("escalation", 0.9)):
        assert results["agreement"][name] >= minimum
    assert results["settings"]["max_cost"] == 0.9 and results["data"]["images"]["test"] == 359


def test_picked_points_lie_on_their_curves(demo):
    results = _results(demo[0])
    one = 1.001 / results["data"]["images"]["test"]  # an image may lie on the threshold to the last bit
    for name, points in results["curves"].items():
        row, cost = results["rows"][name], shares(results["rows"], "cortex-m4")[name]
        assert any(
            abs(accuracy - row["accuracy"]) <= one
            and abs(rate - row["escalation_rate"]) <= one
            and abs(point_cost - cost) <= 2 * one
            for point_cost, accuracy, rate in points
        ), name


def test_agreement_names_the_interpreter(demo):
    agreement = _results(demo[0])["agreement"]
    assert agreement["interpreter"] == bc.Interpreter.NAME
    assert bc.Interpreter.NAME in (demo[0] / "report.html").read_text()


def test_flash_bytes_are_the_sizes_of_the_files(demo):
    folder, rows = demo[0], _results(demo[0])["rows"]
    for row, name in (("bcnet", "pair"), ("int8", "int8"), ("binary", "binary")):
        assert rows[row]["flash_bytes"] == (folder / f"{name}.tflite").stat().st_size


@pytest.mark.parametrize(
    ("row", "name"), [("bcnet", "pair_builtin"), ("bcnet", "pair"), ("int8", "int8"), ("binary", "binary")]
)
def test_the_files_give_the_reported_accuracy(bcnet, demo, test_split, tmp_path, row, name):
    _, labels, images_path, labels_path = test_split
    folder, output = demo[0], tmp_path / "answers.npz"
    arguments = [f"--input={images_path}", f"--labels={labels_path}", f"--output={output}"]
    status, out, _ = bcnet("run", folder / f"{name}.tflite", *arguments)
    answers, reported = np.load(output), _results(folder)["rows"][row]
    assert np.mean(answers["predicted"] == labels) == reported["accuracy"]
    assert status == 0 and f"accuracy {reported['accuracy']:.4f}" in out
    if row == "bcnet":
        assert answers["escalated"].mean() == reported["escalation_rate"]


def test_the_files_keep_the_escalation_rate_on_validation_images(demo):
    images = datasets.load("digits").validation.images
    for name in ("pair", "pair_builtin"):
        profile = bc.Profile.of(demo[0] / f"{name}.tflite")
        escalated = tflite.Interpreter(demo[0] / f"{name}.tflite").predict(images).escalated.mean()
        assert profile.rate_source == "calibration" and 0 < profile.escalation_rate < 1
        assert profile.escalation_rate == pytest.approx(escalated, abs=3 / len(images))  # codes differ from Keras here
    loaded = tf.keras.models.load_model(demo[0] / "pair.keras")
    assert loaded.escalation_rate == profile.escalation_rate


def test_both_gates_give_the_same_answers(demo, test_split):
    one, other = (
        tflite.Interpreter(demo[0] / f"{name}.tflite").predict(test_split[0]) for name in ("pair", "pair_builtin")
    )
    np.testing.assert_array_equal(one.logits, other.logits)
    np.testing.assert_array_equal(one.escalated, other.escalated)


def test_the_expected_cost_is_that_of_the_escalation_rate(demo):
    rows = _results(demo[0])["rows"]
    for core in rows["int8"]["instructions"]:
        for unit in ("instructions", "cycles"):
            cost = {name: np.sum(rows[name][unit][core]) for name in ROWS}  # of cycles twice the middle
            for name in ("coopnet", "cascade"):
                least = cost["binary"] + rows[name]["escalation_rate"] * cost["int8"]
                assert least <= cost[name] <= 1.1 * least  # the gate and the addition come on top


def test_the_report_is_one_page_with_the_table(demo):
    folder, output = demo
    page, results = (folder / "report.html").read_text(), _results(folder)
    assert "http:" not in page and "https:" not in page.replace(html.escape(results["data"]["source"]), "")
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "@import" not in page
    assert page.count("<script") == 2 and "threshold-slider" in page  # the slider and its data
    assert page.count('src="data:image/png;base64,') == 2 + 48 and 'alt=""' not in page
    bold = re.findall(r"<tr class='bold'><td>(.*?)</td>", page)
    assert bold == ["BC-Net (trained together)"] and f"{results['rows']['bcnet']['threshold']:.6g}" in page
    for row in table(results):
        for cell in row:
            assert f">{html.escape(cell)}</t" in page
        assert all(cell in output for cell in row)
    row, slider = results["rows"]["bcnet"], json.loads(re.search(r'"operating-points">(.*?)</script>', page)[1])
    (threshold,), accuracy, rate, cost, *_ = slider["points"][slider["picked"]]
    few = 8 / 359  # images on which Keras and the flatbuffer may differ
    assert threshold == pytest.approx(row["threshold"]) and abs(accuracy - row["accuracy"]) <= few
    assert abs(rate - row["escalation_rate"]) <= few
    core = results["settings"]["core"]
    whole = slider["int8_cost"]
    assert whole == sum(results["rows"]["int8"]["cycles"][core]) / 2
    assert cost == pytest.approx(sum(row["cycles"][core]) / 2 / whole, abs=few)
    assert f"of the int8 net&#x27;s estimated {core} cycles" in page
    # Class by class: the images of all are the test set, the right answers those of the table above.
    rows = re.findall(
        r"<tr><td>(\d)</td><td>(\d+)</td><td>[\d.]+ %</td><td>[\d.]+ %</td><td>([\d.]+) %</td></tr>", page
    )
    assert [name for name, _, _ in rows] == list("0123456789") and sum(int(count) for _, count, _ in rows) == 359
    right = sum(int(count) * float(percent) / 100 for _, count, percent in rows)
    assert abs(right / 359 - row["accuracy"]) <= few
    picture = (folder / "accuracy_cost.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n") and picture.endswith(b"IEND\xaeB`\x82")


def test_the_verdict_is_said_everywhere(bcnet, demo, test_split, tmp_path):
    folder, output = demo
    labels, found = test_split[1], _results(folder)["verdict"]
    pair, int8 = (tflite.Interpreter(folder / f"{name}.tflite").predict(test_split[0]) for name in ("pair", "int8"))
    gained = np.sum((pair.predicted == labels) & (int8.predicted != labels))
    lost = np.sum((pair.predicted != labels) & (int8.predicted == labels))
    beside = found["figures"]["beside"]["int8"]
    assert (beside["gained"], beside["lost"], beside["samples"]) == (gained, lost, 359)
    costs = shares(_results(folder)["rows"], "cortex-m4")
    assert found["figures"]["costs"] == {name: pytest.approx(costs[name]) for name in costs}
    assert (
        f"Verdict: {found['sentence']}\n" in output
        and html.escape(found["sentence"]) in (folder / "report.html").read_text()
    )
    for name in ("pair", "pair_builtin"):
        status, out, _ = bcnet("profile", folder / f"{name}.tflite")
        assert status == 0 and f"Verdict: {found['sentence']}\n" in out
    status, out, _ = bcnet("export", folder / "pair.tflite", "--format=c", f"--output={tmp_path / 'firmware'}")
    assert status == 0 and f"Verdict: {found['sentence']}\n" in out
    assert f"| verdict | {found['sentence']} |" in (tmp_path / "firmware" / "README.md").read_text()
    status, out, _ = bcnet(
        "convert", folder / "pair.tflite", "--threshold=0.123", f"--output={tmp_path / 'other.tflite'}"
    )
    assert status == 0 and "Verdict" not in out
    assert bcnet("profile", tmp_path / "other.tflite")[1].endswith("not been judged on test images.\n")


def test_nothing_half_written_is_left(demo):
    assert not list(demo[0].rglob("*.partial")) + list(demo[0].rglob("*_in_progress/*"))
    names = {path.name for path in demo[0].iterdir()}
    nets = {"pair.keras", "pair.tflite", "pair_builtin.tflite", "int8.tflite", "binary.tflite"}
    records = {"checkpoints", "data.json", "settings.json", "results.json"}
    assert names == nets | records | {"report.html", "accuracy_cost.png"}


# --- what can be done with it ---


def test_convert_a_saved_pair(bcnet, demo, test_split, tmp_path):
    folder = demo[0]
    again, other = tmp_path / "again.tflite", tmp_path / "other.tflite"
    status, out, _ = bcnet("convert", folder / "pair.keras", f"--output={again}")
    assert (status, out) == (0, f"{again}: {again.stat().st_size:,} bytes\n")
    one, same = (tflite.Interpreter(path).predict(test_split[0]) for path in (folder / "pair.tflite", again))
    np.testing.assert_array_equal(one.logits, same.logits)
    np.testing.assert_array_equal(one.escalated, same.escalated)
    assert bcnet("convert", folder / "pair.keras", "--gate=builtin", "--threshold=0.25", f"--output={other}")[0] == 0
    assert bc.get_threshold(other.read_bytes()) == 0.25
    changed = bc.set_threshold((folder / "pair.tflite").read_bytes(), 0.25)
    one, same = (tflite.Interpreter(data).predict(test_split[0]) for data in (changed, other))
    np.testing.assert_array_equal(one.logits, same.logits)
    np.testing.assert_array_equal(one.escalated, same.escalated)


def test_a_pair_of_several_is_trained_in_a_process_of_its_own(demo, tmp_path, capfd):
    """Here a finished one, which is only evaluated again; its lines on progress begin with its folder's name."""
    folder = shutil.copytree(demo[0], tmp_path / "second")
    first = _results(folder)
    settings = training_run.Settings(dataset="digits", epochs=(1, 1, 1, 1), max_cost=0.9)
    (results,) = cli_train._side_by_side([settings], [folder])
    for name in ("accuracy", "escalation_rate", "flash_bytes"):  # one thread may round a threshold otherwise than two
        assert [row[name] for row in results["rows"].values()] == [row[name] for row in first["rows"].values()]
    out, err = capfd.readouterr()
    assert f"The cooperative pair: {folder / 'pair.tflite'}" in out
    assert "second: calibration, conversion and evaluation on the test set" in err.splitlines()


def test_calibrate_picks_another_threshold_without_training(demo, test_split, tmp_path):
    folder = shutil.copytree(demo[0], tmp_path / "demo")
    images, labels, *_ = test_split
    weights = {path: path.stat().st_mtime_ns for path in folder.rglob("*.weights.h5")}
    first = _results(folder)
    few = 1.5 * shares(first["rows"], "cortex-m4")["binary"]
    for arguments, target in (
        ({"max_cost": few}, {"max_cost": few, "min_accuracy": None, "confidence_level": None}),
        ({"max_cost": few, "confidence_level": 0.9}, {"max_cost": few, "min_accuracy": None, "confidence_level": 0.9}),
        ({"min_accuracy": 0.2}, {"max_cost": None, "min_accuracy": 0.2, "confidence_level": None}),
    ):
        original = [f"--{name}={value}" for name, value in arguments.items()]
        output = _bcnet("calibrate", folder, *original, log=tmp_path / "log")
        assert "step" not in output and "stage float is finished already" in output
        results = _results(folder)
        row = results["rows"]["bcnet"]
        assert {name: results["settings"][name] for name in target} == target
        assert read_record(folder / "settings.json") == ({**results["settings"], "cost": "estimated cycles"}, True)
        assert row["threshold"] < first["rows"]["bcnet"]["threshold"]
        assert row["escalation_rate"] < first["rows"]["bcnet"]["escalation_rate"]
        assert row["validation_accuracy"] >= (target["min_accuracy"] or 0)
        for name in ("pair", "pair_builtin"):
            data = (folder / f"{name}.tflite").read_bytes()
            assert bc.get_threshold(data) == np.float32(row["threshold"])
            answers = tflite.Interpreter(data).predict(images)
            assert np.mean(answers.predicted == labels) == row["accuracy"]
            assert answers.escalated.mean() == row["escalation_rate"]
        for other in ("int8", "binary"):
            assert results["rows"][other] == first["rows"][other]
    assert weights == {path: path.stat().st_mtime_ns for path in folder.rglob("*.weights.h5")}

    # A run of before, whose costs were instructions, goes on as well, and it is said what its budget is now.
    settings = read_record(folder / "settings.json")[0]
    del settings["cost"]
    write_record(folder / "settings.json", settings)
    said = _bcnet("calibrate", folder, f"--max_cost={few}", log=tmp_path / "log")
    assert "step" not in said and f"{folder} was begun when costs were instructions: its nets stay" in said
    assert read_record(folder / "settings.json")[0]["cost"] == "estimated cycles"
    assert _results(folder)["rows"]["bcnet"]["cycles"]["cortex-m4"][0] > 0
    assert "costs were instructions" not in _bcnet("calibrate", folder, f"--max_cost={few}", log=tmp_path / "log")

    # A target out of reach leaves all as it was.
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    process = _start("calibrate", folder, "--min_accuracy=1", log=tmp_path / "log")
    assert process.wait(timeout=900) == 1
    (output,) = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("bcnet ")]
    assert output.startswith(
        "bcnet calibrate: no threshold reaches an accuracy of 1.0; lower min_accuracy, the best is"
    )
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# --- kill -9 ---


def test_a_killed_run_goes_on(tmp_path):
    folder, log = tmp_path / "killed", tmp_path / "log"
    command = ["train", "--dataset=digits", "--epochs=1,6,1,1", f"--runs_dir={tmp_path}", "--name=killed"]
    command.append("--max_cost=0.9")
    binary = folder / "checkpoints" / "alone" / "binary_in_progress"

    # In the middle of a stage, with the first epoch on disk.
    with _killed(*command, log=log, when=lambda: list(binary.glob("epoch_*.state"))) as output:
        assert "stage binary: 6 epochs" in output and "stage int8" not in output
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "data.json", "lock", "settings.json"]

    # In the conversion: training went on behind that epoch, and what was finished was not done again.
    with _killed(*command, log=log, when=lambda: CALIBRATION in log.read_text()) as output:
        assert "stage float is finished already" in output and "stage float: " not in output
        epochs = re.findall(r"Epoch (\d+)/6", output)
        assert epochs and int(epochs[0]) > 1 and epochs[-1] == "6"
        assert "stage cooperative: 1 epochs" in output
    assert not (folder / "results.json").exists()

    # Among the files of the result, some of which are there.
    with _killed(*command, log=log, when=(folder / "pair.tflite").exists) as output:
        assert output.count("is finished already") == 6 and "step" not in output
    assert not (folder / "results.json").exists()

    output = _bcnet(*command, log=log)
    assert output.count("is finished already") == 6 and "step" not in output
    results = _results(folder)
    split = datasets.load("digits").test
    answers = tflite.Interpreter(folder / "pair_builtin.tflite").predict(split.images)
    assert np.mean(answers.predicted == split.labels) == results["rows"]["bcnet"]["accuracy"]
    assert not list(folder.rglob("*.partial"))


def test_a_killed_calibration_leaves_no_result_of_another_threshold(demo, tmp_path):
    folder, log = shutil.copytree(demo[0], tmp_path / "demo"), tmp_path / "log"
    old = (folder / "pair.tflite").stat().st_mtime_ns
    command = "calibrate", folder, "--min_accuracy=0.2"
    with _killed(*command, log=log, when=lambda: (folder / "pair.tflite").stat().st_mtime_ns != old):
        pass
    assert not (folder / "results.json").exists()
    _bcnet(*command, log=log)
    threshold = np.float32(_results(folder)["rows"]["bcnet"]["threshold"])
    assert bc.get_threshold((folder / "pair.tflite").read_bytes()) == threshold
    assert not list(folder.rglob("*.partial"))
