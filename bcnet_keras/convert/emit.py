"""From Keras nets straight to operators: the flatbuffer of a net of `bcnet_keras.layers`, written without a converter.

A net is walked once. A layer whose result becomes 8-bit codes or signs only further on (a convolution in front of its
batch normalisation, ReLU and `FakeQuant`) waits as a value, and is written when it is known what it ends in:

* 8-bit codes, by the range of the `FakeQuant`;
* signs, where a binary layer reads it: LceBconv2d then compares its sums with thresholds and writes bits.

Formulas: quantisation of ranges and kernels as in TensorFlow's fake quantisation and TensorFlow Lite's specification
(int8 codes, biases of scale input x kernel); batch normalisation y = multiplier x + bias with multiplier = gamma /
sqrt(variance + epsilon), bias = beta - mean x multiplier; thresholds of binary sums as Larq Compute Engine has them
(larq_compute_engine/core/bconv2d/output_transform.h and mlir/transforms/bitpack.cc).

The inverse square root is computed in double precision and rounded once, so that a net gives the same file on every
machine. Converters round it by the processor's approximation; a threshold may differ by one where the exact one lies
within a rounding error of a whole number.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from bcnet_keras.convert.passes.fuse_thermometer import THERMOMETER
from bcnet_keras.errors import ModelError
from bcnet_keras.layers import (
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
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import schema

_keras = tf.keras.layers
_INT8, _INT32, _FLOAT32 = schema.TensorType.INT8, schema.TensorType.INT32, schema.TensorType.FLOAT32
_NONE, _RELU, _RELU6 = (getattr(schema.ActivationFunctionType, name) for name in ("NONE", "RELU", "RELU6"))
_float = np.float32


class NotEmitted(ModelError):
    """A layer, or an order of layers, that this module does not write. The message names the layer."""


def emit(net: tf.keras.Model) -> schema.ModelT:
    """Writes a Keras net (image in its input range -> logits) as a flatbuffer with a batch of one.

    Arguments:
      net: functional `tf.keras.Model` of one input and one output, made of `bcnet_keras.layers` and of the Keras layers
        that `twins.SUPPORTED` names, trained or not.

    Returns:
      `schema.ModelT` of one subgraph: input `image` int8 [1, h, w, c], output `logits` int8 [1, classes].

    Raises:
      NotEmitted: a layer or an order of layers that cannot be written.
    """
    return _Emitter(net).model


# Values: what a Keras tensor stands for. Each can be asked for its 8-bit codes, or for its signs.


@dataclasses.dataclass(eq=False, repr=False)
class _Value:
    """A tensor [1, ...] of the Keras net; `layer` made it."""

    emitter: object
    layer: object
    shape: tuple

    def __post_init__(self):
        self._written = {}  # what was asked for before, so that several readers share one operator

    def codes(self, quantization):
        """The value in 8-bit codes of (scale, zero point), as `_Codes`."""
        if quantization not in self._written:
            self._written[quantization] = self._codes(quantization)
        return self._written[quantization]

    def bits(self):
        """(index of the int32 tensor of signs, channels)."""
        if "bits" not in self._written:
            self._written["bits"] = self._bits()
        return self._written["bits"]

    def _codes(self, quantization):
        raise self.problem("its result cannot be rounded")

    def _bits(self):
        return self.rounded().bits()

    def rounded(self):
        """The value as `_Codes`, where a `FakeQuant` has rounded it already."""
        raise self.problem("FakeQuant is missing behind it")

    def normalised(self, layer, multiplier, bias):
        raise self.problem(f"the batch normalisation {layer.name!r} cannot become a part of a convolution there")

    def activated(self, layer, shape):
        return _Function(self.emitter, layer, shape, self, "RELU" if layer.max_value is None else "RELU6")

    def problem(self, reason):
        return NotEmitted(f"layer {self.layer.name!r} ({type(self.layer).__name__}): {reason}")


@dataclasses.dataclass(eq=False, repr=False)
class _Image(_Value):
    def _codes(self, quantization):
        index = self.emitter.tensor("image", self.shape, quantization)
        self.emitter.graph.inputs = np.array([index], np.int32)
        return _Codes(self.emitter, self.layer, self.shape, index, quantization, self.shape)


@dataclasses.dataclass(eq=False, repr=False)
class _Codes(_Value):
    """8-bit codes: `index` of the tensor, whose own shape `form` may have 1s more or fewer than `shape`."""

    index: int
    quantization: tuple
    form: tuple

    def _codes(self, quantization):
        if quantization == self.quantization:
            return self
        options = schema.QuantizeOptionsT()
        index = self.emitter.operator("QUANTIZE", [self.index], self.layer, self.form, quantization, options)
        return _Codes(self.emitter, self.layer, self.shape, index, quantization, self.form)

    def rounded(self):
        return self

    def _bits(self):
        *size, channels = self.form if len(self.form) == 4 else (1, 1, 1, *self.shape[1:])
        index = self.emitter.reshaped(self, (*size, channels)).index
        return self.emitter.custom("LceQuantize", [index], self.layer, (*size, _words(channels))), channels


@dataclasses.dataclass(eq=False, repr=False)
class _Convolution(_Value):
    """An int8 convolution or fully connected layer, with what is folded into it."""

    source: _Codes
    kernel: np.ndarray
    multiplier: np.ndarray
    bias: np.ndarray
    activation: int = _NONE

    def normalised(self, layer, multiplier, bias):
        if self.activation != _NONE or isinstance(self.layer, Int8Dense):
            return super().normalised(layer, multiplier, bias)
        folded = (self.multiplier * multiplier).astype(_float), (self.bias * multiplier + bias).astype(_float)
        return dataclasses.replace(self, multiplier=folded[0], bias=folded[1])

    def activated(self, layer, shape):
        if self.activation != _NONE:
            return super().activated(layer, shape)
        return dataclasses.replace(self, activation=_RELU if layer.max_value is None else _RELU6)

    def _codes(self, quantization):
        kernel, scales, biases = self._integers()
        options, name, version, axis = self._form()
        inputs = [self.source.index, self.emitter.weights(self.layer, "kernel", _INT8, kernel, scales, axis), -1]
        if not isinstance(self.layer, Int8Dense) or biases.any():
            bias_scales = (self.source.quantization[0] * scales).astype(_float)
            inputs[2] = self.emitter.weights(self.layer, "bias", _INT32, biases, bias_scales)
        index = self.emitter.operator(name, inputs, self.layer, self.shape, quantization, options, version)
        return _Codes(self.emitter, self.layer, self.shape, index, quantization, self.shape)

    def _integers(self):
        """(int8 codes of the kernel as TensorFlow Lite has its axes, float64 scale of each filter, int32 biases)."""
        kernel, depthwise = self.kernel, isinstance(self.layer, Int8DepthwiseConv2D)
        if isinstance(self.layer, Int8Dense):
            largest = np.full(kernel.shape[-1], np.max(np.abs(kernel)) + _float(1e-8))
        else:
            largest = np.max(np.abs(kernel), axis=tuple(range(kernel.ndim - 1))).astype(_float) + _float(1e-8)
        scales = largest.astype(np.float64) * 2 / 254
        codes = np.clip(np.round(kernel / scales), -127, 127)
        if depthwise:  # filter channel * multiplier + m
            height, width, channels, multiplier = kernel.shape
            codes, scales = codes.reshape(height, width, channels * multiplier), np.tile(scales, channels)
        scales = scales * np.abs(self.multiplier.astype(np.float64))
        codes = np.where(self.multiplier < 0, -codes, codes).astype(np.int8)
        # A filter that normalisation has silenced has no scale of its own; any will do.
        scales = np.where(scales > 0, scales, np.finfo(_float).tiny)
        steps = self.source.quantization[0] * scales
        biases = np.clip(np.round(self.bias.astype(np.float64) / steps), -(2**31), 2**31 - 1).astype(np.int32)
        codes = codes[np.newaxis] if depthwise else np.moveaxis(codes, -1, 0)
        return codes, scales[:1] if isinstance(self.layer, Int8Dense) else scales, biases

    def _form(self):
        """(options, operator, version, axis of the filters)."""
        layer = self.layer
        if isinstance(layer, Int8Dense):
            options = schema.FullyConnectedOptionsT()
            options.fusedActivationFunction = self.activation
            return options, "FULLY_CONNECTED", 4, 0
        depthwise = isinstance(layer, Int8DepthwiseConv2D)
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding = _padding(layer)
        options.strideH, options.strideW = layer.strides
        options.dilationHFactor, options.dilationWFactor = layer.dilation_rate
        options.fusedActivationFunction = self.activation
        if depthwise:
            options.depthMultiplier = layer.depth_multiplier
        return options, "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", 3, 3 if depthwise else 0


@dataclasses.dataclass(eq=False, repr=False)
class _Binary(_Value):
    """A binary convolution: its sums times `multiplier` plus `bias`. `kernel`: +1 and -1, filters first."""

    source: _Value
    kernel: np.ndarray
    multiplier: np.ndarray
    bias: np.ndarray
    size: tuple  # of the map that it writes

    def normalised(self, layer, multiplier, bias):
        folded = (self.multiplier * multiplier).astype(_float), (self.bias * multiplier + bias).astype(_float)
        return dataclasses.replace(self, multiplier=folded[0], bias=folded[1])

    def _bits(self):
        filters = len(self.kernel)
        thresholds = _sum_thresholds(self.multiplier, self.bias, self.kernel[0].size)
        kernel = self.kernel * np.where(self.multiplier >= 0, 1, -1)[:, np.newaxis, np.newaxis, np.newaxis]
        more = [-1, -1, self.emitter.weights(self.layer, "thresholds", _INT32, thresholds)]
        return self._write(kernel, more, (1, *self.size, _words(filters)), None), filters

    def _codes(self, quantization):
        constants = (("multiplier", self.multiplier), ("bias", self.bias))
        more = [*(self.emitter.weights(self.layer, name, _FLOAT32, data) for name, data in constants), -1]
        form = (1, *self.size, len(self.kernel))
        index = self._write(self.kernel, more, form, quantization)
        return _Codes(self.emitter, self.layer, self.shape, index, quantization, form)

    def _write(self, kernel, more, form, quantization):
        layer, (image, channels) = self.layer, self.source.bits()
        packed = self.emitter.weights(layer, "kernel", _INT32, _packed(kernel < 0))
        same = layer.padding == "same"
        options = {
            "channels_in": channels,
            "dilation_height_factor": layer.dilation_rate[0],
            "dilation_width_factor": layer.dilation_rate[1],
            "fused_activation_function": _NONE,
            "pad_values": int(same),
            "padding": _padding(layer),
            "stride_height": layer.strides[0],
            "stride_width": layer.strides[1],
        }
        return self.emitter.custom("LceBconv2d", [image, packed, *more], layer, form, quantization, options)


@dataclasses.dataclass(eq=False, repr=False)
class _Thermometer(_Value):
    """Differences of 8-bit codes and levels, of which the signs are read. `levels`: codes, one a bit."""

    source: _Codes
    levels: np.ndarray

    def rounded(self):
        raise self.problem("a binary layer must follow a thermometer")

    def _codes(self, quantization):
        return self  # differences need no rounding where nothing but their signs is read

    def _bits(self):
        thresholds = np.clip(self.levels + self.source.quantization[1], -128, 128).astype(np.int32)
        inputs = [self.source.index, self.emitter.weights(self.layer, "thresholds", _INT32, thresholds)]
        form = (*self.shape[:3], _words(self.shape[3]))
        return self.emitter.custom(THERMOMETER, inputs, self.layer, form), self.shape[-1]


@dataclasses.dataclass(eq=False, repr=False)
class _Pooled(_Value):
    """A maximum or a mean over windows, with the step of what it is taken of."""

    source: _Value
    kind: str  # "MAX_POOL_2D" or "AVERAGE_POOL_2D"
    window: tuple
    strides: tuple
    padding: int
    form: tuple  # of the pooled tensor

    def _bits(self):
        if self.kind != "MAX_POOL_2D":
            return super()._bits()
        image, channels = self.source.bits()  # the sign of the largest is the largest of the signs
        options = {
            "filter_height": self.window[0],
            "filter_width": self.window[1],
            "padding": self.padding,
            "stride_height": self.strides[0],
            "stride_width": self.strides[1],
        }
        form = (*self.form[:3], _words(channels))
        return self.emitter.custom("LceBMaxPool2d", [image], self.layer, form, options=options), channels

    def _codes(self, quantization):
        if isinstance(self.source, _Codes | _Pooled | _Moved):
            try:
                return self.rounded().codes(quantization)
            except NotEmitted:
                pass  # of something that is still to be rounded
        return self._pool(self.source.codes(quantization))

    @functools.cached_property
    def _rounded(self):
        return self._pool(self.source.rounded())

    def rounded(self):
        return self._rounded

    def _pool(self, image):
        options = schema.Pool2DOptionsT()
        options.padding = self.padding
        options.filterHeight, options.filterWidth = self.window
        options.strideH, options.strideW = self.strides
        image = self.emitter.reshaped(image)
        index = self.emitter.operator(self.kind, [image.index], self.layer, self.form, image.quantization, options, 2)
        return _Codes(self.emitter, self.layer, self.shape, index, image.quantization, self.form)


@dataclasses.dataclass(eq=False, repr=False)
class _Moved(_Value):
    """The same numbers in another shape, between zeros, or a part of them: `write` makes an operator of it."""

    source: _Value
    write: object

    def _codes(self, quantization):
        return self.write(self.source.codes(quantization))

    @functools.cached_property
    def _rounded(self):
        return self.write(self.source.rounded())

    def rounded(self):
        return self._rounded


@dataclasses.dataclass(eq=False, repr=False)
class _Function(_Value):
    """An operator of one value in 8-bit codes."""

    source: _Value
    kind: str
    options: object = None
    constants: tuple = ()
    version: int = 2

    def _codes(self, quantization):
        image = self.emitter.reshaped(self.source.rounded())
        inputs = [image.index, *self.constants]
        index = self.emitter.operator(
            self.kind, inputs, self.layer, self.shape, quantization, self.options, self.version
        )
        return _Codes(self.emitter, self.layer, self.shape, index, quantization, self.shape)


@dataclasses.dataclass(eq=False, repr=False)
class _Merged(_Value):
    """An operator of several values in 8-bit codes."""

    sources: tuple
    kind: str
    options: object
    version: int = 2
    activation: int = _NONE

    def activated(self, layer, shape):
        if self.activation != _NONE or self.kind not in ("ADD", "SUB", "MUL"):
            return super().activated(layer, shape)
        return dataclasses.replace(self, activation=_RELU if layer.max_value is None else _RELU6)

    def _codes(self, quantization):
        images = [self.emitter.reshaped(source.rounded()) for source in self.sources]
        if self.kind in ("CONCATENATION", "MAXIMUM", "MINIMUM"):
            images = [image.codes(quantization) for image in images]
        options = self.options()
        if hasattr(options, "fusedActivationFunction"):
            options.fusedActivationFunction = self.activation
        if self.kind == "CONCATENATION":
            options.axis = len(self.shape) - 1
        inputs = [image.index for image in images]
        index = self.emitter.operator(self.kind, inputs, self.layer, self.shape, quantization, options, self.version)
        return _Codes(self.emitter, self.layer, self.shape, index, quantization, self.shape)

    def rounded(self):
        quantizations = {source.rounded().quantization for source in self.sources}
        if self.kind not in ("CONCATENATION", "MAXIMUM", "MINIMUM") or len(quantizations) != 1:
            return super().rounded()
        return self._of_one_step

    @functools.cached_property
    def _of_one_step(self):
        return self.codes(self.sources[0].rounded().quantization)


# Numbers.


def _words(channels):
    return -(-channels // 32)


def _padding(layer):
    return getattr(schema.Padding, layer.padding.upper())


def _packed(negative):
    """bool [..., c] -> int32 [..., words]: bit c % 32 of word c // 32."""
    *rest, channels = negative.shape
    padded = np.zeros((*rest, _words(channels) * 32), bool)
    padded[..., :channels] = negative
    return np.packbits(padded, axis=-1, bitorder="little").view("<i4").reshape(*rest, _words(channels))


