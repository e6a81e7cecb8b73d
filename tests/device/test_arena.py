"""The arena's plan against TensorFlow Lite Micro's own, and rules of its planner."""

import re
from pathlib import Path

import numpy as np
import pytest
from flatbuffers_of import binary_convolution, stem_net, streaming_net
from hypothesis import given
from hypothesis import strategies as st

from bcnet_keras.convert import Gate, merge
from bcnet_keras.device import arena as arenas
from bcnet_keras.device.arena import REFERENCE, arena
from bcnet_keras.runtime import tflm
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.utils.silence import captured_output

MLPERF_TINY = Path.home() / "datasets" / "mlperf-tiny"
# What the interpreter's arena_used_bytes() told under QEMU.
USED = {
    "pretrainedResnet_quant": {"cortex-m4": 54996, "cortex-m7": 54996, "cortex-m55": 55028},
    "kws_ref_model": {"cortex-m4": 22820, "cortex-m7": 22820, "cortex-m55": 27348},
}


def planned_on_the_host(data):
    """Bytes of activations and scratch memory in the wheel's interpreter, whose kernels are the reference's."""
    with captured_output() as captured:
        tflm.Model(data)._interpreter.print_allocations()
        return int(re.search(r"Arena allocation head (\d+) bytes", captured())[1])


@pytest.mark.parametrize("name", ["pretrainedResnet_quant", "kws_ref_model"])
def test_plan_is_the_interpreters(name):
    path = MLPERF_TINY / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"needs MLPerf Tiny's reference model {path}")
    assert arena(path, REFERENCE).activation_bytes == planned_on_the_host(path)


@pytest.mark.parametrize("name", USED)
def test_whole_arena_is_the_devices(name):
    path = MLPERF_TINY / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"needs MLPerf Tiny's reference model {path}")
    assert {core: arena(path, core).used_bytes for core in USED[name]} == USED[name]


def test_plan_of_a_pair_is_the_interpreters(make_part):
    gate = Gate.create(4, "score_margin", 0.5)
    for shape in ((8, 8, 3), (3, 3, 2)):
        for stems, skip in (((None, None), False), ((1, 1), True), ((1, 2), True)):
            parts = (make_part(i, shape=shape, stem=stem, skip=bool(i and skip)) for i, stem in enumerate(stems))
            pair = merge(*parts, gate, kind="builtin")
            assert arena(pair, REFERENCE).activation_bytes == planned_on_the_host(pair)


def test_branches_share_memory(make_part):
    parts = make_part(0, shape=(16, 16, 3)), make_part(1, shape=(16, 16, 3))
    alone = arena(parts[0])
    pair = arena(merge(*parts, Gate.create(4, "score_margin", 0.5)))
    # The image stays for the int8 net, which reshapes a copy of it.
    assert pair.activation_bytes < 1.6 * alone.activation_bytes
    assert pair.steps.count(None) == 3 and "IF" in pair.steps


requests = st.lists(
    st.tuples(st.integers(1, 20).map(lambda n: 16 * n), st.integers(0, 8), st.integers(0, 8)).map(
        lambda r: arenas.Request("x", r[0], ((min(r[1:]), max(r[1:])),))
    ),
    max_size=25,
)


@given(requests)
def test_buffers_in_use_together_do_not_overlap(requests):
    offsets = arenas.place(requests)
    places = [
        (offset, offset + each.bytes, each.first, each.last) for offset, each in zip(offsets, requests, strict=True)
    ]
    for number, (begin, end, first, last) in enumerate(places):
        for other_begin, other_end, other_first, other_last in places[:number]:
            apart_in_time = last < other_first or other_last < first
            assert apart_in_time or end <= other_begin or other_end <= begin
    if requests:
        peak = max(sum(each.bytes for each in requests if each.first <= t <= each.last) for t in range(9))
        assert max(end for _, end, *_ in places) >= peak


def test_foreign_tensors_are_named(make_part):
    model = flatbuffer.read(make_part(0))
    model.subgraphs[0].tensors[0].type = flatbuffer.schema.TensorType.STRING
    with pytest.raises(ValueError, match="has the type string"):
        arena(flatbuffer.write(model))


def test_a_subgraph_that_runs_itself_is_refused(make_part):
    model = flatbuffer.read(merge(make_part(0), make_part(1), Gate.create(4, "score_margin", 0.5)))
    for operator in model.subgraphs[0].operators:
        if isinstance(operator.builtinOptions, flatbuffer.schema.IfOptionsT):
            operator.builtinOptions.thenSubgraphIndex = 0
    with pytest.raises(ValueError, match="subgraph 0 runs itself"):
        arena(flatbuffer.write(model))


@pytest.mark.parametrize("output", ["bitpacked", "int8"])
def test_scratch_memory_stays_within_the_budget(output):
    layer = binary_convolution({"shape": "16x16x64-64-k3-s1", "output": output})
    without = arena(layer, scratch_budget=0)
    used = []
    for budget in (48 << 10, 24 << 10, 1 << 10, 100):
        planned = arena(layer, scratch_budget=budget)
        scratch = [buffer.bytes for buffer in planned.buffers if buffer.name == "scratch memory of LceBconv2d"]
        assert all(size <= budget + 15 for size in scratch)  # sizes are rounded up
        used.append(planned.activation_bytes - without.activation_bytes)
    assert used[0] > used[1] > used[2] > 0 and all(
        more <= budget + 15 for more, budget in zip(used, (48 << 10, 24 << 10, 1 << 10, 100), strict=True)
    )


