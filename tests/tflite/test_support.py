"""What is said to be refused by TensorFlow Lite Micro, against its own interpreter."""

import numpy as np
import pytest
from flatbuffers_of import convolution
from tflite_micro.python.tflite_micro import runtime

from bcnet_keras.device.profile import Profile
from bcnet_keras.tflite import flatbuffer
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
    with pytest.raises(ValueError, match="first of 8 scales"):
        check_micro(model)


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


def test_constants_outside_are_refused(make_part):
    model = flatbuffer.read(make_part(0))
    model.buffers[1].offset, model.buffers[1].size = 4096, 16
    with pytest.raises(ValueError, match="constants lie behind the flatbuffer's tables"):
        check_micro(model)
