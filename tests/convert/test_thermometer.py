"""The thermometer operator in a flatbuffer, against the operators that LCE's converter writes and against NumPy."""

import copy

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bcnet_keras import BinaryConv2D, FakeQuant, ThermometerEncoding
from bcnet_keras.convert import Gate, merge, replace_gate, set_threshold
from bcnet_keras.convert.lce import convert_binary
from bcnet_keras.convert.passes import run_passes
from bcnet_keras.convert.passes.fuse_thermometer import THERMOMETER, expand_thermometer, fuse_thermometer
from bcnet_keras.layers import INPUT_RANGE, Int8Conv2D, Int8Dense
from bcnet_keras.runtime import tflite, tflm
from bcnet_keras.tflite import flatbuffer, lce

layers, schema = tf.keras.layers, flatbuffer.schema
CODES = np.arange(-128, 128)
# (channels, planes): bits in exactly one word, across words within a channel and between channels.
ENCODINGS = [(2, 16), (1, 40), (3, 21)]


def fuse(data):
    return run_passes(data, fuse_thermometer)


def expand(data):
    return run_passes(data, expand_thermometer)


def binary_net(channels, first, input_range=INPUT_RANGE):
    """A converted binary net on 8x8 images whose first layers are `first`."""
    tf.keras.utils.set_random_seed(0)
    inputs = tf.keras.Input((8, 8, channels))
    x = first(FakeQuant(*input_range, fixed=True)(inputs))
    x = layers.BatchNormalization()(BinaryConv2D(8, 3)(x))
    x = FakeQuant()(layers.GlobalAveragePooling2D()(FakeQuant()(x)))
    return convert_binary(tf.keras.Model(inputs, FakeQuant()(Int8Dense(4)(x))))


def int8_stem(x):
    return FakeQuant(symmetric=True)(layers.BatchNormalization()(Int8Conv2D(8, 1)(x)))


@pytest.fixture(scope="module", params=ENCODINGS, ids=str)
def encoding(request):
    """(channels, planes, LCE's flatbuffer)."""
    channels, planes = request.param
    return channels, planes, binary_net(channels, ThermometerEncoding(planes))


def op_names(data):
    model = flatbuffer.read(data)
    return [flatbuffer.op_name(model, operator) for operator in model.subgraphs[0].operators]


def front(data, last):
    """The flatbuffer cut behind the first operator of that name."""
    model = copy.deepcopy(flatbuffer.read(data))
    graph = model.subgraphs[0]
    end = [flatbuffer.op_name(model, operator) for operator in graph.operators].index(last) + 1
    graph.operators = graph.operators[:end]
    graph.outputs = graph.operators[-1].outputs
    model.signatureDefs = []
    return flatbuffer.rewrite(model)


def in_lce(data, x):
    return lce.interpreter_class()(data).predict(x)


