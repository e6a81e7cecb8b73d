"""The flatbuffer that a pair of nets will become, drawn without Keras nets, training or a converter.

    >>> from bcnet_keras.models.networks import NETWORKS
    >>> data = sketch(NETWORKS["images"].nets(), input_shape=(32, 32, 3), classes=10)
    >>> bc.Profile.of(data, board_name="nucleo-f446re").shortage() or "fits"
    'fits'

It has the operators, shapes and types that `bcnet_keras.convert` makes of a trained pair of `networks.Nets`, with zeros
for weights. `cost`, `arena` and `Profile` read it like any other file, in a fraction of a second where building and
converting Keras nets takes many; so hundreds of nets can be compared before one is trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bcnet_keras.convert.cooperative import merge
from bcnet_keras.convert.passes.add_gate import Gate
from bcnet_keras.convert.passes.fuse_stem import fuse_front
from bcnet_keras.convert.passes.fuse_thermometer import THERMOMETER
from bcnet_keras.models.networks import CONCAT, POOL, stride_of
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import schema

if TYPE_CHECKING:
    from bcnet_keras.models.networks import Nets

_INT8, _INT32 = schema.TensorType.INT8, schema.TensorType.INT32
_SCALE = (1 / 128, 0)  # of images, and of all else


def sketch(nets: Nets, input_shape: Sequence[int], classes: int) -> bytes:
    """The flatbuffer of a pair, as bytes: `nets` a `networks.Nets`, `input_shape` [h, w, c]."""
    gate = Gate.create(classes, "score_margin", 0.5)
    parts = sketch_binary(nets, input_shape, classes), sketch_int8(nets, input_shape, classes)
    return merge(*parts, gate, record={"class_names": ["class"] * classes})


def sketch_int8(nets: Nets, input_shape: Sequence[int], classes: int) -> bytes:
    """The flatbuffer of the int8 net alone; arguments as for `sketch`."""
    return {"resnet8": _resnet8, "ds_cnn": _ds_cnn}[nets.family](nets, input_shape, classes)


def _resnet8(nets, input_shape, classes):
    net = _Net(input_shape)
    tensor = net.convolution(net.image, nets.filters, *nets.stem)
    for width, strides in zip((nets.filters, 2 * nets.filters, 4 * nets.filters), nets.strides, strict=True):
        branch = net.convolution(tensor, width, 3, strides)
        if strides > 1 or net.shape(tensor)[-1] != width:
            tensor = net.convolution(tensor, width, 1, strides)
        branch = net.convolution(branch, width, 3)
        tensor = net.operator("ADD", [tensor, branch], net.shape(branch), schema.AddOptionsT(), version=2)
    return net.classified(tensor, classes, bias=True)


def _ds_cnn(nets, input_shape, classes):
    net = _Net(input_shape)
    tensor = net.convolution(net.image, nets.filters, *nets.stem)
    for _ in range(4):
        tensor = net.depthwise(tensor)
        tensor = net.convolution(tensor, nets.filters, 1)
    return net.classified(tensor, classes, bias=True)


def sketch_binary(nets: Nets, input_shape: Sequence[int], classes: int) -> bytes:
    """The flatbuffer of the binary net alone; arguments as for `sketch`."""
    net = _Net(input_shape)
    tensor, blocks, pooled = net.image, list(nets.blocks), False
    if nets.shared_stem:
        tensor = net.convolution(tensor, nets.filters, *nets.stem)
    elif nets.planes is None:
        (filters, strides), *blocks = blocks
        tensor, pooled = net.convolution(tensor, filters, 3, stride_of(strides)), strides == POOL
        tensor = net.operator(b"LceQuantize", [tensor], _packed(net.shape(tensor), filters), type=_INT32)
    channels = net.shape(tensor)[-1] * (nets.planes or 1)
    if nets.planes is None:
        channels = filters
    else:
        thresholds = net.constant(_INT32, [channels])
        tensor = net.operator(
            THERMOMETER.encode(), [tensor, thresholds], _packed(net.shape(tensor), channels), type=_INT32
        )
    for number, (filters, strides) in enumerate(blocks):
        if pooled:
            tensor = net.bit_pooling(tensor)
        last, pooled = number == len(blocks) - 1, strides == POOL
        added = net.binary_convolution(tensor, channels, filters, stride_of(strides), last)
        if strides == CONCAT:
            tensor = net.concatenation([added, tensor])
            channels += filters
        else:
            tensor, channels = added, filters
    if pooled:
        tensor = net.pooling("MAX_POOL_2D", tensor, (2, 2))
    return net.classified(tensor, classes, bias=False)


def _packed(shape, channels):
    """The shape of a map of bits, 32 channels per word."""
    return [*shape[:-1], math.ceil(channels / 32)]


class _Net:
    """A flatbuffer of one net under construction; tensors are their indices."""

    def __init__(self, input_shape: Sequence[int]) -> None:
        self.builder = flatbuffer.Builder("sketch")
        self.graph = self.builder.subgraph("main")
        self.image = self.tensor(_INT8, [1, *input_shape], _SCALE)

    def tensor(self, type, shape, quantization=None, data=None):
        # Names take room in the file; converters give long ones.
        name = f"net/{len(self.graph.tensors):02d}/a name such as converters give them"
        return self.builder.tensor(self.graph, name, type, shape, quantization, data)

    def constant(self, type, shape, scales=0, along=0):
        """A constant of zeros with so many scales along a dimension."""
        size = 1 if type == _INT8 else 4
        # Buffers are kept once, and zeros would all be one: the tensor's number tells them apart.
        data = np.zeros(math.prod(shape) * size, np.uint8)
        number = len(self.graph.tensors)
        data[: min(4, len(data))] = np.frombuffer(number.to_bytes(4, "little"), np.uint8)[: len(data)]
        index = self.tensor(type, shape, data=data)
        if scales:
            quantization = flatbuffer.quantization_parameters(*_SCALE)
            scale = _SCALE[0] ** 2 if type == _INT32 else _SCALE[0]  # that of a bias is of the products
            quantization.scale = np.full(scales, scale, np.float32)
            quantization.zeroPoint = np.zeros(scales, np.int64)
            quantization.quantizedDimension = along
            self.graph.tensors[index].quantization = quantization
        return index

    def shape(self, tensor):
        return flatbuffer.shape(self.graph.tensors[tensor])

    def operator(self, name, inputs, shape, options=None, type=_INT8, version=1, **fields):
        """Appends an operator with one output of `shape` and returns that."""
        output = self.tensor(type, shape, _SCALE if type == _INT8 else None)
        custom = flatbuffer.encode_options(fields) if fields else None
        self.builder.operator(self.graph, name, inputs, [output], options, version, custom)
        return output

    def convolution(self, tensor, filters, kernel_size, strides=1):
        _, height, width, channels = self.shape(tensor)
        kernel = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        weights = self.constant(_INT8, [filters, *kernel, channels], filters)
        bias = self.constant(_INT32, [filters], filters)
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.SAME, strides, strides
        shape = [1, math.ceil(height / strides), math.ceil(width / strides), filters]
        return self.operator("CONV_2D", [tensor, weights, bias], shape, options, version=3)

    def depthwise(self, tensor):
        channels = self.shape(tensor)[-1]
        weights = self.constant(_INT8, [1, 3, 3, channels], channels, along=3)
        bias = self.constant(_INT32, [channels], channels)
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 1
        options.depthMultiplier = 1
        return self.operator("DEPTHWISE_CONV_2D", [tensor, weights, bias], self.shape(tensor), options, version=3)

    def binary_convolution(self, tensor, channels, filters, strides, last):
        """3x3 on bits; gives bits, or int8 where it is the `last`."""
        _, height, width, words = self.shape(tensor)
        weights = self.constant(_INT32, [filters, 3, 3, words])
        shape = [1, math.ceil(height / strides), math.ceil(width / strides), filters]
        fields = dict.fromkeys(("dilation_height_factor", "dilation_width_factor", "pad_values"), 1)
        fields |= {"channels_in": channels, "fused_activation_function": 0, "padding": 0}
        fields |= {"stride_height": strides, "stride_width": strides}
        if last:
            factors = [self.constant(schema.TensorType.FLOAT32, [filters]) for _ in range(2)]
            return self.operator(b"LceBconv2d", [tensor, weights, *factors, -1], shape, **fields)
        thresholds = self.constant(_INT32, [filters])
        return self.operator(
            b"LceBconv2d", [tensor, weights, -1, -1, thresholds], _packed(shape, filters), type=_INT32, **fields
        )

    def concatenation(self, tensors):
        """Maps of bits, word by word."""
        options = schema.ConcatenationOptionsT()
        options.axis = 3
        shape = [*self.shape(tensors[0])[:-1], sum(self.shape(tensor)[-1] for tensor in tensors)]
        return self.operator("CONCATENATION", tensors, shape, options, type=_INT32, version=2)

    def bit_pooling(self, tensor):
        _, height, width, words = self.shape(tensor)
        fields = dict.fromkeys(("filter_height", "filter_width", "stride_height", "stride_width"), 2)
        return self.operator(
            b"LceBMaxPool2d", [tensor], [1, height // 2, width // 2, words], type=_INT32, padding=1, **fields
        )

    def pooling(self, name, tensor, size):
        _, height, width, channels = self.shape(tensor)
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.VALID
        options.strideH, options.strideW = options.filterHeight, options.filterWidth = size
        return self.operator(name, [tensor], [1, height // size[0], width // size[1], channels], options, version=2)

    def classified(self, tensor, classes, bias):
        """The flatbuffer that ends in the mean of a map and a fully connected layer."""
        _, height, width, channels = self.shape(tensor)
        mean = self.pooling("AVERAGE_POOL_2D", tensor, (height, width))
        weights = self.constant(_INT8, [classes, channels], 1)
        biases = self.constant(_INT32, [classes], 1) if bias else -1
        logits = self.operator(
            "FULLY_CONNECTED", [mean, weights, biases], [1, classes], schema.FullyConnectedOptionsT(), version=4
        )
        self.graph.inputs, self.graph.outputs = np.array([self.image], np.int32), np.array([logits], np.int32)
        self.builder.signature(0, {"image": self.image}, {"logits": logits})
        fuse_front(self.builder.model)
        return flatbuffer.rewrite(self.builder.model)
