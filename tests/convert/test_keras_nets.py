"""Keras nets and pairs to flatbuffers: what comes out computes what Keras computes, what cannot is refused by name."""

import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_lite import assert_same_codes
from test_cooperative import confidence

import bcnet_keras
from bcnet_keras import BCNet, BinaryConv2D, FakeQuant, ThermometerEncoding
from bcnet_keras.convert import convert_parts, get_threshold, merge
from bcnet_keras.convert.emit import NotEmitted, emit
from bcnet_keras.convert.lce import convert_binary, convert_int8
from bcnet_keras.convert.passes import run_passes
from bcnet_keras.convert.passes.fuse_thermometer import expand_thermometer
from bcnet_keras.device.cost import CORES, cost
from bcnet_keras.layers import INPUT_RANGE, CalibratedThermometer, Int8Conv2D, Int8Dense, QuantConv2D
from bcnet_keras.models.networks import binary_cnn
from bcnet_keras.models.pair_cost import pair_cost
from bcnet_keras.models.twins import int8_twin, share_stem
from bcnet_keras.runtime import tflite, tflm
from bcnet_keras.tflite import flatbuffer, lce
from bcnet_keras.tflite.metadata import metadata
from bcnet_keras.training.stages import train

layers = tf.keras.layers
SHAPE = (12, 12, 1)


def raw_images(count, seed):
    """uint8 images of 4 classes, and their labels: a bright bar on noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    images = random.integers(0, 160, (count, *SHAPE))
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 3] += 70
    return images.astype(np.uint8), labels


def small_model():
    tf.keras.utils.set_random_seed(0)
    inputs = tf.keras.Input(SHAPE)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(inputs)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(x)))
    return tf.keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def small_pair(**options):
    return BCNet.from_keras(small_model(), **options)


@pytest.fixture(scope="module")
def pair():
    pair = small_pair(class_names=("a", "b", "c", "d"))
    images, labels = raw_images(1024, 0)
    stages = ("binary", "boosted")
    rates = dict.fromkeys(stages, 0.01)
    train(pair, (pair.preprocess(images), labels), None, 4, stages, rates, batch_size=64, verbose=0)
    confidence = pair.gate.confidence(pair.binary(pair.preprocess(images), training=False)).numpy()
    pair.threshold = float(np.quantile(confidence, 0.4))
    return pair


@pytest.fixture(scope="module")
def parts(pair):
    return convert_parts(pair)


@pytest.mark.parametrize("gate", ["custom", "builtin"])
def test_the_converted_pair_agrees_with_keras(pair, parts, gate):
    images, labels = raw_images(1000, 1)
    data = bcnet_keras.convert(pair, gate=gate, parts=parts)
    assert get_threshold(data) == pytest.approx(float(pair.threshold))
    interpreter = tflite.Interpreter(data)
    assert interpreter.class_names == ["a", "b", "c", "d"]
    keras = {name: value.numpy() for name, value in pair(pair.preprocess(images), training=False).items()}
    answer = interpreter.predict(images)
    assert 0.2 < answer.escalated.mean() < 0.6 and np.mean(answer.predicted == labels) > 0.9
    # Differences come from int8 rounding ahead of a sign or of a threshold.
    assert np.mean(answer.escalated == keras["escalated"]) >= 0.99
    assert np.mean(answer.predicted == keras["logits"].argmax(1)) >= 0.99
    for part, name in zip(parts, ("binary_logits", "int8_logits"), strict=True):
        assert np.mean(tflite.Interpreter(part).predict(images).predicted == keras[name].argmax(1)) >= 0.99


def stems(pair):
    return [net.layers[1:6] for net in (pair.binary, pair.int8)]


def values(layers):
    return [variable.numpy() for layer in layers for variable in layer.variables]


@pytest.fixture(scope="module")
def shared():
    """A pair with one stem that went through all stages, its parts, and the stem's values before."""
    int8, binary = int8_twin(small_model()), binary_cnn(SHAPE, 4, ((32, 1),), planes=2, stem=(8, 3, 2))
    images, labels = raw_images(512, 0)
    images = images.astype(np.float32) / 128 - 1
    int8(images, training=True)  # statistics to fold
    share_stem(binary, int8, [images[:256], images[256:]])
    pair, epochs = BCNet(binary, int8), {"binary": 2, "int8": 1, "boosted": 1, "cooperative": 1}
    before = values(stems(pair)[0])
    rates = {"binary": 0.01, "int8": 0.01, "boosted": 0.01}
    train(pair, (images, labels), None, epochs, tuple(epochs), rates, int8_share=0.5, batch_size=64, verbose=0)
    return pair, convert_parts(pair), before


