"""Examples in docstrings run: each with a small pair, its data and its flatbuffer at hand."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import bcnet_keras as bc

ROOT = Path(__file__).parent.parent


def modules():
    for path in sorted((ROOT / "bcnet_keras").rglob("*.py")):
        if ">>> " in path.read_text() and "templates" not in path.parts:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield importlib.import_module(name)


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for module in modules() for test in finder.find(module) if test.examples]


@pytest.fixture(scope="module")
def objects():
    """What the examples take for granted."""
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    float_model = tf.keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            *(layers.Conv2D(16, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()),
            *(layers.GlobalAveragePooling2D(), layers.Dense(3)),
        ]
    )
    pair = bc.BCNet.from_keras(float_model, width=1.0, planes=3, verbose=0)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    some = random.uniform(-1, 1, (32, 8, 8, 1)).astype(np.float32)
    validation = tf.data.Dataset.from_tensor_slices((some, np.arange(32) % 3)).batch(16)
    converted = bc.convert(pair, threshold=0.5)
    return {
        **{"bc": bc, "tf": tf, "np": np, "float_model": float_model, "pair": pair},
        **{"images": images, "validation": validation, "converted": converted},
    }


@pytest.mark.parametrize("test", [pytest.param(test, id=test.name) for test in examples()])
def test_example(test, objects, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects["pair"].threshold = 0.5
    Path("pair.tflite").write_bytes(objects["converted"])
    test.globs.update(objects)
    told = []
    failed = doctest.DocTestRunner().run(test, out=told.append).failed
    assert not failed, "".join(told)


def test_public_names_have_examples():
    shown = {test.name.removeprefix("bcnet_keras.") for test in examples()}
    assert len(shown) >= 10
    for name in (
        "BCNet",
        "BCNet.from_keras",
        "calibrate",
        "AccuracyCostCurve.pick",
        "convert",
        "set_threshold",
        "export",
    ):
        assert any(each.endswith(f".{name}") for each in shown), name
