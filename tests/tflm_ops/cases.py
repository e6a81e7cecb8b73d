"""Cases for the operators: a seeded grid over their options, shapes and values, plain and adversarial ones."""

import numpy as np
from lce_graphs import Node, Tensor

from bcnet_keras.runtime.kernels import words

SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = range(4)
OUTPUTS = ("float32", "int8", "int32")
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17)
CHANNELS = (1, 2, 3, 4, 8, 16, 17, 31, 32, 33, 48, 63, 64, 65, 96, 100, 127, 128, 129, 160, 255, 256, 257)


def bits(rng, shape, channels, kind):
    """Bitpacked signs of `channels` channels: random, all +1, all -1, or alternating; padding bits are 0."""
    shape = (*shape, words(channels))
    if kind == "random":
        x = rng.integers(0, 1 << 32, shape, np.uint32)
    else:
        x = np.full(shape, {"plus": 0, "minus": 0xFFFFFFFF, "alternating": 0x55555555}[kind], np.uint32)
    if channels % 32:
        x[..., -1] &= np.uint32((1 << channels % 32) - 1)
    return x


def window(size, taps, stride, dilation, padding):
    """Number of outputs of a sliding window along one axis."""
    span = (taps - 1) * dilation + 1
    return -(-size // stride) if padding == SAME else (size - span) // stride + 1


def bconv2d(rng, **fixed):
    """A random binary convolution; keyword arguments fix its choices."""

    def pick(name, choices, p=None):
        return fixed[name] if name in fixed else choices[rng.choice(len(choices), p=p)]

    output = pick("output", OUTPUTS)
    padding = pick("padding", (SAME, VALID))
    pad_value = pick("pad_value", (0, 1))
    groups = pick("groups", (1, 2, 3), (0.85, 0.1, 0.05))
    if groups > 1:
        channels_in = 32 * groups * int(rng.integers(1, 3))
        channels_out = groups * int(rng.integers(1, 24))
    else:
        channels_in = pick("channels_in", CHANNELS)
        channels_out = pick("channels_out", CHANNELS)
    if padding == SAME and pad_value == 0 and channels_in % 2:
        channels_in += 1  # LCE's reference kernel asks for an even number here
    taps = [pick("kernel", (1, 2, 3, 4, 5)) for _ in range(2)]
    strides = [pick("stride", (1, 2, 3), (0.6, 0.25, 0.15)) for _ in range(2)]
    dilations = [pick("dilation", (1, 2, 3), (0.7, 0.2, 0.1)) for _ in range(2)]
    size = [pick("size", SIZES) for _ in range(2)]
    if padding == VALID:
        size = [max(s, (k - 1) * d + 1) for s, k, d in zip(size, taps, dilations, strict=True)]
    batches = pick("batches", (1, 2), (0.9, 0.1))
    activation = pick("activation", (NONE, RELU, RELU_N1_TO_1, RELU6), (0.4, 0.2, 0.2, 0.2))
    kind = pick("kind", ("random", "plus", "minus", "alternating"), (0.7, 0.1, 0.1, 0.1))

    products = taps[0] * taps[1] * channels_in // groups
    x = bits(rng, (batches, *size), channels_in, kind)
    filters = bits(rng, (channels_out, *taps), channels_in // groups, pick("filter", ("random", kind)))
    out_size = [window(*a, padding) for a in zip(size, taps, strides, dilations, strict=True)]
    multiplier = bias = thresholds = None
    scale, zero_point = None, 0
    out_channels = channels_out
    if output == "int32":
        out_channels = words(channels_out)
        near = rng.normal(products / 2, 0.5 * np.sqrt(products) + 1, channels_out).astype(np.int32)
        extremes = np.array([-(2**31), 2**31 - 1, -1, 0, products, products - 1, products + 1], np.int32)
        extreme = rng.random(channels_out) < 0.15
        thresholds = np.where(extreme, rng.choice(extremes, channels_out), near).astype(np.int32)
        thresholds = Tensor.of(thresholds, constant=True)
        if padding == SAME and pad_value == 0:
            # Without effect on the output, but LCE's interpreter reads it and crashes when it is absent.
            multiplier = Tensor.of(np.ones(channels_out, np.float32), constant=True)
    else:
        m = rng.normal(0, 1, channels_out) * 10 ** rng.uniform(-3, 1, channels_out)
        b = rng.normal(0, 1, channels_out) * 10 ** rng.uniform(-3, 2, channels_out)
        m[rng.random(channels_out) < 0.03] = 0
        b[rng.random(channels_out) < 0.03] = 0
        multiplier, bias = (Tensor.of(v.astype(np.float32), constant=True) for v in (m, b))
        if output == "int8":
            # Half of the cases use most of the int8 range, the others saturate or stay within a few codes.
            spread = float(np.abs(m).mean() * np.sqrt(products) + np.abs(b).mean()) + 1e-6
            scale = float(np.float32(spread / 40 * rng.choice([1, 1, 0.1, 10])))
            zero_point = int(rng.choice([0, -128, 127, rng.integers(-128, 128)]))
    options = {
        "channels_in": channels_in,
        "stride_height": strides[0],
        "stride_width": strides[1],
        "dilation_height_factor": dilations[0],
        "dilation_width_factor": dilations[1],
        "padding": padding,
        "pad_values": pad_value,
        "fused_activation_function": activation,
    }
    inputs = [Tensor.of(x), Tensor.of(filters, constant=True), multiplier, bias, thresholds]
    shape = (batches, *out_size, out_channels)
    return Node("LceBconv2d", inputs, Tensor(shape, output, scale=scale, zero_point=zero_point), options)


def bconv2d_of_large_sums(rng, channels_in, channels_out, padding, pad_value):
    """A binary convolution to int8 that uses the codes well, with random signs in one half of the map."""
    node = bconv2d(
        rng,
        output="int8",
        kernel=3,
        stride=1,
        dilation=1,
        groups=1,
        channels_in=channels_in,
        channels_out=channels_out,
        activation=NONE,
        size=7,
        batches=1,
        padding=padding,
        pad_value=pad_value,
        kind="random",
        filter="random",
    )
    x, filters = node.inputs[0].value, node.inputs[1].value
    x[:, 4:] = 0
    filters[::3] &= rng.integers(-(1 << 31), 1 << 31, filters[::3].shape, np.int32)
    filters[0], filters[1] = 0, bits(rng, (3, 3), channels_in, "minus").view(np.int32)
    deviation = np.sqrt(9 * channels_in)
    node.inputs[2].value = (rng.choice([-1, 1], channels_out) * 2 ** rng.uniform(-1, 1, channels_out)).astype("f4")
    node.inputs[3].value = rng.normal(0, deviation, channels_out).astype("f4")
    node.output.scale = float(np.float32(4 * deviation / 128))
    return node


def bconv2d_grid(count, seed=0):
    """`count` binary convolutions: every size, channel count, kernel, stride and output occurs, the rest at random."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(count):
        # Large maps only with few channels, so that the grid stays quick.
        fixed = {"output": OUTPUTS[i % 3], "size": SIZES[i // 3 % len(SIZES)], "kernel": 1 + i // 5 % 5}
        if fixed["size"] <= 8:
            fixed["channels_in"] = CHANNELS[i // 7 % len(CHANNELS)]
        else:
            fixed["channels_in"] = CHANNELS[i // 7 % 12]
            fixed["channels_out"] = CHANNELS[i % 12]
        cases.append(bconv2d(rng, **fixed))
    return cases


def quantize(rng, dtype):
    shape = (*rng.integers(1, 5, rng.integers(0, 4)), int(rng.choice(CHANNELS)))
    scale = zero_point = None
    if dtype == "float32":
        x = rng.normal(0, 1, shape).astype(np.float32)
        # No subnormal numbers: LCE's interpreter switches the processor to reading them as 0.
        special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 2e-38, -2e-38, 3e38, -3e38], np.float32)
        x = np.where(rng.random(shape) < 0.2, rng.choice(special, shape), x)
    elif dtype == "int8":
        x = rng.integers(-128, 128, shape).astype(np.int8)
        scale, zero_point = 0.1, int(rng.choice([-128, 127, 0, rng.integers(-128, 128)]))
    else:
        x = rng.random(shape) < 0.5
    tensor = Tensor.of(x, scale=scale, zero_point=zero_point or 0)
    return Node("LceQuantize", [tensor], Tensor((*shape[:-1], words(shape[-1])), "int32"))


def dequantize(rng, dtype):
    shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(0, 4)))
    channels = int(rng.choice(CHANNELS))
    output = Tensor((*shape, channels), dtype)
    if dtype == "int8":
        output.scale = float(np.float32(10 ** rng.uniform(-3, 1)))
        output.zero_point = int(rng.choice([-128, 127, 0, rng.integers(-128, 128)]))
    return Node("LceDequantize", [Tensor.of(bits(rng, shape, channels, "random"))], output)


def bmaxpool2d(rng):
    padding = int(rng.choice([SAME, VALID]))
    size = rng.choice(SIZES, 2)
    taps, strides = rng.integers(1, 6, 2), rng.integers(1, 4, 2)
    if padding == VALID:
        size = np.maximum(size, taps)
    channels = int(rng.choice(CHANNELS))
    x = bits(rng, (int(rng.integers(1, 3)), *size), channels, rng.choice(["random", "minus", "alternating"]))
    # A random map is nearly all +1 after pooling: thin the 0 bits out.
    x |= bits(rng, x.shape[:-1], channels, "random") | bits(rng, x.shape[:-1], channels, "random")
    out = [window(int(s), int(k), int(t), 1, padding) for s, k, t in zip(size, taps, strides, strict=True)]
    options = {
        "filter_height": int(taps[0]),
        "filter_width": int(taps[1]),
        "stride_height": int(strides[0]),
        "stride_width": int(strides[1]),
        "padding": padding,
    }
    return Node("LceBMaxPool2d", [Tensor.of(x)], Tensor((x.shape[0], *out, x.shape[-1]), "int32"), options)


PLANES = (4, 1, 2, 3, 6, 8, 5, 7, 9, 10, 12, 14, 16, 32, 33)  # of stems: all ways to compare sums, on all cores


def stem(rng, largest=9, planes=None):
    """(x, weights, thresholds, zero point, strides, padding) of a stem; images of up to `largest` rows and columns."""
    taps = tuple(int(t) for t in rng.integers(1, 6, 2))
    padding = int(rng.integers(2))
    size = [int(rng.integers(taps[axis] if padding else 1, max(largest, taps[axis]) + 1)) for axis in (0, 1)]
    channels, filters = int(rng.choice([1, 2, 3, 4, 5, 8, 17])), int(rng.choice([1, 2, 3, 4, 5, 8, 15, 16, 17, 32, 40]))
    planes = planes or int(rng.choice(PLANES))
    low, high = [(-128, 128), (-128, -127), (127, 128), (-3, 4)][rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])]
    x = rng.integers(low, high, (int(rng.integers(1, 3)), *size, channels)).astype(np.int8)
    weights = rng.integers(low, high, (filters, *taps, channels)).astype(np.int8)
    spread = int(1 + 8000 * np.sqrt(weights[0].size))
    thresholds = rng.integers(-spread, spread + 1, filters * planes)
    extreme = rng.choice([-(2**31), 2**31 - 1, 0], len(thresholds))
    thresholds = np.where(rng.random(len(thresholds)) < 0.1, extreme, thresholds).astype(np.int32)
    return x, weights, thresholds, int(rng.integers(-128, 128)), tuple(int(s) for s in rng.integers(1, 4, 2)), padding