def test_no_stage_trains_a_shared_stem(shared):
    pair, _, before = shared
    assert len(before) == 7  # kernel, four of batch normalisation, two of the range
    for stem in stems(pair):
        for after, value in zip(values(stem), before, strict=True):
            np.testing.assert_array_equal(after, value)
    loaded = BCNet.from_config(pair.get_config())
    assert not any(layer.trainable for stem in stems(loaded) for layer in stem)


@pytest.mark.parametrize(
    ("runtime", "gate"),
    [
        pytest.param(tflite, "builtin", id="tflite"),
        pytest.param(tflm, "builtin", id="tflm", marks=pytest.mark.needs_tflm),
        pytest.param(tflm, "custom", id="tflm-gate", marks=pytest.mark.needs_tflm),
    ],
)
def test_a_shared_stem_gives_bits_and_an_escalated_image_its_map(shared, runtime, gate):
    pair, parts, _ = shared
    images, _ = raw_images(300, 1)
    data = bcnet_keras.convert(pair, gate=gate, parts=parts)
    b, q = (runtime.Interpreter(part).predict(images).logits for part in parts)
    answer = runtime.Interpreter(data).predict(images)
    assert 0.1 < answer.escalated.mean() < 0.9
    sure = confidence("score_margin", b.astype(np.float64))
    clear = np.abs(sure - pair.threshold) > 1e-5
    np.testing.assert_array_equal(answer.escalated[clear], (sure < pair.threshold)[clear])
    model = flatbuffer.read(data)
    scale, _ = flatbuffer.quantization(model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]])
    expected = np.where(answer.escalated[:, None], np.float32(pair.boost) * b + q, b)
    assert np.abs(answer.logits - np.clip(expected, -128 * scale, 127 * scale)).max() <= 0.752 * scale

    names = [[flatbuffer.op_name(model, operator) for operator in graph.operators] for graph in model.subgraphs]
    assert names[1] == ["CONV_2D", "CONV_2D", "AVERAGE_POOL_2D", "FULLY_CONNECTED", "ADD"]
    front = ["BcnetStem"] if gate == "custom" else ["CONV_2D", "LceQuantize"]
    assert names[0][: len(front) + 1] == [*front, "LceBconv2d"]
    if gate == "custom":
        accepted, escalated = pair_cost(pair, "cortex-m4", parts)
        assert escalated - accepted == pytest.approx(1, abs=0.05)


def test_levels_of_a_thermometer_behind_the_stem(shared):
    """Codes below which a channel's bits are set: exact on the device, and no bit is the same for all images."""
    pair, *_ = shared
    (layer,) = [layer for layer in pair.binary.layers if isinstance(layer, CalibratedThermometer)]
    model = emit(pair.binary)
    graph = model.subgraphs[0]
    assert flatbuffer.op_name(model, graph.operators[1]) == "BcnetThermometer"
    thresholds = flatbuffer.constant(model, graph.tensors[graph.operators[1].inputs[1]])
    np.testing.assert_array_equal(thresholds, layer.levels.numpy() - 128)  # behind a ReLU code -128 is 0
    images = pair.preprocess(raw_images(200, 4)[0])
    below = tf.keras.Model(pair.binary.input, layer.output)(images).numpy().reshape(-1, 16) < 0
    share = below.mean(axis=0).reshape(8, 2)
    assert (share[:, 0] <= share[:, 1]).all() and share.max() < 1
    zero = tf.keras.Model(pair.binary.input, layer.input)(images).numpy().reshape(-1, 8)
    zero = np.mean(zero == 0, axis=0)
    often = zero > 0.4
    assert often.any()
    np.testing.assert_allclose(share[often, 0], zero[often], atol=0.02)
    np.testing.assert_allclose(share[often, 1], (1 + zero[often]) / 2, atol=0.05)


def test_nets_that_begin_otherwise_share_no_stem(shared):
    pair, *_ = shared
    with pytest.raises(ValueError, match="cannot share a stem: binary begins with FakeQuant, .*; int8 with FakeQuant"):
        share_stem(binary_cnn(SHAPE, 4, ((32, 1),), planes=2, stem=(16, 3, 2)), pair.int8, [])