def net_of(name, shapes, options=None, constants=(), types=None, variables=()):
    """A flatbuffer of one operator: shapes of its inputs and, last, of its output; the rest names them by index."""
    schema = flatbuffer.schema
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    tensors = []
    for index, shape in enumerate(shapes):
        type = (types or {}).get(index, schema.TensorType.INT8)
        data = np.zeros(shape, {schema.TensorType.INT8: np.int8}.get(type, np.int32)) if index in constants else None
        tensors.append(builder.tensor(graph, f"t{index}", type, shape, (1.0, 0), data))
        graph.tensors[-1].isVariable = index in variables
    builder.operator(graph, name, tensors[:-1], tensors[-1:], options)
    inputs = [tensor for index, tensor in enumerate(tensors[:-1]) if index not in (*constants, *variables)]
    graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array(tensors[-1:], np.int32)
    return builder.finish()


def test_scratch_memory_of_svdf_and_mirror_pad_is_the_interpreters():
    schema = flatbuffer.schema
    options = schema.SVDFOptionsT()
    options.rank = 2
    types = {2: schema.TensorType.INT8, 3: schema.TensorType.INT32}
    shapes = ([1, 24], [16, 24], [16, 10], [8], [1, 160], [1, 8])
    svdf = net_of("SVDF", shapes, options, constants=(1, 2, 3), types=types, variables=(4,))
    mirror = schema.MirrorPadOptionsT()
    padded = net_of("MIRROR_PAD", ([1, 4, 4, 3], [4, 2], [1, 6, 6, 3]), mirror, (1,), {1: schema.TensorType.INT32})
    for data in (svdf, padded):
        assert arena(data, REFERENCE).activation_bytes == planned_on_the_host(data)


@pytest.mark.parametrize(
    "image, filters, planes, stride",
    [((32, 32, 3), (16, 3, 3, 3), 4, 1), ((49, 10, 1), (64, 10, 4, 1), 1, 2), ((9, 3, 2), (3, 1, 1, 2), 9, 4)],
)
def test_scratch_memory_of_a_stem_is_the_interpreters(image, filters, planes, stride):
    data = stem_net(image, filters, planes, stride)
    assert arena(data, REFERENCE).activation_bytes == planned_on_the_host(data)


def test_transposed_convolution_has_its_scratch_memory():
    """TensorFlow Lite Micro with CMSIS-NN needs 8,384 bytes of activations and scratch memory for this one."""
    options = flatbuffer.schema.TransposeConvOptionsT()
    options.strideH = options.strideW = 2
    shapes = ([4], [16, 3, 3, 16], [1, 8, 8, 16], [1, 16, 16, 16])
    types = {0: flatbuffer.schema.TensorType.INT32}
    assert arena(net_of("TRANSPOSE_CONV", shapes, options, (0, 1), types)).activation_bytes == 8384


def rfft(builder, graph):
    """An operator of TensorFlow Lite Micro's signal library."""
    types = flatbuffer.schema.TensorType
    samples = builder.tensor(graph, "samples", types.INT16, [1, 512])
    spectrum = builder.tensor(graph, "spectrum", types.INT16, [1, 514])
    options = flatbuffer.encode_options({"T": 3, "fft_length": 512})
    builder.operator(graph, b"SignalRfft", [samples], [spectrum], custom_options=options)
    graph.inputs, graph.outputs = np.array([samples], np.int32), np.array([spectrum], np.int32)


def test_memory_that_is_not_known_makes_a_lower_bound(bcnet, tmp_path):
    builder = flatbuffer.Builder("test")
    rfft(builder, builder.subgraph("main"))
    data = builder.finish()
    assert arena(data).incomplete == ("SignalRfft on int16",)
    (tmp_path / "net.tflite").write_bytes(data)
    status, out, _ = bcnet("profile", tmp_path / "net.tflite")
    assert status == 0 and re.search(r"arena +at least [\d,]+ B", out) and re.search("instructions +at least", out)
    export = ["export", tmp_path / "net.tflite", "--format=c", f"--output={tmp_path / 'firmware'}"]
    status, _, err = bcnet(*export)
    assert status == 1 and "the memory of SignalRfft on int16 is not known" in err and err.count("\n") == 1
    assert bcnet(*export, "--arena_size=4096")[0] == 0
    assert "resolver.AddRfft()" in (tmp_path / "firmware" / "src" / "net_net_ops.h").read_text()


def test_resource_variables_are_the_interpreters():
    data = streaming_net()
    assert arena(data, REFERENCE).activation_bytes == planned_on_the_host(data)
    model = flatbuffer.read(data)
    for graph in model.subgraphs:
        graph.operators = [o for o in graph.operators if flatbuffer.op_name(model, o) != "ASSIGN_VARIABLE"]
    # Each of the two keeps its 24 bytes from its first assignment on.
    assert arena(data).record_bytes - arena(flatbuffer.write(model)).record_bytes == 2 * 32 + 3 * 32
    net = tflm.Model(data)
    for step in (1, 2, 3):
        (total,) = net.run([np.full((1, 24), 5, np.int8)])
        assert (total == 3 + 5 * step).all()
