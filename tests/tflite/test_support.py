"""What is said to be refused by TensorFlow Lite Micro, against its own interpreter."""

import flatbuffers
import numpy as np
import pytest
from flatbuffers_of import branching_net, convolution, streaming_net
from single_operators import net
from tflite_micro.python.tflite_micro import runtime

from bcnet_keras.convert import Gate, merge, set_threshold
from bcnet_keras.device.profile import Profile
from bcnet_keras.export import export
from bcnet_keras.runtime import numpy_runtime, tflite, tflm
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.operators import OPERATORS
from bcnet_keras.tflite.support import check_micro, remarks

schema = flatbuffer.schema
types = schema.TensorType


def weighted(name, type, weights_type, scales=1, output_type=None):
    """A flatbuffer of one operator with weights."""
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    shape, weights_shape, options = [1, 4, 4, 8], [8, 1, 1, 8], schema.Conv2DOptionsT()
    if name == "FULLY_CONNECTED":
        shape, weights_shape, options = [1, 8], [8, 8], schema.FullyConnectedOptionsT()
    elif name == "DEPTHWISE_CONV_2D":
        weights_shape, options = [1, 1, 1, 8], schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier = 1
    if name != "FULLY_CONNECTED":
        options.strideH = options.strideW = 1
    image = builder.tensor(graph, "image", type, shape, (1.0, 0))
    data = np.zeros(int(np.prod(weights_shape)) * 4 // {types.FLOAT32: 1, types.INT8: 4, types.INT4: 8}[weights_type])
    weights = builder.tensor(graph, "weights", weights_type, weights_shape, (1.0, 0), bytes(len(data)))
    parameters = graph.tensors[weights].quantization
    parameters.scale, parameters.zeroPoint = np.ones(scales, np.float32), np.zeros(scales, np.int64)
    parameters.quantizedDimension = 3 if name == "DEPTHWISE_CONV_2D" else 0
    result = builder.tensor(graph, "result", type if output_type is None else output_type, shape, (1.0, 0))
    builder.operator(graph, name, [image, weights, -1], [result], options)
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array([result], np.int32)
    return builder.finish()


def unary(name, type, output_type, scale=1.0):
    """A flatbuffer of one operator without weights."""
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    image = builder.tensor(graph, "image", type, [1, 8], (1.0, 0))
    result = builder.tensor(graph, "result", output_type, [1, 8], (scale, 0))
    builder.operator(graph, name, [image], [result])
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array([result], np.int32)
    return builder.finish()


CASES = {
    "int8": weighted("CONV_2D", types.INT8, types.INT8),
    "float": weighted("CONV_2D", types.FLOAT32, types.FLOAT32),
    "hybrid convolution": weighted("CONV_2D", types.FLOAT32, types.INT8),
    "hybrid depthwise": weighted("DEPTHWISE_CONV_2D", types.FLOAT32, types.INT8),
    "hybrid dense": weighted("FULLY_CONNECTED", types.FLOAT32, types.INT8),
    "int4 dense": weighted("FULLY_CONNECTED", types.INT8, types.INT4),
    "int4 dense, scale for each output": weighted("FULLY_CONNECTED", types.INT8, types.INT4, scales=8),
    "int8 dense, scale for each output": weighted("FULLY_CONNECTED", types.INT8, types.INT8, scales=8),
    "dense to another type": weighted("FULLY_CONNECTED", types.INT8, types.INT8, output_type=types.INT16),
    "DEQUANTIZE of int8": unary("DEQUANTIZE", types.INT8, types.FLOAT32),
    "DEQUANTIZE of float16": unary("DEQUANTIZE", types.FLOAT16, types.FLOAT32),
    "FLOOR of float32": unary("FLOOR", types.FLOAT32, types.FLOAT32),
    "FLOOR of int8": unary("FLOOR", types.INT8, types.INT8),
    "TANH of int16": unary("TANH", types.INT16, types.INT16, 2**-15),
    "TANH of int32": unary("TANH", types.INT32, types.INT32),
}


@pytest.mark.parametrize("name", CASES)
def test_the_interpreter_refuses_the_same(name):
    try:
        runtime.Interpreter.from_bytes(CASES[name]).invoke()
        taken = True
    except RuntimeError:
        taken = False
    if taken:
        check_micro(flatbuffer.read(CASES[name]))
        Profile.of(CASES[name])
        return
    with pytest.raises(ValueError, match="TensorFlow Lite Micro has no .*; (quantise|convert) "):
        Profile.of(CASES[name])


def test_first_of_several_scales_is_refused():
    model = flatbuffer.read(CASES["DEQUANTIZE of int8"])
    parameters = model.subgraphs[0].tensors[0].quantization
    parameters.scale, parameters.zeroPoint = np.ones(8, np.float32), np.zeros(8, np.int64)
    parameters.quantizedDimension = 1
    with pytest.raises(ValueError, match="first of 8 scales"):
        check_micro(model)
    runtime.Interpreter.from_bytes(flatbuffer.write(model)).invoke()  # which says nothing


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_scales_along_another_dimension_are_refused(name):
    """A dimension of the same size is not told from that of the outputs by TensorFlow Lite Micro."""
    right, other = {"CONV_2D": (0, 3), "DEPTHWISE_CONV_2D": (3, 0), "FULLY_CONNECTED": (0, 1)}[name]
    model = flatbuffer.read(weighted(name, types.INT8, types.INT8, scales=8))
    parameters = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[1]].quantization
    assert parameters.quantizedDimension == right
    check_micro(model)
    parameters.quantizedDimension = other
    if name != "DEPTHWISE_CONV_2D":
        runtime.Interpreter.from_bytes(flatbuffer.write(model)).invoke()  # which says nothing
    match = f"{name} takes scales of its weights along dimension {right}, but they lie along dimension {other}; convert"
    with pytest.raises(ValueError, match=match):
        Profile.of(flatbuffer.write(model))


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"])
def test_a_bias_of_another_scale_is_named(name):
    """Its codes are added whatever scale they are said to have; a product rounded to float32 is the same scale."""
    model = flatbuffer.read(net(name, "int8"))
    graph = model.subgraphs[0]
    index = graph.operators[0].inputs[2]
    if name == "TRANSPOSE_CONV":
        index = _with_bias(model)
    bias = graph.tensors[index]
    model.buffers[bias.buffer].data = np.full(flatbuffer.shape(bias), 3000, np.int32).view(np.uint8)
    scale = np.asarray(bias.quantization.scale, np.float32)
    inputs = [np.ones(flatbuffer.shape(graph.tensors[each]), np.int8) for each in graph.inputs]
    answers = []
    for factor in (1, 1 + 1e-6, 1.01):
        bias.quantization.scale = (scale * factor).astype(np.float32)
        told = remarks(model)
        assert bool(told) == (factor == 1.01), told
        answers.append(tflm.Model(flatbuffer.write(model)).run(inputs)[0])
        np.testing.assert_array_equal(answers[0], answers[-1])
    assert told == Profile.of(flatbuffer.write(model)).remarks
    assert told[0].startswith(f"{name} adds its bias at the scale of input times weights, {scale[0]:.6g}, in")
    bias.quantization = None
    assert not remarks(model)


