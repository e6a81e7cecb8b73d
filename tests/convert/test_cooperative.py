"""The merged flatbuffer against NumPy: the gate's decision, and what each branch answers."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcnet_keras.convert import Gate, get_threshold, merge, replace_gate, set_threshold
from bcnet_keras.convert.cooperative import with_verdict
from bcnet_keras.convert.passes.add_gate import MEASURES
from bcnet_keras.device.cost import cost
from bcnet_keras.runtime import tflite, tflm
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.metadata import metadata, verdict_of

SHAPE = (3, 3, 2)


def images(seed, count=60):
    return np.random.default_rng(seed).integers(-128, 128, (count, *SHAPE)).astype(np.int8)


def logits_quantization(data):
    model = flatbuffer.read(data)
    return flatbuffer.quantization(model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]])


def confidence(measure, logits, weights=None, bias=None):
    """The four measures in float64, straight from their definitions."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    ordered = np.sort(p, axis=1)
    measures = {"score_margin": ordered[:, -1] - ordered[:, -2], "max_probability": ordered[:, -1]}
    with np.errstate(divide="ignore", invalid="ignore"):
        measures["entropy"] = 1 + np.nansum(p * np.log(p), axis=1) / np.log(p.shape[1])
    if measure != "learned":
        return measures[measure]
    features = np.concatenate([p, np.stack(list(measures.values()), 1)], axis=1)
    return 1 / (1 + np.exp(-(features @ weights + bias)))


@st.composite
def pairs(draw):
    classes = draw(st.integers(2, 12))
    measure = draw(st.sampled_from(MEASURES))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    threshold = random.uniform(0, 1, classes if draw(st.booleans()) else ()).astype(np.float32)
    learned = measure == "learned"
    weights, bias = random.normal(0, 2, classes + 3).astype(np.float32), np.float32(random.normal())
    return {
        "seed": seed,
        "classes": classes,
        "gate": Gate.create(classes, measure, threshold, weights if learned else None, bias if learned else None),
        "binary": {"scale": draw(st.floats(0.002, 0.5)), "zero_point": draw(st.integers(-128, 127))},
        "int8": {"scale": draw(st.floats(0.002, 0.5)), "zero_point": draw(st.integers(-128, 127))},
        "combine": draw(st.sampled_from(["sum", "swap"])),
        "boost": draw(st.one_of(st.just(0.0), st.floats(0.05, 8))),
        "reach": draw(st.one_of(st.none(), st.floats(1, 100))),
        "stems": draw(st.sampled_from([(None, None), (1, 1), (1, 2)])),
        "skip": draw(st.booleans()),
    }


def make_parts(make_part, pair):
    binary, int8 = (pair[net] | {"stem": stem} for net, stem in zip(("binary", "int8"), pair["stems"], strict=True))
    return (
        make_part(pair["seed"], pair["classes"], SHAPE, **binary),
        make_part(pair["seed"] + 1, pair["classes"], SHAPE, **int8, skip=pair["skip"]),
    )


def operators(data, subgraph):
    model = flatbuffer.read(data)
    return [flatbuffer.op_name(model, operator) for operator in model.subgraphs[subgraph].operators]


