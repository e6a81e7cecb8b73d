"""Stems in one operator, against TensorFlow Lite's reference convolution and NumPy."""

import copy
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from test_thermometer import unpacked

from bcnet_keras.convert import Gate, merge, replace_gate, set_threshold
from bcnet_keras.convert.passes import run_passes
from bcnet_keras.convert.passes.fuse_stem import STEM, expand_front, fuse_front, keep_smaller_map
from bcnet_keras.convert.passes.fuse_thermometer import THERMOMETER
from bcnet_keras.device.cost import CORES, cost
from bcnet_keras.models.networks import NETWORKS
from bcnet_keras.planning.sketch import sketch_binary, sketch_int8
from bcnet_keras.runtime import numpy_runtime, tflm
from bcnet_keras.tflite import flatbuffer, lce

schema = flatbuffer.schema
INT8, INT32 = schema.TensorType.INT8, schema.TensorType.INT32
KINDS = schema.ActivationFunctionType


def op_names(data, number=0):
    model = flatbuffer.read(data)
    return [flatbuffer.op_name(model, operator) for operator in model.subgraphs[number].operators]


def stem_net(random, planes, activation=KINDS.NONE, bias=True, one_scale=False, window=None, factor=1.0, size=()):
    """A flatbuffer of a CONV_2D on a small image and what makes bits of it: `planes` thresholds, or None for signs.

    `size`: height, width, channels, filters and strides, in the place of random ones.
    """
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    height, width, channels, filters = size[:4] or (int(random.integers(1, most)) for most in (9, 9, 5, 20))
    window = window or [int(random.integers(1, 5)) for _ in range(2)]
    strides = size[4:] or [int(random.integers(1, 4)) for _ in range(2)]
    fits = window[0] <= height and window[1] <= width
    padding = schema.Padding.VALID if fits and random.integers(2) else schema.Padding.SAME
    image = builder.tensor(graph, "image", INT8, [1, height, width, channels], (0.01, int(random.integers(-128, 128))))
    kernel = random.integers(-127, 128, (filters, *window, channels)).astype(np.int8)
    weights = builder.tensor(graph, "weights", INT8, kernel.shape, data=kernel)
    parameters = flatbuffer.quantization_parameters(1.0, 0)
    count = 1 if one_scale else filters
    parameters.scale = np.exp(random.uniform(-8, -4, count)).astype(np.float32)
    parameters.zeroPoint, parameters.quantizedDimension = np.zeros(count, np.int64), 0
    graph.tensors[weights].quantization = parameters
    biases = builder.tensor(
        graph, "biases", INT32, [filters], (0.01, 0), random.integers(-9999, 9999, filters).astype(np.int32)
    )
    spans = zip((height, width), window, strides, strict=True)
    size = [-(-side // by) if padding == schema.Padding.SAME else (side - taps) // by + 1 for side, taps, by in spans]
    result = builder.tensor(graph, "map", INT8, [1, *size, filters], (0.05 * factor, int(random.integers(-128, 128))))
    options = schema.Conv2DOptionsT()
    options.padding, options.fusedActivationFunction = padding, activation
    options.strideH, options.strideW = strides
    builder.operator(graph, "CONV_2D", [image, weights, *[biases] * bias], [result], options, version=3)
    bits = builder.tensor(graph, "bits", INT32, [1, *size, -(-filters * (planes or 1) // 32)])
    if planes is None:
        builder.operator(graph, b"LceQuantize", [result], [bits])
    else:
        codes = random.choice(np.arange(-128, 129), filters * planes).astype(np.int32)
        builder.operator(graph, THERMOMETER.encode(), [result, builder.constant(graph, "codes", codes)], [bits])
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array([bits], np.int32)
    builder.signature(0, {"x": image}, {"y": bits})
    return flatbuffer.rewrite(builder.model)


def in_reference_kernels(data, images):
    """Bits of a flatbuffer of CONV_2D and what compares its codes: TensorFlow Lite's codes, compared in NumPy."""
    model = flatbuffer.read(data)
    graph = model.subgraphs[0]
    result, reader = graph.tensors[graph.operators[0].outputs[0]], graph.operators[1]
    if len(reader.inputs) == 2:
        codes = flatbuffer.constant(model, graph.tensors[reader.inputs[1]])
    else:
        codes = np.full(flatbuffer.shape(result)[-1], flatbuffer.quantization(result)[1])
    graph.operators, graph.outputs, model.signatureDefs = graph.operators[:1], graph.operators[0].outputs, []
    kernels = tf.lite.experimental.OpResolverType.BUILTIN_REF
    interpreter = tf.lite.Interpreter(model_content=flatbuffer.rewrite(model), experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    found = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    found = np.concatenate(found)
    return np.repeat(found, len(codes) // found.shape[-1], axis=-1) < codes


def images_of(data, random, count=3):
    graph = flatbuffer.read(data).subgraphs[0]
    return random.integers(-128, 128, (count, *flatbuffer.shape(graph.tensors[graph.inputs[0]]))).astype(np.int8)


def in_numpy(data, images):
    graph = numpy_runtime._Subgraph(flatbuffer.read(data), 0)
    return np.concatenate([graph.run([image])[0] for image in images])


def in_micro(data, images):
    micro = tflm.Model(data)
    return np.concatenate([micro.run([image])[0] for image in images])


def in_lce(data, images):
    return np.concatenate([np.asarray(lce.interpreter_class()(data).predict(image)) for image in images])


STEMS = dict(
    planes=st.one_of(st.none(), st.integers(1, 13)),
    activation=st.sampled_from((KINDS.NONE, KINDS.RELU, KINDS.RELU6, KINDS.RELU_N1_TO_1)),
    one_scale=st.booleans(),
    factor=st.sampled_from((0.001, 0.1, 1.0, 5.0)),  # from codes that jump to codes that stand
    seed=st.integers(0, 2**32 - 1),
)


@settings(max_examples=60, deadline=None)
@given(**STEMS)
def test_any_stem_gives_the_bits_of_its_two_operators(seed, **kind):
    random = np.random.default_rng(seed)
    data = stem_net(random, **kind)
    fused, images = run_passes(data, fuse_front), images_of(data, random)
    if op_names(fused) != [STEM]:
        kernel = flatbuffer.shape(flatbuffer.read(data).subgraphs[0].tensors[1])
        assert kernel[1:3] == (1, 1) and op_names(fused) in ([THERMOMETER], op_names(data))
        return
    expected = in_reference_kernels(data, images)
    expanded = run_passes(fused, expand_front)
    assert op_names(expanded) == ["CONV_2D", "LceQuantize"] and run_passes(expanded, fuse_front) == fused
    np.testing.assert_array_equal(unpacked(in_numpy(fused, images), expected.shape[-1]), expected)
    np.testing.assert_array_equal(in_reference_kernels(expanded, images), expected)
    np.testing.assert_array_equal(unpacked(in_lce(expanded, images), expected.shape[-1]), expected)


@pytest.mark.needs_tflm
@settings(max_examples=25, deadline=None)
@given(**STEMS)
def test_tensorflow_lite_micro_gives_the_same_bits(seed, **kind):
    random = np.random.default_rng(seed)
    window = [int(random.integers(1, 4)), int(random.integers(2, 4))]
    data = stem_net(random, window=window, bias=bool(random.integers(2)), **kind)  # TensorFlow Lite wants a bias
    images = images_of(data, random)
    np.testing.assert_array_equal(in_micro(run_passes(data, fuse_front), images), in_micro(data, images))


@pytest.mark.parametrize("filters", [8, 16, 32, 64])
@pytest.mark.parametrize("planes", [None, 1, 2, 3, 4, 5, 6, 8, 12])
def test_a_stem_takes_fewer_cycles_than_its_two_operators(planes, filters):
    """On every core, so that the passes need not choose."""
    random = np.random.default_rng(7)
    for image, window in (((32, 32, 3), [3, 3]), ((28, 28, 1), [3, 3]), ((49, 10, 1), [10, 4])):
        for stride in (1, 2):
            data = stem_net(random, planes, window=window, size=(*image, filters, stride, stride))
            two, one = cost(data).cycles, cost(run_passes(data, fuse_front)).cycles
            slower = [core for core in CORES if one[core].middle >= two[core].middle]
            assert not slower, (image, stride, slower)


def test_equal_filters_are_written_once():
    random = np.random.default_rng(3)
    data = stem_net(random, 3, window=[2, 2])
    model = flatbuffer.read(data)
    buffer = model.buffers[model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[1]].buffer]
    filters, *rest = flatbuffer.shape(model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[1]])
    buffer.data = np.tile(buffer.data[: int(np.prod(rest))], filters)  # all are the first one
    data = flatbuffer.write(model)
    fused = run_passes(data, fuse_front)
    graph = flatbuffer.read(fused).subgraphs[0]
    weights, thresholds = (flatbuffer.shape(graph.tensors[index]) for index in graph.operators[0].inputs[1:])
    assert weights == (1, *rest) and thresholds == (3 * filters,)
    images = images_of(data, random)
    expected = in_reference_kernels(data, images)
    np.testing.assert_array_equal(unpacked(in_numpy(fused, images), 3 * filters), expected)
    assert run_passes(run_passes(fused, expand_front), fuse_front) == fused


def read_the_map_too(model, graph):
    graph.outputs = np.array([*graph.outputs, graph.operators[0].outputs[0]], np.int32)


def read_it_twice(model, graph):
    graph.operators.append(copy.deepcopy(graph.operators[1]))
    graph.tensors.append(copy.deepcopy(graph.tensors[graph.outputs[0]]))
    graph.operators[2].outputs = np.array([len(graph.tensors) - 1], np.int32)
    graph.outputs = np.array([*graph.outputs, len(graph.tensors) - 1], np.int32)


def dilate(model, graph):
    graph.operators[0].builtinOptions.dilationWFactor = 2


def give_tanh(model, graph):
    graph.operators[0].builtinOptions.fusedActivationFunction = KINDS.TANH


def compute_the_weights(model, graph):
    graph.inputs = np.array([*graph.inputs, graph.operators[0].inputs[1]], np.int32)
    model.buffers[graph.tensors[graph.operators[0].inputs[1]].buffer].data = None


def take_the_scales(model, graph):
    graph.tensors[graph.operators[0].inputs[1]].quantization = None


@pytest.mark.parametrize(
    "change", [read_the_map_too, read_it_twice, dilate, give_tanh, compute_the_weights, take_the_scales]
)
def test_what_is_no_stem_stays_as_it_is(change):
    model = flatbuffer.read(stem_net(np.random.default_rng(1), 4, window=[3, 2]))
    change(model, model.subgraphs[0])
    data = flatbuffer.write(model)
    assert run_passes(data, fuse_front) == data


def test_stems_that_are_not_sound_are_refused():
    fused = run_passes(stem_net(np.random.default_rng(1), 4, window=[3, 2]), fuse_front)

    def without_options(operator):
        operator.customOptions = None

    def without_thresholds(operator):
        operator.inputs = operator.inputs[:2]

    for change in (without_options, without_thresholds):
        model = flatbuffer.read(fused)
        change(model.subgraphs[0].operators[0])
        with pytest.raises(ValueError, match="BcnetStem of the flatbuffer is not sound"):
            run_passes(flatbuffer.write(model), expand_front)


@pytest.mark.parametrize("name", ["images", "fashion_mnist", "speech_commands"])
def test_a_shared_stem_stores_no_int8_map(name):
    shape = {"speech_commands": (49, 10, 1)}.get(name, (28, 28, 1))
    nets = NETWORKS[name].nets(shared_stem=True)
    parts = sketch_binary(nets, shape, 10), sketch_int8(nets, shape, 10)
    pair = merge(*parts, Gate.create(10, "score_margin", 0.5))
    model = flatbuffer.read(pair)
    main, escalate, _ = model.subgraphs
    assert op_names(pair)[0] == STEM and "CONV_2D" not in op_names(pair) and op_names(pair, 1)[0] == "CONV_2D"
    written = [main.tensors[index] for operator in main.operators for index in operator.outputs]
    maps = [tensor for tensor in written if tensor.type == INT8 and len(flatbuffer.shape(tensor)) == 4]
    assert all(np.prod(flatbuffer.shape(tensor)[1:3]) < np.prod(shape[:2]) / 2 for tensor in maps)
    weights = main.operators[0].inputs[1], escalate.operators[0].inputs[1]
    buffers = [graph.tensors[index].buffer for graph, index in zip((main, escalate), weights, strict=True)]
    assert buffers[0] == buffers[1]  # they are in the file once
    assert escalate.inputs[0] == escalate.operators[0].inputs[0]
    builtin = replace_gate(pair, "builtin")
    assert flatbuffer.custom_ops(flatbuffer.read(builtin)) <= {"LceQuantize", "LceBconv2d"}
    assert replace_gate(builtin, "custom") == pair and replace_gate(pair, "custom") == pair
    assert merge(*parts, Gate.create(10, "score_margin", 0.5), "builtin") == builtin
    assert set_threshold(set_threshold(pair, 0.2), 0.5) == pair


@pytest.mark.parametrize("combine", ["sum", "swap"])
@pytest.mark.parametrize("kind", ["custom", "builtin"])
def test_the_smaller_of_image_and_shared_map_is_kept(kind, combine):
    nets = dataclasses.replace(NETWORKS["images"].nets(shared_stem=True), filters=8, stem=(3, 2))
    shape, gate = (32, 32, 3), Gate.create(10, "score_margin", 0.5)
    parts = sketch_binary(nets, shape, 10), sketch_int8(nets, shape, 10)
    assert op_names(parts[0])[0] == STEM
    pair = merge(*parts, gate, kind, combine)
    main, escalate, _ = flatbuffer.read(pair).subgraphs
    front = ["CONV_2D", THERMOMETER] if kind == "custom" else ["CONV_2D", "CONV_2D", "LceQuantize"]
    assert op_names(pair)[: len(front)] == front
    assert flatbuffer.shape(escalate.tensors[escalate.inputs[0]]) == (1, 16, 16, 8)
    assert merge(run_passes(parts[0], expand_front), parts[1], gate, kind, combine) == pair
    for to in ("custom", "builtin"):
        assert replace_gate(replace_gate(pair, to), kind) == pair


@settings(max_examples=40, deadline=None)
@given(**STEMS)
def test_a_map_that_is_stored_again_gives_the_same_bits(seed, **kind):
    random = np.random.default_rng(seed)
    data = stem_net(random, window=[3, 2], **kind)
    fused, images = flatbuffer.read(run_passes(data, fuse_front)), images_of(data, random)
    net = flatbuffer.read(data)
    net.subgraphs[0].operators = net.subgraphs[0].operators[:1]  # as the int8 net begins
    result = net.subgraphs[0].tensors[net.subgraphs[0].operators[0].outputs[0]]
    smaller = np.prod(flatbuffer.shape(result)) < images[0].size
    assert keep_smaller_map(fused, net) == smaller
    if smaller:
        stored = flatbuffer.rewrite(fused)
        assert op_names(stored) == ["CONV_2D", THERMOMETER]
        np.testing.assert_array_equal(in_reference_kernels(stored, images), in_reference_kernels(data, images))
        assert run_passes(stored, fuse_front) == run_passes(data, fuse_front)
