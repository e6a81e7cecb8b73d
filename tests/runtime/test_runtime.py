"""Images in, answers out: what all interpreters share, and what each has of its own."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_lite import assert_same_codes

from bcnet_keras.convert import Gate, merge
from bcnet_keras.runtime import numpy_runtime, tflite, tflm
from bcnet_keras.tflite import flatbuffer

SHAPE = (3, 3, 2)
RECORD = {"class_names": list("abcd"), "raw_range": [0, 255], "input_range": [-1.0, 127 / 128]}
RUNTIMES = pytest.mark.parametrize(
    "runtime",
    [pytest.param(tflite, marks=pytest.mark.needs_lce), tflm, numpy_runtime],
    ids=["tflite", "tflm", "numpy"],
)


@pytest.fixture(scope="module")
def pair(make_part):
    parts = make_part(1, shape=SHAPE), make_part(2, shape=SHAPE)
    return merge(*parts, Gate.create(4, "score_margin", 0.5), "builtin", record=RECORD)


def pixels(count=50, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def reference(data, codes):
    """int8 codes that tf.lite's reference kernels give."""
    interpreter = tf.lite.Interpreter(
        model_content=data, experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for image in codes:
        interpreter.set_tensor(source, image[np.newaxis])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target)[0])
    return np.array(outputs)


@RUNTIMES
def test_shapes_and_types_of_a_prediction(runtime, pair, make_part):
    interpreter = runtime.Interpreter(pair)
    assert (interpreter.input_shape, interpreter.classes, interpreter.class_names) == (SHAPE, 4, list("abcd"))
    answer = interpreter.predict(pixels(7))
    assert (answer.logits.shape, answer.logits.dtype) == ((7, 4), np.float32)
    assert (answer.predicted.shape, answer.predicted.dtype) == ((7,), np.int64)
    assert (answer.escalated.shape, answer.escalated.dtype) == ((7,), bool)
    np.testing.assert_array_equal(answer.predicted, answer.logits.argmax(1))
    alone = runtime.Interpreter(make_part(1, shape=SHAPE))
    assert alone.predict(np.zeros((2, *SHAPE), np.int8)).escalated is None and alone.class_names is None


@RUNTIMES
def test_images_may_be_bytes_codes_or_numbers(runtime, pair):
    interpreter, images = runtime.Interpreter(pair), pixels(300)
    expected = interpreter.predict(images)
    for same in (
        (images.astype(int) - 128).astype(np.int8),
        images.astype(np.float32),
        images.astype(np.float64) + 0.4,
        images.astype(np.int64),
        images.tolist(),
    ):
        np.testing.assert_array_equal(interpreter.predict(same).logits, expected.logits)
    far = np.where(images > 220, 1e9, images)
    saturated = np.where(images > 220, 255, images).astype(np.uint8)
    np.testing.assert_array_equal(interpreter.predict(far).logits, interpreter.predict(saturated).logits)


@RUNTIMES
def test_a_file_without_record_takes_values_in_the_unit_of_its_input(runtime, make_part):
    interpreter = runtime.Interpreter(make_part(1, shape=SHAPE))
    codes = (pixels().astype(int) - 128).astype(np.int8)
    np.testing.assert_array_equal(interpreter.predict(codes).logits, interpreter.predict(codes / 128).logits)


@RUNTIMES
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((2, 3, 3, 1)), ValueError, r"shape \['n', 3, 3, 2\], got \[2, 3, 3, 1\]"),
        (np.zeros(SHAPE), ValueError, r"shape \['n', 3, 3, 2\], got \[3, 3, 2\]"),
        (np.float32(1), ValueError, r"got \[\]"),
        (np.zeros((0, *SHAPE)), ValueError, "no image"),
        (np.full((3, *SHAPE), np.nan), ValueError, "image 0 has NaN"),
        (np.concatenate([np.zeros((2, *SHAPE)), np.full((1, *SHAPE), np.inf)]), ValueError, "image 2 has NaN or inf"),
        (np.zeros((2, *SHAPE), bool), TypeError, "got bool"),
        (np.zeros((2, *SHAPE), complex), TypeError, "got complex128"),
        (np.full((2, *SHAPE), "x"), TypeError, "must be numbers"),
    ],
)
def test_wrong_images_are_refused(runtime, pair, images, error, message):
    with pytest.raises(error, match=message):
        runtime.Interpreter(pair).predict(images)


