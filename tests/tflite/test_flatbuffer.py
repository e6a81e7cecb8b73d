import itertools
import re

import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import given, settings
from hypothesis import strategies as st

from bcnet_keras.device.profile import Profile
from bcnet_keras.errors import FlatbufferError
from bcnet_keras.export import export
from bcnet_keras.tflite import flatbuffer


@pytest.fixture(scope="module")
def data(make_part):
    return make_part(0)


def test_write_gives_back_what_read_took(data):
    model = flatbuffer.read(data)
    assert flatbuffer.write(model) == data
    graph = model.subgraphs[0]
    assert [flatbuffer.op_name(model, operator) for operator in graph.operators] == ["RESHAPE", "FULLY_CONNECTED"]
    assert flatbuffer.shape(graph.tensors[0]) == (1, 3, 3, 2)
    assert flatbuffer.quantization(graph.tensors[0]) == (1 / 128, 0)


def test_tensorflow_reads_what_the_builder_wrote(data):
    tf = pytest.importorskip("tensorflow")
    interpreter = tf.lite.Interpreter(model_content=data)
    runner = interpreter.get_signature_runner("serving_default")
    assert runner(x=np.zeros((1, 3, 3, 2), np.int8))["y"].shape == (1, 4)


def test_every_buffer_starts_at_a_multiple_of_16(make_part):
    for seed, shape in enumerate([(3, 3, 2), (1, 1, 1), (5, 7, 3)]):
        data = make_part(seed, shape=shape)
        model = flatbuffer.schema.Model.GetRootAs(data, 0)
        start = np.frombuffer(data, np.uint8).ctypes.data
        buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
        offsets = [b.DataAsNumpy().ctypes.data - start for b in buffers if b.DataLength()]
        assert len(offsets) > 1 and not any(offset % 16 for offset in offsets)


def test_builder_keeps_equal_buffers_and_operator_codes_once():
    builder = flatbuffer.Builder("test")
    graphs = [builder.subgraph(name) for name in ("one", "two")]
    for graph in graphs:
        a = builder.constant(graph, "a", np.arange(3, dtype=np.float32))
        b = builder.constant(graph, "b", np.arange(3, dtype=np.float32))
        builder.operator(graph, "ADD", [a, b], [b], flatbuffer.schema.AddOptionsT())
    builder.metadata("note", b"hello")
    builder.min_runtime_version("2.3.0", [builder.model])
    model = flatbuffer.read(builder.finish())
    assert len(model.buffers) == 4  # none, the constant, two entries of metadata
    assert len(model.operatorCodes) == 1
    assert flatbuffer.metadata(model, "note") == b"hello"
    assert flatbuffer.metadata(model, "min_runtime_version").rstrip(b"\0") == b"2.3.0"
    assert flatbuffer.metadata(model, "other") is None


def test_min_runtime_version_is_the_newest_that_a_part_needs():
    part = flatbuffer.Builder("test")
    part.subgraph("main")
    part.min_runtime_version("2.10.0", [])
    whole = flatbuffer.Builder("test")
    whole.min_runtime_version("2.3.0", [part.model])
    assert flatbuffer.metadata(whole.model, "min_runtime_version").rstrip(b"\0") == b"2.10.0"


def test_every_cut_is_refused(data):
    for length in range(len(data)):
        with pytest.raises(ValueError, match="TensorFlow Lite flatbuffer"):
            flatbuffer.read(data[:length])


@settings(max_examples=300, deadline=None)
@given(edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_file_is_read_or_refused(data, edits):
    damaged = bytearray(data)
    for place, value in edits:
        damaged[8 + int(place * (len(data) - 9))] = value
    try:
        model = flatbuffer.read(damaged)
    except ValueError as error:
        assert "damaged" in str(error)
    else:  # what is accepted can be written and read again
        assert flatbuffer.write(flatbuffer.read(flatbuffer.write(model))) == flatbuffer.write(model)


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(foreign):
    for data in (foreign, b"\x10\0\0\0TFL3" + foreign):
        with pytest.raises(ValueError, match="TensorFlow Lite flatbuffer"):
            flatbuffer.read(data)


def test_load_names_what_is_wrong(tmp_path, data):
    with pytest.raises(FileNotFoundError, match="no file .*absent.tflite"):
        flatbuffer.load(tmp_path / "absent.tflite")
    with pytest.raises(TypeError, match="got int"):
        flatbuffer.load(3)
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    assert flatbuffer.load(path) == flatbuffer.load(str(path)) == flatbuffer.load(data) == data


def test_constants_of_no_numbers_are_refused(make_part):
    model = flatbuffer.read(make_part(0))
    tensor = next(t for t in model.subgraphs[0].tensors if flatbuffer.is_constant(model, t))
    for type in (
        flatbuffer.schema.TensorType.RESOURCE,
        flatbuffer.schema.TensorType.STRING,
        flatbuffer.schema.TensorType.INT4,
    ):
        tensor.type = type
        with pytest.raises(ValueError, match="expected numbers; write the file again"):
            flatbuffer.constant(model, tensor)


def test_names_of_outputs_follow_the_signature_in_the_order_of_the_tensors(tmp_path):
    """As a converter leaves them that orders outputs by the operators' numbers: b, a, c for a model of a, b, c."""
    builder = flatbuffer.Builder("test")
    graph, int8 = builder.subgraph("main"), flatbuffer.schema.TensorType.INT8
    image, *outputs = (builder.tensor(graph, f"tensor {n}", int8, [1, 4], (1.0, 0)) for n in range(4))
    for output in outputs:
        builder.operator(graph, "ABS", [image], [output], flatbuffer.schema.AbsOptionsT())
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array(outputs, np.int32)
    assert flatbuffer.interface_names(builder.model) == (["tensor 0"], ["tensor 1", "tensor 2", "tensor 3"])
    builder.signature(0, {"x": image}, {"a": outputs[1], "b": outputs[0], "c": outputs[2]})
    model = flatbuffer.read(builder.finish())
    assert flatbuffer.interface_names(model) == (["x"], ["b", "a", "c"])
    assert Profile.of(builder.finish()).outputs == ("b int8 [1, 4]", "a int8 [1, 4]", "c int8 [1, 4]")
    header = (export(builder.finish(), "c", tmp_path / "out", name="net") / "src" / "net_model.h").read_text()
    assert re.findall(r"#define NET_OUTPUT_(\w+)_INDEX (\d)", header) == [("B", "0"), ("A", "1"), ("C", "2")]


def test_damaged_options_of_a_custom_operator_are_refused():
    operator, refused = flatbuffer.schema.OperatorT(), 0
    options = {"bias": 0.5, "kind": "learned", "weights": [1.0, 2.0]}
    sound = flatbuffer.encode_options(options)
    for place, bit in itertools.product(range(len(sound)), range(8)):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << bit
        operator.customOptions = np.frombuffer(damaged, np.uint8)
        try:
            assert isinstance(flatbuffer.custom_options(operator), dict)
        except FlatbufferError as error:
            refused += 1
            assert str(error).startswith("the options of a custom operator ") and len(str(error)) < 300
    assert 100 < refused < 8 * len(sound)
    operator.customOptions = np.frombuffer(sound, np.uint8)
    assert flatbuffer.custom_options(operator) == options
    for nested in ({"a": {"b": 1}}, {"a": [[1], [2]]}, {"a": [1, {"b": 2}]}):
        operator.customOptions = np.frombuffer(flexbuffers.Dumps(nested), np.uint8)
        with pytest.raises(FlatbufferError, match="hold maps or lists of lists, expected a flat map"):
            flatbuffer.custom_options(operator)