@pytest.mark.parametrize("runtime", [pytest.param(tflite, marks=pytest.mark.needs_lce), tflm], ids=["tflite", "tflm"])
@settings(max_examples=60, deadline=None)
@given(pair=pairs())
def test_merged_file_does_what_numpy_says(make_part, runtime, pair):
    gate, boost = pair["gate"], pair["boost"]
    binary, int8 = make_parts(make_part, pair)
    output_range = pair["reach"] and (-pair["reach"], pair["reach"])
    merged = merge(binary, int8, gate, "builtin", pair["combine"], boost, output_range)
    inputs = images(pair["seed"])
    b, q = (runtime.Interpreter(part).predict(inputs).logits for part in (binary, int8))
    answer = runtime.Interpreter(merged).predict(inputs)

    sure = confidence(gate.measure, b.astype(np.float64), gate.weights, gate.bias)
    threshold = gate.threshold[b.argmax(1)] if gate.threshold.ndim else gate.threshold
    clear = np.abs(sure - threshold) > 1e-5  # float32 may round across the threshold
    np.testing.assert_array_equal(answer.escalated[clear], (sure < threshold)[clear])

    scale, zero_point = logits_quantization(merged)
    escalated = q if pair["combine"] == "swap" else np.float32(boost) * b + q
    expected = np.where(answer.escalated[:, None], escalated, b)
    if output_range is None:
        assert np.abs(expected).max() <= 128 * scale  # the range holds every answer
    expected = np.clip(expected, scale * (-128 - zero_point), scale * (127 - zero_point))
    # ADD has 20 more bits and rounds to the nearest code. QUANTIZE rounds twice: half a code after half a smaller step.
    added = answer.escalated & (pair["combine"] == "sum" and boost > 0)
    error = np.abs(answer.logits - expected).max(axis=1) / scale
    assert error.max() <= 0.752 and np.all(error[added] <= 0.502)


@settings(max_examples=30, deadline=None)
@given(pair=pairs(), seed=st.integers(0, 99))
def test_gate_and_threshold_change_without_loss(make_part, pair, seed):
    parts = make_parts(make_part, pair)
    record = {"class_names": [f"class {i}" for i in range(pair["classes"])], "raw_range": [0, 255]}
    files = {
        kind: merge(*parts, pair["gate"], kind, pair["combine"], pair["boost"], record=record)
        for kind in ("custom", "builtin")
    }
    other = np.random.default_rng(seed).uniform(0, 1, pair["classes"] if seed % 2 else ()).astype(np.float32)
    for kind, data in files.items():
        np.testing.assert_array_equal(get_threshold(data), pair["gate"].threshold)
        assert {to: replace_gate(data, to) for to in files} == files
        changed = set_threshold(data, other)
        np.testing.assert_array_equal(get_threshold(changed), other)
        np.testing.assert_array_equal(metadata(flatbuffer.read(changed))["threshold"], other)
        assert set_threshold(changed, pair["gate"].threshold) == data
        judged = with_verdict(data, "It is worth it: 0.3 of “int8”.")
        assert verdict_of(judged) == "Verdict: It is worth it: 0.3 of “int8”."
        assert replace_gate(replace_gate(judged, "builtin"), kind) == judged
        assert set_threshold(judged, pair["gate"].threshold) == judged
        assert set_threshold(judged, other) == (judged if changed == data else changed)
        assert "not been judged" in verdict_of(changed) and verdict_of(parts[1]) is None
        assert changed == replace_gate(set_threshold(replace_gate(data, "custom"), other), kind)
        kept = metadata(flatbuffer.read(changed))
        assert {key: kept[key] for key in record} == record
        assert (kept["measure"], kept["combine"]) == (pair["gate"].measure, pair["combine"])


def test_a_threshold_is_read_and_changed_by_path_too(make_part, tmp_path):
    data, path = merge(make_part(1), make_part(2), Gate.create(4, "score_margin", 0.5)), tmp_path / "pair.tflite"
    path.write_bytes(data)
    assert get_threshold(path) == get_threshold(str(path)) == 0.5
    assert set_threshold(path, 0.25) == set_threshold(data, 0.25) and path.read_bytes() == data
    with pytest.raises(FileNotFoundError, match="there is no file"):
        get_threshold(tmp_path / "none.tflite")


@pytest.fixture(scope="module")
def parts(make_part):
    return make_part(1, shape=SHAPE), make_part(2, shape=SHAPE)


@pytest.fixture(scope="module")
def gate():
    return Gate.create(4, "score_margin", 0.4)


@pytest.fixture(scope="module")
def merged(parts, gate):
    return merge(*parts, gate)


def test_threshold_0_accepts_all_and_1_escalates_all(merged):
    inputs = images(0)
    assert not tflite.Interpreter(set_threshold(merged, 0.0)).predict(inputs).escalated.any()
    assert tflite.Interpreter(set_threshold(merged, 1.0)).predict(inputs).escalated.all()


