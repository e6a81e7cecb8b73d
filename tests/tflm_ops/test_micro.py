"""The operators in TensorFlow Lite Micro against Larq Compute Engine's interpreter, and what they refuse."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import cases
import golden
import numpy as np
import pytest
from lce_graphs import Node, Tensor, model, run_lce

from bcnet_keras.runtime import kernels, native, plugin, tflm

pytestmark = pytest.mark.needs_tflm


def run(nodes, **kwargs):
    inputs = [t.value for node in nodes for t in node.inputs if t is not None and not t.constant]
    outputs = tflm.Model(model(nodes), **kwargs).run(inputs)
    return [o.view(np.uint32) if o.dtype == np.int32 else o for o in outputs]


def assert_equal_to_lce(nodes, **kwargs):
    for start in range(0, len(nodes), 50):
        chunk = nodes[start : start + 50]
        for node, actual, expected in zip(chunk, run(chunk, **kwargs), run_lce(chunk), strict=True):
            assert actual.dtype == expected.dtype, node
            np.testing.assert_array_equal(actual, expected, err_msg=str(node.options))


@pytest.mark.parametrize("scratch_budget", [0, 48 << 10])
def test_bconv2d_equals_lce(scratch_budget):
    assert_equal_to_lce(cases.bconv2d_grid(600, seed=5), scratch_budget=scratch_budget)


def test_a_smaller_scratch_budget_takes_less_of_the_arena_and_gives_the_same_outputs():
    nodes = cases.bconv2d_grid(60, seed=5)
    arenas = []
    for budget in (0, 8 << 10, 48 << 10):
        assert_equal_to_lce(nodes, scratch_budget=budget)
        arenas.append(tflm.Model(model(nodes), scratch_budget=budget).arena_bytes)
    assert arenas == sorted(set(arenas)) and arenas[2] - arenas[0] < 50 << 10


def test_interpreters_in_threads_keep_to_their_own_scratch_budgets():
    node = cases.bconv2d(
        np.random.default_rng(4), output="int8", channels_in=64, channels_out=64, size=12, kernel=3, batches=1, groups=1
    )
    data, budgets = model([node]), (0, 4 << 10, 16 << 10, 48 << 10)
    alone = {budget: tflm.Model(data, scratch_budget=budget).arena_bytes for budget in budgets}
    assert len(set(alone.values())) == len(budgets)
    expected = run_lce([node])[0]
    start = threading.Barrier(2)

    def repeated(budget):
        start.wait()
        made = [tflm.Model(data, scratch_budget=budget) for _ in range(20)]
        same = [np.array_equal(net.run([node.inputs[0].value])[0], expected) for net in made]
        return {net.arena_bytes for net in made}, all(same)

    for pair in itertools.combinations(budgets, 2):
        with ThreadPoolExecutor(2) as pool:
            for budget, (arenas, same) in zip(pair, pool.map(repeated, pair), strict=True):
                assert arenas == {alone[budget]} and same, budget


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool"])
def test_quantize_and_dequantize_equal_lce(dtype):
    rng = np.random.default_rng(6)
    assert_equal_to_lce([f(rng, dtype) for f in (cases.quantize, cases.dequantize) for _ in range(50)])


def test_bmaxpool2d_equals_lce():
    rng = np.random.default_rng(7)
    assert_equal_to_lce([cases.bmaxpool2d(rng) for _ in range(100)])


def thermometer_node(x, thresholds, **of_thresholds):
    thresholds = Tensor.of(np.asarray(thresholds, np.int32), **{"constant": True, **of_thresholds})
    shape = (*x.shape[:3], kernels.words(len(thresholds.value)))
    return Node("BcnetThermometer", [Tensor.of(x, scale=1 / 128), thresholds], Tensor(shape, "int32"))


def test_thermometer_equals_numpy():
    rng = np.random.default_rng(10)
    nodes = []
    for planes in (1, 10, 32, 45):
        x = rng.integers(-128, 128, rng.integers(1, 6, 4)).astype(np.int8)
        nodes.append(thermometer_node(x, rng.integers(-128, 129, x.shape[-1] * planes)))
    for node, actual in zip(nodes, run(nodes), strict=True):
        x, thresholds = (tensor.value for tensor in node.inputs)
        bits = np.repeat(x, len(thresholds) // x.shape[-1], axis=-1) < thresholds
        np.testing.assert_array_equal(actual, kernels.pack_signs(np.where(bits, -1, 1)))


def stem_node(x, weights, thresholds, zero_point=0, strides=(1, 1), padding=0, constant=(True, True)):
    filters, *taps, _ = weights.shape
    size = [cases.window(*each, 1, padding) for each in zip(x.shape[1:3], taps, strides, strict=True)]
    inputs = [
        Tensor.of(x, scale=1 / 128, zero_point=zero_point),
        Tensor.of(weights, scale=1.0, constant=constant[0]),
        Tensor.of(np.asarray(thresholds, np.int32), constant=constant[1]),
    ]
    options = {"padding": padding, "stride_height": strides[0], "stride_width": strides[1]}
    return Node("BcnetStem", inputs, Tensor((len(x), *size, kernels.words(len(thresholds))), "int32"), options)


def test_stem_equals_numpy():
    rng = np.random.default_rng(11)
    made = [cases.stem(rng) for _ in range(60)]
    for case, actual in zip(made, run([stem_node(*case) for case in made]), strict=True):
        np.testing.assert_array_equal(actual, golden.stem_bits(*case))


def gate_node(logits, **options):
    tensor = Tensor.of(logits[np.newaxis], scale=0.05 if logits.dtype == np.int8 else None)
    return Node("BcnetGate", [tensor], Tensor((1,), "bool"), options)


@pytest.mark.parametrize("measure", ["score_margin", "max_probability", "entropy", "learned"])
def test_gate_equals_the_kernel(measure):
    rng = np.random.default_rng(8)
    nodes = []
    for i in range(60):
        classes = int(rng.integers(2, 30))
        logits = rng.integers(-128, 128, classes).astype(np.int8) if i % 2 else rng.normal(0, 2, classes).astype("f4")
        options = {"measure": measure, "threshold": rng.random(classes if i % 3 else 1)}
        if measure == "learned":
            options |= {"weights": rng.normal(size=classes + 3), "bias": float(rng.normal())}
        nodes.append(gate_node(logits, **options))
    expected = [kernels.gate(n.inputs[0].value, n.option_bytes(), n.inputs[0].scale or 1).escalate for n in nodes]
    assert [bool(o[0]) for o in run(nodes)] == expected
    assert 0 < sum(expected) < len(expected)


def test_the_threshold_can_be_read_and_set_while_the_model_runs():
    logits = np.array([0, 1, 3], np.float32)
    node = gate_node(logits, measure="score_margin", threshold=[0.25, 0.5, 0.75])
    gated = tflm.Model(model([node]))
    np.testing.assert_allclose(gated.thresholds, [0.25, 0.5, 0.75])
    confidence = kernels.gate(logits, node.option_bytes()).confidence
    inputs = [logits[np.newaxis]]
    for threshold in (confidence - 1e-6, confidence + 1e-6, 0.0, 1.0):
        gated.thresholds = threshold
        assert gated.thresholds == np.float32(threshold)
        assert gated.run(inputs)[0][0] == (np.float32(confidence) < np.float32(threshold))
    gated.thresholds = [0, 0, confidence + 1e-3]
    assert gated.run(inputs)[0][0]
    gated.thresholds = [1, 1, confidence - 1e-3]
    assert not gated.run(inputs)[0][0]
    other = tflm.Model(model([node]))  # a second interpreter has a gate of its own
    np.testing.assert_allclose(other.thresholds, [0.25, 0.5, 0.75])
    gated.thresholds = None
    assert gated.run(inputs)[0][0] == (confidence < 0.75)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        gated.thresholds = 1.5
    gated.thresholds = [0.1, 0.2]
    with pytest.raises(RuntimeError, match="BcnetGate .* one threshold, or one per class"):
        gated.run(inputs)


def convolution(**changes):
    rng = np.random.default_rng(9)
    fixed = {"output": "int32", "groups": 1, "padding": cases.SAME, "pad_value": 1, "channels_in": 40, "batches": 1}
    node = cases.bconv2d(rng, **fixed)
    node.options |= {k: v for k, v in changes.items() if k in node.options}
    return node


def replaced(node, index, tensor):
    node.inputs[index] = tensor
    return node


def with_options(node, **options):
    node.options = {**node.options, **options}
    return node


def shaped(node, shape, dtype=None):
    node.output = Tensor(shape, dtype or node.output.dtype)
    return node


LOGITS = np.array([1, 2, 3], np.float32)
PIXELS = np.zeros((1, 2, 2, 2), np.int8)
WEIGHTS = np.zeros((4, 1, 1, 2), np.int8)
REFUSED = {
    "stride": (lambda: convolution(stride_height=0), "LceBconv2d with output tensor .*: strides"),
    "channels": (lambda: convolution(channels_in=400), "channels_in"),
    "padding": (lambda: convolution(padding=7), "option padding"),
    "shape": (lambda: shaped(convolution(), (1, 1, 1, 1)), "output's shape"),
    "rank": (lambda: shaped(convolution(), (1, 1)), "4 dimensions"),
    "type": (lambda: shaped(convolution(), (1, 1, 1, 1), "bool"), "float32, int8 or int32"),
    "no thresholds": (lambda: replaced(convolution(), 4, None), "threshold for each output channel"),
    "few thresholds": (
        lambda: replaced(convolution(), 4, Tensor.of(np.zeros(1, np.int32), constant=True)),
        "threshold for each output channel",
    ),
    "no multiplier": (lambda: shaped(convolution(), convolution().output.shape, "float32"), "output's shape"),
    "filter not constant": (
        lambda: replaced(convolution(), 1, Tensor.of(convolution().inputs[1].value)),
        "filter must be a constant",
    ),
    "quantize": (lambda: Node("LceQuantize", [Tensor.of(LOGITS)], Tensor((2,), "int32")), "LceQuantize .* shape"),
    "quantize type": (
        lambda: Node("LceQuantize", [Tensor.of(LOGITS.astype(np.int32))], Tensor((1,), "int32")),
        "float32, int8 or bool",
    ),
    "dequantize": (
        lambda: Node("LceDequantize", [Tensor.of(np.zeros(1, np.uint32))], Tensor((33,), "float32")),
        "LceDequantize .* shape",
    ),
    "dequantize scale": (
        lambda: Node("LceDequantize", [Tensor.of(np.zeros(1, np.uint32))], Tensor((3,), "int8")),
        "positive scale",
    ),
    "pool": (
        lambda: Node("LceBMaxPool2d", [Tensor.of(np.zeros((1, 2, 2, 1), np.uint32))], Tensor((1, 1, 1, 1), "int32")),
        "LceBMaxPool2d .* FlexBuffer map",
    ),
    "thermometer planes": (lambda: thermometer_node(PIXELS, [1, 2, 3]), "BcnetThermometer .* as many thresholds"),
    "thermometer range": (lambda: thermometer_node(PIXELS, [129, 0]), "between -128 and 128"),
    "thermometer not constant": (lambda: thermometer_node(PIXELS, [0, 0], constant=False), "constant vector of int32"),
    "thermometer type": (lambda: thermometer_node(PIXELS.view(bool), [0, 0]), "input must be int8"),
    "thermometer shape": (lambda: shaped(thermometer_node(PIXELS, [0, 0]), (1, 2, 2, 2)), "output's shape"),
    "thermometer rank": (lambda: shaped(thermometer_node(PIXELS, [0, 0]), (1, 4, 1)), "4 dimensions"),
    "thermometer inputs": (
        lambda: Node("BcnetThermometer", [Tensor.of(PIXELS)], Tensor((1, 2, 2, 1), "int32")),
        "two inputs",
    ),
    "stem planes": (lambda: stem_node(PIXELS, WEIGHTS, [1] * 5), "BcnetStem .* as many thresholds"),
    "stem channels": (lambda: stem_node(PIXELS, WEIGHTS[..., :1], [1] * 4), "as many channels as the input"),
    "stem zero point": (lambda: stem_node(PIXELS, WEIGHTS, [1] * 4, 200), "zero point must lie between"),
    "stem filter not constant": (lambda: stem_node(PIXELS, WEIGHTS, [1] * 4, constant=(False, True)), "filter must be"),
    "stem thresholds not constant": (
        lambda: stem_node(PIXELS, WEIGHTS, [1] * 4, constant=(True, False)),
        "constant vector of int32",
    ),
    "stem type": (lambda: stem_node(PIXELS.view(bool), WEIGHTS, [1] * 4), "input and filter must be int8"),
    "stem shape": (lambda: shaped(stem_node(PIXELS, WEIGHTS, [1] * 4), (1, 2, 3, 1)), "output's shape"),
    "stem rank": (lambda: shaped(stem_node(PIXELS, WEIGHTS, [1] * 4), (1, 4, 1)), "4 dimensions"),
    "stem strides": (lambda: with_options(stem_node(PIXELS, WEIGHTS, [1] * 4), stride_height=0), "strides must be in"),
    "stem padding": (lambda: with_options(stem_node(PIXELS, WEIGHTS, [1] * 4), padding=2), "padding must be 0"),
    "stem without options": (
        lambda: with_options(stem_node(PIXELS, WEIGHTS, [1] * 4), stride_width="x"),
        "stride_width must be an integer",
    ),
    "stem inputs": (lambda: Node("BcnetStem", [Tensor.of(PIXELS)], Tensor((1, 2, 2, 1), "int32")), "three inputs"),
    "gate measure": (lambda: gate_node(LOGITS, measure="x", threshold=[0.5]), "BcnetGate .* measure"),
    "gate thresholds": (lambda: gate_node(LOGITS, measure="entropy", threshold=[0.5] * 2), "one threshold"),
    "gate weights": (
        lambda: gate_node(LOGITS, measure="learned", threshold=[0.5], weights=[1.0], bias=0.0),
        "weight for each class",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_model_is_refused_with_the_operator_and_the_reason(name, monkeypatch):
    make, reason = REFUSED[name]
    monkeypatch.setattr("bcnet_keras.runtime.tflm.check_micro", lambda model: None)  # which refuses most of them before
    with pytest.raises(ValueError, match=reason):
        tflm.Model(model([make()]))


def test_too_small_an_arena_is_said():
    with pytest.raises(ValueError, match="arena of 1000 bytes is too small"):
        tflm.Model(model([convolution()]), arena_size=1000)


def test_wrong_inputs_are_refused():
    session = tflm.Model(model([convolution()]))
    with pytest.raises(ValueError, match="expected 1 inputs, got 0"):
        session.run([])
    with pytest.raises(ValueError, match="input 0 must have the shape"):
        session.run([np.zeros((1, 2), np.int32)])


def test_a_foreign_custom_operator_is_named():
    with pytest.raises(ValueError, match="TensorFlow Lite Micro lacks the operator Foreign"):
        tflm.Model(model([Node("Foreign", [Tensor.of(LOGITS)], Tensor((3,), "float32"))]))


def test_missing_headers_and_compiler_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TFLM_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="micro_context.h is missing; set TFLM_DIR"):
        plugin.tflm_tree()
    monkeypatch.setenv("BCNET_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    native._compiler.cache_clear()
    with pytest.raises(FileNotFoundError, match="install g"):
        native.build("kernels", kernels.SOURCES)
    native._compiler.cache_clear()


def test_headers_of_another_version_are_named(monkeypatch, tmp_path):
    tree = plugin.tflm_tree()
    for part in ("tensorflow/lite/micro/micro_context.h", "tensorflow/lite/schema/schema_generated.h"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((tree / part).read_bytes())
    base = tmp_path / "third_party/flatbuffers/include/flatbuffers/base.h"
    base.parent.mkdir(parents=True)
    base.write_text("".join(f"#define FLATBUFFERS_VERSION_{n} 1\n" for n in ("MAJOR", "MINOR", "REVISION")))
    monkeypatch.setenv("TFLM_DIR", str(tmp_path))
    with pytest.raises(RuntimeError, match="FlatBuffers 1.1.1 where its schema needs"):
        plugin.tflm_tree()


def test_sources_that_do_not_compile_leave_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("BCNET_CACHE", str(tmp_path))
    with pytest.raises(RuntimeError, match="cannot build broken"):
        native.build("broken", ["tflm_ops/kernels/window.cc"], ["-DPaddingX=1", "-include", "no_such_header.h"])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