def in_reference_kernels(data, x):
    interpreter = tf.lite.Interpreter(
        model_content=data, experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def unpacked(words, count):
    words = np.ascontiguousarray(words).astype("<u4")
    bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")
    assert not bits[..., count:].any()
    return bits[..., :count].astype(bool)


def image_of_all_codes(channels, side):
    """int8 images in which every channel takes all 256 codes, each channel in another order."""
    random = np.random.default_rng(0)
    orders = np.stack([random.permutation(CODES) for _ in range(channels)], axis=-1)
    return orders.reshape(-1, side, side, channels).astype(np.int8)


def bits_everywhere(fused, expanded, images, count):
    """The bits of both forms in every interpreter that has their operators."""
    found = {"LCE": [], "TFLM": [], "TFLM, expanded": [], "reference kernels": []}
    micro, micro_expanded = tflm.Model(front(fused, THERMOMETER)), tflm.Model(front(expanded, "LceQuantize"))
    differences = flatbuffer.read(front(expanded, "CONV_2D")).subgraphs[0]
    _, zero_point = flatbuffer.quantization(differences.tensors[differences.outputs[0]])
    for image in images[:, np.newaxis]:
        found["LCE"].append(unpacked(in_lce(front(expanded, "LceQuantize"), image), count))
        found["TFLM"].append(unpacked(micro.run([image])[0], count))
        found["TFLM, expanded"].append(unpacked(micro_expanded.run([image])[0], count))
        found["reference kernels"].append(in_reference_kernels(front(expanded, "CONV_2D"), image) < zero_point)
    return {name: np.concatenate(values) for name, values in found.items()}


@pytest.mark.needs_tflm
def test_all_forms_give_the_bits_of_lce(encoding):
    channels, planes, data = encoding
    count, images = channels * planes, image_of_all_codes(channels, 8)
    fused = fuse(data)
    expanded = expand(fused)
    assert op_names(data)[:2] == op_names(expanded)[:2] == ["CONV_2D", "LceQuantize"]
    assert op_names(fused) == [THERMOMETER, *op_names(data)[2:]]
    expected = np.concatenate([unpacked(in_lce(front(data, "LceQuantize"), image[None]), count) for image in images])
    levels = np.round(ThermometerEncoding(planes).levels * 128)
    np.testing.assert_array_equal(expected, np.repeat(images, planes, axis=-1) < np.tile(levels, channels))
    for name, bits in bits_everywhere(fused, expanded, images, count).items():
        np.testing.assert_array_equal(bits, expected, err_msg=name)


def test_there_and_back_gives_the_same_file(encoding):
    channels, _, data = encoding
    fused = fuse(data)
    expanded = expand(fused)
    assert fuse(fused) == fused and expand(expanded) == expanded and expand(data) == data
    assert fuse(expanded) == fused and expand(fuse(expanded)) == expanded
    assert len(fused) < len(expanded)
    images = image_of_all_codes(channels, 8)
    answers = [tflite.Interpreter(form).predict(images).logits for form in (data, fused, expanded)]
    np.testing.assert_array_equal(answers[1], answers[0])
    np.testing.assert_array_equal(answers[2], answers[0])


@pytest.mark.needs_tflm
def test_a_pair_in_both_forms(encoding, make_part):
    channels, _, data = encoding
    parts, gate = (data, make_part(1, shape=(8, 8, channels))), Gate.create(4, "score_margin", 0.3)
    files = {kind: merge(*parts, gate, kind) for kind in ("custom", "builtin")}
    assert files["custom"] == merge(fuse(data), parts[1], gate) and files["builtin"] == merge(
        expand(fuse(data)), parts[1], gate, "builtin"
    )
    assert flatbuffer.custom_ops(flatbuffer.read(files["custom"])) == {THERMOMETER, "BcnetGate", "LceBconv2d"}
    assert flatbuffer.custom_ops(flatbuffer.read(files["builtin"])) == {"LceQuantize", "LceBconv2d"}
    images = image_of_all_codes(channels, 8)
    expected = tflm.Interpreter(files["custom"]).predict(images)
    for kind, file in files.items():
        assert {to: replace_gate(file, to) for to in files} == files
        changed = set_threshold(file, 0.6)
        assert changed == merge(*parts, Gate.create(4, "score_margin", 0.6), kind)
        assert set_threshold(changed, 0.3) == file
        answer = tflm.Interpreter(file).predict(images)
        np.testing.assert_array_equal(answer.logits, expected.logits)
        np.testing.assert_array_equal(answer.escalated, expected.escalated)
        np.testing.assert_array_equal(tflite.Interpreter(file).predict(images).escalated, expected.escalated)


def test_a_net_with_an_int8_first_layer_stays_as_it_is(make_part):
    data = binary_net(3, int8_stem)
    assert op_names(data)[:2] == ["CONV_2D", "LceQuantize"]  # it comes close
    for net in (data, make_part(0)):
        assert fuse(net) == net and expand(net) == net


def test_files_that_are_no_flatbuffers_are_refused():
    for function in (fuse, expand):
        with pytest.raises(ValueError, match="not a TensorFlow Lite flatbuffer"):
            function(b"text")


def net_of(thresholds, channels, image=(1 / 128, 0)):
    """A flatbuffer of one `BcnetThermometer` on 4x4 images."""
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    pixels = builder.tensor(graph, "pixels", schema.TensorType.INT8, [1, 4, 4, channels], image)
    words = -(-len(thresholds) // 32)
    bits = builder.tensor(graph, "bits", schema.TensorType.INT32, [1, 4, 4, words])
    constant = builder.constant(graph, "bits/thresholds", np.asarray(thresholds, np.int32))
    builder.operator(graph, THERMOMETER.encode(), [pixels, constant], [bits])
    graph.inputs, graph.outputs = np.array([pixels], np.int32), np.array([bits], np.int32)
    builder.signature(0, {"x": pixels}, {"y": bits})
    return flatbuffer.rewrite(builder.model)


@pytest.mark.needs_tflm
@settings(max_examples=15, deadline=None)
@given(
    channels=st.integers(1, 4),
    planes=st.integers(1, 45),
    scale=st.floats(1e-4, 10),
    zero_point=st.integers(-128, 127),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_thresholds_are_kept_bit_for_bit(channels, planes, scale, zero_point, seed):
    thresholds = np.random.default_rng(seed).choice(np.arange(-128, 129), channels * planes)
    fused = net_of(thresholds, channels, (scale, zero_point))
    expanded, images = expand(fused), image_of_all_codes(channels, 4)
    assert fuse(expanded) == fused
    expected = np.repeat(images, planes, axis=-1) < thresholds
    for name, bits in bits_everywhere(fused, expanded, images, len(thresholds)).items():
        np.testing.assert_array_equal(bits, expected, err_msg=name)


def changed(function):
    """A pair of operators that is nearly an encoding: LCE's form of one, after `function(model, graph)`."""
    model = flatbuffer.read(expand(net_of([-40, 0, 50, -20, 10, 30], channels=2)))
    function(model, model.subgraphs[0])
    return flatbuffer.write(model)


def set_weight(filter, channel, value):
    def change(model, graph):
        buffer = model.buffers[graph.tensors[graph.operators[0].inputs[1]].buffer]
        buffer.data = buffer.data.copy()
        buffer.data.view(np.int8).reshape(6, 2)[filter, channel] = value

    return change


def set_stride(model, graph):
    graph.operators[0].builtinOptions.strideW = 2
    graph.tensors[graph.operators[0].outputs[0]].shape[2] = graph.tensors[graph.outputs[0]].shape[2] = 2


def read_the_differences_too(model, graph):
    graph.outputs = np.array([*graph.outputs, graph.operators[0].outputs[0]], np.int32)


def quantize_twice(model, graph):
    graph.operators.append(copy.deepcopy(graph.operators[1]))
    graph.tensors.append(copy.deepcopy(graph.tensors[graph.outputs[0]]))
    graph.operators[2].outputs = np.array([len(graph.tensors) - 1], np.int32)
    graph.outputs = np.array([*graph.outputs, len(graph.tensors) - 1], np.int32)


@pytest.mark.parametrize(
    "change",
    [
        set_weight(1, 1, 1),  # reads a second channel
        set_weight(1, 0, -1),  # falls where the channel rises
        set_stride,
        read_the_differences_too,
        quantize_twice,
    ],
)
def test_what_is_nearly_an_encoding_stays_as_it_is(change):
    data = changed(change)
    assert fuse(data) == data


def test_operators_that_are_not_sound_are_refused():
    for thresholds, channels in (([], 1), ([1, 2, 3], 2)):
        with pytest.raises(ValueError, match="BcnetThermometer of the flatbuffer is not sound"):
            expand(net_of(thresholds, channels))
    assert op_names(fuse(changed(lambda model, graph: None))) == [THERMOMETER]  # the cases above are near