@pytest.mark.parametrize(
    ("stems", "skip", "rest", "inputs"),
    [
        ((None, None), False, ["FULLY_CONNECTED", "ADD"], [(1, 18)]),  # RESHAPE is common too
        ((1, 1), False, ["FULLY_CONNECTED", "ADD"], [(1, 18)]),
        ((1, 1), True, ["ADD", "RESHAPE", "FULLY_CONNECTED", "ADD"], [(1, *SHAPE), (1, *SHAPE)]),
        ((1, 2), False, ["CONV_2D", "RESHAPE", "FULLY_CONNECTED", "ADD"], [(1, *SHAPE)]),
        ((1, None), False, ["RESHAPE", "FULLY_CONNECTED", "ADD"], [(1, *SHAPE)]),
    ],
)
def test_what_both_nets_begin_with_is_computed_once(make_part, gate, stems, skip, rest, inputs):
    parts = [make_part(i, shape=SHAPE, stem=stem, skip=bool(i and skip)) for i, stem in enumerate(stems)]
    data = merge(*parts, gate)
    assert operators(data, 0)[:-2] == operators(parts[0], 0) and operators(data, 1) == rest
    for graph in flatbuffer.read(data).subgraphs[1:]:
        assert [flatbuffer.shape(graph.tensors[index]) for index in graph.inputs] == [*inputs, (1, 4)]
    binary, int8, both = (cost(each) for each in (*parts, data))
    core, common = "cortex-m4", len(int8.ops) - len(rest) + 1
    saved = sum(op.instructions[core] for op in int8.ops[:common])
    joined = sum(op.instructions[core] for op in both.ops if op.name in ("BcnetGate", "IF") or op is both.ops[-2])
    alone = binary.instructions[core] + int8.instructions[core]
    assert both.expected(1)[core] == pytest.approx(alone - saved + joined)


def test_the_same_net_twice(make_part, gate):
    """Nothing is left of the int8 net: "escalate" takes the binary logits for its own, too."""
    part, inputs = make_part(0, shape=SHAPE), images(0)
    data = set_threshold(merge(part, part, gate, kind="builtin", boost=2.0), 1.0)
    assert operators(data, 1) == ["ADD"]
    for runtime in (tflite, tflm):
        alone, both = (runtime.Interpreter(each).predict(inputs).logits for each in (part, data))
        assert np.abs(both - 3 * alone).max() <= 0.502 * logits_quantization(data)[0]


def test_other_constants_options_or_scales_are_not_common(make_part, gate):
    part = make_part(0, shape=SHAPE, stem=1)
    changes = {
        "image": lambda model, stem, image, *_: image.quantization.scale.__setitem__(0, 1.000001 / 128),
        "filter": lambda model, stem, image, filters, *_: model.buffers[filters.buffer].data.__setitem__(0, 0),
        "filter scale": lambda model, stem, image, filters, *_: filters.quantization.scale.__setitem__(0, 0.02),
        "activation": lambda model, stem, *_: setattr(stem.builtinOptions, "fusedActivationFunction", 1),
        "scale": lambda model, stem, *tensors: tensors[-1].quantization.scale.__setitem__(0, 1 / 64),
    }
    assert "CONV_2D" not in operators(merge(part, part, gate), 1)
    for name, change in changes.items():
        model = copy.deepcopy(flatbuffer.read(part))
        (graph,) = model.subgraphs
        stem = graph.operators[0]
        change(model, stem, *(graph.tensors[index] for index in (*stem.inputs, *stem.outputs)))
        assert "CONV_2D" in operators(merge(part, flatbuffer.rewrite(model), gate), 1), name


