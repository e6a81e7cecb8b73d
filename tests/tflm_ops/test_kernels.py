"""The plain kernels against Larq Compute Engine's interpreter: the same operators, the same inputs."""

import cases
import numpy as np
import pytest
from lce_graphs import run_kernels, run_lce

GRID = 4800


def batches(nodes, size=100):
    for start in range(0, len(nodes), size):
        chunk = nodes[start : start + size]
        yield from zip(chunk, run_lce(chunk), strict=True)


def differences(node, actual, expected):
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    if actual.dtype == np.int8:
        return np.abs(actual.astype(int) - expected.astype(int))
    return (actual.view(np.uint32) if actual.dtype == np.float32 else actual) != (
        expected.view(np.uint32) if expected.dtype == np.float32 else expected
    )


@pytest.fixture(scope="module")
def convolutions():
    return list(batches(cases.bconv2d_grid(GRID)))


def takes(node, **kwargs):
    """The output of a kernel that is named, or None when it cannot compute the node within its budget."""
    try:
        return run_kernels(node, **kwargs)
    except ValueError as error:
        assert "cannot compute this convolution within the scratch budget" in str(error)
        return None


# The last number is the least part of the grid that the kernel must take.
@pytest.mark.parametrize(
    ("kernel", "budget", "part"),
    [
        ("portable", 0, 1),
        ("carry_save", 1 << 20, 1),
        ("sliced", 1 << 24, 0.8),
        ("sliced", 24 << 10, 0.5),
        ("sliced", 10 << 10, 0.3),
        (None, 48 << 10, 1),
        (None, 4 << 10, 1),
        (None, 0, 1),
    ],
)
def test_bconv2d_equals_lce(convolutions, kernel, budget, part):
    taken = 0
    for node, expected in convolutions:
        actual = takes(node, kernel=kernel, scratch_budget=budget)
        if actual is not None:
            taken += 1
            assert not differences(node, actual, expected).any(), (node.options, node.output)
    assert taken >= part * len(convolutions)


def test_the_grid_holds_what_it_says(convolutions):
    nodes = [node for node, _ in convolutions]
    assert len(nodes) >= 2000
    sizes = {n for node in nodes for n in node.inputs[0].shape[1:3]}
    assert {1, 17} <= sizes
    assert {1, 257} <= {node.options["channels_in"] for node in nodes}
    assert {1, 2, 3, 4, 5} <= {n for node in nodes for n in node.inputs[1].shape[1:3]}
    for option, values in {
        "padding": {0, 1},
        "pad_values": {0, 1},
        "fused_activation_function": {0, 1, 2, 3},
        "stride_height": {1, 2, 3},
        "dilation_width_factor": {1, 2, 3},
    }.items():
        assert values == {node.options[option] for node in nodes}
    assert any(node.inputs[0].shape[3] > node.inputs[1].shape[3] for node in nodes)  # groups


def test_fixed_point_is_the_same_in_all_kernels(convolutions):
    for node, _ in convolutions[1::9]:
        assert node.output.dtype == "int8"
        expected = run_kernels(node, transform="fixed_point", kernel="portable")
        for kernel in ("carry_save", "sliced"):
            actual = takes(node, transform="fixed_point", kernel=kernel, scratch_budget=1 << 20)
            assert actual is None or (actual == expected).all(), (kernel, node.options)


def test_the_linear_transform_is_the_same_as_float(convolutions):
    nodes = [(node, expected) for node, expected in convolutions if node.output.dtype == "int8"]
    linear = 0
    for i, (node, expected) in enumerate(nodes):
        try:
            actual = run_kernels(node, transform="linear", scratch_budget=(1 << 20) * (i % 2))
        except ValueError as error:
            assert "no linear output transform" in str(error)
            continue
        linear += 1
        np.testing.assert_array_equal(actual, expected)
    assert linear > 0.1 * len(nodes)  # the grid is full of fused activations and steep and flat outputs


