"""Values that weights are folded into: convolutions of 8-bit codes and of signs, and the thermometer."""

from __future__ import annotations

import dataclasses

import numpy as np

from bcnet_keras.convert.emit.arithmetic import (
    NONE,
    RELU,
    kernel_codes,
    level_thresholds,
    packed,
    sum_thresholds,
    words,
)
from bcnet_keras.convert.emit.values import FLOAT32, INT8, INT32, Bits, Codes, Layer, Shape, Value, as_map
from bcnet_keras.convert.passes.fuse_thermometer import THERMOMETER
from bcnet_keras.tflite.flatbuffer import schema
from bcnet_keras.utils.types import Array

_float = np.float32


@dataclasses.dataclass(frozen=True)
class Window:
    """How a kernel moves over a map."""

    padding: int = schema.Padding.VALID
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, layer: Layer) -> Window:
        return cls(getattr(schema.Padding, layer.padding.upper()), layer.strides, layer.dilation_rate)


@dataclasses.dataclass(eq=False, repr=False)
class _Weighted(Value):
    source: Value
    kernel: Array
    multiplier: Array
    bias: Array

    def _folded(self, multiplier, bias):
        """The multiplier and the bias with those of what is behind."""
        return {
            "multiplier": (self.multiplier * multiplier).astype(_float),
            "bias": (self.bias * multiplier + bias).astype(_float),
        }


@dataclasses.dataclass(eq=False, repr=False)
class Convolution(_Weighted):
    """An int8 convolution or fully connected layer, with what is folded into it.

    `kernel`: codes [h, w, channels, filters], those of a depthwise one [h, w, 1, channels * multiplier], of a fully
    connected one [features, units].
    """

    source: Codes
    scales: Array  # float64 [filters]
    operator: str  # CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED
    window: Window = Window()
    activation: int = NONE  # behind multiplier and bias

    def normalised(self, layer: Layer, multiplier: Array, bias: Array) -> Value:
        if self.activation != NONE:
            return super().normalised(layer, multiplier, bias)
        folded = dataclasses.replace(self, **self._folded(multiplier, bias))
        if self.operator == "FULLY_CONNECTED":  # a convolution has a scale for each of its outputs
            folded = dataclasses.replace(folded, operator="CONV_2D", kernel=self.kernel[np.newaxis, np.newaxis])
        return folded

    def fused(self, activation: int) -> Value | None:
        return dataclasses.replace(self, activation=activation) if self.activation == NONE else None

    def _codes(self, quantization):
        same = self.operator == "FULLY_CONNECTED"  # one scale for all
        exact = self.scales * np.abs(self.multiplier.astype(np.float64))
        # Biases fit 32 bits: a filter that normalisation has all but silenced takes larger steps, and smaller codes.
        least = np.abs(self.bias.astype(np.float64)) / (2.0**30 * self.source.quantization[0])
        scales = np.maximum(exact, np.maximum(least.max() if same else least, np.finfo(_float).tiny))
        codes = np.round(np.where(self.multiplier < 0, -self.kernel, self.kernel) * (exact / scales))
        steps = self.source.quantization[0] * scales
        biases = np.round(self.bias.astype(np.float64) / steps).astype(np.int32)
        image, form, axis = self.source, self.shape, 0
        if self.operator != "FULLY_CONNECTED":
            image, form = self.emitter.reshaped(image, as_map(image.shape)), as_map(form)
        if self.operator == "DEPTHWISE_CONV_2D":
            codes, axis = codes.reshape(1, *codes.shape[:2], -1), 3
        else:
            codes = np.moveaxis(codes, -1, 0)
        scales, bias_scales = (each[:1] if same else each for each in (scales, steps))
        inputs = [
            image.index,
            self.emitter.weights(self.layer, "kernel", INT8, codes.astype(np.int8), scales, axis),
            -1,
        ]
        if not same or biases.any():
            inputs[2] = self.emitter.weights(self.layer, "bias", INT32, biases, bias_scales.astype(_float))
        options, version = self._options()
        index = self.emitter.operator(self.operator, inputs, self.layer, form, quantization, options, version)
        return Codes(self.emitter, self.layer, self.shape, index, quantization, form)

    def _options(self):
        """(options, version of the operator)."""
        if self.operator == "FULLY_CONNECTED":
            options, version = schema.FullyConnectedOptionsT(), 4
        else:
            depthwise = self.operator == "DEPTHWISE_CONV_2D"
            options, version = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT(), 3
            options.padding = self.window.padding
            options.strideH, options.strideW = self.window.strides
            options.dilationHFactor, options.dilationWFactor = self.window.dilation
            if depthwise:
                options.depthMultiplier = self.kernel.shape[-1] // self.source.shape[-1]
        options.fusedActivationFunction = self.activation
        return options, version