def test_the_output_range_is_the_trained_one(pair, parts):
    data = bcnet_keras.convert(pair, parts=parts)
    model = flatbuffer.read(data)
    scale, zero_point = flatbuffer.quantization(model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]])
    low, high = pair.output_quant.range
    assert (low, high) != pair.output_quant.initial_range
    assert scale == pytest.approx((high - low) / 255, rel=1e-6) and zero_point == 0
    record = metadata(model)
    assert record["raw_range"] == [0, 255] and tuple(record["input_range"]) == pytest.approx(INPUT_RANGE)
    assert record["boost"] == pytest.approx(float(pair.boost)) and record["combine"] == "sum"


def test_no_float_tensor_passes_between_the_operators(parts):
    for part in parts:
        model = flatbuffer.read(part)
        graph = model.subgraphs[0]
        written = {index for operator in graph.operators for index in operator.outputs} | set(graph.inputs)
        assert {flatbuffer.type_name(graph.tensors[index]) for index in written} <= {"int8", "int32"}
        assert all(flatbuffer.shape(graph.tensors[index])[0] == 1 for index in written)


def test_int8_part_is_the_same_in_tensorflow_lite_micro(parts):
    """Bit for bit as TensorFlow Lite's reference kernels."""
    codes = (raw_images(100, 2)[0].astype(int) - 128).astype(np.int8)
    micro = tflm.Interpreter(parts[1])
    reference = tf.lite.Interpreter(
        model_content=parts[1], experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF
    )
    runner = reference.get_signature_runner()
    (logits,) = micro._run(codes)
    assert_same_codes(logits, np.concatenate([runner(image=image[None])["logits"] for image in codes]))


def test_binary_part_is_the_same_with_reference_kernels(parts):
    codes = (raw_images(100, 3)[0].astype(int) - 128).astype(np.int8)
    expected = lce.interpreter_class()(run_passes(parts[0], expand_thermometer), use_reference_bconv=True).predict(
        codes
    )
    np.testing.assert_array_equal(tflite.Interpreter(parts[0])._run(codes)[0], expected)


def test_cost_of_the_pair(pair, parts):
    binary, int8 = map(cost, parts)
    accepted, escalated = pair_cost(pair, "cortex-m4", parts)
    assert accepted >= binary.cycles["cortex-m4"].middle / int8.cycles["cortex-m4"].middle
    assert escalated - accepted == pytest.approx(1, abs=0.05)  # the int8 net, ADD for QUANTIZE
    with pytest.raises(ValueError, match="unknown core 'cortex-a53'"):
        pair_cost(pair, "cortex-a53", parts)
    assert set(binary.instructions) == set(CORES)
    # In the flash of a board the loops of the binary convolution take more of the cycles.
    assert pair_cost(pair, parts=parts, board="nucleo-l4r5zi")[0] > 1.2 * accepted


@pytest.mark.slow
def test_conversion_gives_the_same_bytes_again(pair, parts):
    assert bcnet_keras.convert(pair) == bcnet_keras.convert(pair, parts=parts)


@pytest.mark.parametrize("range", [(0.0, 0.0), (0.0, 1e-30), (-1e-9, 1e-9)])
@pytest.mark.parametrize("symmetric", [False, True])
def test_units_that_always_give_0(range, symmetric):
    """Behind a ReLU that no image gets through the range of training shrinks to nothing."""
    tf.keras.utils.set_random_seed(0)
    dead = FakeQuant(symmetric=symmetric)
    inputs = tf.keras.Input(SHAPE)
    x = FakeQuant(*INPUT_RANGE, fixed=True)(inputs)
    side = FakeQuant(0, 3)(layers.ReLU()(Int8Conv2D(4, 3)(x)))
    x = dead(layers.ReLU()(Int8Conv2D(4, 3, bias_initializer=tf.keras.initializers.Constant(-50))(x)))
    x = FakeQuant(0, 3)(layers.ReLU()(Int8Conv2D(4, 1, bias_initializer=tf.keras.initializers.Constant(2))(x)))
    x = layers.MaxPooling2D(10)(FakeQuant(0, 5)(layers.Add()([x, side])))
    logits = FakeQuant(-9, 9, symmetric=True)(Int8Dense(4)(layers.Flatten()(x)))
    dead.range = range
    pair = BCNet(small_pair(verbose=0).binary, tf.keras.Model(inputs, logits))
    images = raw_images(20, 3)[0]
    expected = pair.int8(pair.preprocess(images), training=False).numpy()
    answers = tflm.Interpreter(convert_parts(pair)[1]).predict(images)
    np.testing.assert_allclose(answers.logits, expected, atol=1.01 * 18 / 255)
    assert np.ptp(expected, axis=0).max() > 4 * 18 / 255


