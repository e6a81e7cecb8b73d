"""Offline memory plans in TensorFlow Lite Micro: the same answers, in no more memory than the interpreter needs."""

import re

import numpy as np
import pytest
from flatbuffers_of import make_int8_net, random_net, renumbered

from bcnet_keras.convert import Gate, merge, replace_gate, set_threshold
from bcnet_keras.device import memory_plan
from bcnet_keras.device.arena import REFERENCE, arena, requests_of
from bcnet_keras.device.cost import CORES
from bcnet_keras.device.memory_plan import live_bytes, plan_memory, remove_plan
from bcnet_keras.models.networks import NETWORKS
from bcnet_keras.planning.sketch import sketch_int8
from bcnet_keras.runtime import tflm
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import OFFLINE_PLAN, ONLINE, planned_offsets
from bcnet_keras.tflite.verify import verify
from bcnet_keras.utils.silence import captured_output

schema = flatbuffer.schema


def planned(data, core=None):
    """(the flatbuffer with a plan, the arenas before and after)."""
    model = flatbuffer.read(data)
    _, before, after = plan_memory(model, core)
    return flatbuffer.write(model), before, after


def head_and_answers(data, inputs):
    """Bytes of activations and scratch memory in the wheel's interpreter, and its answers."""
    with captured_output() as captured:
        model = tflm.Model(data)
        model._interpreter.print_allocations()
        head = int(re.search(r"Arena allocation head (\d+) bytes", captured())[1])
    return head, np.stack([np.concatenate([np.ravel(each) for each in model.run([x])]) for x in inputs])


