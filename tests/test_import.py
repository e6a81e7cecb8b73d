"""`import bcnet_keras` in fresh interpreters: which Keras it gives, what it refuses, how long it takes."""

import os
import statistics
import subprocess
import sys
import time

import pytest


def python(code, **environment):
    """Runs `code` in a new interpreter without TF_USE_LEGACY_KERAS, unless given."""
    base = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**base, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
    )


def error_of(code, **environment):
    """The last line of the traceback that `code` must end with; it must come from one exception with one line."""
    result = python(code, **environment)
    assert result.returncode == 1, result.stdout
    assert result.stderr.count("Traceback") == 1
    return result.stderr.splitlines()[-1].removeprefix("bcnet_keras.errors.MissingPackageError: ")


def prelude(module, **attributes):
    """Code that puts a stand-in for an installed module first, as another installation would have it."""
    return f"import sys, types; m = types.ModuleType({module!r}); m.__dict__.update({attributes!r}); " + (
        f"sys.modules[{module!r}] = m; "
    )


def test_gives_legacy_keras_by_attribute_and_by_submodule():
    result = python(
        "import bcnet_keras, os, tensorflow as tf\n"
        "from tensorflow.keras import layers\n"
        "print(os.environ['TF_USE_LEGACY_KERAS'], tf.keras.Model.__module__, layers.Dense.__module__)"
    )
    assert result.stdout.split()[0] == "1", result.stderr
    assert all(module.startswith("tf_keras.") for module in result.stdout.split()[1:])


def test_tensorflow_may_come_first_while_nobody_has_used_tf_keras():  # tests/models/test_keras3.py has Keras 3 first
    result = python(
        "import tensorflow, tf_keras, bcnet_keras, tensorflow as tf\nfrom tensorflow.keras import layers\n"
        "bcnet_keras.BCNet\n"
        "print(tf.keras.Model.__module__, layers.Dense.__module__, tf.optimizers.Adam.__module__)"
    )
    assert [module.split(".")[0] for module in result.stdout.split()] == ["tf_keras"] * 3, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "before",
    [
        "import tensorflow as tf; tf.keras.Model",
        "from tensorflow.keras import layers",
    ],
)
def test_keras_3_used_before_is_refused(before):
    assert error_of(f"{before}\nimport bcnet_keras").startswith("tf.keras was used as Keras 3 before bcnet_keras")


@pytest.mark.slow
def test_refusal_leaves_the_environment_alone():
    code = (
        "import tensorflow as tf, os\ntf.keras.Model\n"
        "try: import bcnet_keras\n"
        "except ImportError: print(os.environ.get('TF_USE_LEGACY_KERAS'))"
    )
    assert python(code).stdout == "None\n"


@pytest.mark.parametrize("version", ["2.16.2", "2.22.0", "2.23.0-rc1", "3.0.0"])
def test_tensorflow_outside_the_range_is_refused(version):
    error = error_of(prelude("tensorflow", __version__=version, __path__=[]) + "import bcnet_keras.layers")
    assert error.startswith(f"bcnet_keras needs TensorFlow >=2.17,<2.22, found {version}; run: pip install")


def test_missing_tf_keras_is_named():
    error = error_of("import sys; sys.modules['tf_keras'] = None; import bcnet_keras.layers")
    assert error.startswith("bcnet_keras needs the legacy Keras, which is not installed; run: pip install")


def test_every_public_name_resolves():
    code = (
        "import bcnet_keras as bc\n"
        "for name in bc.__all__: assert name in dir(bc) and getattr(bc, name) is getattr(bc, name), name\n"
        "print(bc.binary_twin.__module__, bc.set_threshold.__name__)"
    )
    result = python(code)
    assert result.stdout == "bcnet_keras.models.twins set_threshold\n", result.stderr


def test_unknown_name_is_an_attribute_error():
    assert error_of("import bcnet_keras; bcnet_keras.Conv3D") == (
        "AttributeError: module 'bcnet_keras' has no attribute 'Conv3D'"
    )