@pytest.mark.parametrize("kind", ["custom", "builtin"])
def test_layout(parts, gate, kind):
    data = merge(*parts, gate, kind, boost=3.0)
    model = flatbuffer.read(data)
    main, escalate, accept = model.subgraphs
    assert [flatbuffer.text(graph.name) for graph in model.subgraphs] == ["main", "escalate", "accept"]
    outputs = [main.tensors[index] for index in main.outputs]
    assert [flatbuffer.type_name(tensor) for tensor in outputs] == ["int8", "bool"]
    assert [flatbuffer.shape(tensor) for tensor in outputs] == [(1, 4), (1,)]
    (signature,) = model.signatureDefs
    assert [flatbuffer.text(entry.name) for entry in signature.inputs] == ["image"]
    assert [flatbuffer.text(entry.name) for entry in signature.outputs] == ["logits", "escalated"]
    branches = [graph.tensors[graph.outputs[0]] for graph in (escalate, accept)]
    assert {flatbuffer.quantization(tensor) for tensor in [*branches, outputs[0]]} == {logits_quantization(data)}
    # The boost is in the scale of the logits that "escalate" takes.
    scales = [flatbuffer.quantization(graph.tensors[graph.inputs[-1]])[0] for graph in (escalate, accept)]
    assert scales[0] == pytest.approx(3 * scales[1], rel=1e-6)
    names = [flatbuffer.text(tensor.name) for tensor in main.tensors]
    assert len(set(names)) == len(names)
    (branch,) = [operator for operator in main.operators if flatbuffer.op_name(model, operator) == "IF"]
    assert (branch.builtinOptions.thenSubgraphIndex, branch.builtinOptions.elseSubgraphIndex) == (1, 2)
    assert flatbuffer.custom_ops(model) == ({"BcnetGate"} if kind == "custom" else set())
    contents = [bytes(bytearray(buffer.data)) for buffer in model.buffers if buffer.data is not None]
    assert len(set(contents)) == len(contents)
    raw = flatbuffer.schema.Model.GetRootAs(data, 0)
    start = np.frombuffer(data, np.uint8).ctypes.data
    buffers = [raw.Buffers(index) for index in range(raw.BuffersLength())]
    assert not any((buffer.DataAsNumpy().ctypes.data - start) % 16 for buffer in buffers if buffer.DataLength())


def test_options_of_the_custom_gate():
    """The flexbuffer that the operator's C++ reads: 32-bit floats, at an address that suits them."""
    from flatbuffers import flexbuffers

    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    logits = builder.tensor(graph, "logits", flatbuffer.schema.TensorType.INT8, [1, 3], (0.1, 0))
    from bcnet_keras.convert.passes.add_gate import add_gate

    add_gate(builder, graph, Gate.create(3, "learned", [0.1, 0.2, 0.3], range(6), -1.5), logits)
    data = builder.finish()
    operator = flatbuffer.schema.Model.GetRootAs(data, 0).Subgraphs(0).Operators(0)
    options = operator.CustomOptionsAsNumpy()
    assert (options.ctypes.data - np.frombuffer(data, np.uint8).ctypes.data) % 4 == 0
    root = flexbuffers.GetRoot(options.tobytes()).AsMap
    assert root["measure"].AsString == "learned"
    assert root["threshold"].IsTypedVector and root["weights"].IsTypedVector
    assert [value.AsFloat for value in root["threshold"].AsTypedVector] == pytest.approx([0.1, 0.2, 0.3], rel=1e-6)
    assert [value.AsFloat for value in root["weights"].AsTypedVector] == [0, 1, 2, 3, 4, 5]
    assert root["bias"].AsFloat == -1.5