def _range_quantization(low, high):
    """(scale, zero point) of the int8 codes of a range, as TensorFlow Lite's converter has them."""
    low, high = float(_float(low)), float(_float(high))
    scale = (high - low) / 255
    zero_point = -128 - low / scale
    zero_point = np.floor(zero_point + 0.5) if zero_point >= 0 else np.ceil(zero_point - 0.5)
    return scale, int(np.clip(zero_point, -128, 127))


def _inverse_root(values):
    """float32 1 / sqrt of float32 values, correctly rounded."""
    return (1 / np.sqrt(values.astype(np.float64))).astype(_float)


def _affine(layer):
    """(multiplier, bias) of a batch normalisation at inference, float32 [c]."""
    weights = {variable.name.split("/")[-1].split(":")[0]: variable.numpy() for variable in layer.weights}
    multiplier = _inverse_root(weights["moving_variance"] + _float(layer.epsilon))
    if "gamma" in weights:
        multiplier = multiplier * weights["gamma"].astype(_float)
    return multiplier, weights.get("beta", _float(0)) - weights["moving_mean"] * multiplier


def _sum_thresholds(multiplier, bias, products):
    """int32 thresholds of sums of `products` products of signs: LceBconv2d writes the bit 1 where they are exceeded.

    In the sums of the kernel times the multiplier's sign, and in the count of differing bits that the kernel has.
    """
    size = np.abs(multiplier)
    lowest, highest = bias - _float(products) * size, bias + _float(products) * size
    with np.errstate(all="ignore"):
        thresholds = np.floor(0.5 * (bias / size + _float(products)).astype(np.float64))
    thresholds = np.where((lowest < 0) & (highest < 0), -(2.0**31), thresholds)
    thresholds = np.where((lowest >= 0) & (highest >= 0), 2.0**31 - 1, thresholds)
    thresholds = np.where(multiplier == 0, np.where(bias < 0, -(2.0**31), 2.0**31 - 1), thresholds)
    return thresholds.astype(np.int64).astype(np.int32)