@pytest.mark.parametrize("branches", [0, 1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_a_plan_keeps_the_answers_and_is_the_interpreters(branches, seed):
    random = np.random.default_rng(100 * branches + seed)
    data = renumbered(random_net(random, branches=branches), random)
    inputs = random.integers(-128, 128, (6, 1, 64)).astype(np.int8)
    with_plan, before, after = planned(data, REFERENCE)
    (head, answers), (planned_head, planned_answers) = (head_and_answers(each, inputs) for each in (data, with_plan))
    assert (head, planned_head) == (before.activation_bytes, after.activation_bytes)
    np.testing.assert_array_equal(planned_answers, answers)
    assert len(np.unique(answers, axis=0)) > 1
    bound = live_bytes(flatbuffer.read(data), REFERENCE)
    assert planned_head <= min(head, 1.02 * bound)


def convolutions(random):
    """A flatbuffer of five int8 convolutions of several sizes, of which the last two are joined."""
    int8, builder = schema.TensorType.INT8, flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    known, channels = [builder.tensor(graph, "image", int8, [1, 12, 12, 3], (1.0, 0))], [3]
    for _ in range(5):
        source = int(random.integers(max(0, len(known) - 3), len(known)))
        filters, taps = 4 * int(random.integers(1, 9)), int(random.choice([1, 3, 5]))
        zeros = np.zeros((filters, taps, taps, channels[source]), np.int8)
        weights = builder.tensor(graph, "w", int8, zeros.shape, (1.0, 0), zeros)
        known.append(builder.tensor(graph, "x", int8, [1, 12, 12, filters], (1.0, 0)))
        channels.append(filters)
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = 1
        builder.operator(graph, "CONV_2D", [known[source], weights, -1], known[-1:], options, version=3)
    options = schema.ConcatenationOptionsT()
    options.axis = 3
    joined = builder.tensor(graph, "joined", int8, [1, 12, 12, sum(channels[-2:])], (1.0, 0))
    builder.operator(graph, "CONCATENATION", known[-2:], [joined], options, version=2)
    graph.inputs, graph.outputs = np.array(known[:1], np.int32), np.array([joined], np.int32)
    return builder.finish()


@pytest.mark.parametrize("seed", [35, 58, 105, 270])
def test_a_plan_for_all_cores_costs_the_reference_kernels_nothing(seed):
    """They have no scratch memory here, so that TensorFlow Lite Micro's planner sees another problem."""
    data = convolutions(np.random.default_rng(seed))
    image = [np.zeros((1, 12, 12, 3), np.int8)]
    with_plan, *_ = planned(data)
    assert head_and_answers(with_plan, image)[0] <= head_and_answers(data, image)[0]
    for core in CORES:
        assert arena(with_plan, core).bytes <= arena(data, core).bytes


def test_the_order_of_tensors_does_not_matter():
    nets = NETWORKS["images"].nets()
    data, random = sketch_int8(nets, (32, 32, 3), 10), np.random.default_rng(0)
    found = {planned(renumbered(data, random))[2].activation_bytes for _ in range(4)}
    least = max(live_bytes(flatbuffer.read(data), core) for core in CORES)
    assert max(found) <= 1.02 * least


@pytest.mark.needs_tflm
def test_a_pair_does_not_copy_what_its_gate_hands_on():
    gate = Gate.create(4, "score_margin", 0.5)
    parts = (make_int8_net(0, shape=(16, 16, 3), stem=1), make_int8_net(1, shape=(16, 16, 3), stem=1))
    pair = merge(*parts, gate)
    model = flatbuffer.read(pair)
    with_plan, alone = planned_offsets(model), flatbuffer.read(pair)
    remove_plan(alone)
    starts = np.cumsum([0, *(len(graph.tensors) for graph in model.subgraphs)])
    (branch,) = (each for each in model.subgraphs[0].operators if flatbuffer.op_name(model, each) == "IF")
    for number in (1, 2):
        for outer, inner in zip(branch.inputs[1:], model.subgraphs[number].inputs, strict=True):
            assert with_plan[outer] == with_plan[starts[number] + inner] >= 0
    inputs = np.random.default_rng(0).integers(-128, 128, (6, 1, 16, 16, 3)).astype(np.int8)
    (head, answers), (planned_head, planned_answers) = (
        head_and_answers(each, inputs) for each in (flatbuffer.write(alone), pair)
    )
    assert planned_head < head
    np.testing.assert_array_equal(planned_answers, answers)
    assert 0 < answers[:, -1].mean() < 1  # both branches ran


def test_changed_pairs_have_their_own_plan():
    pair = merge(make_int8_net(0), make_int8_net(1), Gate.create(4, "score_margin", 0.5))
    assert planned_offsets(flatbuffer.read(pair)) is not None
    assert planned_offsets(flatbuffer.read(set_threshold(pair, 0.25))) is not None
    builtin = replace_gate(pair, "builtin")
    assert planned_offsets(flatbuffer.read(builtin)) is None
    assert replace_gate(builtin, "custom") == pair


def test_two_calls_of_one_subgraph_do_not_keep_its_memory_between_them():
    """Both IFs run the same two subgraphs: one offset each serves both calls, and others may lie there between them."""
    random = np.random.default_rng(0)
    model = flatbuffer.read(random_net(random, layers=3, branches=2))
    first, second = (each for each in model.subgraphs[0].operators if flatbuffer.op_name(model, each) == "IF")
    # The second IF runs the first one's branches, on the same inputs.
    second.inputs = np.array([second.inputs[0], *first.inputs[1:]], np.int32)
    second.builtinOptions = first.builtinOptions
    data = flatbuffer.rewrite(model)
    inputs = random.integers(-128, 128, (6, 1, 64)).astype(np.int8)
    with_plan, before, after = planned(data, REFERENCE)
    (head, answers), (planned_head, planned_answers) = (head_and_answers(each, inputs) for each in (data, with_plan))
    assert (head, planned_head) == (before.activation_bytes, after.activation_bytes)
    np.testing.assert_array_equal(planned_answers, answers)
    assert planned_head < head


def with_plan_of(data, offsets):
    """The flatbuffer with these offsets as its plan, as another tool would write it."""
    model = flatbuffer.read(data)
    remove_plan(model)
    numbers = np.array([1, 0, len(offsets), *offsets], "<i4")
    flatbuffer.Builder.extending(model).metadata(OFFLINE_PLAN, numbers.tobytes())
    return flatbuffer.write(model)


def test_a_second_plan_changes_nothing():
    random = np.random.default_rng(1)
    data = renumbered(random_net(random, layers=14, branches=1), random)
    once, _, after = planned(data)
    again, *arenas = planned(once)
    assert once != data and again == once
    assert arenas == [after, after]


def with_wasteful_plan(data):
    """The flatbuffer with a plan that gives each tensor a place of its own, and the bytes that these take."""
    model = flatbuffer.read(data)
    requests = [each for each in requests_of(model, REFERENCE) if each.tensor is not None]
    offsets = np.full(sum(len(graph.tensors) for graph in model.subgraphs), ONLINE)
    offsets[[each.tensor for each in requests]] = np.cumsum([0, *(each.bytes for each in requests[:-1])])
    return with_plan_of(data, offsets), sum(each.bytes for each in requests)


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_plan_of_another_tool_is_replaced_and_counts_as_before(seed):
    random = np.random.default_rng(seed)
    data = random_net(random, branches=1)
    foreign, taken = with_wasteful_plan(data)
    inputs = random.integers(-128, 128, (6, 1, 64)).astype(np.int8)
    with_plan, before, after = planned(foreign, REFERENCE)
    (head, answers), (planned_head, planned_answers) = (head_and_answers(each, inputs) for each in (foreign, with_plan))
    assert (head, planned_head) == (before.activation_bytes, after.activation_bytes) == (taken, planned_head)
    np.testing.assert_array_equal(planned_answers, answers)
    assert after == planned(data, REFERENCE)[2]
    assert len(with_plan) <= len(foreign)


def test_a_better_plan_of_another_tool_stays(monkeypatch):
    random = np.random.default_rng(5009)
    data = renumbered(random_net(random, layers=13), random)
    monkeypatch.setattr(memory_plan, "_PATIENCE", 3000)
    better = planned(data, REFERENCE)[0]
    monkeypatch.undo()
    inputs = random.integers(-128, 128, (2, 1, 64)).astype(np.int8)
    heads = [head_and_answers(each, inputs)[0] for each in (better, planned(data, REFERENCE)[0])]
    assert heads[0] < heads[1]
    assert planned(better, REFERENCE)[0] == better


@pytest.mark.parametrize("doubled", ["then", "else"])
def test_a_branch_may_give_one_tensor_twice(doubled):
    """The other branch gives two different ones, which must not share a place for it."""
    int8, random = schema.TensorType.INT8, np.random.default_rng(3)
    builder = flatbuffer.Builder("test")
    main = builder.subgraph("main")

    def vector(graph, name="x", size=64):
        return builder.tensor(graph, name, int8, [1, size], (0.05, 0))

    def turned(graph, source, name, size=64):
        numbers = random.integers(-60, 61, (size, 64)).astype(np.int8)
        kernel = builder.tensor(graph, "w", int8, numbers.shape, (0.003, 0), numbers)
        options, result = schema.FullyConnectedOptionsT(), vector(graph, name, size)
        builder.operator(graph, "FULLY_CONNECTED", [source, kernel, -1], [result], options, version=4)
        return result

    image = vector(main, "image")
    zero = builder.tensor(main, "zero", int8, [1, 1], (0.05, 0), np.zeros((1, 1), np.int8))
    positive = builder.tensor(main, "positive", schema.TensorType.BOOL, [1, 1])
    total = turned(main, image, "sum", 1)
    builder.operator(main, "GREATER", [total, zero], [positive], schema.GreaterOptionsT(), version=2)
    for name in ("then", "else"):
        graph = builder.subgraph(name)
        given = vector(graph, "given")
        first, second = turned(graph, given, "first"), turned(graph, given, "second")
        graph.inputs = np.array([given], np.int32)
        graph.outputs = np.array([first, first if name == doubled else second], np.int32)
    options, results = schema.IfOptionsT(), [vector(main, "first"), vector(main, "second")]
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    builder.operator(main, "IF", [positive, image], results, options)
    main.inputs, main.outputs = np.array([image], np.int32), np.array(results, np.int32)
    foreign, _ = with_wasteful_plan(builder.finish())
    inputs = random.integers(-128, 128, (6, 1, 64)).astype(np.int8)
    _, answers = head_and_answers(foreign, inputs)
    np.testing.assert_array_equal(head_and_answers(planned(foreign, REFERENCE)[0], inputs)[1], answers)
    alike = np.array([np.array_equal(each[:64], each[64:]) for each in answers])
    assert 0 < alike.sum() < len(alike)  # both branches ran


def test_tensors_that_nothing_uses_take_no_memory_of_their_own():
    random = np.random.default_rng(4)
    model = flatbuffer.read(random_net(random))
    builder = flatbuffer.Builder.extending(model)
    for size in (500, 300, 700):
        builder.tensor(model.subgraphs[0], "spare", schema.TensorType.INT8, [1, size], (0.05, 0))
    data = flatbuffer.write(model)
    inputs = random.integers(-128, 128, (3, 1, 64)).astype(np.int8)
    with_plan, before, after = planned(data, REFERENCE)
    (head, answers), (planned_head, planned_answers) = (head_and_answers(each, inputs) for each in (data, with_plan))
    assert head == before.activation_bytes >= 512 + 304 + 704
    assert planned_head == after.activation_bytes == max(704, live_bytes(model, REFERENCE))
    np.testing.assert_array_equal(planned_answers, answers)


def test_a_plan_that_cannot_be_is_replaced():
    data = random_net(np.random.default_rng(0), branches=1)
    count = sum(len(graph.tensors) for graph in flatbuffer.read(data).subgraphs)
    for offsets in (np.zeros(count - 1, int), np.full(count, 8), np.full(count, 1 << 20)):
        assert planned(with_plan_of(data, offsets))[2] == planned(data)[2]


@pytest.mark.parametrize(
    "numbers, message",
    [
        ([1, 0], "is not of its 5 tensors"),
        ([1, 0, 4, 0, 0, 0, 0], "is not of its 5 tensors"),
        ([1, 0, 5, 0, 8, 0, 0, 0], "no multiples of 16"),
        ([1, 0, 5, 0, -16, 0, 0, 0], "no multiples of 16"),
        ([1, 0, 5, 0, 1 << 20, 0, 0, 0], "more than all of its tensors together"),
    ],
)
def test_plans_that_cannot_be_are_refused(numbers, message):
    model = flatbuffer.read(make_int8_net(0))
    assert len(model.subgraphs[0].tensors) == 5
    flatbuffer.Builder.extending(model).metadata(OFFLINE_PLAN, np.array(numbers, "<i4").tobytes())
    with pytest.raises(ValueError, match=message):
        arena(flatbuffer.write(model))
    if "together" not in message:  # before an interpreter takes them for places in its memory
        with pytest.raises(ValueError, match=message):
            verify(model)


def test_a_file_with_unknown_memory_stays_as_it_is(bcnet, tmp_path):
    """A plan could need more than the interpreter's own planner does."""
    random = np.random.default_rng(1)
    data = renumbered(random_net(random, layers=14, branches=1), random)
    assert planned(data)[0] != data
    model = flatbuffer.read(data)
    graph, builder = model.subgraphs[0], flatbuffer.Builder.extending(model)
    given = builder.tensor(graph, "given", schema.TensorType.INT16, [1, 16], (1.0, 0))
    result = builder.tensor(graph, "result", schema.TensorType.INT16, [1, 16], (1.0, 0))
    builder.operator(graph, b"SignalDelay", [given], [result])
    graph.inputs = np.append(graph.inputs, given).astype(np.int32)
    data = flatbuffer.write(model)
    assert arena(data).incomplete
    same, before, after = planned(data)
    assert same == data and before == after
    (tmp_path / "net.tflite").write_bytes(data)
    status, out, _ = bcnet("optimize", tmp_path / "net.tflite")
    assert status == 0 and "no plan was made: the memory of SignalDelay" in out


def test_the_command_says_what_was_gained(bcnet, tmp_path):
    random = np.random.default_rng(1)
    (tmp_path / "net.tflite").write_bytes(renumbered(random_net(random, layers=14, branches=1), random))
    status, out, _ = bcnet("optimize", tmp_path / "net.tflite", "--core=cortex-m0plus")
    before, after = map(int, re.findall(r"([\d,]+) bytes", out.replace(",", ""))[:2])
    assert "memory on cortex-m0plus: " in out
    data = (tmp_path / "net_optimized.tflite").read_bytes()
    assert status == 0 and after < before
    assert arena(data, "cortex-m0plus").activation_bytes == after
    assert arena(tmp_path / "net.tflite", "cortex-m0plus").activation_bytes == before
    # Without a core the figures are those of one core, whose arena takes most.
    status, out, _ = bcnet("optimize", tmp_path / "net.tflite")
    core = re.search(r"memory on ([\w-]+), which takes most:", out)[1]
    before, after, least = map(int, re.findall(r"([\d,]+) (?:bytes|are in)", out.replace(",", ""))[:3])
    taken = {each: arena(tmp_path / "net.tflite", each) for each in CORES}
    assert taken[core].bytes == max(each.bytes for each in taken.values())
    assert taken[core].activation_bytes == before > after >= least > 0.9 * after
    status, _, err = bcnet("optimize", tmp_path / "absent.tflite")
    assert status == 1 and "there is no file" in err
