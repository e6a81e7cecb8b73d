"""The NumPy runtime against TensorFlow Lite Micro's reference kernels and this project's operators, bit by bit."""

import sys

import numpy as np
import pytest

from bcnet_keras.errors import BcnetError
from bcnet_keras.runtime import numpy_runtime, tflm
from bcnet_keras.runtime.numpy_operators import KERNELS
from bcnet_keras.tflite import flatbuffer

schema = flatbuffer.schema
INT8, INT32, FLOAT32, BOOL = (getattr(schema.TensorType, name) for name in ("INT8", "INT32", "FLOAT32", "BOOL"))
SEEDS = range(12)


class Net:
    """A flatbuffer of one operator, with random quantisation, under construction."""

    def __init__(self, random):
        self.random, self.builder = random, flatbuffer.Builder("test")
        self.graph = self.builder.subgraph("main")
        self.given = []

    def step(self, low=0.002, high=0.2):
        return float(np.exp(self.random.uniform(np.log(low), np.log(high)))), int(self.random.integers(-128, 128))

    def tensor(self, shape, step=None, type=INT8, data=None):
        return self.builder.tensor(self.graph, f"t{len(self.graph.tensors)}", type, shape, step, data)

    def image(self, shape, step=None, type=INT8):
        step = self.step() if step is None and type == INT8 else step
        self.given.append(self.tensor(shape, step, type))
        return self.given[-1]

    def weights(self, shape, axis, channels, one_scale=False):
        index = self.tensor(shape, None, INT8, self.random.integers(-127, 128, shape).astype(np.int8))
        parameters = schema.QuantizationParametersT()
        count = 1 if one_scale else channels
        parameters.scale = np.exp(self.random.uniform(-8, -3, count)).astype(np.float32)
        parameters.zeroPoint, parameters.quantizedDimension = np.zeros(count, np.int64), 0 if one_scale else axis
        self.graph.tensors[index].quantization = parameters
        return index, parameters.scale

    def numbers(self, values):
        return self.tensor(np.shape(values), None, INT32, np.asarray(values, np.int32))

    def finish(self, name, inputs, output, options=None, version=2, custom=None):
        name = name.encode() if name.startswith(("Bcnet", "Lce")) else name
        encoded = None if custom is None else flatbuffer.encode_options(custom)
        self.builder.operator(self.graph, name, inputs, [output], options, version, encoded)
        self.graph.inputs, self.graph.outputs = np.array(self.given, np.int32), np.array([output], np.int32)
        return self.builder.finish()

    def chosen(self, *values):
        return values[int(self.random.integers(len(values)))]


def options_of(name, **fields):
    options = getattr(schema, f"{name}OptionsT")()
    for field, value in fields.items():
        setattr(options, field, value)
    return options


def activation(net):
    kinds = schema.ActivationFunctionType
    return net.chosen(kinds.NONE, kinds.RELU, kinds.RELU6, kinds.RELU_N1_TO_1)