@pytest.mark.parametrize("pad_value", [0, 1])
@pytest.mark.parametrize("channels_in, channels_out", [(32, 32), (30, 64), (64, 96), (128, 40), (256, 33)])
def test_large_sums_are_linear(channels_in, channels_out, pad_value):
    node = cases.bconv2d_of_large_sums(np.random.default_rng(0), channels_in, channels_out, cases.SAME, pad_value)
    (expected,) = run_lce([node])
    for kernel in ("portable", "carry_save", "sliced"):
        actual = run_kernels(node, transform="linear", kernel=kernel, scratch_budget=48 * 1024)
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("padding", [(cases.VALID, 1), (cases.SAME, 0)])
@pytest.mark.parametrize("channels", [32, 64, 128, 256])
def test_outputs_that_use_the_codes_well_are_linear(channels, padding):
    """Four standard deviations of random signs, in some channels half or twice as many, cover the codes."""
    rng = np.random.default_rng(channels)
    node = cases.bconv2d(
        rng,
        output="int8",
        kernel=3,
        channels_in=channels,
        channels_out=64,
        groups=1,
        activation=cases.NONE,
        size=5,
        padding=padding[0],
        pad_value=padding[1],
        dilation=1,
    )
    deviation = np.sqrt(9 * channels)
    node.inputs[2].value = (rng.choice([-1, 1], 64) * 2 ** rng.uniform(-1, 1, 64)).astype(np.float32)
    node.inputs[3].value = rng.normal(0, deviation, 64).astype(np.float32)
    node.output.scale = float(np.float32(4 * deviation / 128))
    (expected,) = run_lce([node])
    np.testing.assert_array_equal(run_kernels(node, transform="linear"), expected)


def test_fixed_point_is_within_one_code_of_float(convolutions):
    worst, off, total = 0, 0, 0
    for node, expected in convolutions:
        if node.output.dtype == "int8":
            difference = differences(node, run_kernels(node, transform="fixed_point"), expected)
            worst, off, total = max(worst, difference.max()), off + (difference > 0).sum(), total + difference.size
    assert worst <= 1
    assert off < 1e-4 * total  # a value next to a half is rare


def test_zero_padding_of_an_odd_number_of_channels_equals_lce():
    """Only LCE's optimised kernel takes it, for float outputs; powers of two keep its order of additions exact."""
    rng = np.random.default_rng(1)
    nodes = []
    for i in range(60):
        node = cases.bconv2d(
            rng, output="float32", padding=cases.SAME, pad_value=0, groups=1, activation=cases.NONE, dilation=1, size=9
        )
        channels = (1, 3, 17, 31, 33, 65, 129)[i % 7]
        node.options["channels_in"] = channels
        node.inputs[0] = cases.Tensor.of(cases.bits(rng, node.inputs[0].shape[:3], channels, "random"))
        node.inputs[1] = cases.Tensor.of(cases.bits(rng, node.inputs[1].shape[:3], channels, "random"), constant=True)
        count = node.inputs[1].shape[0]
        node.inputs[2] = cases.Tensor.of(
            np.float32(2.0) ** rng.integers(-3, 4, count).astype(np.float32), constant=True
        )
        node.inputs[3] = cases.Tensor.of(rng.integers(-8, 8, count).astype(np.float32), constant=True)
        nodes.append(node)
    for node, expected in zip(nodes, run_lce(nodes, reference=False), strict=True):
        np.testing.assert_array_equal(run_kernels(node), expected)


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool"])
def test_quantize_equals_lce(dtype):
    rng = np.random.default_rng(2)
    for node, expected in batches([cases.quantize(rng, dtype) for _ in range(200)]):
        np.testing.assert_array_equal(run_kernels(node), expected)


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool"])
def test_dequantize_equals_lce(dtype):
    rng = np.random.default_rng(3)
    for node, expected in batches([cases.dequantize(rng, dtype) for _ in range(200)]):
        np.testing.assert_array_equal(run_kernels(node), expected)


def test_bmaxpool2d_equals_lce():
    rng = np.random.default_rng(4)
    for node, expected in batches([cases.bmaxpool2d(rng) for _ in range(400)]):
        np.testing.assert_array_equal(run_kernels(node), expected)