def _with_bias(model):
    """Gives a TRANSPOSE_CONV a bias; returns its tensor's index."""
    graph, buffer, tensor = model.subgraphs[0], schema.BufferT(), schema.TensorT()
    operator = graph.operators[0]
    weights, image = (graph.tensors[operator.inputs[place]] for place in (1, 2))
    channels = flatbuffer.shape(weights)[0]
    tensor.name, tensor.type, tensor.shape = "bias", types.INT32, np.array([channels], np.int32)
    scales = [flatbuffer.quantization(each)[0] for each in (weights, image)]
    tensor.quantization = flatbuffer.quantization_parameters(scales[0] * scales[1], 0)
    buffer.data = np.zeros(4 * channels, np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    graph.tensors.append(tensor)
    operator.inputs = np.append(operator.inputs, len(graph.tensors) - 1).astype(np.int32)
    return len(graph.tensors) - 1


@pytest.mark.parametrize("name, rescales", [("RELU", True), ("RELU6", False)])
def test_relu6_that_copies_codes_is_told(name, rescales):
    """TensorFlow Lite Micro's RELU halves the codes where the output has twice the scale; its RELU6 copies them."""
    data = unary(name, types.INT8, types.INT8, 2.0)
    interpreter = runtime.Interpreter.from_bytes(data)
    interpreter.set_input(np.full((1, 8), 4, np.int8), 0)
    interpreter.invoke()
    assert interpreter.get_output(0).tolist() == [[2 if rescales else 4] * 8]
    told = remarks(flatbuffer.read(data))
    assert len(told) == (0 if rescales else 1)
    assert rescales or told[0].startswith("RELU6 copies codes, but its input has the scale 1 ")
    assert remarks(flatbuffer.read(unary(name, types.INT8, types.INT8))) == ()


def test_only_the_batch_may_be_unknown():
    model = flatbuffer.read(convolution("CONV_2D", 1, 3, 8, 1))
    image = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    image.shapeSignature = np.array([-1, 1, 1, 3], np.int32)
    check_micro(model)
    image.shapeSignature = np.array([-1, -1, -1, 3], np.int32)
    with pytest.raises(ValueError, match=r"'image' has unknown dimensions \[-1, -1, -1, 3\]"):
        Profile.of(flatbuffer.write(model))
    # A window without padding is larger than the one pixel that converters write for the unknown size.
    model = flatbuffer.read(convolution("CONV_2D", 1, 3, 8, 3))
    model.subgraphs[0].operators[0].builtinOptions.padding = schema.Padding.VALID
    image = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    image.shapeSignature = np.array([-1, -1, -1, 3], np.int32)
    with pytest.raises(ValueError, match=r"unknown dimensions .*; convert the model again with an input of known size"):
        Profile.of(flatbuffer.write(model))


@pytest.mark.parametrize(
    "use",
    [
        Profile.of,
        lambda data: export(data, "c", "net", name="net"),
        lambda data: set_threshold(data, 0.5),
        pytest.param(tflite.Interpreter, marks=pytest.mark.needs_lce),
        tflm.Interpreter,
        numpy_runtime.Interpreter,
    ],
)
def test_constants_outside_are_refused(make_part, tmp_path, monkeypatch, use):
    """As files with `use_buffer_offset` have them: TensorFlow Lite Micro reads nothing, and says nothing."""
    monkeypatch.chdir(tmp_path)
    model, builder = flatbuffer.read(make_part(0)), flatbuffers.Builder(1024)
    number = next(number for number, buffer in enumerate(model.buffers) if buffer.data is not None)
    constants, buffer = model.buffers[number].data.tobytes(), model.buffers[number]
    buffer.data, buffer.offset, buffer.size = None, 4096, len(constants)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    data = bytes(builder.Output()).ljust(4096, b"\0") + constants
    with pytest.raises(ValueError, match=r"constants lie behind the flatbuffer's tables.*; convert the model again"):
        use(data)
    assert not list(tmp_path.iterdir())


def test_variables_that_a_reset_loses_are_named():
    told = Profile.of(streaming_net()).remarks
    assert told == remarks(flatbuffer.read(streaming_net())) and told[0].startswith(
        "CALL_ONCE sets the net's variables"
    )
    interpreter = runtime.Interpreter.from_bytes(streaming_net(), arena_size=1 << 16)
    answers = []
    for _ in range(2):
        interpreter.set_input(np.zeros((1, 24), np.int8), 0)
        interpreter.invoke()
        answers.append(int(interpreter.get_output(0)[0, 0]))
        interpreter.reset()
    assert answers == [3, 0]


def test_depthwise_bias_of_sixteen_bits_must_be_wide():
    """TensorFlow Lite Micro reads 64 bits whatever the type is."""
    model = flatbuffer.read(net("DEPTHWISE_CONV_2D", "int16"))
    check_micro(model)
    bias = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[2]]
    bias.type, model.buffers[bias.buffer].data = types.INT32, np.zeros(4 * 12, np.uint8)
    with pytest.raises(
        ValueError, match="reads the bias of int32 as int64; convert the model again with biases of int64"
    ):
        Profile.of(flatbuffer.write(model))


