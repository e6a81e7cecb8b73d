"""Each example runs, and what it writes is what it says."""

from pathlib import Path

import numpy as np
import pytest

import bcnet_keras as bc

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def test_own_model(examples):
    space = examples.run("own_model")
    assert space["answer"].logits.shape == (len(space["data"].test.labels), 10)
    point = space["curve"].pick(max_cost=0.7)
    assert bc.get_threshold((examples.folder / "pair.tflite").read_bytes()) == pytest.approx(point.threshold)


def test_budget_on_a_stream(examples, capsys):
    examples.run("own_model")
    capsys.readouterr()
    space = examples.run("budget_on_a_stream")
    told = capsys.readouterr().out
    assert "fixed threshold: " in told and "budget: " in told
    accepted, escalated, allowed = space["accepted"], space["escalated"], space["allowed"]
    asked = space["budget"]
    assert accepted < allowed < escalated and asked.rate == pytest.approx((allowed - accepted) / (escalated - accepted))
    # The last policy of the loop is the budget: what its window allows of 4,000 images.
    spent = space["spent"].mean()
    assert abs(spent - 1) <= (256 + 4) / 4000 * (escalated - accepted) / allowed


def test_own_images(examples, my_photos):
    space = examples.run("own_images", my_photos)
    library = examples.folder / "photos_library" / "libraries" / "photos"
    assert '"cat",\n    "dog",\n    "hen"' in (library / "src" / "photos_model.cpp").read_text()
    assert space["profile"].shortage() is None and space["answer"].escalated.dtype == bool


@pytest.mark.needs_lce
def test_larq_to_cortex_m(examples, capsys):
    space = examples.run("larq_to_cortex_m")
    kinds = [op.name for op in bc.Profile.of(space["flatbuffer"]).cost.ops]
    assert kinds.count("LceBconv2d") == 2 and not [name for name in kinds if "DEQUANT" in name.upper()]
    assert kinds[0] == "BcnetStem" and "CONV_2D" not in kinds and "LceQuantize" not in kinds
    assert (examples.folder / "larq_firmware" / "CMakePresets.json").is_file()
    assert "LceBconv2d" in capsys.readouterr().out


def test_mlperf_tiny_profile(examples, capsys):
    examples.run("mlperf_tiny_profile")
    told = capsys.readouterr().out
    assert told.count("pair, escalated sample") == 2 * 5 and "ds_cnn on cortex-m55" in told


def test_mlperf_tiny_profile_of_a_file(examples, make_part, tmp_path, capsys):
    (tmp_path / "net.tflite").write_bytes(make_part(1))
    examples.run("mlperf_tiny_profile", tmp_path / "net.tflite")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
    ]


def test_custom_dataset(examples):
    space = examples.run("custom_dataset")
    interpreter = bc.Interpreter(examples.folder / "vibrations.tflite")
    assert tuple(interpreter.class_names) == space["NAMES"]
    assert np.isfinite(space["answer"].logits).all()


def test_every_example_has_a_test():
    text = (ROOT / "tests/docs/test_example_scripts.py").read_text()
    assert [path.stem for path in (ROOT / "examples").glob("*.py") if f'run("{path.stem}"' not in text] == []
