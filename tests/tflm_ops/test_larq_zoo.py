"""Architectures of larq-zoo, converted by Larq Compute Engine, in TensorFlow Lite Micro.

Whole nets of floats differ in the last bits of their float operators, which a sign then makes large. So each binary
operator is compared on its own: on the inputs that it had in TensorFlow Lite Micro.
"""

import importlib
import importlib.util
import sys
from unittest import mock

import numpy as np
import pytest
from lce_graphs import Node, Tensor, model, run_lce

from bcnet_keras.runtime import plugin, tflm
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.utils.silence import captured_output

ARCHITECTURES = {
    "QuickNet": ("sota", 32),
    "BinaryDenseNet28": ("literature", 32),
    "BinaryAlexNet": ("literature", 64),
    "RealToBinaryNet": ("literature", 32),
}

pytestmark = pytest.mark.needs_lce
needs_larq_zoo = pytest.mark.skipif(importlib.util.find_spec("larq_zoo") is None, reason="larq-zoo is not installed")


def convert(name, folder, size):
    import larq_compute_engine as lce
    import tensorflow as tf

    # larq_zoo imports a library of data sets that needs an older protobuf than TensorFlow; its nets do not use it.
    with mock.patch.dict(sys.modules, {"tensorflow_datasets": mock.MagicMock()}):
        architectures = importlib.import_module(f"larq_zoo.{folder}")
    tf.keras.utils.set_random_seed(0)
    tf.keras.backend.clear_session()  # the same names of layers whatever other tests have built
    with captured_output():
        net = getattr(architectures, name)(input_shape=(size, size, 3), num_classes=10, weights=None)
        for layer in net.layers:  # batch normalisation as training leaves it, so that activations of both signs occur
            if isinstance(layer, tf.keras.layers.BatchNormalization):
                random = np.random.default_rng(len(layer.name))
                values = [w + 0.3 * random.normal(size=w.shape) for w in layer.get_weights()]
                layer.set_weights([*values[:-1], np.abs(values[-1]) + 0.5])
        return lce.convert_keras_model(net)


def nodes_of(parsed, value_of):
    """The binary operators of a flatbuffer; `value_of` gives the value of a tensor that is not constant."""
    graph = parsed.subgraphs[0]

    def tensor(index):
        t = graph.tensors[index]
        constant = flatbuffer.constant(parsed, t)
        value = value_of(index, t) if constant is None else constant
        scale, zero_point = flatbuffer.quantization(t) or (None, 0)
        value = value.reshape(flatbuffer.shape(t))
        return Tensor.of(value, scale=scale, zero_point=zero_point, constant=constant is not None)

    for operator in graph.operators:
        name = flatbuffer.op_name(parsed, operator)
        if name.startswith("Lce"):
            inputs = [None if index < 0 else tensor(index) for index in operator.inputs]
            options = b"" if operator.customOptions is None else operator.customOptions.tobytes()
            yield Node(name, inputs, tensor(operator.outputs[0]), options)


def binary_operators(data, image):
    """Each binary operator with its inputs and its output in TensorFlow Lite Micro."""
    from tflite_micro import runtime

    plugin.load()
    parsed = flatbuffer.read(data)
    with captured_output():
        interpreter = runtime.Interpreter.from_bytes(
            flatbuffer.write(parsed),
            custom_op_registerers=[plugin.REGISTERER],
            arena_size=256 << 20,
            intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors,
        )
        interpreter.set_input(image, 0)
        interpreter.invoke()

    return list(nodes_of(parsed, lambda index, _: interpreter.GetTensor(index, 0)["tensor_data"]))


@pytest.mark.needs_tflm
@needs_larq_zoo
@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_binary_operator_equals_lce(name):
    data = convert(name, *ARCHITECTURES[name])
    shape = flatbuffer.shape(flatbuffer.read(data).subgraphs[0].tensors[0])
    image = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    nodes = binary_operators(data, image)
    assert {"LceQuantize", "LceBconv2d"} <= {node.name for node in nodes}
    for node in nodes:
        (expected,) = run_lce([node])
        actual = node.output.value
        np.testing.assert_array_equal(actual.view(np.uint32) if actual.dtype == np.int32 else actual, expected)
        assert len(np.unique(actual)) > 1  # not all of one value, which would compare little


@pytest.mark.needs_tflm
@needs_larq_zoo
@pytest.mark.slow
def test_every_binary_operator_of_xnornet_equals_lce():
    """TensorFlow Lite Micro lacks XNORNet's RELU_N1_TO_1: its binary operators run alone, on random inputs."""
    random = np.random.default_rng(2)

    def value_of(_, tensor):
        shape = flatbuffer.shape(tensor)
        if flatbuffer.type_name(tensor) == "int32":
            return random.integers(-(2**31), 2**31, shape).astype(np.int32)
        return random.normal(size=shape).astype(np.float32)

    # 227 is the smallest size that its valid convolutions allow.
    nodes = list(nodes_of(flatbuffer.read(convert("XNORNet", "literature", 227)), value_of))
    assert {"LceQuantize", "LceBconv2d", "LceDequantize"} <= {node.name for node in nodes}
    for node in nodes:
        (actual,) = tflm.Model(model([node])).run([node.inputs[0].value])
        (expected,) = run_lce([node])
        np.testing.assert_array_equal(actual.view(np.uint32) if actual.dtype == np.int32 else actual, expected)
