"""The example firmware under QEMU: its answers are the host's, and the profile's figures are near its counts."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from test_cores import SOURCES

sys.path.insert(0, str(SOURCES / "examples"))
import compare

from bcnet_keras import datasets
from bcnet_keras.runtime import tflm

COMMANDS = ("cmake", "arm-none-eabi-g++", "qemu-system-arm")


def needs(core):
    """Skips where the core's library of TensorFlow Lite Micro, or a program, is missing."""
    missing = [program for program in COMMANDS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    if not compare.tflm_library(core).exists():
        pytest.skip(f"needs TensorFlow Lite Micro's library {compare.tflm_library(core)}")


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Folder of a core's builds, which share what does not depend on model and images."""
    folder = tmp_path_factory.mktemp("examples")
    return lambda core: folder / core


@pytest.fixture(scope="module")
def results():
    return json.loads((SOURCES / "examples" / "results.json").read_text())


@pytest.fixture(scope="module")
def digits_pair(trained_pair):
    return trained_pair[0]


def test_committed_errors_are_within_the_bound(results):
    models = {record["model"] for record in results["records"]}
    assert {f"{name} pair, {path}" for name in compare.PAIRS for path in ("accepted", "escalated")} <= models
    assert set(compare.MODELS) <= models
    for record in results["records"]:
        assert abs(compare.error(record)) <= compare.BOUND, record
        if "cycles_profile" in record:
            assert abs(compare.cycles_error(record)) <= compare.BOUND, record
        assert record["arena_profile"] == pytest.approx(record["arena_counted"], rel=0.03), record


def test_table_shows_the_results(results):
    assert (SOURCES / "examples" / "results.md").read_text() == compare.report(results)


@pytest.mark.slow
@pytest.mark.needs_tflm
@pytest.mark.parametrize("core", compare.CORES)
def test_profile_is_near_the_count(core, digits_pair, builds):
    needs(core)
    for case in compare.cases(digits_pair, "digits"):
        record = compare.measure(core, builds(core), *case)
        assert abs(compare.error(record)) <= compare.BOUND, record
        assert abs(compare.cycles_error(record)) <= compare.BOUND, record
        assert record["arena_profile"] == record["arena_counted"]


@pytest.mark.slow
@pytest.mark.needs_tflm
@pytest.mark.parametrize("core", compare.CORES)
def test_reference_models_are_near_the_count(core, builds):
    needs(core)
    folder = compare.Path.home() / "datasets" / "mlperf-tiny"
    for name in compare.MODELS:
        path = folder / f"{name}.tflite"
        if not path.exists():
            pytest.skip(f"needs MLPerf Tiny's reference model {path}")
        record = compare.measure(core, builds(core), name, path.read_bytes(), "escalated")
        assert abs(compare.error(record)) <= compare.BOUND, record
        assert abs(compare.cycles_error(record)) <= compare.BOUND, record
        assert record["arena_profile"] == record["arena_counted"]


@pytest.fixture(scope="module")
def trained_pair():
    """The demo's pair after a little training, with a threshold that some images reach and some do not."""
    import tensorflow as tf

    from bcnet_keras import BCNet
    from bcnet_keras.convert import convert, set_threshold
    from bcnet_keras.models.networks import NETWORKS
    from bcnet_keras.models.twins import int8_twin

    tf.keras.utils.set_random_seed(0)
    data = datasets.load("digits")
    float_net, binary = NETWORKS["digits"]((8, 8, 1), 10)
    pair = BCNet(binary, int8_twin(float_net), raw_range=data.raw_range)
    for stage, epochs in (("binary", 4), ("boosted", 1)):
        pair.compile(tf.keras.optimizers.Adam(0.005), stage=stage)
        pair.fit(pair.preprocess(data.train.images), data.train.labels, batch_size=64, epochs=epochs, verbose=0)
    pair.threshold = 0.5
    converted = convert(pair)
    images = data.test.images[:200]
    rates = {
        t: tflm.Interpreter(set_threshold(converted, t)).predict(images).escalated.mean()
        for t in (0.1, 0.3, 0.5, 0.8, 0.95)
    }
    best = min(rates, key=lambda threshold: abs(rates[threshold] - 0.4))
    assert 0.05 < rates[best] < 0.95
    low, high = data.raw_range
    codes = np.round((images.astype(float) - low) * 255 / (high - low) - 128).astype(np.int8)
    return set_threshold(converted, best), codes


@pytest.mark.slow
@pytest.mark.needs_tflm
@pytest.mark.parametrize("core", compare.CORES)
def test_answers_to_200_images_are_the_hosts(core, trained_pair, builds):
    needs(core)
    data, codes = trained_pair
    codes = codes.reshape(-1, 8, 8, 1)
    assert len(codes) == 200
    _, answers, counts = compare.run(core, compare.build(core, builds(core), data, codes))
    assert len(answers) == len(counts) == 200
    host = tflm.Model(data)
    for image, (predicted, both, logits) in zip(codes, answers, strict=True):
        expected, escalated = (output[0] for output in host.run([image[np.newaxis]]))
        np.testing.assert_array_equal(logits, expected.reshape(-1))
        assert predicted == int(np.argmax(expected)) and both == bool(escalated)
    assert 0 < np.mean([both for _, both, _ in answers]) < 1


@pytest.mark.slow
@pytest.mark.needs_tflm
def test_wrong_images_are_refused(digits_pair, builds):
    needs("cortex-m4")
    program = compare.build("cortex-m4", builds("cortex-m4"), digits_pair, np.zeros(65, np.int8))
    with pytest.raises(RuntimeError, match="the images do not have the size of the input"):
        compare.run("cortex-m4", program)


@pytest.mark.slow
@pytest.mark.needs_tflm
def test_firmware_for_the_board_links(digits_pair, builds):
    needs("cortex-m7")
    image = np.zeros((1, 8, 8, 1), np.int8)
    options = "-DBCNET_BOARD=nucleo-f767zi", "-DBCNET_FAST_CODE=.itcm"
    program = compare.build("cortex-m7", builds("cortex-m7"), digits_pair, image, *options)
    sections = subprocess.run(["arm-none-eabi-objdump", "-h", program], capture_output=True, text=True).stdout
    assert re.search(r"\.text\s+[0-9a-f]+\s+08000000", sections)  # the vectors lie at the start of the flash
    symbols = subprocess.run(["arm-none-eabi-nm", program], capture_output=True, text=True).stdout
    assert re.search(r"^08000000 . \w*vectors$", symbols, re.MULTILINE) and " T Reset" in symbols
    found = re.search(r"^(\w+) t \w*Row3x3", symbols, re.MULTILINE)
    assert int(found[1], 16) < 16 << 10  # in the ITCM, which start-up code fills


@pytest.mark.slow
@pytest.mark.needs_tflm
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("-DBCNET_BOARD=toaster", "BCNET_BOARD must be nucleo-f767zi or empty, not 'toaster'"),
        ("-DBCNET_BOARD=nucleo-f767zi", "nucleo-f767zi has a cortex-m7, not a cortex-m4"),
        ("-DTFLM_LIBRARY=absent.a", "TFLM_LIBRARY names no file: "),
        ("-DBCNET_MODEL=absent.tflite", "BCNET_MODEL names no file: "),
    ],
)
def test_wrong_options_of_the_build_are_named(option, message, digits_pair, builds):
    needs("cortex-m4")
    with pytest.raises(RuntimeError) as raised:
        compare.build("cortex-m4", builds("cortex-m4"), digits_pair, np.zeros(64, np.int8), option)
    assert message in " ".join(str(raised.value).split())