@pytest.mark.parametrize("net", ["binary", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(net, value):
    pair = small_pair(verbose=0)
    pair.threshold = 0.5
    weight = getattr(pair, net).weights[-1]
    weight.assign(np.full(weight.shape, value, np.float32))
    with pytest.raises(ValueError, match=rf"has NaN or infinity in .*{re.escape(weight.name)}.*: train it again"):
        bcnet_keras.convert(pair)
    float_model = small_model()
    kernel, bias = float_model.layers[-1].get_weights()
    float_model.layers[-1].set_weights([kernel, bias + value])
    with pytest.raises(
        ValueError, match=r"has NaN or infinity in dense\S*/bias:0, as a training that diverged leaves it"
    ):
        BCNet.from_keras(float_model)


def test_images_of_one_pixel_make_a_pair():
    inputs = tf.keras.Input((1, 1, 16))
    x = layers.Flatten()(layers.Conv2D(8, 1, activation="relu")(inputs))
    pair = BCNet.from_keras(tf.keras.Model(inputs, layers.Dense(3)(x)), verbose=0)
    assert pair.int8.output_shape == pair.binary.output_shape == (None, 3)


def test_a_pair_without_a_threshold_is_refused_before_the_conversion(capfd):
    pair = small_pair()
    with pytest.raises(ValueError, match="threshold is not set"):
        bcnet_keras.convert(pair)


def test_parts_of_another_pair_are_refused(pair, parts, make_part, caplog):
    with pytest.raises(ValueError, match="input quantisation"):
        bcnet_keras.convert(pair, parts=(parts[0], make_part(0, shape=SHAPE, image=(1 / 255, -128))))


def test_tfmot_net_takes_the_input_range_and_gets_its_own_back():
    import tensorflow_model_optimization as tfmot

    inputs = tf.keras.Input(SHAPE)
    x = layers.ReLU()(layers.Conv2D(4, 3, strides=2)(inputs))
    model = tf.keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    model = tfmot.quantization.keras.quantize_model(model)
    model(np.random.default_rng(0).uniform(-0.5, 0.5, (8, *SHAPE)).astype(np.float32), training=True)
    before = [variable.numpy() for variable in model.variables]
    converted = flatbuffer.read(convert_int8(model, INPUT_RANGE))
    graph = converted.subgraphs[0]
    assert flatbuffer.quantization(graph.tensors[graph.inputs[0]]) == (1 / 128, 0)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def image_stem(inputs):
    x = Int8Conv2D(32, 3, strides=2, padding="same", use_bias=False)(FakeQuant(*INPUT_RANGE, fixed=True)(inputs))
    return FakeQuant(symmetric=True)(layers.BatchNormalization()(x))


def head(x):
    x = FakeQuant()(layers.GlobalAveragePooling2D()(FakeQuant()(x)))
    return FakeQuant()(Int8Dense(4)(x))


def binary_block(x):
    return layers.BatchNormalization()(BinaryConv2D(32, 3)(x))


def pooled_before_normalised(inputs):
    return head(
        layers.BatchNormalization()(layers.MaxPool2D(2)(BinaryConv2D(32, 3, name="guilty")(image_stem(inputs))))
    )


def relu_behind_normalised(inputs):
    return head(
        binary_block(layers.ReLU()(layers.BatchNormalization(name="guilty")(BinaryConv2D(32, 3)(image_stem(inputs)))))
    )


def padded_with_zero(inputs):
    convolution = QuantConv2D(
        32, 3, padding="same", input_quantizer="ste_sign", kernel_quantizer="ste_sign", use_bias=False
    )
    x = layers.BatchNormalization(name="guilty")(convolution(image_stem(inputs)))
    return head(binary_block(x))


def average_not_quantised(inputs):
    x = layers.GlobalAveragePooling2D(name="guilty")(FakeQuant()(binary_block(image_stem(inputs))))
    return FakeQuant()(Int8Dense(4)(x))


def flattened(inputs):
    x = layers.BatchNormalization(name="guilty")(BinaryConv2D(32, 3)(image_stem(inputs)))
    return FakeQuant()(Int8Dense(4)(layers.Flatten()(FakeQuant()(x))))


def input_not_quantised(inputs):
    return head(binary_block(ThermometerEncoding(8, name="guilty")(inputs)))


@pytest.mark.needs_lce
@pytest.mark.parametrize(
    ("net", "operator", "remedy"),
    [
        (pooled_before_normalised, "LceBconv2d", "put the pooling behind the BatchNormalization"),
        pytest.param(
            relu_behind_normalised,
            "LceBconv2d",
            "put the activation before the BatchNormalization",
            marks=pytest.mark.slow,
        ),
        pytest.param(padded_with_zero, "LceBconv2d", "pad with \\+1", marks=pytest.mark.slow),
        (average_not_quantised, "MEAN", "put FakeQuant before and behind"),
        pytest.param(flattened, "LceBconv2d", "put FakeQuant straight behind", marks=pytest.mark.slow),
        pytest.param(input_not_quantised, "CONV_2D", "put FakeQuant before and behind", marks=pytest.mark.slow),
    ],
)
def test_binary_nets_with_floats_are_refused(net, operator, remedy, capfd):
    inputs = tf.keras.Input(SHAPE)
    model = tf.keras.Model(inputs, net(inputs))
    with pytest.raises(ValueError, match=f"{operator} of layer 'guilty' works on float32; {remedy}"):
        convert_binary(model)
    output = capfd.readouterr()
    assert not output.out and not output.err


def test_what_is_no_net_is_refused():
    with pytest.raises(TypeError, match="binary net must be a tf.keras.Model .* got list"):
        convert_binary([])
    inputs = tf.keras.Input(SHAPE)
    maps = tf.keras.Model(inputs, layers.Conv2D(3, 3)(inputs))
    with pytest.raises(ValueError, match=r"to logits \[n, classes\], got .* -> \[None, 10, 10, 3\]"):
        convert_binary(maps)
    floats = tf.keras.Model(inputs, layers.Dense(4)(layers.Flatten()(inputs)))
    with pytest.raises(ValueError, match="int8 net has no fake quantisation"):
        convert_int8(floats, INPUT_RANGE)
    mixed = tf.keras.Model(inputs, head(binary_block(image_stem(inputs))))
    with pytest.raises(ValueError, match="int8 net is not all integer: .* binary layers belong into the binary net"):
        convert_int8(mixed, INPUT_RANGE)


def test_nets_that_differ_in_range_are_refused(pair, parts):
    inputs = tf.keras.Input(SHAPE)
    other = tf.keras.Model(inputs, head(Int8Conv2D(4, 3)(FakeQuant(0.0, 1.0, fixed=True)(inputs))))
    from bcnet_keras.convert import Gate

    with pytest.raises(ValueError, match="nets differ in input quantisation"):
        merge(parts[0], convert_int8(other, INPUT_RANGE), Gate.create(4, "entropy", 0.5))


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("stem", ["thermometer", "int8"])
def test_each_net_is_parsed_once_and_the_pair_packed_once(stem, foreign, monkeypatch):
    pair = small_pair(stem=stem)
    if foreign:  # as nets with layers that only the converters know

        def refuse(net):
            raise NotEmitted("a foreign layer")

        monkeypatch.setattr("bcnet_keras.convert.pair.emit", refuse)
    read, write, calls = flatbuffer.read, flatbuffer.write, []

    def counted_read(data):
        calls.append("read")
        return read(data)

    def counted_write(model):
        calls.append(f"write {flatbuffer.text(model.description)}")
        return write(model)

    monkeypatch.setattr(flatbuffer, "read", counted_read)
    monkeypatch.setattr(flatbuffer, "write", counted_write)
    data = bcnet_keras.convert(pair, threshold=0.5)
    monkeypatch.setattr(flatbuffer, "read", read)
    monkeypatch.setattr(flatbuffer, "write", write)
    assert sorted(calls) == [*(["read", "read"] if foreign else []), "write bcnet-keras"]
    assert data == bcnet_keras.convert(pair, threshold=0.5, parts=convert_parts(pair))


def test_a_pair_with_rescaling_in_front_converts_to_the_same_bytes_every_time():
    inputs = tf.keras.Input(SHAPE)
    model = tf.keras.Model(inputs, small_model()(layers.Rescaling(1 / 127.5, offset=-1)(inputs)))
    pair = BCNet.from_keras(model)
    assert convert_parts(pair) == convert_parts(pair)


def test_old_names_of_the_passes_work_with_a_warning(parts):
    from bcnet_keras.convert.passes import fuse_thermometer as module

    with pytest.warns(DeprecationWarning, match=r"expand is now run_passes\(data, expand_thermometer\)"):
        expand = module.expand
    assert expand(parts[0]) == run_passes(parts[0], expand_thermometer)
    with pytest.raises(AttributeError, match="has no attribute 'join'"):
        module.join  # noqa: B018