@pytest.mark.parametrize(
    ("binary", "int8", "message"),
    [
        ({"classes": 5}, {}, r"differ in number of classes: binary \[5\], int8 \[4\]"),
        ({"shape": (3, 3, 1)}, {}, "differ in input shape"),
        ({}, {"image": (1 / 127, 0)}, "differ in input quantisation"),
        ({}, {"image": (1 / 128, -1)}, "differ in input quantisation"),
        ({"end": "GELU"}, {}, "binary net has the operator GELU, which TensorFlow Lite Micro lacks"),
        ({}, {"end": "SOFTMAX"}, "int8 net ends in a softmax"),
        ({"batch": 2}, {}, r"shape \[1, h, w, c\], found \[2, 3, 3, 2\]"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make_part, gate, binary, int8, message):
    parts = [make_part(0, **{"shape": SHAPE, **options}) for options in (binary, int8)]
    with pytest.raises(ValueError, match=message):
        merge(*parts, gate)


def test_parts_of_the_wrong_kind_are_refused(parts, gate, merged):
    with pytest.raises(ValueError, match="binary flatbuffer has 3 subgraphs"):
        merge(merged, parts[1], gate)
    with pytest.raises(ValueError, match="not a TensorFlow Lite flatbuffer"):
        merge(parts[0], b"something else", gate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "soft"}, "unknown gate 'soft'"),
        ({"combine": "mean"}, "unknown combination 'mean'"),
        ({"boost": -1.0}, "boost must be 0 or more"),
        ({"boost": float("nan")}, "boost must be 0 or more"),
        ({"output_range": (1.0, 2.0)}, "output range must contain 0"),
        ({"output_range": (float("nan"), 2.0)}, "output range must contain 0"),
        ({"record": {"class_names": ["a"]}}, "1 class names for 4 classes"),
    ],
)
def test_wrong_options_are_refused(parts, gate, options, message):
    with pytest.raises(ValueError, match=message):
        merge(*parts, gate, **options)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), [0.1] * 3, [[0.1] * 4], "high", None, [0.1, 2, 0, 0]])
def test_wrong_thresholds_are_refused(merged, threshold):
    with pytest.raises(ValueError, match="threshold"):
        set_threshold(merged, threshold)
    with pytest.raises(ValueError, match="threshold"):
        Gate.create(4, "entropy", threshold)


def test_wrong_gates_are_refused(merged):
    with pytest.raises(ValueError, match="unknown confidence measure 'luck'"):
        Gate.create(4, "luck", 0.5)
    with pytest.raises(ValueError, match="2 classes or more"):
        Gate.create(1, "entropy", 0.5)
    with pytest.raises(ValueError, match=r"needs 7 weights .* got shape \[4\]"):
        Gate.create(4, "learned", 0.5, [0] * 4, 0)
    with pytest.raises(ValueError, match="needs 7 weights .* got none"):
        Gate.create(4, "learned", 0.5)
    with pytest.raises(ValueError, match="finite"):
        Gate.create(4, "learned", 0.5, [float("nan")] * 7, 0)
    with pytest.raises(ValueError, match="unknown gate"):
        replace_gate(merged, "soft")


def test_files_without_a_pair_are_refused(parts):
    for function in (get_threshold, lambda data: set_threshold(data, 0.5), lambda data: replace_gate(data, "builtin")):
        with pytest.raises(ValueError, match="not a cooperative pair"):
            function(parts[0])
        with pytest.raises(ValueError, match="not a TensorFlow Lite flatbuffer"):
            function(b"text")


def test_a_file_without_an_image_is_no_pair(merged):
    model = flatbuffer.read(merged)
    for images in ([], None):
        model.subgraphs[0].inputs = images
        with pytest.raises(ValueError, match="not a cooperative pair"):
            set_threshold(flatbuffer.write(model), 0.5)


def test_an_if_without_the_binary_logits_is_no_pair(make_part):
    model = flatbuffer.read(merge(make_part(0), make_part(1), Gate.create(4, "score_margin", 0.5)))
    (branch,) = [each for each in model.subgraphs[0].operators if flatbuffer.op_name(model, each) == "IF"]
    branch.inputs = branch.inputs[:1]
    with pytest.raises(ValueError, match="not a cooperative pair"):
        set_threshold(flatbuffer.write(model), 0.25)


def test_logits_of_another_shape_are_refused_before_a_gate_is_made_for_them(make_part):
    model = flatbuffer.read(merge(make_part(0), make_part(1), Gate.create(4, "score_margin", 0.5), kind="builtin"))
    graph = model.subgraphs[0]
    graph.tensors[graph.outputs[0]].shape = np.array([1, 5], np.int32)
    with pytest.raises(ValueError, match="IF .* has other inputs or outputs than subgraph"):
        set_threshold(flatbuffer.write(model), 0.25)
