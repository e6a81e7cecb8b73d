"""The plain kernels against naive NumPy, over cases that hypothesis draws."""

import math

import cases
import golden
import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bcnet_keras.runtime import kernels
from bcnet_keras.tflite import flatbuffer

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=70)
MEASURES = ("score_margin", "max_probability", "entropy", "learned")


def signs(packed, channels):
    bits = np.unpackbits(np.ascontiguousarray(packed).view(np.uint8), axis=-1, bitorder="little")[..., :channels]
    return 1 - 2 * bits.astype(np.int64)


@given(SHAPES.filter(lambda s: math.prod(s) < 20000), st.sampled_from(["float32", "int8", "bool"]), st.data())
@settings(max_examples=150)
def test_quantize_and_dequantize(shape, dtype, data):
    elements = st.floats(width=32, allow_nan=False) if dtype == "float32" else None
    x = data.draw(hnp.arrays(dtype, shape, elements=elements))
    zero_point = data.draw(st.integers(-200, 200)) if dtype == "int8" else 0
    packed = kernels.quantize(x, zero_point)
    expected = np.where(~x if dtype == "bool" else x < zero_point, -1, 1)
    np.testing.assert_array_equal(signs(packed, shape[-1]), expected)
    unused = -shape[-1] % 32
    assert not (packed[..., -1] >> np.uint32(32 - unused)).any() if unused else True
    np.testing.assert_array_equal(kernels.dequantize(packed, shape[-1]), expected)
    np.testing.assert_array_equal(kernels.dequantize(packed, shape[-1], np.bool_), expected > 0)


@given(
    hnp.array_shapes(min_dims=4, max_dims=4, max_side=6),
    st.integers(1, 80),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=200)
def test_thermometer(shape, planes, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, shape).astype(np.int8)
    thresholds = rng.choice([-128, -127, 127, 128, *rng.integers(-128, 129, 20)], shape[-1] * planes)
    packed = kernels.thermometer(x, thresholds)
    expected = np.repeat(x, planes, axis=-1) < thresholds
    np.testing.assert_array_equal(packed, kernels.pack_signs(np.where(expected, -1, 1)))


def test_thermometer_of_every_code():
    x = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1)
    thresholds = np.arange(-128, 129)
    np.testing.assert_array_equal(signs(kernels.thermometer(x, thresholds), 257) < 0, x < thresholds)


def test_thermometer_says_why_it_cannot_run():
    x = np.zeros((1, 2, 2, 3), np.int8)
    for thresholds, error, reason in [
        ([0] * 4, ValueError, "as many thresholds for each channel"),
        ([0, 0, 129], ValueError, "between -128 and 128"),
        ([-129, 0, 0], ValueError, "between -128 and 128"),
        ([0.5, 0, 0], TypeError, "whole numbers"),
    ]:
        with pytest.raises(error, match=reason):
            kernels.thermometer(x, thresholds)
    with pytest.raises(TypeError, match="int8, not uint8"):
        kernels.thermometer(x.view(np.uint8), [0, 0, 0])
    with pytest.raises(ValueError, match="dimensions must be positive"):
        kernels.thermometer(x[:0], [0, 0, 0])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_stem(seed):
    case = cases.stem(np.random.default_rng(seed))
    np.testing.assert_array_equal(kernels.stem(*case), golden.stem_bits(*case))


