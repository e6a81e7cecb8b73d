"""The walk over a Keras net, and what each kind of layer becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.convert.emit.arithmetic import affine, range_quantization
from bcnet_keras.convert.emit.convolutions import Binary, Thermometer, convolution, identity
from bcnet_keras.convert.emit.graph import Graph
from bcnet_keras.convert.emit.values import (
    INT8,
    Codes,
    Function,
    Image,
    Layer,
    Merged,
    Moved,
    NotEmitted,
    Pooled,
    Reshaped,
    Shape,
    Value,
)
from bcnet_keras.layers import (
    BinaryConv2D,
    BinaryDense,
    CalibratedThermometer,
    FakeQuant,
    HardSwish,
    Int8Conv2D,
    Int8Dense,
    Int8DepthwiseConv2D,
    ThermometerEncoding,
    front_of,
)
from bcnet_keras.layers.binary import binary_kernel, binary_problem
from bcnet_keras.layers.quantized import QuantConv2D, binary_convolutions
from bcnet_keras.tflite.flatbuffer import schema

_keras = tf.keras.layers
_float = np.float32
# A range narrower than the first is of a layer that gives nothing but 0, such as a ReLU that no image gets through.
# It is written as the second: narrower ones leave the biases behind them no room in 32 bits.
_ALWAYS_ZERO, _WIDTH_OF_ZEROS = 1e-6, 1e-3
# Layers that do nothing once a net is trained.
_TRAINING = (
    *(_keras.Dropout, _keras.SpatialDropout2D, _keras.GaussianDropout, _keras.GaussianNoise, _keras.AlphaDropout),
    *(_keras.ActivityRegularization, _keras.RandomFlip, _keras.RandomRotation, _keras.RandomTranslation),
    *(_keras.RandomZoom, _keras.RandomContrast, _keras.RandomBrightness),
)
# What to use in place of a layer that cannot be written.
_INSTEAD = {
    "Average": "Add, FakeQuant and Rescaling(1 / n)",
    "Conv1D": "Int8Conv2D or BinaryConv2D on a map [t, 1, c]",
    "Conv2D": "Int8Conv2D or BinaryConv2D",
    "Dense": "Int8Dense or BinaryDense",
    "DepthwiseConv2D": "Int8DepthwiseConv2D",
    "GlobalAveragePooling1D": "GlobalAveragePooling2D on a map [t, 1, c]",
    "GlobalMaxPooling1D": "GlobalMaxPooling2D on a map [t, 1, c]",
    "MaxPooling1D": "MaxPooling2D on a map [t, 1, c]",
    "QuantDense": "BinaryDense",
    "QuantConv1D": "BinaryConv2D on a map [t, 1, c]",
    "QuantDepthwiseConv2D": "BinaryConv2D",
    "QuantSeparableConv2D": "BinaryConv2D",
    "SeparableConv2D": "Int8DepthwiseConv2D and Int8Conv2D",
    "Softmax": "none: a net of a pair ends in logits",
}
_NO_OPERATOR = {
    "hard_sigmoid": "use Rescaling(0.2, 0.5), ReLU(1.0)",
    "softmax": "leave it out: a net of a pair ends in logits",
    "swish": "use Multiply of its input with Activation('sigmoid'), or HardSwish, with FakeQuant in between",
}

# Keras layer -> operator and its options.
_MERGES = {
    _keras.Add: ("ADD", schema.AddOptionsT),
    _keras.Subtract: ("SUB", schema.SubOptionsT),
    _keras.Multiply: ("MUL", schema.MulOptionsT),
    _keras.Maximum: ("MAXIMUM", schema.MaximumMinimumOptionsT),
    _keras.Minimum: ("MINIMUM", schema.MaximumMinimumOptionsT),
    _keras.Concatenate: ("CONCATENATION", schema.ConcatenationOptionsT),
}


def emit(net: tf.keras.Model) -> schema.ModelT:
    """Writes a Keras net (image in its input range -> logits) as a flatbuffer with a batch of one.

    Arguments:
      net: functional or sequential `tf.keras.Model` of one input and one output, trained or not, made of
        `bcnet_keras.layers`, of Keras layers between them, and of models of these.

    Returns:
      `schema.ModelT` of one subgraph: input `image` int8 [1, h, w, c], output `logits` int8 [1, classes].

    Raises:
      NotEmitted: a layer or an order of layers that cannot be written; the message names it, and what can.
    """
    return Emitter(net).builder.model


class Emitter(Graph):
    def __init__(self, net: tf.keras.Model) -> None:
        super().__init__()
        if not _is_graph(net) or len(net.inputs) != 1 or len(net.outputs) != 1:
            raise NotEmitted("the net must be a functional or sequential Keras model with one input and one output")
        front = front_of(net)
        image = front[-1].output if front else net.inputs[0]
        values: dict[int, Value] = {id(image): Image(self, net.layers[0], _shape(image))}
        self.walk(net, values, front)
        logits = self.reshaped(values[id(net.outputs[0])].rounded())
        if len(logits.shape) != 2:
            raise NotEmitted(f"the net must end in logits [n, classes], got {[None, *logits.shape[1:]]}")
        self.graph.outputs = np.array([logits.index], np.int32)
        if self.graph.inputs is None:
            raise NotEmitted("no layer that becomes an operator reads the image")
        self.builder.signature(0, {"image": self.graph.inputs[0]}, {"logits": logits.index})

    def walk(self, model: tf.keras.Model, values: dict[int, Value], done: Sequence[Layer] = ()) -> None:
        """Adds the values of a model's tensors to `values`, a dict by id that has those of its inputs."""
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input or node.layer in done:
                    continue
                sources, outputs = [values[id(each)] for each in node.keras_inputs], tf.nest.flatten(node.outputs)
                if _is_graph(node.layer):
                    inner = dict(zip(map(id, node.layer.inputs), sources, strict=True))
                    self.walk(node.layer, inner)
                    results = [inner[id(each)] for each in node.layer.outputs]
                else:
                    results = self.results(node, sources, outputs)
                values.update((id(tensor), value) for tensor, value in zip(outputs, results, strict=True))

    def results(self, node: Any, sources: list[Value], outputs: list[Any]) -> list[Value]:
        """The values of a layer's outputs."""
        layer, kind = node.layer, type(node.layer)
        if isinstance(layer, FakeQuant):
            low, high = layer.range
            if high - low < _ALWAYS_ZERO:
                low, high = -_WIDTH_OF_ZEROS * layer.symmetric, _WIDTH_OF_ZEROS
            quantization = range_quantization(low, high)
            return [source.codes(quantization) for source in sources]
        if getattr(layer, "data_format", None) == "channels_first":
            raise NotEmitted(f"layer {layer.name!r} ({kind.__name__}) has its channels first; put them last")
        if kind.__name__ == "TFOpLambda":
            return [self.operation(node, _shape(outputs[0]), sources)]
        rules: dict[type, Any] = self.RULES | dict.fromkeys(binary_convolutions(), Emitter.binary)
        known = next((each for each in kind.__mro__ if each in rules), None)
        if known is None:
            raise NotEmitted(f"layer {layer.name!r} ({kind.__name__}) cannot be written; {_instead(kind.__name__)}")
        if any("call" in vars(each) for each in kind.__mro__[: kind.__mro__.index(known)]):
            raise NotEmitted(
                f"layer {layer.name!r} ({kind.__name__}) cannot be written: the class computes something of its own; "
                f"use {known.__name__}"
            )
        value = rules[known](self, layer, _shape(outputs[0]), *sources)
        if isinstance(layer, _keras.Activation | _keras.ReLU | _keras.LeakyReLU):
            return [value]
        return [self.activated(layer, _shape(outputs[0]), value, getattr(layer, "activation", None))]

    def operation(self, node: Any, shape: Shape, sources: list[Value]) -> Value:
        """A function of TensorFlow that was called on Keras tensors."""
        layer, known = node.layer, self.OPERATIONS.get(node.layer.symbol)
        where = f"layer {layer.name!r} (tf.{layer.symbol})"
        if known is None:
            raise NotEmitted(f"{where} cannot be written; {_instead(layer.symbol)}")
        if isinstance(known, str):
            return self.activated(layer, shape, sources[0], getattr(tf.nn, known))
        if known is _keras.Concatenate and sum(each.shape[-1] for each in sources) != shape[-1]:
            raise NotEmitted(f"{where} must join along the last axis")
        if known in _MERGES:
            if len(sources) < 2:
                raise NotEmitted(f"{where} has a number for one of its tensors; use Rescaling")
            return self.merge(layer, shape, *sources, kind=known)
        return self.reshape(layer, shape, *sources)

    # Rules: (layer, shape of its output, values that it reads) -> value.

    def same(self, layer: Layer, shape: Shape, value: Value) -> Value:
        return value

    def identity(self, codes: Codes, layer: Layer, shape: Shape) -> Value:
        return identity(codes, layer, shape)

    def convolution(self, layer: Layer, shape: Shape, value: Value) -> Value:
        if getattr(layer, "input_quantizer", None) is not None:
            raise NotEmitted(
                f"layer {layer.name!r} quantises its input itself; leave that to FakeQuant, or use BinaryConv2D"
            )
        if getattr(layer, "padding", None) == "same" and getattr(layer, "pad_values", 0):
            raise NotEmitted(f"layer {layer.name!r} pads with {layer.pad_values:g}; pad with 0")
        bias = layer.bias.numpy() if layer.use_bias else np.zeros(shape[-1], _float)
        return convolution(layer, shape, value.rounded(), bias)

    def binary(self, layer: Layer, shape: Shape, value: Value) -> Value:
        problem = binary_problem(layer)
        if layer.input_quantizer is None:
            problem = "it does not take the sign of its input; give it an input_quantizer, or use Int8Conv2D"
        elif layer.padding == "same" and layer.pad_values != 1:
            problem = "it pads with 0, which is no sign; pad with +1 (pad_values=1)"
        if problem is not None:
            raise NotEmitted(f"layer {layer.name!r} ({type(layer).__name__}): {problem}")
        kernel, sizes = binary_kernel(layer)
        bias = layer.bias.numpy() if layer.use_bias else np.zeros(len(sizes), _float)
        size = (1, 1) if isinstance(layer, BinaryDense) else shape[1:3]
        signs = np.where(kernel < 0, _float(-1), _float(1)).transpose(3, 0, 1, 2)
        return Binary(self, layer, shape, value, signs, sizes, bias, size)

    def thermometer(self, layer: Layer, shape: Shape, value: Value) -> Value:
        source = self.reshaped(value.rounded())
        if isinstance(layer, CalibratedThermometer):
            step = float(layer.step.numpy())
            return Thermometer(self, layer, shape, source, layer.levels.numpy().astype(np.float64) * step, step)
        low, high = layer.input_range
        return Thermometer(self, layer, shape, source, np.tile(layer.levels, source.shape[-1]), (high - low) / 255)

    def normalisation(self, layer: Layer, shape: Shape, value: Value) -> Value:
        axis = layer.axis if isinstance(layer.axis, int) else list(layer.axis)[0]
        if axis not in (-1, len(shape) - 1):
            raise NotEmitted(f"layer {layer.name!r} normalises along axis {axis}; expected the last")
        return value.normalised(layer, *affine(layer))

    def rescaling(self, layer: Layer, shape: Shape, value: Value) -> Value:
        numbers = (np.broadcast_to(np.asarray(each, _float), shape[-1:]) for each in (layer.scale, layer.offset))
        return value.normalised(layer, *numbers)

    def relu(self, layer: Layer, shape: Shape, value: Value) -> Value:
        if layer.threshold or (layer.negative_slope and layer.max_value is not None):
            raise NotEmitted(f"layer {layer.name!r}: no operator has a threshold, or a slope and a maximum")
        if layer.negative_slope:
            return self.leaky(layer, shape, value, layer.negative_slope)
        return value.activated(layer, shape, None if layer.max_value is None else float(layer.max_value))

    def activated(self, layer: Layer, shape: Shape, value: Value, function: Any) -> Value:
        """`value` behind a function that Keras calls an activation, or None."""
        name = getattr(function, "__name__", type(function).__name__)
        if isinstance(function, _keras.Layer):
            raise NotEmitted(f"layer {layer.name!r} has the layer {name} as its activation; put that layer behind it")
        own = not str(getattr(function, "__module__", "")).startswith(("tf_keras", "keras", "tensorflow"))
        if function is None or (name == "linear" and not own):
            return value
        if own or name not in ("relu", "relu6", "sigmoid", "tanh"):
            hint = _NO_OPERATOR.get(name, "there are relu, relu6, sigmoid and tanh")
            raise NotEmitted(f"layer {layer.name!r}: the activation {name!r} has no operator; {hint}")
        if name in ("relu", "relu6"):
            return value.activated(layer, shape, 6.0 if name == "relu6" else None)
        return Function(self, layer, shape, value, {"sigmoid": "LOGISTIC", "tanh": "TANH"}[name])

    def activation(self, layer: Layer, shape: Shape, value: Value) -> Value:
        return self.activated(layer, shape, value, layer.activation)

    def hard_swish(self, layer: Layer, shape: Shape, value: Value) -> Value:
        return Function(self, layer, shape, value, "HARD_SWISH", schema.HardSwishOptionsT(), version=1)

    def leaky_relu(self, layer: Layer, shape: Shape, value: Value) -> Value:
        return self.leaky(layer, shape, value, layer.alpha)

    def leaky(self, layer: Layer, shape: Shape, value: Value, slope: float) -> Value:
        options = schema.LeakyReluOptionsT()
        options.alpha = float(slope)
        return Function(self, layer, shape, value, "LEAKY_RELU", options)

    def prelu(self, layer: Layer, shape: Shape, value: Value) -> Value:
        slopes = layer.alpha.numpy()
        scale = np.maximum(np.abs(slopes).max(), np.finfo(_float).tiny) / 127
        codes = np.round(slopes / scale).astype(np.int8)
        return Function(
            self, layer, shape, value, "PRELU", None, (self.weights(layer, "alpha", INT8, codes, [scale]),), 1
        )

    def pooling(self, layer: Layer, shape: Shape, value: Value) -> Value:
        kind = "MAX_POOL_2D" if isinstance(layer, _keras.MaxPooling2D) else "AVERAGE_POOL_2D"
        padding = getattr(schema.Padding, layer.padding.upper())
        return Pooled(self, layer, shape, value, kind, layer.pool_size, layer.strides, padding, shape)

    def global_pooling(self, layer: Layer, shape: Shape, value: Value) -> Value:
        kind = "MAX_POOL_2D" if isinstance(layer, _keras.GlobalMaxPooling2D) else "AVERAGE_POOL_2D"
        size, form = value.shape[1:3], (1, 1, 1, shape[-1])
        return Pooled(self, layer, shape, value, kind, size, size, schema.Padding.VALID, form)

    def padding(self, layer: Layer, shape: Shape, value: Value) -> Value:
        paddings = [[0, 0], *layer.padding, [0, 0]]
        return Moved(self, layer, shape, value, "PAD", schema.PadOptionsT, lambda form: [("paddings", paddings)])

    def cropping(self, layer: Layer, shape: Shape, value: Value) -> Value:
        begin = [0, *(before for before, _ in layer.cropping), 0]

        def numbers(form):
            end = [start + size for start, size in zip(begin, form, strict=True)]
            return ("begin", begin), ("end", end), ("strides", [1] * 4)

        return Moved(self, layer, shape, value, "STRIDED_SLICE", schema.StridedSliceOptionsT, numbers)

    def reshape(self, layer: Layer, shape: Shape, value: Value) -> Value:
        return Reshaped(self, layer, shape, value)

    def merge(self, layer: Layer, shape: Shape, *values: Value, kind: type | None = None) -> Value:
        name, options = _MERGES[kind or type(layer)]
        if name == "CONCATENATION" and getattr(layer, "axis", -1) not in (-1, len(shape) - 1):
            raise NotEmitted(f"layer {layer.name!r} joins along axis {layer.axis}; expected the last")
        if name == "CONCATENATION" or len(values) == 2:
            return Merged(self, layer, shape, values, name, options)
        if name not in ("ADD", "MAXIMUM", "MINIMUM"):
            raise NotEmitted(
                f"layer {layer.name!r} merges {len(values)} tensors; merge them in pairs, FakeQuant behind"
            )
        result, *rest = values
        for number, value in enumerate(rest):  # two and two, the sums in a range that holds them all
            result = Merged(self, layer, shape, (result, value), name, options)
            if number < len(rest) - 1:
                result = result.known() or result.codes(_joint_quantization(result.sources, name == "ADD"))
        return result

    RULES = {
        Int8Conv2D: convolution,
        Int8DepthwiseConv2D: convolution,
        Int8Dense: convolution,
        BinaryConv2D: binary,
        BinaryDense: binary,
        QuantConv2D: binary,
        ThermometerEncoding: thermometer,
        CalibratedThermometer: thermometer,
        _keras.BatchNormalization: normalisation,
        _keras.Rescaling: rescaling,
        **dict.fromkeys(_TRAINING, same),
        _keras.ReLU: relu,
        _keras.LeakyReLU: leaky_relu,
        _keras.PReLU: prelu,
        HardSwish: hard_swish,
        _keras.Activation: activation,
        _keras.MaxPooling2D: pooling,
        _keras.AveragePooling2D: pooling,
        _keras.GlobalAveragePooling2D: global_pooling,
        _keras.GlobalMaxPooling2D: global_pooling,
        _keras.ZeroPadding2D: padding,
        _keras.Cropping2D: cropping,
        _keras.Flatten: reshape,
        _keras.Reshape: reshape,
        **dict.fromkeys(_MERGES, merge),
    }
    # Functions of TensorFlow on Keras tensors -> the Keras layer that does the same, or the name of an activation.
    OPERATIONS = {
        "__operators__.add": _keras.Add,
        "math.add": _keras.Add,
        "__operators__.sub": _keras.Subtract,
        "math.subtract": _keras.Subtract,
        "__operators__.mul": _keras.Multiply,
        "math.multiply": _keras.Multiply,
        "math.maximum": _keras.Maximum,
        "math.minimum": _keras.Minimum,
        "concat": _keras.Concatenate,
        "nn.relu": "relu",
        "nn.relu6": "relu6",
        "math.sigmoid": "sigmoid",
        "math.tanh": "tanh",
        **dict.fromkeys(("reshape", "expand_dims", "squeeze", "compat.v1.squeeze"), _keras.Reshape),
    }


def _is_graph(layer):
    return isinstance(layer, tf.keras.Model) and getattr(layer, "_is_graph_network", False)


def _shape(tensor):
    """The shape of a Keras tensor with a batch of one."""
    size = tuple(tensor.shape[1:])
    if None in size:
        raise NotEmitted(f"the tensor {tensor.name!r} has the shape {[None, *size]}, of which the size must be known")
    return (1, *map(int, size))


def _instead(kind):
    if kind in _INSTEAD:
        return f"use {_INSTEAD[kind]}"
    return f"expected one of {', '.join(sorted(each.__name__ for each in Emitter.RULES))}"


def _joint_quantization(sources, added):
    """The step and zero point in which the sum of `Codes`, or the larger or smaller one, loses least."""
    ends = []
    for scale, zero_point in (source.rounded().quantization for source in sources):
        ends.append([scale * (code - zero_point) for code in (-128, 127)])
    lows, highs = zip(*ends, strict=True)
    return range_quantization(sum(lows), sum(highs)) if added else range_quantization(min(lows), max(highs))