@RUNTIMES
def test_images_of_one_channel_need_no_channel_axis(runtime, make_part):
    interpreter = runtime.Interpreter(make_part(1, shape=(4, 5, 1)))
    images = np.random.default_rng(0).integers(-128, 128, (6, 4, 5, 1)).astype(np.int8)
    np.testing.assert_array_equal(interpreter.predict(images[..., 0]).logits, interpreter.predict(images).logits)


@RUNTIMES
def test_wrong_files_are_refused(runtime, pair, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.tflite"):
        runtime.Interpreter(tmp_path / "absent.tflite")
    for cut in range(0, len(pair), 97):
        with pytest.raises(ValueError, match="TensorFlow Lite flatbuffer"):
            runtime.Interpreter(pair[:cut])
    path = tmp_path / "pair.tflite"
    path.write_bytes(pair)
    assert runtime.Interpreter(path).classes == 4


@RUNTIMES
def test_files_of_other_kinds_are_refused(runtime):
    schema = flatbuffer.schema

    def add(type, shape, inputs=1, quantization=(0.1, 0)):
        builder = flatbuffer.Builder("test")
        graph = builder.subgraph("main")
        tensors = [builder.tensor(graph, str(i), type, shape, quantization) for i in range(3)]
        builder.operator(graph, "ADD", [tensors[0], tensors[inputs - 1]], [tensors[2]], schema.AddOptionsT())
        graph.inputs, graph.outputs = np.array(tensors[:inputs], np.int32), np.array(tensors[2:], np.int32)
        return builder.finish()

    for data, message in (
        (add(schema.TensorType.FLOAT32, [1, 4]), r"found the inputs 0 \(float32\) and the outputs 2 \(float32\)"),
        (add(schema.TensorType.INT8, [1, 4], inputs=2), r"found the inputs 0 \(int8\), 1 \(int8\) and"),
        (add(schema.TensorType.INT8, [2, 4]), r"input must be int8 \[1, h, w, c\] with a scale, found int8 \[2, 4\]"),
        (add(schema.TensorType.INT8, [1, 4], quantization=None), "with(out)? a scale"),
        (add(schema.TensorType.INT8, [1, 2, 2, 1]), r"logits must be int8 \[1, classes\]"),
    ):
        with pytest.raises(ValueError, match=message):
            runtime.Interpreter(data)


@RUNTIMES
def test_missing_custom_operators_are_named(runtime):
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    a, b = (builder.tensor(graph, name, flatbuffer.schema.TensorType.INT8, [1, 4], (0.1, 0)) for name in "ab")
    builder.operator(graph, b"Marvel", [a], [b])
    graph.inputs, graph.outputs = np.array([a], np.int32), np.array([b], np.int32)
    with pytest.raises(ValueError, match="lacks .*operators? Marvel"):
        runtime.Interpreter(builder.finish())


def test_tflite_runs_a_file_with_the_custom_gate(make_part, pair):
    parts = make_part(1, shape=SHAPE), make_part(2, shape=SHAPE)
    custom = merge(*parts, Gate.create(4, "score_margin", 0.5), "custom", record=RECORD)
    expected, answer = tflite.Interpreter(pair).predict(pixels()), tflite.Interpreter(custom).predict(pixels())
    np.testing.assert_array_equal(answer.logits, expected.logits)
    np.testing.assert_array_equal(answer.escalated, expected.escalated)


def test_threads_change_nothing_and_must_be_a_number(pair):
    expected = tflite.Interpreter(pair).predict(pixels())
    np.testing.assert_array_equal(tflite.Interpreter(pair, num_threads=2).predict(pixels()).logits, expected.logits)
    for threads in (0, -1, 1.5, None, True):
        with pytest.raises(ValueError, match="num_threads"):
            tflite.Interpreter(pair, num_threads=threads)


def test_progress_is_shown_on_demand(pair, capfd):
    interpreter = tflite.Interpreter(pair)
    interpreter.predict(pixels())
    assert not "".join(capfd.readouterr())
    interpreter.predict(pixels(), verbose=1)
    assert "50/50" in capfd.readouterr().err


@pytest.mark.parametrize("seed", range(5))
def test_micro_equals_the_reference_kernels_bit_for_bit(make_part, seed):
    data = make_part(seed, shape=(7, 5, 3), classes=6)
    codes = np.random.default_rng(seed).integers(-128, 128, (200, 7, 5, 3)).astype(np.int8)
    assert_same_codes(tflm.Interpreter(data)._run(codes)[0], reference(data, codes))


def test_micro_arena(pair, capfd):
    interpreter = tflm.Interpreter(pair)
    used = interpreter.arena_bytes
    assert 500 < used < 1 << 14
    assert tflm.Interpreter(pair, arena_size=used).arena_bytes == used
    for size in (-1, 0, 16, used // 2, used - 1):
        with pytest.raises(
            ValueError, match=f"arena of {size} bytes is too small for this flatbuffer, which uses {used}"
        ):
            tflm.Interpreter(pair, arena_size=size)
    for size in (2.5, "10", True):
        with pytest.raises(ValueError, match="arena_size must be a whole number"):
            tflm.Interpreter(pair, arena_size=size)
    for budget in (-1, 1 << 31, 2.5, "10", True, None):
        with pytest.raises(ValueError, match="scratch_budget must be a whole number of bytes, 0 or more"):
            tflm.Interpreter(pair, scratch_budget=budget)
    assert not "".join(capfd.readouterr())


def test_micro_takes_as_large_an_arena_as_it_needs(make_part):
    shape = (512, 512, 8)
    interpreter = tflm.Interpreter(make_part(0, shape=shape))
    assert interpreter.arena_bytes > np.prod(shape)
    interpreter.predict(np.zeros((1, *shape), np.int8))


@pytest.mark.slow
def test_mlperf_tiny_resnet_scores_what_its_authors_say():
    """86.97 % of CIFAR-10's test images in int8, by a file that knows nothing of this package."""
    datasets = Path.home() / "datasets"
    net, batch = datasets / "mlperf-tiny/pretrainedResnet_quant.tflite", datasets / "cifar-10-batches-py/test_batch"
    if not (net.exists() and batch.exists()):
        pytest.skip(f"needs {net} and {batch}")
    content = pickle.loads(batch.read_bytes(), encoding="bytes")
    images = content[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    interpreter = tflite.Interpreter(net)
    assert interpreter.class_names is None
    accuracy = np.mean(interpreter.predict(images).predicted == content[b"labels"])
    assert accuracy == pytest.approx(0.8697, abs=0.001)
    micro = tflm.Interpreter(net).predict(images[:200])
    assert np.mean(micro.predicted == interpreter.predict(images[:200]).predicted) >= 0.99


@RUNTIMES
def test_images_in_another_range_are_refused_or_warned_of(runtime, pair, make_part, caplog):
    interpreter, images = runtime.Interpreter(pair), pixels(20)
    interpreter.predict(images)
    interpreter.predict(np.zeros_like(images))  # images may be all black
    assert not caplog.text
    interpreter.predict(np.where(np.arange(20)[:, None, None, None] < 4, 1.3, 1) * images.astype(np.float32))
    assert "% of the images' values saturate: the net expects values from 0 to 255, found" in caplog.text
    caplog.clear()
    interpreter.predict(images / 255)
    assert "the images use 0.39 % of the input's range: the net expects values from 0 to 255" in caplog.text
    caplog.clear()
    interpreter.predict(images // 16)  # as another tool's digits
    assert "the images use 5.9 % of the input's range: the net expects values from 0 to 255" in caplog.text
    caplog.clear()
    interpreter.predict(images[:9] // 2)  # a few dark images
    assert not caplog.text
    with pytest.raises(
        ValueError, match=r"values saturate: the net expects values from 0 to 255, found 0 to 2.55e\+05"
    ):
        interpreter.predict(images * 1000.0)
    # Without a record images are in the unit of the input: here of scale 1/128.
    with pytest.raises(ValueError, match="the net expects values from -1 to 0.9922, found 0 to 255; scale the images"):
        runtime.Interpreter(make_part(1, shape=SHAPE)).predict(images)
    runtime.Interpreter(make_part(1, shape=SHAPE)).predict(images / 255)
    assert "the images use 50 % of the input's range: the net expects values from -1 to 0.9922" in caplog.text