def test_stem_compares_each_sum_exactly():
    """Thresholds at a sum, one below and one above it, of every filter and of the largest sums."""
    rng = np.random.default_rng(3)
    for low, high in ((-128, 128), (-128, -127), (127, 128)):
        x = rng.integers(low, high, (1, 12, 14, 3)).astype(np.int8)
        weights = rng.integers(low, high, (6, 5, 7, 3)).astype(np.int8)
        sums = golden.stem_sums(x, weights, 5, (2, 1), 0).reshape(-1, 6)
        for row in sums[:: len(sums) // 5]:
            thresholds = (row[:, np.newaxis] + [-1, 0, 1]).reshape(-1).astype(np.int32)
            case = x, weights, thresholds, 5, (2, 1), 0
            np.testing.assert_array_equal(kernels.stem(*case), golden.stem_bits(*case))


def test_stem_of_large_filters():
    """Sums that nearly fill 32 bits, and filters that take more than any budget of scratch memory."""
    rng = np.random.default_rng(4)
    for filters, taps, channels in ((3, (127, 129), 8), (33, (40, 40), 3), (5, (1, 300), 7)):
        x = np.full((1, taps[0] + 1, taps[1] + 2, channels), -128, np.int8)
        weights = rng.choice(np.array([-128, 127], np.int8), (filters, 1, 1, 1)) * np.ones((*taps, channels), np.int8)
        sums = golden.stem_sums(x, weights, 0, (1, 1), 1)[0, 0, 0]
        thresholds = (np.repeat(sums, 2) + np.tile([0, 1], filters)).astype(np.int32)
        case = x, weights, thresholds, 0, (1, 1), 1
        np.testing.assert_array_equal(kernels.stem(*case), golden.stem_bits(*case))


def test_stem_says_why_it_cannot_run():
    x, weights = np.zeros((1, 4, 4, 3), np.int8), np.zeros((2, 3, 3, 3), np.int8)
    for case, reason in [
        ((x, weights, [0] * 3), "as many thresholds for each filter"),
        ((x, weights[..., :2], [0] * 2), "as many channels as the input"),
        ((x, weights, [0] * 2, 128), "zero point must lie between -128 and 127"),
        ((x, weights, [0] * 2, 0, (0, 1)), "strides must be in"),
        ((x, weights, [0] * 2, 0, (1, 1), 2), "padding must be 0"),
        ((x[:, :2], weights, [0] * 2, 0, (1, 1), 1), "the window is larger than the input"),
        ((x, np.zeros((1, 256, 256, 3), np.int8), [0]), "fewer than 131072 weights"),
        ((x[:0], weights, [0] * 2), "dimensions of input and filter must be positive"),
    ]:
        with pytest.raises(ValueError, match=reason):
            kernels.stem(*case)
    with pytest.raises(TypeError, match="weights must be int8, not uint8"):
        kernels.stem(x, weights.view(np.uint8), [0] * 2)
    with pytest.raises(TypeError, match="whole numbers"):
        kernels.stem(x, weights, [0.5] * 2)


@given(st.integers(0, 2**32 - 1), st.integers(1, 99))
@settings(max_examples=200)
def test_bmaxpool2d(seed, channels):
    node = cases.bmaxpool2d(np.random.default_rng(seed))
    o, x = node.options, node.inputs[0].value.view(np.uint32)
    channels = 32 * x.shape[-1]
    s = signs(x, channels)
    actual = signs(kernels.bmaxpool2d(x, node.option_bytes(), node.output.shape), channels)
    pads = [
        max(0, (out - 1) * o[f"stride_{axis}"] + o[f"filter_{axis}"] - size) // 2 if o["padding"] == cases.SAME else 0
        for axis, out, size in zip(("height", "width"), node.output.shape[1:3], x.shape[1:3], strict=True)
    ]
    for y in range(actual.shape[1]):
        for z in range(actual.shape[2]):
            top, left = y * o["stride_height"] - pads[0], z * o["stride_width"] - pads[1]
            view = s[:, max(top, 0) : top + o["filter_height"], max(left, 0) : left + o["filter_width"]]
            np.testing.assert_array_equal(actual[:, y, z], view.max(axis=(1, 2)))


def naive_sums(node, channels_in):
    """Sums of products of a convolution of signs, in integers; taps outside the input meet 0 or 1."""
    o, x = node.options, node.inputs[0].value.view(np.uint32)
    w = node.inputs[1].value.view(np.uint32)
    groups = x.shape[-1] // w.shape[-1]
    a, b = signs(x, channels_in), signs(w, channels_in // groups)
    (_, height, width, _), (count, kh, kw, depth) = a.shape, b.shape
    dh, dw = o["dilation_height_factor"], o["dilation_width_factor"]
    out_h, out_w = node.output.shape[1:3]
    top = left = 0
    if o["padding"] == cases.SAME:
        top = max(0, (out_h - 1) * o["stride_height"] + (kh - 1) * dh + 1 - height) // 2
        left = max(0, (out_w - 1) * o["stride_width"] + (kw - 1) * dw + 1 - width) // 2
    reach = 1 << 6
    padded = np.pad(a, ((0, 0), (reach, reach), (reach, reach), (0, 0)), constant_values=o["pad_values"])
    sums = np.zeros((a.shape[0], out_h, out_w, count), np.int64)
    for i in range(kh):
        for j in range(kw):
            y, z = reach - top + i * dh, reach - left + j * dw
            patch = padded[:, y:, z:][:, :: o["stride_height"], :: o["stride_width"]][:, :out_h, :out_w]
            for g in range(groups):
                part = slice(g * count // groups, (g + 1) * count // groups)
                sums[..., part] += patch[..., g * depth : (g + 1) * depth] @ b[part, i, j].T
    return sums


KERNELS = [("portable", 0), ("carry_save", 1 << 20), *(("sliced", budget << 10) for budget in (9, 24, 48, 4096))]


@pytest.mark.parametrize(("kernel", "budget"), KERNELS)
@given(st.integers(0, 2**32 - 1), st.sampled_from(cases.OUTPUTS))
@settings(max_examples=60)
def test_bconv2d(kernel, budget, seed, output):
    node = cases.bconv2d(np.random.default_rng(seed), output=output)
    channels_in = node.options["channels_in"]
    _, kh, kw, depth = node.inputs[1].shape
    groups = node.inputs[0].shape[-1] // depth
    products = kh * kw * channels_in // groups
    x, w = (t.value.view(np.uint32) for t in node.inputs[:2])

    def run(dtype, **kwargs):
        call = (x, w, node.option_bytes(), node.output.shape, dtype)
        return kernels.bconv2d(*call, kernel=kernel, scratch_budget=budget, **kwargs)

    try:
        check_bconv2d(node, run, naive_sums(node, channels_in), products)
    except ValueError as error:
        # A filter of 2^13 bits, words of outputs that belong to two groups, or a budget too small for the tables.
        assert "cannot compute this convolution within the scratch budget" in str(error)
        whole = groups == 1 or len(w) // groups % 32 == 0
        tables = 512 * kh * kw * depth
        assert kernel == "sliced" and (32 * kh * kw * depth >= 2**13 or not whole or budget < 8 * tables)


def check_bconv2d(node, run, sums, products):
    """Compares what `run` computes, given a type and the output's numbers, with sums of products."""
    if node.output.dtype == "int32":
        thresholds = node.inputs[4].value
        actual = run(np.uint32, thresholds=thresholds)
        mismatches = (products - sums) // 2
        np.testing.assert_array_equal(signs(actual, len(thresholds)) < 0, mismatches > thresholds)
        return
    low, high = {0: (-products, products), 1: (0, products), 2: (-1, 1), 3: (0, 6)}[
        node.options["fused_activation_function"]
    ]
    multiplier, bias = (t.value.astype(np.float64) for t in node.inputs[2:4])
    expected = np.clip(sums, low, high) * multiplier + bias
    vectors = {"multiplier": node.inputs[2].value, "bias": node.inputs[3].value}
    rounding = 4e-7 * (2 * products * np.abs(multiplier) + np.abs(bias))  # of the float products and sums
    if node.output.dtype == "float32":
        actual = run(np.float32, **vectors)
        assert (np.abs(actual - expected) <= rounding + 1e-30).all()
        return
    scale, zero_point = node.output.scale, node.output.zero_point
    for transform in ("float", "fixed_point"):
        actual = run(np.int8, **vectors, scale=scale, zero_point=zero_point, transform=transform)
        steps = np.clip(expected / scale + zero_point, -128, 127)
        assert (np.abs(actual - steps) <= 0.5 + rounding / scale + 1e-4).all()


def test_a_larger_budget_gives_the_same_result():
    node = cases.bconv2d(
        np.random.default_rng(1), output="int32", groups=1, size=8, kernel=3, channels_in=64, channels_out=65
    )
    x, w = (t.value.view(np.uint32) for t in node.inputs[:2])
    results = []
    for budget in (0, 100, 1000, 5000, 10000, 20000, 50000, 100000):
        call = (x, w, node.option_bytes(), node.output.shape, np.uint32)
        results.append(kernels.bconv2d(*call, thresholds=node.inputs[4].value, scratch_budget=budget))
    assert all((result == results[0]).all() for result in results)
    with pytest.raises(ValueError, match="scratch budget"):
        kernels.bconv2d(*call, thresholds=node.inputs[4].value, scratch_budget=100, kernel="sliced")


def test_bconv2d_says_why_it_cannot_run():
    node = cases.bconv2d(np.random.default_rng(0), output="int32", groups=1, padding=cases.SAME, pad_value=1)
    x, w = (t.value.view(np.uint32) for t in node.inputs[:2])

    def run(shape=node.output.shape, **changes):
        options = flatbuffer.encode_options(node.options | changes)
        return kernels.bconv2d(x, w, options, shape, np.uint32, thresholds=node.inputs[4].value)

    run()
    for changes, reason in [
        ({"stride_height": 0}, "strides"),
        ({"dilation_width_factor": -1}, "dilations"),
        ({"padding": 2}, "padding"),
        ({"pad_values": 3}, "pad_values"),
        ({"fused_activation_function": 4}, "fused_activation_function"),
        ({"channels_in": node.options["channels_in"] + 32}, "channels_in"),
        ({"channels_in": "many"}, "channels_in must be an integer"),
        ({"shape": (1, 1, 1, 1)}, "output's shape"),
    ]:
        with pytest.raises(ValueError, match=reason):
            run(**changes)
    with pytest.raises(ValueError, match="not a FlexBuffer map"):
        kernels.bconv2d(x, w, b"", node.output.shape, np.uint32, thresholds=node.inputs[4].value)
    with pytest.raises(ValueError, match="finite"):
        nans = np.full(len(w), np.nan, np.float32)
        shape = (*node.output.shape[:3], len(w))
        kernels.bconv2d(x, w, node.option_bytes(), shape, np.float32, multiplier=nans, bias=nans)


def confidence(logits, measure, weights, bias):
    """The measures of confidence in double precision."""
    e = np.exp(logits - logits.max())
    p = e / e.sum()
    top = np.sort(p)[::-1]
    entropy = 1 + (p[p > 0] * np.log(p[p > 0])).sum() / np.log(len(p))
    basic = [top[0] - top[1], top[0], entropy]
    learned = 1 / (1 + np.exp(-(weights @ np.concatenate([p, basic]) + bias)))
    return [*basic, learned][MEASURES.index(measure)]


@given(st.sampled_from(MEASURES), st.integers(2, 40), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_gate(measure, classes, int8, one_a_class, seed):
    rng = np.random.default_rng(seed)
    scale = float(np.float32(10 ** rng.uniform(-2, 0)))
    if int8:
        logits = rng.integers(-128, 128, classes).astype(np.int8)
        real = logits * scale
    else:
        logits = (rng.normal(0, 10 ** rng.uniform(-1, 2), classes)).astype(np.float32)
        real = logits.astype(np.float64)
    thresholds = rng.random(classes if one_a_class else 1).astype(np.float32)
    weights, bias = rng.normal(0, 1, classes + 3).astype(np.float32), float(np.float32(rng.normal()))
    options = {"measure": measure, "threshold": thresholds}
    if measure == "learned":
        options |= {"weights": weights, "bias": bias}
    decision = kernels.gate(logits, flatbuffer.encode_options(options), scale)
    expected = confidence(real, measure, weights.astype(np.float64), bias)
    assert decision.predicted_class == logits.argmax()
    assert decision.confidence == pytest.approx(expected, abs=1e-5)
    threshold = thresholds[decision.predicted_class if one_a_class else 0]
    assert decision.escalate == (np.float32(decision.confidence) < threshold)
    override = np.array([rng.random()], np.float32)
    again = kernels.gate(logits, flatbuffer.encode_options(options), scale, thresholds=override)
    assert again.confidence == decision.confidence and again.escalate == (np.float32(decision.confidence) < override[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_gate_escalates_when_a_logit_is_not_finite(value):
    options = flatbuffer.encode_options({"measure": "score_margin", "threshold": [0.0]})
    decision = kernels.gate(np.array([1, value, 2], np.float32), options)
    assert decision.escalate and np.isnan(decision.confidence)


@pytest.mark.parametrize("measure", MEASURES)
def test_gate_at_the_ends_of_float(measure):
    options = {"measure": measure, "threshold": [0.5], "weights": [1.0] * 5, "bias": 0.0}
    decision = kernels.gate(np.array([3e38, -3e38], np.float32), flatbuffer.encode_options(options))
    assert decision.confidence == pytest.approx(confidence(np.array([1e3, -1e3]), measure, np.ones(5), 0.0), abs=1e-6)
    equal = kernels.gate(
        np.zeros(1000, np.float32), flatbuffer.encode_options({"measure": "entropy", "threshold": [0.0]})
    )
    assert not equal.escalate and 0 <= equal.confidence < 1e-5


def test_gate_says_why_it_cannot_run():
    logits = np.array([1, 2, 3], np.float32)
    good = {"measure": "learned", "threshold": [0.1, 0.2, 0.3], "weights": [0.0] * 6, "bias": 0.5}
    kernels.gate(logits, flatbuffer.encode_options(good))
    for changes, reason in [
        ({"measure": "guess"}, "measure"),
        ({"threshold": [0.1, 0.2]}, "one per class"),
        ({"threshold": [1.5]}, r"\[0, 1\]"),
        ({"threshold": [float("nan")]}, r"\[0, 1\]"),
        ({"weights": [0.0] * 5}, "weight for each class"),
        ({"weights": [float("inf")] * 6}, "finite"),
        ({"bias": float("nan")}, "finite"),
    ]:
        with pytest.raises(ValueError, match=reason):
            kernels.gate(logits, flatbuffer.encode_options(good | changes))
    with pytest.raises(ValueError, match="at least 2"):
        kernels.gate(logits[:1], flatbuffer.encode_options({"measure": "entropy", "threshold": [0.1]}))


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_options_of_any_bytes_are_refused_or_read(data):
    with pytest.raises(ValueError):
        kernels.gate(np.array([1, 2], np.float32), data)


NUMBERS = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6)


@given(NUMBERS, st.sampled_from(["typed", "fixed", "untyped", "double", "integer", "indirect"]), st.integers(0, 40))
@settings(max_examples=200)
def test_every_way_to_write_a_vector_is_read(numbers, form, filler):
    builder = flexbuffers.Builder()
    if form == "integer":
        numbers = [round(n) for n in numbers]
    if form == "fixed":
        numbers = (numbers * 4)[: max(2, min(len(numbers), 4))]
    with builder.Map():
        builder.Key("a")
        builder.String("x" * filler)
        builder.Key("measure")
        builder.String("max_probability")
        builder.Key("threshold")
        if form == "fixed":
            builder.FixedTypedVectorFromElements(numbers)
        elif form in ("typed", "integer"):
            builder.TypedVectorFromElements(numbers)
        else:
            with builder.Vector():
                for n in numbers:
                    if form == "indirect":
                        builder.IndirectFloat(n)
                    elif form == "double":
                        builder.Float(n, 8)
                    else:
                        builder.Float(n)
    options = bytes(builder.Finish())
    classes = max(2, len(numbers))
    if len(numbers) not in (1, classes):
        numbers = numbers * 2
    for winner in range(classes):
        logits = np.zeros(classes, np.float32)
        logits[winner] = 0.1
        decision = kernels.gate(logits, options)
        assert decision.escalate == (np.float32(decision.confidence) < numbers[winner if len(numbers) > 1 else 0])