@pytest.mark.parametrize(
    "imports",
    [
        "import bcnet_keras as bc",
        "import bcnet_keras as bc; bc.convert; import bcnet_keras.convert.cooperative, bcnet_keras.export.description",
        "import bcnet_keras.convert.cooperative, bcnet_keras.export.description, bcnet_keras as bc",
        "from bcnet_keras.convert import Gate, merge; from bcnet_keras.export import FORMATS; import bcnet_keras as bc",
        "import bcnet_keras as bc; import importlib; importlib.import_module('bcnet_keras.convert')",
    ],
)
def test_convert_and_export_are_functions_and_packages_in_any_order_of_import(imports):
    code = (
        f"{imports}\n"
        "import types, inspect, sys, bcnet_keras.convert, bcnet_keras.export\n"
        "from bcnet_keras import convert, export\n"
        "import bcnet_keras.convert.passes as passes, bcnet_keras.export.description as description\n"
        "from bcnet_keras.convert import Gate\n"
        "assert bc.convert is convert and bc.export is export\n"
        "assert convert.passes is passes and convert.Gate is Gate and export.description is description\n"
        "assert 'format' in inspect.signature(export).parameters\n"
        "try: export('no.tflite', 'c', 'there/is/none')\n"
        "except FileNotFoundError as error: print(error)\n"
        "assert all(type(sys.modules[f'bcnet_keras.{name}']) is types.ModuleType for name in ('convert', 'export'))\n"
        "assert 'tensorflow' not in sys.modules\n"
        "import bcnet_keras.convert.emit\n"
        "try: bc.convert('no pair')\n"
        "except TypeError as error: print(error)\n"
    )
    told = "there is no file 'no.tflite'; give the path of a .tflite file\nexpected a bcnet_keras.BCNet, got str\n"
    result = python(code)
    assert result.stdout == told, result.stderr


def test_heavy_parts_wait_until_they_are_used():
    code = "import sys, bcnet_keras; print([n for n in ('larq', 'matplotlib', 'tensorflow') if n in sys.modules])"
    assert python(code).stdout == "[]\n"


@pytest.mark.slow
def test_import_takes_less_than_twice_the_time_of_tensorflow():
    def seconds(module):
        durations = []
        for _ in range(3):
            start = time.perf_counter()
            assert python(f"import {module}", TF_USE_LEGACY_KERAS="1").returncode == 0
            durations.append(time.perf_counter() - start)
        return statistics.median(durations)

    assert seconds("bcnet_keras") < 2 * seconds("tensorflow")


@pytest.mark.slow
def test_old_module_names_are_aliases_that_say_where_the_module_went():
    code = (
        "import importlib, warnings, sys\n"
        "from bcnet_keras.moved import MOVED\n"
        "for old, new in MOVED.items():\n"
        "    with warnings.catch_warnings(record=True) as seen:\n"
        "        warnings.simplefilter('always', DeprecationWarning)\n"
        "        alias = importlib.import_module(f'bcnet_keras.{old}')\n"
        "    module = importlib.import_module(f'bcnet_keras.{new}')\n"
        "    assert alias is module and module.__spec__.name == f'bcnet_keras.{new}', (old, module.__spec__)\n"
        "    assert [f'bcnet_keras.{old} is now bcnet_keras.{new}' in str(each.message) for each in seen\n"
        "            if 'bcnet_keras' in str(each.message)] == [True], (old, [str(each.message) for each in seen])\n"
        "from bcnet_keras.networks import NETWORKS\n"
        "from bcnet_keras import networks\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always', DeprecationWarning)\n"
        "    from bcnet_keras.export.description import describe, read_facts\n"
        "assert read_facts is describe and 'is now describe' in str(seen[0].message)\n"
        "print(len(MOVED), networks.NETWORKS is NETWORKS)"
    )
    result = python(code)
    assert result.stdout.endswith("True\n"), result.stderr


@pytest.mark.parametrize(
    "code",
    [
        "from bcnet_keras.device.profile import Profile; from bcnet_keras.device.page import profile_page",
        "from bcnet_keras.export import export",
        "from bcnet_keras import set_threshold, get_threshold",
        "from bcnet_keras.runtime.tflm import Interpreter",
    ],
)
def test_flatbuffers_are_read_without_tensorflow(code):
    result = python(f"import sys; {code}; print([n for n in ('larq', 'tensorflow', 'keras') if n in sys.modules])")
    assert result.stdout == "[]\n", result.stderr


@pytest.mark.slow
def test_pairs_are_made_trained_and_converted_without_larq(tmp_path):
    code = (
        "import sys; sys.modules['larq'] = sys.modules['larq_compute_engine'] = None\n"
        "import bcnet_keras as bc, numpy as np, tensorflow as tf\n"
        "net = tf.keras.Sequential([tf.keras.layers.Conv2D(8, 3, activation='relu', input_shape=(8, 8, 1)),\n"
        "    tf.keras.layers.Conv2D(8, 3, activation='relu'), tf.keras.layers.GlobalAveragePooling2D(),\n"
        "    tf.keras.layers.Dense(3)])\n"
        "images, labels = np.random.default_rng(0).uniform(-1, 0.9, (64, 8, 8, 1)), np.arange(64) % 3\n"
        "pair = bc.BCNet.from_keras(net, verbose=0)\n"
        "bc.train(pair, (images, labels), epochs=1, verbose=0)\n"
        "bc.calibrate(pair, (images, labels))\n"
        f"pair.save({str(tmp_path / 'pair.keras')!r})\n"
        f"again = tf.keras.models.load_model({str(tmp_path / 'pair.keras')!r})\n"
        "print(bc.convert(pair) == bc.convert(again), b'LceBconv2d' in bc.convert(pair))"
    )
    result = python(code)
    assert result.stdout.endswith("True True\n"), result.stderr