def scaled(name, type, scale, zero_point, index=-1):
    """One operator with a tensor, its last output if no other, that is said to have another scale."""
    model = flatbuffer.read(net(name, type))
    parameters = model.subgraphs[0].tensors[index].quantization
    parameters.scale, parameters.zeroPoint = np.array([scale], np.float32), np.array([zero_point], np.int64)
    return model


OTHERWISE = {
    "TANH": ("int8", 1 / 100, 0),
    "LOGISTIC": ("int8", 1 / 200, -128),
    "L2_NORMALIZATION": ("int8", 1 / 64, 0),
    "PAD": ("int8", 1 / 8, 0),
    "MIRROR_PAD": ("int8", 1 / 8, 0),
    "RESHAPE": ("int8", 1 / 16, 3),
    "TRANSPOSE": ("int8", 1 / 8, 0),
    "BROADCAST_TO": ("int8", 1 / 8, 0),
    "REVERSE_V2": ("int16", 1 / 8, 0),
    "DYNAMIC_UPDATE_SLICE": ("int8", 1 / 8, 0, 1),
    "FILL": ("int8", 1 / 8, 0),
    "CONCATENATION": ("int16", 1 / 8, 0),
    "PACK": ("int8", 1 / 8, 0, 1),
    "UNPACK": ("int8", 1 / 8, 0),
    "SPLIT": ("int8", 1 / 8, 0),
    "SPLIT_V": ("int16", 1 / 8, 0),
    "MAXIMUM": ("int8", 1 / 16, 2),
    "MINIMUM": ("int16", 1 / 8, 0, 1),
    "SELECT_V2": ("int8", 1 / 8, 0, 2),
    "GREATER": ("int16", 1 / 8, 0, 1),
    "CONV_2D": ("int8", 1 / 16, 4, 1),
    "DEPTHWISE_CONV_2D": ("int8", 1 / 16, -4, 1),
    "TRANSPOSE_CONV": ("int16", 1 / 16, 4, 1),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_scales_that_are_ignored_are_named(name):
    """The interpreter gives the same codes whatever scale that tensor is said to have."""
    type, scale, zero_point, *index = OTHERWISE[name]
    sound, other = flatbuffer.read(net(name, type)), scaled(name, type, scale, zero_point, *index)
    assert not remarks(sound)
    (sentence,) = remarks(other)
    assert sentence.startswith(name) and str(zero_point) in sentence
    assert "_CONV" in name or "CONV_" in name or f"{scale:.6g} and " in sentence
    assert Profile.of(flatbuffer.write(other)).record()["remarks"] == [sentence]
    graph, inputs = sound.subgraphs[0], []
    for number in graph.inputs:
        tensor = graph.tensors[number]
        codes = np.arange(np.prod(flatbuffer.shape(tensor))).reshape(flatbuffer.shape(tensor))
        inputs.append(codes.astype(np.int8).astype(flatbuffer.dtype(tensor)))
    answers = [tflm.Model(flatbuffer.write(model)).run(inputs) for model in (sound, other)]
    for one, another in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, another)