# The walk.


class _Emitter:
    def __init__(self, net) -> None:
        self.builder = flatbuffer.Builder("bcnet-keras")
        self.graph = self.builder.subgraph("main")
        self.names: dict[str, int] = {}
        nodes = [node for depth in sorted(net._nodes_by_depth, reverse=True) for node in net._nodes_by_depth[depth]]
        if len(net.inputs) != 1 or len(net.outputs) != 1:
            raise NotEmitted("the net must have one input and one output")
        front = front_of(net)
        image = front[-1].output if front else net.inputs[0]
        values = {id(image): _Image(self, net.layers[0], _shape(image))}
        for node in nodes:
            if not node.is_input and node.layer not in front:
                sources = [values[id(tensor)] for tensor in node.keras_inputs]
                outputs = tf.nest.flatten(node.outputs)
                results = self.results(node.layer, sources, outputs)
                values.update((id(tensor), value) for tensor, value in zip(outputs, results, strict=True))
        logits = self.reshaped(values[id(net.outputs[0])].rounded())
        self.graph.outputs = np.array([logits.index], np.int32)
        if self.graph.inputs is None:
            raise NotEmitted("the image reaches no layer that is written")
        self.builder.signature(0, {"image": self.graph.inputs[0]}, {"logits": logits.index})
        self.model = self.builder.model

    # Parts of a flatbuffer.

    def tensor(self, name, shape, quantization=None, type=_INT8, data=None):
        number = self.names[name] = self.names.get(name, 0) + 1
        unique = name if number == 1 else f"{name}_{number}"
        return self.builder.tensor(self.graph, unique, type, shape, quantization, data)

    def weights(self, layer, name, type, data, scales=None, axis=0):
        """A constant; float64 `scales` along `axis`, or one for all."""
        index = self.tensor(f"{layer.name}/{name}", data.shape, None, type, np.ascontiguousarray(data))
        if scales is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale = np.asarray(scales, _float)
            parameters.zeroPoint = np.zeros(len(scales), np.int64)
            parameters.quantizedDimension = axis if len(scales) > 1 else 0
            self.graph.tensors[index].quantization = parameters
        return index

    def operator(self, name, inputs, layer, shape, quantization, options=None, version=1):
        """Appends a builtin operator with one int8 output; returns its index."""
        output = self.tensor(layer.name, shape, quantization)
        self.builder.operator(self.graph, name, inputs, [output], options, version)
        return output

    def custom(self, name, inputs, layer, shape, quantization=None, options=None):
        """Appends a custom operator with one output, of bits where it has no quantization; returns its index."""
        output = self.tensor(layer.name, shape, quantization, _INT32 if quantization is None else _INT8)
        encoded = None if options is None else flatbuffer.encode_options(options)
        self.builder.operator(self.graph, name.encode(), inputs, [output], custom_options=encoded)
        return output

    def constant(self, layer, name, numbers):
        return self.tensor(f"{layer.name}/{name}", np.shape(numbers), None, _INT32, np.asarray(numbers, np.int32))

    def reshaped(self, value, form=None):
        """`_Codes` whose tensor has the shape of the value, or `form`."""
        form = value.shape if form is None else form
        if value.form == form:
            return value
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(form, np.int32)
        inputs = [value.index, self.constant(value.layer, "shape", form)]
        index = self.operator("RESHAPE", inputs, value.layer, form, value.quantization, options)
        return dataclasses.replace(value, index=index, form=form)

    # Layers.

    def results(self, layer, sources, outputs):
        """The values of a layer's outputs."""
        if isinstance(layer, FakeQuant):
            low, high = layer.range
            if not low < high:
                raise NotEmitted(f"layer {layer.name!r} has the range [{low}, {high}]: train it, or give it a range")
            quantization = _range_quantization(low, high)
            return [source.codes(quantization) for source in sources]
        kinds = (QuantConv2D if kind in binary_convolutions() else kind for kind in type(layer).__mro__)
        rules = [self.RULES[kind] for kind in kinds if kind in self.RULES]
        if not rules:
            raise NotEmitted(
                f"layer {layer.name!r} ({type(layer).__name__}) cannot be written; expected one of "
                f"{', '.join(sorted({kind.__name__ for kind in self.RULES}))}"
            )
        return [rules[0](self, layer, _shape(outputs[0]), *sources)]

    def same(self, layer, shape, value):
        return value

    def convolution(self, layer, shape, value):
        source = value.rounded()
        if not isinstance(layer, Int8Dense):
            source = self.reshaped(source)
        kernel = layer.depthwise_kernel if isinstance(layer, Int8DepthwiseConv2D) else layer.kernel
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise NotEmitted(f"layer {layer.name!r} has its channels first; expected channels last")
        if getattr(layer, "activation", None) not in (None, tf.keras.activations.linear):
            raise NotEmitted(f"layer {layer.name!r} has an activation of its own; put it behind as a layer")
        filters = shape[-1]
        bias = layer.bias.numpy() if layer.use_bias else np.zeros(filters, _float)
        return _Convolution(self, layer, shape, source, kernel.numpy(), np.ones(filters, _float), bias)

    def binary(self, layer, shape, value):
        problem = binary_problem(layer)
        if layer.input_quantizer is None:
            problem = "it does not take the sign of its input; give it an input_quantizer, or use Int8Conv2D"
        elif layer.padding == "same" and layer.pad_values != 1:
            problem = "it pads with 0, which is no sign; pad with +1 (pad_values=1)"
        elif getattr(layer, "activation", None) not in (None, tf.keras.activations.linear):
            problem = "it has an activation of its own; put it behind as a layer"
        if problem is not None:
            raise NotEmitted(f"layer {layer.name!r} ({type(layer).__name__}): {problem}")
        kernel, sizes = binary_kernel(layer)
        bias = layer.bias.numpy() if layer.use_bias else np.zeros(len(sizes), _float)
        size = (1, 1) if isinstance(layer, BinaryDense) else shape[1:3]
        signs = np.where(kernel < 0, _float(-1), _float(1)).transpose(3, 0, 1, 2)
        return _Binary(self, layer, shape, value, signs, sizes, bias, size)

    def thermometer(self, layer, shape, value):
        source = self.reshaped(value.rounded())
        if isinstance(layer, CalibratedThermometer):
            levels = layer.levels.numpy()
        else:
            low, high = layer.input_range
            levels = np.tile(layer.levels.astype(np.float64) / ((high - low) / 255), source.shape[-1])
        return _Thermometer(self, layer, shape, source, np.round(levels).astype(np.int64))

    def normalisation(self, layer, shape, value):
        return value.normalised(layer, *_affine(layer))

    def relu(self, layer, shape, value):
        if layer.max_value not in (None, 6.0) or layer.negative_slope or layer.threshold:
            raise NotEmitted(f"layer {layer.name!r}: only ReLU and ReLU6 are operators")
        return value.activated(layer, shape)

    def pooling(self, layer, shape, value):
        kind = "MAX_POOL_2D" if isinstance(layer, _keras.MaxPooling2D) else "AVERAGE_POOL_2D"
        return _Pooled(self, layer, shape, value, kind, layer.pool_size, layer.strides, _padding(layer), shape)

    def global_average(self, layer, shape, value):
        size, form = value.shape[1:3], (1, 1, 1, shape[-1])
        valid = schema.Padding.VALID
        return _Pooled(self, layer, shape, value, "AVERAGE_POOL_2D", size, size, valid, form)

    def global_maximum(self, layer, shape, value):
        def write(image):
            options, image = schema.ReducerOptionsT(), self.reshaped(image)
            options.keepDims = len(shape) == 4
            inputs = [image.index, self.constant(layer, "axes", [1, 2])]
            index = self.operator("REDUCE_MAX", inputs, layer, shape, image.quantization, options, 2)
            return _Codes(self, layer, shape, index, image.quantization, shape)

        return _Moved(self, layer, shape, value, write)

    def padding(self, layer, shape, value):
        def write(image):
            image = self.reshaped(image)
            inputs = [image.index, self.constant(layer, "paddings", [[0, 0], *layer.padding, [0, 0]])]
            index = self.operator("PAD", inputs, layer, shape, image.quantization, schema.PadOptionsT(), 2)
            return _Codes(self, layer, shape, index, image.quantization, shape)

        return _Moved(self, layer, shape, value, write)

    def cropping(self, layer, shape, value):
        def write(image):
            image = self.reshaped(image)
            begin = [0, *(before for before, _ in layer.cropping), 0]
            end = [start + size for start, size in zip(begin, shape, strict=True)]
            numbers = (("begin", begin), ("end", end), ("strides", [1] * 4))
            inputs = [image.index, *(self.constant(layer, name, each) for name, each in numbers)]
            options = schema.StridedSliceOptionsT()
            index = self.operator("STRIDED_SLICE", inputs, layer, shape, image.quantization, options, 2)
            return _Codes(self, layer, shape, index, image.quantization, shape)

        return _Moved(self, layer, shape, value, write)

    def reshape(self, layer, shape, value):
        def write(image):  # a RESHAPE follows where a reader needs it
            image = image if _squeezed(image.form) == _squeezed(shape) else self.reshaped(image, shape)
            return dataclasses.replace(image, shape=shape)

        return _Moved(self, layer, shape, value, write)

    def function(self, layer, shape, value):
        name = getattr(getattr(layer, "activation", None), "__name__", None)
        if name in ("sigmoid", "tanh"):
            return _Function(self, layer, shape, value, {"sigmoid": "LOGISTIC", "tanh": "TANH"}[name])
        if name is not None:
            raise NotEmitted(f"layer {layer.name!r}: the activation {name} is no operator here")
        if isinstance(layer, HardSwish):
            return _Function(self, layer, shape, value, "HARD_SWISH", schema.HardSwishOptionsT(), version=1)
        options = schema.LeakyReluOptionsT()
        options.alpha = float(layer.alpha)
        return _Function(self, layer, shape, value, "LEAKY_RELU", options)

    def merge(self, layer, shape, *values):
        kind, options, version = {
            _keras.Add: ("ADD", schema.AddOptionsT, 2),
            _keras.Subtract: ("SUB", schema.SubOptionsT, 2),
            _keras.Multiply: ("MUL", schema.MulOptionsT, 2),
            _keras.Maximum: ("MAXIMUM", schema.MaximumMinimumOptionsT, 2),
            _keras.Minimum: ("MINIMUM", schema.MaximumMinimumOptionsT, 2),
            _keras.Concatenate: ("CONCATENATION", schema.ConcatenationOptionsT, 2),
        }[type(layer)]
        if kind != "CONCATENATION" and len(values) != 2:
            raise NotEmitted(f"layer {layer.name!r} merges {len(values)} tensors; merge them in pairs")
        if kind == "CONCATENATION" and layer.axis not in (-1, len(shape) - 1):
            raise NotEmitted(f"layer {layer.name!r} joins along axis {layer.axis}, expected the last")
        return _Merged(self, layer, shape, values, kind, options, version)

    RULES = {
        Int8Conv2D: convolution,
        Int8DepthwiseConv2D: convolution,
        Int8Dense: convolution,
        QuantConv2D: binary,
        ThermometerEncoding: thermometer,
        CalibratedThermometer: thermometer,
        _keras.BatchNormalization: normalisation,
        _keras.Dropout: same,
        _keras.SpatialDropout2D: same,
        _keras.ReLU: relu,
        _keras.LeakyReLU: function,
        HardSwish: function,
        _keras.Activation: function,
        _keras.MaxPooling2D: pooling,
        _keras.AveragePooling2D: pooling,
        _keras.GlobalAveragePooling2D: global_average,
        _keras.GlobalMaxPooling2D: global_maximum,
        _keras.ZeroPadding2D: padding,
        _keras.Cropping2D: cropping,
        _keras.Flatten: reshape,
        _keras.Reshape: reshape,
        **dict.fromkeys(
            (_keras.Add, _keras.Subtract, _keras.Multiply, _keras.Maximum, _keras.Minimum, _keras.Concatenate), merge
        ),
    }


def _shape(tensor):
    return tuple(1 if size is None else int(size) for size in tensor.shape)


def _squeezed(shape):
    return tuple(size for size in shape if size != 1)