def convolution(layer: Layer, shape: Shape, source: Codes, bias: Array) -> Convolution:
    """The `Convolution` of an `Int8Conv2D`, an `Int8DepthwiseConv2D` or an `Int8Dense` on `Codes`."""
    ones = np.ones(shape[-1], _float)
    if hasattr(layer, "depthwise_kernel"):
        codes, scales = kernel_codes(layer.depthwise_kernel.numpy())
        height, width, channels, multiplier = codes.shape  # filter channel * multiplier + m
        codes, scales = codes.reshape(height, width, 1, channels * multiplier), np.tile(scales, channels)
        operator, window = "DEPTHWISE_CONV_2D", Window.of(layer)
    elif hasattr(layer, "units"):
        codes, scales = kernel_codes(layer.kernel.numpy(), one_scale=True)
        operator, window = "FULLY_CONNECTED", Window()
        if len(shape) > 2:  # of each pixel
            operator, codes = "CONV_2D", codes[np.newaxis, np.newaxis]
    else:
        codes, scales = kernel_codes(layer.kernel.numpy())
        operator, window = "CONV_2D", Window.of(layer)
    return Convolution(source.emitter, layer, shape, source, codes, ones, bias, scales, operator, window)


def identity(source: Codes, layer: Layer, shape: Shape) -> Convolution:
    """A depthwise `Convolution` of `Codes` that changes nothing, for others to fold into; `layer` names it."""
    channels = shape[-1]
    codes, scales = kernel_codes(np.ones((1, 1, 1, channels), _float))
    ones, zeros = np.ones(channels, _float), np.zeros(channels, _float)
    return Convolution(source.emitter, layer, shape, source, codes, ones, zeros, scales, "DEPTHWISE_CONV_2D")


@dataclasses.dataclass(eq=False, repr=False)
class Binary(_Weighted):
    """A binary convolution: its sums times `multiplier` plus `bias`. `kernel`: +1 and -1, filters first."""

    size: Shape  # of the map that it writes
    activation: int = NONE  # of the sums, before multiplier and bias

    def normalised(self, layer: Layer, multiplier: Array, bias: Array) -> Value:
        return dataclasses.replace(self, **self._folded(multiplier, bias))

    def fused(self, activation: int) -> Value | None:
        plain = (self.multiplier > 0).all() if activation == RELU else (self.multiplier == 1).all()
        if self.activation != NONE or self.bias.any() or not plain:
            return None
        return dataclasses.replace(self, activation=activation)

    def _bits(self):
        filters = len(self.kernel)
        thresholds = sum_thresholds(self.multiplier, self.bias, self.kernel[0].size, self.activation)
        kernel = self.kernel * np.where(self.multiplier >= 0, 1, -1)[:, np.newaxis, np.newaxis, np.newaxis]
        more = [-1, -1, self.emitter.weights(self.layer, "thresholds", INT32, thresholds)]
        form = (1, *self.size, words(filters))
        return Bits(self._write(kernel, more, form, None), filters, form)

    def _codes(self, quantization):
        constants = (("multiplier", self.multiplier), ("bias", self.bias))
        more = [*(self.emitter.weights(self.layer, name, FLOAT32, data) for name, data in constants), -1]
        form = (1, *self.size, len(self.kernel))
        index = self._write(self.kernel, more, form, quantization)
        return Codes(self.emitter, self.layer, self.shape, index, quantization, form)

    def _write(self, kernel, more, form, quantization):
        layer, image = self.layer, self.source.bits()
        filters = self.emitter.weights(layer, "kernel", INT32, packed(kernel < 0))
        window = Window.of(layer)
        options = {
            "channels_in": image.channels,
            "dilation_height_factor": window.dilation[0],
            "dilation_width_factor": window.dilation[1],
            "fused_activation_function": self.activation,
            "pad_values": int(window.padding == schema.Padding.SAME),
            "padding": window.padding,
            "stride_height": window.strides[0],
            "stride_width": window.strides[1],
        }
        return self.emitter.custom("LceBconv2d", [image.index, filters, *more], layer, form, quantization, options)


@dataclasses.dataclass(eq=False, repr=False)
class Thermometer(Value):
    """Differences of 8-bit codes and `levels` [channels * planes], in steps of `step`, of which the signs are read."""

    source: Codes
    levels: Array
    step: float

    def rounded(self) -> Codes:
        raise self.problem("a binary layer must follow a thermometer")

    def _codes(self, quantization):
        if quantization[0] > 2 * self.step:
            raise self.problem("FakeQuant behind it would round differences to 0; remove it")
        return self  # rounding to finer steps changes no sign, and signs alone are read

    def _bits(self):
        scale, zero_point = self.source.quantization
        channels, thresholds = self.shape[-1], level_thresholds(self.levels, self.step, scale, zero_point)
        inputs = [self.source.index, self.emitter.weights(self.layer, "thresholds", INT32, thresholds)]
        form = (*self.shape[:3], words(channels))
        return Bits(self.emitter.custom(THERMOMETER, inputs, self.layer, form), channels, form)