@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pooling_takes_equal_scales_alone(name):
    for type in ("int8", "int16"):
        other = scaled(name, type, 1 / 8, 0)
        with pytest.raises(RuntimeError):
            runtime.Interpreter.from_bytes(flatbuffer.write(other)).invoke()
        with pytest.raises(ValueError, match=f"{name} takes equal scales and zero points alone.*; put a QUANTIZE"):
            Profile.of(flatbuffer.write(other))


def test_float_across_a_branch_is_named():
    model = flatbuffer.read(branching_net([1, ("IF", [1], [])]))
    assert not remarks(model)
    for graph in model.subgraphs:
        for index in {*graph.inputs, *graph.outputs} - {model.subgraphs[0].inputs[0]}:
            graph.tensors[index].type = types.FLOAT32
    assert remarks(model) == ("IF carries float32 in and out of its subgraphs, although the net is quantised",)


def test_the_larger_of_both_fields_is_the_operator():
    """Some tools write the wide field alone, and some the narrow one."""
    for wide, narrow in ((6, 0), (0, 6), (6, 127)):
        model = flatbuffer.read(net("DEQUANTIZE", "int8"))
        assert model.operatorCodes[0].builtinCode == 6
        model.operatorCodes[0].builtinCode, model.operatorCodes[0].deprecatedBuiltinCode = wide, narrow
        if narrow == 127:
            model.operatorCodes[0].builtinCode = 130  # beyond the narrow field
        again = flatbuffer.read(flatbuffer.write(model))
        name = flatbuffer.op_name(again, again.subgraphs[0].operators[0])
        assert name == ("DEQUANTIZE" if narrow != 127 else flatbuffer._OP_NAMES[130])


