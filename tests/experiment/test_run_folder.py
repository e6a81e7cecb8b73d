"""A run's folder: one process at a time, one set of data, and damaged files of the run's own."""

import dataclasses
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import threading
import types

import numpy as np
import PIL.Image
import pytest

from bcnet_keras import datasets
from bcnet_keras.datasets import Dataset, Split
from bcnet_keras.errors import BcnetError
from bcnet_keras.experiment import run_folder, training_run
from bcnet_keras.utils.sealed_files import write_record

ROOT = pathlib.Path(__file__).parents[2]
HOLDER = """
import sys
from bcnet_keras.experiment.run_folder import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def _start_holder(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_one_process_holds_the_folder_until_it_ends_or_is_killed(tmp_path):
    folder = tmp_path / "runs" / "one"
    process = _start_holder(folder)
    (folder / "settings.json").write_text("{}")
    with pytest.raises(BcnetError) as caught, run_folder.locked(folder):
        pass
    output = str(caught.value)
    assert output.startswith(f"{folder} is in use by process {process.pid} on ") and "\n" not in output
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (folder / "lock").exists()  # which binds nobody
    with run_folder.locked(folder):
        pass
    assert [path.name for path in folder.iterdir()] == ["settings.json"]


def test_two_threads_do_not_share_a_folder(tmp_path):
    refused = []

    def second():
        try:
            with run_folder.locked(tmp_path / "run"):
                pass
        except BcnetError as error:
            refused.append(str(error))

    with run_folder.locked(tmp_path / "run"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1 and f"process {os.getpid()} on " in refused[0]
    assert list(tmp_path.iterdir()) == []  # what stayed empty is gone


def test_a_run_takes_the_lock(tmp_path):
    settings = training_run.Settings(dataset="digits")
    with run_folder.locked(tmp_path / "run"), pytest.raises(BcnetError, match="is in use by process"):
        training_run.run(settings, tmp_path / "run")


def test_a_file_in_the_folders_place(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FileExistsError) as caught, run_folder.locked(tmp_path / "run"):
        pass
    assert str(caught.value) == f"[Errno 17] cannot make the folder {tmp_path / 'run'}: File exists"


# --- the data ---


def _images(folder, name, count, start=0):
    (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(start, start + count):
        pixels = np.random.default_rng([index, len(name)]).integers(0, 256, (8, 8)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / name / f"{index:03d}.png")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for name in ("cat", "goose", "pike"):
        _images(folder, name, 12)
    return folder


def _refused(run, photos):
    with pytest.raises(BcnetError) as caught:
        run_folder.check_data(run, datasets.load(f"folder:{photos}"))
    output = str(caught.value)
    assert (
        output.startswith(f"the data are not those that {run} began with: ")
        and "\n" not in output
        and len(output) < 400
    )
    return output


def test_changed_data_are_named(tmp_path, photos):
    run = tmp_path / "run"
    first = run_folder.check_data(run, datasets.load(f"folder:{photos}"))
    assert run_folder.check_data(run, datasets.load(f"folder:{photos}")) == first
    _images(photos, "cat", 20, start=12)
    assert "20 images more in class cat; new: cat/012.png, cat/013.png, cat/014.png and 17 more; use" in _refused(
        run, photos
    )
    for path in sorted((photos / "cat").iterdir())[12:]:
        path.unlink()
    assert run_folder.check_data(run, datasets.load(f"folder:{photos}")) == first
    (photos / "pike" / "003.png").rename(photos / "goose" / "other.png")
    output = _refused(run, photos)
    assert (
        "1 image more in class goose; 1 image fewer in class pike; gone: pike/003.png; new: goose/other.png" in output
    )
    (photos / "goose" / "other.png").rename(photos / "pike" / "003.png")
    PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(photos / "goose" / "004.png")
    assert "other content: goose/004.png;" in _refused(run, photos)
    _images(photos, "goose", 12)
    _images(photos, "eel", 5)
    assert "new class eel; new: eel/000.png" in _refused(run, photos)


def test_arrays_are_told_apart_by_their_values():
    random = np.random.default_rng(0)
    train, other = (Split(random.integers(0, 9, (8, 4, 4, 1)).astype(np.uint8), np.arange(8) % 2) for _ in "ab")
    data = Dataset("set", train, other, other, ("a", "b"), (0, 16), "")
    before = run_folder.fingerprint(data)
    assert run_folder.changed(before, json.loads(json.dumps(before))) is None
    pixels = train.images.copy()
    pixels[3, 0, 0, 0] ^= 1
    for changed, output in (
        ({"train": Split(pixels, train.labels)}, "other values or another order in the train images"),
        ({"test": Split(other.images[::-1], other.labels)}, "other values or another order in the test images"),
        ({"raw_range": (0, 255)}, "the images' raw_range is no longer [0, 16] but [0, 255]"),
        ({"train": Split(train.images[:-1], train.labels[:-1])}, "1 image fewer in class b"),
    ):
        assert run_folder.changed(before, run_folder.fingerprint(dataclasses.replace(data, **changed))) == output


def test_a_damaged_record_of_the_data_is_set_aside(tmp_path, photos, caplog):
    data, run = datasets.load(f"folder:{photos}"), tmp_path / "run"
    first = run_folder.check_data(run, data)
    for content in ("", "{", "[1]", "{}", (run / "data.json").read_text().replace("cat/003", "cat/004")):
        (run / "data.json").write_text(content)
        caplog.clear()
        assert run_folder.check_data(run, data) == first
        assert f"{run / 'data.json'} is damaged: set aside as data.json.damaged." in caplog.text
        assert (run / "data.json.damaged").read_text() == content


# --- the settings ---


def _claim(folder, settings, data):
    return training_run._claimed(folder, settings, data)


def test_other_settings_are_named_and_a_target_is_not_one(tmp_path, photos, caplog):
    data, run = datasets.load(f"folder:{photos}"), tmp_path / "run"
    settings = training_run.Settings(dataset=f"folder:{photos}", max_cost=0.5)
    _, first = _claim(run, settings, data)
    with pytest.raises(BcnetError) as caught:
        _claim(run, dataclasses.replace(settings, seed=1, batch_size=8), data)
    assert "other settings (seed was 0, is 1; batch_size was None, is 8); use another name" in str(caught.value)
    with caplog.at_level(logging.INFO):
        claimed, again = _claim(run, dataclasses.replace(settings, max_cost=0.4), data)
    assert "max_cost was 0.5, is 0.4: only thresholds follow from that" in caplog.text
    assert (claimed.max_cost, again) == (0.4, first)


def test_damaged_settings_are_set_aside(tmp_path, photos, caplog):
    data, run = datasets.load(f"folder:{photos}"), tmp_path / "run"
    settings = training_run.Settings(dataset=f"folder:{photos}")
    claimed = _claim(run, settings, data)
    whole = (run / "settings.json").read_text()
    for content in (whole[:100], whole.replace('"seed": 0', '"seed": 1'), "", "[]"):
        (run / "settings.json").write_text(content)
        assert _claim(run, settings, data) == claimed
        assert "settings.json is damaged or of another version: set aside as settings.json.damaged." in caplog.text
        assert (run / "settings.json").read_text() == whole


# --- the stopwatch ---


@pytest.mark.parametrize("content", ["", "{", "[]", '{"training_seconds": "x"}', '{"epochs_timed": 1}', "null"])
def test_a_damaged_stopwatch_stops_nothing(tmp_path, content):
    (tmp_path / "seconds.json").write_text(content)
    clock = training_run._Clock(tmp_path / "seconds.json")
    clock.on_epoch_begin(0)
    clock.on_epoch_end(0)
    assert clock.counted["epochs_timed"] == 1
    assert training_run._Clock(tmp_path / "seconds.json").counted == clock.counted


def test_a_stopwatch_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    clock = training_run._Clock(tmp_path / "file" / "seconds.json")
    clock.on_epoch_begin(0)
    clock.on_epoch_end(0)
    assert "cannot write" in caplog.text and clock.counted["epochs_timed"] == 1


def test_the_stopwatch_tells_where_the_run_is(tmp_path, caplog):
    epochs = {"float": 4, "binary": 6, "int8": 5, "boosted": 3, "cooperative": 2}
    clock = training_run._Clock(tmp_path / "seconds.json", training_run._stages(epochs, ablations=False))
    clock.counted = {"training_seconds": 100.0, "epochs_timed": 5}
    clock.folder = "alone"
    clock.model = types.SimpleNamespace(stage="int8")
    # 3 epochs of this stage, 3 + 2 of the pair, 2 of the binary net alone, 20 s each.
    assert clock.left(2) == "stage 3 of 6, int8: epoch 2 of 5; about 3 min of training left"
    clock.folder, clock.model = "elsewhere", types.SimpleNamespace(stage="binary")
    assert clock.left(2) is None
    assert len(training_run._stages(epochs, ablations=True)) == 12


def test_a_damaged_recipe_is_made_again(tmp_path, caplog):
    write_record(tmp_path / "recipe.json", {"batch_size": 8})
    assert training_run._whole(tmp_path / "recipe.json") == {"batch_size": 8}
    (tmp_path / "recipe.json").write_text((tmp_path / "recipe.json").read_text().replace("8", "9", 1))
    assert training_run._whole(tmp_path / "recipe.json") is None
    assert "recipe.json is damaged: set aside as recipe.json.damaged" in caplog.text