def size_behind(size, window, strides, dilations, padding):
    spans = [(taps - 1) * dilation + 1 for taps, dilation in zip(window, dilations, strict=True)]
    if padding == schema.Padding.SAME:
        return [-(-side // stride) for side, stride in zip(size, strides, strict=True)]
    return [(side - span) // stride + 1 for side, span, stride in zip(size, spans, strides, strict=True)]


def window(net, size, dilated=True):
    """(window, strides, dilations, padding) that fit a map."""
    taps = [int(net.random.integers(1, 4)) for _ in size]
    dilations = [net.chosen(1, 1, 2) if dilated else 1 for _ in size]
    strides = [1, 1] if max(dilations) > 1 else [int(net.random.integers(1, 4)) for _ in size]
    fits = all((tap - 1) * each < side for tap, each, side in zip(taps, dilations, size, strict=True))
    padding = net.chosen(schema.Padding.SAME, schema.Padding.VALID) if fits else schema.Padding.SAME
    return taps, strides, dilations, padding


def convolution(name, net):
    size, channels, depthwise = net.random.integers(3, 8, 2).tolist(), net.chosen(1, 4, 6), name != "CONV_2D"
    groups = 1 if depthwise or channels == 1 else net.chosen(1, 2)
    filters = channels * net.chosen(1, 3) if depthwise else groups * int(net.random.integers(1, 9))
    taps, strides, dilations, padding = window(net, size)
    step = net.step()
    image = net.image([1, *size, channels], step)
    shape = [1, *taps, filters] if depthwise else [filters, *taps, channels // groups]
    kernel, scales = net.weights(shape, 3 if depthwise else 0, filters, net.chosen(True, False))
    bias = net.tensor([filters], None, INT32, net.random.integers(-20000, 20000, filters).astype(np.int32))
    fields = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "fusedActivationFunction": activation(net),
    }
    fields |= {"dilationHFactor": dilations[0], "dilationWFactor": dilations[1]}
    if depthwise:
        fields["depthMultiplier"] = filters // channels
    output = net.tensor([1, *size_behind(size, taps, strides, dilations, padding), filters], net.step(0.05, 2))
    options = options_of("DepthwiseConv2D" if depthwise else "Conv2D", **fields)
    bias = bias if depthwise else net.chosen(bias, -1)
    return net.finish(name, [image, kernel, bias], output, options, 3)


def fully_connected(name, net):
    features, units, rows = int(net.random.integers(1, 60)), int(net.random.integers(1, 20)), net.chosen(1, 3)
    image = net.image([rows, features])
    kernel, scales = net.weights([units, features], 0, units, net.chosen(True, True, False))
    bias = net.tensor([units], None, INT32, net.random.integers(-9999, 9999, units).astype(np.int32))
    output, options = net.tensor([rows, units], net.step(0.05, 2)), options_of("FullyConnected")
    options.fusedActivationFunction = activation(net)
    return net.finish(name, [image, kernel, net.chosen(bias, -1)], output, options, 4)


def pooling(name, net):
    size, channels, step = net.random.integers(2, 8, 2).tolist(), int(net.random.integers(1, 5)), net.step()
    taps, strides, dilations, padding = window(net, size, dilated=False)
    fields = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "fusedActivationFunction": activation(net),
    }
    fields |= {"filterHeight": taps[0], "filterWidth": taps[1]}
    output = net.tensor([1, *size_behind(size, taps, strides, dilations, padding), channels], step)
    return net.finish(name, [net.image([1, *size, channels], step)], output, options_of("Pool2D", **fields))


def of_two(name, net):
    shape = [1, *net.random.integers(1, 6, 3).tolist()]
    other = net.chosen(shape, [1, 1, 1, shape[3]], [1])
    same = net.step() if name in ("MAXIMUM", "MINIMUM") else None
    inputs = [net.image(shape, same), net.image(other, same)]
    kind = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul"}.get(name)
    options = options_of(kind, fusedActivationFunction=activation(net)) if kind else options_of("MaximumMinimum")
    return net.finish(name, inputs, net.tensor(shape, same or net.step()), options)


def function(name, net):
    shape, step = [1, *net.random.integers(1, 6, 2).tolist(), 40], net.step(0.0005, 0.3)
    output = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}.get(name)
    options = None
    if name == "LEAKY_RELU":
        options = options_of("LeakyRelu", alpha=float(net.random.uniform(0.01, 1.5)))
    if name == "HARD_SWISH":
        output = step[0] * float(net.random.uniform(0.01, 2)), net.step()[1]
    if name == "RELU6":
        step = output = float(net.random.uniform(0.06, 0.5)), -128
    return net.finish(name, [net.image(shape, step)], net.tensor(shape, output or net.step(0.002, 0.5)), options)


def prelu(name, net):
    shape = [1, *net.random.integers(1, 6, 3).tolist()]
    slopes = net.tensor(
        [1, 1, shape[3]], net.step(0.001, 0.02), INT8, net.random.integers(-128, 128, (1, 1, shape[3])).astype(np.int8)
    )
    return net.finish(name, [net.image(shape), slopes], net.tensor(shape, net.step()))


def softmax(name, net):
    shape = [net.chosen(1, 4), int(net.random.integers(2, 30))]
    image = net.image(shape, net.step(0.001, 1.0))
    return net.finish(
        name, [image], net.tensor(shape, (1 / 256, -128)), options_of("Softmax", beta=net.chosen(1.0, 0.5))
    )


def reduction(name, net):
    shape = [1, *net.random.integers(1, 9, 3).tolist()]
    axes, keep, step = net.chosen([1, 2], [2], [-1, 1]), net.chosen(True, False), net.step()
    left = [1 if axis in [each % 4 for each in axes] else side for axis, side in enumerate(shape)]
    written = left if keep else [side for axis, side in enumerate(shape) if axis not in [each % 4 for each in axes]]
    output = net.tensor(written, net.step() if name == "MEAN" else step)
    return net.finish(name, [net.image(shape, step), net.numbers(axes)], output, options_of("Reducer", keepDims=keep))


def requantized(name, net):
    shape = [1, 5, 60]
    if name == "QUANTIZE":
        image = net.chosen(net.image, lambda shape: net.image(shape, type=FLOAT32))(shape)
        return net.finish(name, [image], net.tensor(shape, net.step()))
    return net.finish(name, [net.image(shape)], net.tensor(shape, None, FLOAT32))


def moved(name, net):
    step, shape, type = net.step(), [1, *net.random.integers(3, 7, 3).tolist()], INT8
    if name in ("PAD", "STRIDED_SLICE", "CONCATENATION"):
        type = net.chosen(INT8, INT32)
    step = step if type == INT8 else None
    if name == "CONCATENATION":
        parts = [[*shape[:3], int(net.random.integers(1, 5))] for _ in range(3)]
        output = net.tensor([*shape[:3], sum(part[3] for part in parts)], step, type)
        return net.finish(
            name,
            [net.image(part, step, type) for part in parts],
            output,
            options_of("Concatenation", axis=net.chosen(3, -1)),
        )
    if name == "PAD":
        paddings = [[0, 0], *net.random.integers(0, 3, (2, 2)).tolist(), [0, 0]]
        written = [side + sum(each) for side, each in zip(shape, paddings, strict=True)]
        return net.finish(
            name,
            [net.image(shape, step, type), net.numbers(paddings)],
            net.tensor(written, step, type),
            options_of("Pad"),
        )
    if name == "STRIDED_SLICE":
        begin, steps = [0, 1, 1, 0], [1, net.chosen(1, 2), 1, 1]
        mask = net.chosen(0, 0b0110)
        written = [
            1,
            *(-(-(side - (0 if mask else 1)) // each) for side, each in zip(shape[1:3], steps[1:3], strict=True)),
            shape[3],
        ]
        inputs = [net.image(shape, step, type), *(net.numbers(each) for each in (begin, shape, steps))]
        return net.finish(name, inputs, net.tensor(written, step, type), options_of("StridedSlice", beginMask=mask))
    written = {"EXPAND_DIMS": [1, *shape], "SQUEEZE": shape[1:], "RESHAPE": [1, int(np.prod(shape))]}[name]
    inputs = [net.image(shape, step)]
    if name == "EXPAND_DIMS":
        inputs.append(net.numbers([0]))
    elif name == "RESHAPE":
        inputs.append(net.numbers(written))
    kind = {"EXPAND_DIMS": "ExpandDims", "SQUEEZE": "Squeeze", "RESHAPE": "Reshape"}[name]
    fields = {"Squeeze": {"squeezeDims": np.array([0], np.int32)}, "Reshape": {"newShape": np.array(written, np.int32)}}
    return net.finish(name, inputs, net.tensor(written, step), options_of(kind, **fields.get(kind, {})))


def signs(name, net):
    channels, shape = int(net.random.integers(1, 70)), [1, 3, 2]
    words = -(-channels // 32)
    if name == "LceQuantize":
        type = net.chosen(INT8, FLOAT32, BOOL)
        return net.finish(
            name, [net.image([*shape, channels], type=type)], net.tensor([*shape, words], None, INT32), custom=None
        )
    type = net.chosen(INT8, FLOAT32, BOOL)
    step = net.step(0.002, 3) if type == INT8 else None
    return net.finish(name, [net.image([*shape, words], type=INT32)], net.tensor([*shape, channels], step, type))


def binary_window(net, size, dilated):
    taps, strides, dilations, padding = window(net, size, dilated)
    options = {"stride_height": strides[0], "stride_width": strides[1], "padding": padding}
    if dilated:
        options |= {"dilation_height_factor": dilations[0], "dilation_width_factor": dilations[1]}
    return taps, size_behind(size, taps, strides, dilations, padding), options


def binary_pooling(name, net):
    size, words = net.random.integers(2, 8, 2).tolist(), net.chosen(1, 3)
    taps, written, options = binary_window(net, size, False)
    options |= {"filter_height": taps[0], "filter_width": taps[1]}
    return net.finish(
        name, [net.image([1, *size, words], type=INT32)], net.tensor([1, *written, words], None, INT32), custom=options
    )


def binary_convolution(name, net):
    size, groups = net.random.integers(3, 8, 2).tolist(), net.chosen(1, 1, 2)
    channels = 64 if groups == 2 else 2 * int(net.random.integers(1, 35))
    filters, words = groups * int(net.random.integers(1, 37)), -(-channels // 32)
    taps, written, options = binary_window(net, size, True)
    options |= {
        "channels_in": channels,
        "pad_values": net.chosen(0, 1),
        "fused_activation_function": net.chosen(0, 1, 2, 3),
    }
    bits = net.random.integers(0, 2, (filters, *taps, channels // groups)).astype(bool)
    kernel = numpy_runtime_packed(bits)
    image, kernel = net.image([1, *size, words], type=INT32), net.tensor(kernel.shape, None, INT32, kernel)
    kind = net.chosen("bits", "int8", "float32")
    products = bits[0].size
    if kind == "bits":
        thresholds = net.tensor([filters], None, INT32, net.random.integers(0, products, filters).astype(np.int32))
        output = net.tensor([1, *written, -(-filters // 32)], None, INT32)
        return net.finish(
            name, [image, kernel, -1, -1, thresholds], output, custom=options | {"fused_activation_function": 0}
        )
    numbers = (net.random.normal(size=filters).astype(np.float32) * scale for scale in (0.1, 3))
    numbers = [net.tensor([filters], None, FLOAT32, each.astype(np.float32)) for each in numbers]
    output = net.tensor(
        [1, *written, filters], net.step(0.02, 0.5) if kind == "int8" else None, INT8 if kind == "int8" else FLOAT32
    )
    return net.finish(name, [image, kernel, *numbers, -1], output, custom=options)


def numpy_runtime_packed(bits):
    missing = -bits.shape[-1] % 32
    padded = np.pad(bits, [(0, 0)] * 3 + [(0, missing)])
    return np.packbits(padded, axis=-1, bitorder="little").view("<i4").astype(np.int32)


def thermometer(name, net):
    channels, planes = int(net.random.integers(1, 5)), int(net.random.integers(1, 40))
    thresholds = net.numbers(net.random.integers(-128, 129, channels * planes))
    image, words = net.image([1, 4, 5, channels]), -(-channels * planes // 32)
    return net.finish(name, [image, thresholds], net.tensor([1, 4, 5, words], None, INT32))


def stem(name, net):
    size, channels = net.random.integers(3, 8, 2).tolist(), net.chosen(1, 3, 4)
    filters, planes = int(net.random.integers(1, 20)), net.chosen(1, 1, 4, 7)
    taps, written, options = binary_window(net, size, False)
    image = net.image([1, *size, channels])
    weights = net.random.integers(-128, 128, (filters, *taps, channels)).astype(np.int8)
    kernel = net.tensor(weights.shape, None, INT8, weights)
    reach = 5000 * int(np.prod(taps)) * channels
    thresholds = net.numbers(net.random.integers(-reach, reach, filters * planes))
    output = net.tensor([1, *written, -(-filters * planes // 32)], None, INT32)
    return net.finish(name, [image, kernel, thresholds], output, custom=options)


def gate(name, net):
    classes, type = int(net.random.integers(2, 12)), net.chosen(INT8, FLOAT32)
    measure = net.chosen("score_margin", "max_probability", "entropy", "learned")
    options = {"measure": measure, "threshold": net.random.uniform(0.1, 0.9, net.chosen(1, classes)).astype(np.float32)}
    if measure == "learned":
        options |= {"weights": net.random.normal(size=classes + 3).astype(np.float32), "bias": 0.25}
    return net.finish(name, [net.image([1, classes], type=type)], net.tensor([1], None, BOOL), custom=options)


MAKERS = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), convolution),
    "FULLY_CONNECTED": fully_connected,
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), pooling),
    **dict.fromkeys(("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM"), of_two),
    **dict.fromkeys(("LOGISTIC", "TANH", "HARD_SWISH", "LEAKY_RELU", "RELU", "RELU6"), function),
    "PRELU": prelu,
    "SOFTMAX": softmax,
    **dict.fromkeys(("MEAN", "REDUCE_MAX", "REDUCE_MIN"), reduction),
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE"), requantized),
    **dict.fromkeys(("CONCATENATION", "PAD", "STRIDED_SLICE", "EXPAND_DIMS", "SQUEEZE", "RESHAPE"), moved),
    **dict.fromkeys(("LceQuantize", "LceDequantize"), signs),
    "LceBMaxPool2d": binary_pooling,
    "LceBconv2d": binary_convolution,
    "BcnetThermometer": thermometer,
    "BcnetStem": stem,
    "BcnetGate": gate,
}
CUSTOM = [name for name in MAKERS if not name.isupper() and not name[0].isupper() or name.startswith(("Lce", "Bcnet"))]


def values(random, tensor):
    """An array for an input."""
    shape, kind = flatbuffer.shape(tensor), flatbuffer.type_name(tensor)
    if kind == "int8":
        return random.integers(-128, 128, shape).astype(np.int8)
    if kind == "int32":
        return random.integers(-(2**31), 2**31, shape).astype(np.int32)
    return (
        random.normal(0, 2, shape).astype(np.float32)
        if kind == "float32"
        else random.integers(0, 2, shape).astype(bool)
    )


def compare(name, seed):
    random = np.random.default_rng(seed)
    data = MAKERS[name](name, Net(random))
    model = flatbuffer.read(data)
    graph = model.subgraphs[0]
    mine, micro = numpy_runtime._Subgraph(model, 0), tflm.Model(data)
    for _ in range(3):
        given = [values(random, graph.tensors[index]) for index in graph.inputs]
        if name == "LceBconv2d" and given[0].shape[-1] * 32 > (
            channels := flatbuffer.custom_options(graph.operators[0])["channels_in"]
        ):
            given[0][..., -1] &= (1 << channels % 32) - 1 if channels % 32 else -1  # no bits behind the last channel
        (ours,), (expected,) = mine.run(given), micro.run(given)
        assert ours.dtype == expected.dtype and ours.shape == expected.shape
        np.testing.assert_array_equal(ours, expected)
    return ours


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.needs_tflm if name in CUSTOM else ()) for name in MAKERS]
)
def test_operators_are_those_of_tensorflow_lite_micro(name):
    found = [np.ravel(compare(name, seed)) for seed in SEEDS]
    assert len(np.unique(np.concatenate(found))) > 1  # not all of one value, which would compare little


def test_every_operator_is_compared():
    assert set(MAKERS) == set(KERNELS)


def test_what_is_missing_is_named_in_one_sentence(make_part):
    with pytest.raises(BcnetError, match=r"lacks the operator ELU; it has ADD, .*, IF: use --runtime=tflm or tflite$"):
        numpy_runtime.Interpreter(make_part(0, end="ELU"))


def main():
    for name in MAKERS:
        for seed in range(int(sys.argv[1])):
            try:
                compare(name, seed)
            except Exception as error:
                print(f"{name}, seed {seed}: {type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)
    print("done")


if __name__ == "__main__":
    main()