@pytest.mark.parametrize("kind", ["IF", "WHILE"])
def test_scales_across_subgraphs_are_named(kind):
    model = flatbuffer.read(branching_net([1, (kind, [1], [1])]))
    assert not remarks(model)
    inside = model.subgraphs[2]
    inside.tensors[inside.outputs[0]].quantization = flatbuffer.quantization_parameters(0.5, 0)
    (told,) = remarks(model)
    assert told.startswith(
        f"{kind} copies codes, but its tensor has the scale 1 and the zero point 0, that of subgraph 2"
    )
    assert Profile.of(flatbuffer.write(model)).remarks == (told,)


@pytest.mark.parametrize("boost", [0.47, 1.0, 3.0])
@pytest.mark.parametrize("combine", ["sum", "swap"])
def test_the_boost_of_a_pair_is_no_mistake(make_part, boost, combine):
    """A pair's branch reads the binary net's codes with their scale times the boost, in every runtime."""
    pair = merge(make_part(1), make_part(2), Gate.create(4, "score_margin", 0.5), boost=boost, combine=combine)
    model = flatbuffer.read(pair)
    assert remarks(model) == ()
    inside = model.subgraphs[1].tensors[model.subgraphs[1].inputs[-1]]
    scale, zero_point = flatbuffer.quantization(inside)
    inside.quantization = flatbuffer.quantization_parameters(scale * 1.1, zero_point)
    (told,) = remarks(model)
    assert told.startswith("IF copies codes")


@pytest.mark.parametrize("name,type", [("CAST", "uint8"), ("GATHER", "int16"), ("BATCH_MATMUL", "int32")])
def test_types_that_a_kernel_lacks_are_refused(name, type):
    with pytest.raises(ValueError, match=f"TensorFlow Lite Micro has no {name} on {type}"):
        Profile.of(net(name, type))


def test_a_cast_to_bytes_is_refused():
    model = flatbuffer.read(net("CAST", "int8"))
    check_micro(model)
    model.subgraphs[0].tensors[-1].type = types.UINT8
    with pytest.raises(RuntimeError):
        runtime.Interpreter.from_bytes(flatbuffer.write(model), arena_size=1 << 18).invoke()
    with pytest.raises(ValueError, match="TensorFlow Lite Micro has no CAST on int8 that gives uint8"):
        Profile.of(flatbuffer.write(model))


@pytest.mark.parametrize("name", sorted(each.name for each in OPERATORS.values() if each.custom))
def test_custom_operators_of_micro_are_not_lacking(name, tmp_path):
    """They have no figures, so that the sum is a lower bound; an export needs to be told an arena for them."""
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    type = types.FLOAT32 if name == "TFLite_Detection_PostProcess" else types.INT16
    first, last = (builder.tensor(graph, part, type, [1, 16]) for part in ("samples", "result"))
    builder.operator(graph, name.encode(), [first], [last], custom_options=flatbuffer.encode_options({"x": 1}))
    graph.inputs, graph.outputs = np.array([first], np.int32), np.array([last], np.int32)
    data = builder.finish()
    if name == "TFLite_Detection_PostProcess":  # of this one the options are known
        with pytest.raises(ValueError, match=f"operator {name}.* lacks inputs, dimensions or options"):
            Profile.of(data)
        return
    found = Profile.of(data)
    assert found.cost.incomplete and found.arena.incomplete and "at least" in found.text()
    with pytest.raises(ValueError, match=f"the memory of {name}.* is not known"):
        export(data, "c", tmp_path / "without", name="net")
    export(data, "c", tmp_path / "with", name="net", arena_size=1 << 16)
    sources = "".join(path.read_text() for path in (tmp_path / "with" / "src").rglob("*") if path.is_file())
    assert OPERATORS[name].resolver_method in sources
