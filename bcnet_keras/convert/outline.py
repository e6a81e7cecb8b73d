"""Builds a flatbuffer like that of a Keras net in milliseconds, without its weights, to count cost and memory.

`outline(net)` has the operators, shapes and types that `convert_int8` or `convert_binary` give for nets of
`bcnet_keras.layers`, such as the twins. Its weights are random; its answers mean nothing.
"""

import zlib
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from flatbuffers import flexbuffers

from bcnet_keras.convert.passes.fuse_thermometer import THERMOMETER
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
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import schema

_keras = tf.keras.layers
_INT8, _INT32, _FLOAT32 = schema.TensorType.INT8, schema.TensorType.INT32, schema.TensorType.FLOAT32
_SCALE = (0.05, 0)  # of all tensors but the image; no figure depends on it
_FUSE_RELU = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL"}


def outline(net):
    """Returns the bytes of the flatbuffer; raises LookupError for a layer whose operator it cannot predict."""
    return _Outline(net).data


@dataclass(frozen=True)
class _Value:
    """A tensor of the flatbuffer: its index, the operator that writes it, and whether a `FakeQuant` follows it."""

    index: int
    operator: str
    rounded: bool = False


class _Outline:
    def __init__(self, net):
        self.builder = flatbuffer.Builder("outline")
        self.graph = self.builder.subgraph("main")
        self.values, self.packed, self.readers = {}, {}, {}
        nodes = [node for depth in sorted(net._nodes_by_depth, reverse=True) for node in net._nodes_by_depth[depth]]
        for node in nodes:
            for tensor in tf.nest.flatten(node.keras_inputs if not node.is_input else []):
                self.readers.setdefault(id(tensor), []).append(node)
        front = front_of(net)
        image = front[-1].output if front else net.inputs[0]
        quantiser = next((layer for layer in net.layers if isinstance(layer, FakeQuant)), None)
        low, high = (-1.0, 127 / 128) if quantiser is None else quantiser.initial_range
        step = (high - low) / 255
        pixels = self.tensor("image", image.shape, (step, int(round(-low / step)) - 128))
        self.values[id(image)] = _Value(pixels, "")
        for node in nodes:
            if not node.is_input and node.layer not in front:
                self.add(node)
        logits = self.values[id(net.outputs[0])].index
        self.graph.inputs, self.graph.outputs = np.array([pixels], np.int32), np.array([logits], np.int32)
        self.builder.signature(0, {"image": pixels}, {"logits": logits})
        self.data = self.builder.finish()

    # Parts of a flatbuffer.

    def tensor(self, name, shape, quantization=_SCALE, type=_INT8, data=None):
        shape = [1 if size is None else int(size) for size in shape]
        return self.builder.tensor(self.graph, name, type, shape, quantization, data)

    def weights(self, layer, name, shape, type=_INT8, scales=1, axis=0):
        """Appends a constant whose bytes follow from the layer's name, so that no two layers look the same."""
        size = int(np.prod(shape)) * (1 if type == _INT8 else 4)
        data = np.random.default_rng(zlib.crc32(f"{layer.name}/{name}".encode())).integers(1, 127, size, np.uint8)
        index = self.tensor(f"net/{layer.name}/{name}", shape, None if type == _FLOAT32 else _SCALE, type, data)
        if scales > 1:
            quantization = self.graph.tensors[index].quantization
            quantization.scale, quantization.zeroPoint = np.full(scales, 0.05, np.float32), np.zeros(scales, np.int64)
            quantization.quantizedDimension = axis
        return index

    def operator(self, op, inputs, layer, shape, options=None, type=_INT8, custom=None):
        """Appends an operator with one output; returns its index."""
        custom_options = None
        if custom is not None:
            flex = flexbuffers.Builder()
            with flex.Map():
                for key in sorted(custom):
                    flex.Key(key)
                    flex.Int(int(custom[key]))
            custom_options = bytes(flex.Finish())
        quantization = None if type == _INT32 else _SCALE
        output = self.tensor(f"net/{layer.name}/{len(self.graph.operators)}", shape, quantization, type)
        name = op if not op.startswith(("Lce", "Bcnet")) else op.encode()
        self.builder.operator(self.graph, name, inputs, [output], options, custom_options=custom_options)
        return output

    def constant(self, layer, name, numbers):
        return self.builder.constant(self.graph, f"net/{layer.name}/{name}", np.asarray(numbers, np.int32))

    # The walk.

    def add(self, node):
        layer = node.layer
        outputs = tf.nest.flatten(node.outputs)
        inputs = [self.values[id(tensor)] for tensor in node.keras_inputs]
        if isinstance(layer, FakeQuant):
            for tensor, value in zip(outputs, inputs, strict=True):
                self.values[id(tensor)] = _Value(value.index, value.operator, True)
            return
        kinds = [kind for kind in type(layer).__mro__ if kind in self.RULES]
        if not kinds:
            raise LookupError(f"no operator is known for the layer {layer.name} ({type(layer).__name__})")
        self.node = node
        self.values[id(outputs[0])] = self.RULES[kinds[0]](self, layer, outputs[0], *inputs)

    def read_as_bits(self, tensor, rounded=False):
        """True if every consumer uses only the sign of a tensor; with `rounded` also that of its 8-bit codes."""
        readers = self.readers.get(id(tensor), [])
        return bool(readers) and all(
            isinstance(node.layer, BinaryConv2D | BinaryDense)
            or (
                (
                    isinstance(node.layer, _keras.BatchNormalization | _keras.MaxPooling2D)
                    or (rounded and isinstance(node.layer, FakeQuant))
                )
                and self.read_as_bits(tf.nest.flatten(node.outputs)[0], rounded)
            )
            for node in readers
        )

    def same(self, layer, output, value, *_):
        return value

    def convolution(self, layer, output, value):
        channels, (height, width) = int(output.shape[-1]), layer.kernel_size
        depth = flatbuffer.shape(self.graph.tensors[value.index])[-1]
        if isinstance(layer, Int8DepthwiseConv2D):
            if layer.kernel_size == (1, 1) and self.read_as_bits(output, rounded=True):
                return self.thermometer(layer, output, value)  # batch normalisation and sign: one threshold a channel
            options, op, shape, axis = (
                schema.DepthwiseConv2DOptionsT(),
                "DEPTHWISE_CONV_2D",
                (1, height, width, channels),
                3,
            )
            options.depthMultiplier = layer.depth_multiplier
        else:
            options, op, axis = schema.Conv2DOptionsT(), "CONV_2D", 0
            shape = (channels, height, width, depth // layer.groups)
        options.padding = getattr(schema.Padding, layer.padding.upper())
        options.strideH, options.strideW = layer.strides
        options.dilationHFactor, options.dilationWFactor = layer.dilation_rate
        kernel = self.weights(layer, "kernel", shape, scales=channels, axis=axis)
        bias = self.weights(layer, "bias", (channels,), _INT32, channels)
        return _Value(self.operator(op, [value.index, kernel, bias], layer, output.shape, options), op)

    def dense(self, layer, output, value):
        depth = flatbuffer.shape(self.graph.tensors[value.index])[-1]
        kernel = self.weights(layer, "kernel", (layer.units, depth))
        bias = self.weights(layer, "bias", (layer.units,), _INT32)
        options = schema.FullyConnectedOptionsT()
        op = "FULLY_CONNECTED"
        return _Value(self.operator(op, [value.index, kernel, bias], layer, output.shape, options), op)

    def bits(self, layer, value):
        """Appends the operator that takes the signs of an int8 tensor."""
        if value.index not in self.packed:
            shape = flatbuffer.shape(self.graph.tensors[value.index])
            shape = (*shape[:-1], -(-shape[-1] // 32))
            self.packed[value.index] = self.operator("LceQuantize", [value.index], layer, shape, type=_INT32)
        return _Value(self.packed[value.index], "LceQuantize")

    def binary(self, layer, output, value):
        tensor = self.graph.tensors[value.index]
        if tensor.type == _INT8:
            shape = flatbuffer.shape(tensor)
            if len(shape) == 2:
                value = self.reshaped(layer, (1, 1, 1, shape[-1]), value)
            value = self.bits(layer, value)
        *_, words = flatbuffer.shape(self.graph.tensors[value.index])
        filters, (height, width) = layer.filters, layer.kernel_size
        size = (1, 1) if isinstance(layer, BinaryDense) else output.shape[1:3]
        kernel = self.weights(layer, "kernel", (filters, height, width, -(-words // layer.groups)), _INT32)
        bits = self.read_as_bits(output)
        if bits:
            more = [-1, -1, self.weights(layer, "thresholds", (filters,), _INT32)]
            shape, type = (1, *size, -(-filters // 32)), _INT32
        else:
            more = [self.weights(layer, name, (filters,), _FLOAT32) for name in ("multipliers", "biases")] + [-1]
            shape, type = (1, *size, filters), _INT8
        custom = {"channels_in": words * 32, "fused_activation_function": 0, "pad_values": 1}
        custom |= {"padding": layer.padding == "valid"}
        custom |= dict(zip(("stride_height", "stride_width"), layer.strides, strict=True))
        custom |= dict(zip(("dilation_height_factor", "dilation_width_factor"), layer.dilation_rate, strict=True))
        index = self.operator("LceBconv2d", [value.index, kernel, *more], layer, shape, None, type, custom)
        result = _Value(index, "LceBconv2d")
        return self.reshaped(layer, output.shape, result) if output.shape.rank == 2 and not bits else result

    def thermometer(self, layer, output, value):
        *size, bits = (int(each or 1) for each in output.shape)
        thresholds = self.weights(layer, "thresholds", (bits,), _INT32)
        shape = (*size, -(-bits // 32))
        index = self.operator(THERMOMETER, [value.index, thresholds], layer, shape, type=_INT32)
        return _Value(index, THERMOMETER)

    def relu(self, layer, output, value):
        if value.operator in _FUSE_RELU and not value.rounded:
            return value
        op = "RELU" if layer.max_value is None else "RELU6"
        return _Value(self.operator(op, [value.index], layer, output.shape), op)

    def pooling(self, layer, output, value):
        as_bits = isinstance(layer, _keras.MaxPooling2D) and self.read_as_bits(output)
        if as_bits and self.graph.tensors[value.index].type == _INT8:
            value = self.bits(layer, value)  # signs are taken first
        if self.graph.tensors[value.index].type == _INT32:
            names = ("filter_height", "filter_width", "stride_height", "stride_width")
            custom = dict(zip(names, (*layer.pool_size, *layer.strides), strict=True))
            custom["padding"] = layer.padding == "valid"
            words = flatbuffer.shape(self.graph.tensors[value.index])[-1]
            shape = (*output.shape[:-1], words)
            index = self.operator("LceBMaxPool2d", [value.index], layer, shape, None, _INT32, custom)
            return _Value(index, "LceBMaxPool2d")
        op = "MAX_POOL_2D" if isinstance(layer, _keras.MaxPooling2D) else "AVERAGE_POOL_2D"
        return self.pooled(op, layer, output.shape, value, layer.pool_size, layer.strides, layer.padding)

    def pooled(self, op, layer, shape, value, size, strides, padding):
        options = schema.Pool2DOptionsT()
        options.padding = getattr(schema.Padding, padding.upper())
        options.filterHeight, options.filterWidth = size
        options.strideH, options.strideW = strides
        return _Value(self.operator(op, [value.index], layer, shape, options), op)

    def read_by_dense(self, output):
        """True if all consumers of a tensor, rounded or not, are fully connected layers, which take any shape."""
        pending, readers = [output], []
        while pending:
            for node in self.readers.get(id(pending.pop()), []):
                passing = isinstance(node.layer, FakeQuant | _keras.Dropout)
                (pending if passing else readers).extend(tf.nest.flatten(node.outputs) if passing else [node.layer])
        return bool(readers) and all(isinstance(reader, Int8Dense) for reader in readers)

    def global_average(self, layer, output, value):
        _, height, width, channels = flatbuffer.shape(self.graph.tensors[value.index])
        size = (height, width)
        result = self.pooled("AVERAGE_POOL_2D", layer, (1, 1, 1, channels), value, size, size, "valid")
        straight = output.shape.rank == 4 or self.read_by_dense(output)
        return result if straight else self.reshaped(layer, output.shape, result)

    def global_maximum(self, layer, output, value):
        options = schema.ReducerOptionsT()
        inputs = [value.index, self.constant(layer, "axes", [1, 2])]
        return _Value(self.operator("REDUCE_MAX", inputs, layer, output.shape, options), "REDUCE_MAX")

    def padding(self, layer, output, value):
        sides = self.constant(layer, "paddings", [[0, 0], *layer.padding, [0, 0]])
        return _Value(self.operator("PAD", [value.index, sides], layer, output.shape), "PAD")

    def cropping(self, layer, output, value):
        inputs = [value.index, *(self.constant(layer, name, [0] * 4) for name in ("begin", "end", "strides"))]
        return _Value(self.operator("STRIDED_SLICE", inputs, layer, output.shape, schema.StridedSliceOptionsT()), "")

    def reshape(self, layer, output, value):
        shape = flatbuffer.shape(self.graph.tensors[value.index])
        if shape[-1] == output.shape[-1] and (self.read_by_dense(output) or value.operator == "REDUCE_MAX"):
            if value.operator == "REDUCE_MAX":  # others keep the rank that their operator gives
                self.graph.tensors[value.index].shape = np.array([size or 1 for size in output.shape], np.int32)
            return value
        return self.reshaped(layer, output.shape, value)

    def reshaped(self, layer, shape, value):
        options = schema.ReshapeOptionsT()
        options.newShape = np.array([1 if size is None else size for size in shape], np.int32)
        inputs = [value.index, self.constant(layer, "shape", options.newShape)]
        return _Value(self.operator("RESHAPE", inputs, layer, shape, options), "RESHAPE", value.rounded)

    def function(self, layer, output, value):
        name = getattr(getattr(layer, "activation", None), "__name__", None)
        op = {"sigmoid": "LOGISTIC", "tanh": "TANH"}.get(name) or {
            _keras.LeakyReLU: "LEAKY_RELU",
            _keras.PReLU: "PRELU",
            HardSwish: "HARD_SWISH",
        }[type(layer)]
        inputs = [value.index]
        if isinstance(layer, _keras.PReLU):
            inputs.append(self.weights(layer, "alpha", (1, 1, int(output.shape[-1]))))
        return _Value(self.operator(op, inputs, layer, output.shape), op)

    def merge(self, layer, output, *values):
        op, options = {
            _keras.Add: ("ADD", schema.AddOptionsT),
            _keras.Subtract: ("SUB", schema.SubOptionsT),
            _keras.Multiply: ("MUL", schema.MulOptionsT),
            _keras.Maximum: ("MAXIMUM", schema.MaximumMinimumOptionsT),
            _keras.Minimum: ("MINIMUM", schema.MaximumMinimumOptionsT),
            _keras.Concatenate: ("CONCATENATION", schema.ConcatenationOptionsT),
        }[type(layer)]
        inputs = [value.index for value in values]
        if op in ("MAXIMUM", "MINIMUM"):  # of one scale: what others read too is rounded once more
            for number, tensor in enumerate(self.node.keras_inputs):
                if len(self.readers[id(tensor)]) > 1:
                    shape = flatbuffer.shape(self.graph.tensors[inputs[number]])
                    inputs[number] = self.operator(
                        "QUANTIZE", [inputs[number]], layer, shape, schema.QuantizeOptionsT()
                    )
        return _Value(self.operator(op, inputs, layer, output.shape, options()), op)

    RULES = {
        Int8Conv2D: convolution,
        Int8DepthwiseConv2D: convolution,
        Int8Dense: dense,
        BinaryConv2D: binary,
        BinaryDense: binary,
        ThermometerEncoding: thermometer,
        CalibratedThermometer: thermometer,
        _keras.BatchNormalization: same,
        _keras.Dropout: same,
        _keras.SpatialDropout2D: same,
        _keras.ReLU: relu,
        _keras.LeakyReLU: function,
        _keras.PReLU: function,
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
