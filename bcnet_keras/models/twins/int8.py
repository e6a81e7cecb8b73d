"""The int8 twin: the float model's layers with 8-bit rounding in place."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bcnet_keras.layers import FakeQuant, HardSwish, Int8Conv2D, Int8Dense, Int8DepthwiseConv2D, batch_norm
from bcnet_keras.models.twins.graph import WEIGHTED, Node
from bcnet_keras.models.twins.walk import Signal, Twin

_keras = tf.keras.layers
# Ranges that TensorFlow Lite fixes for the outputs of these functions.
_FIXED = {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}


class Int8Twin(Twin):
    """See `bcnet_keras.int8_twin`."""

    def build(self, name: str) -> tf.keras.Model:
        twin = super().build(name)
        for node in self.nodes[1:]:
            weights = node.layer.get_weights()
            if weights:
                target = twin.get_layer(node.layer.name)
                if node.is_a(_keras.Dense) and isinstance(target, Int8Conv2D):
                    weights[0] = weights[0][np.newaxis, np.newaxis]
                target.set_weights(weights)
        return twin

    def rounded(self, node: Node, tensor: tf.Tensor) -> Signal:
        """Rounds, but within convolution -> batch normalisation -> ReLU, which the device computes as one operation."""
        reader = self.following(node)
        if reader is not None:
            merging = (_keras.Add, _keras.Subtract, _keras.Multiply)
            fusing = node.is_a(*WEIGHTED, _keras.BatchNormalization, _keras.Rescaling, *merging)
            fused = fusing and reader.is_a(_keras.ReLU)
            fused = fused or (node.is_a(*WEIGHTED) and reader.is_a(_keras.BatchNormalization))
            if fused or (reader.is_a(_keras.Concatenate) and reader.inputs.count(node) == 1):
                return Signal(tensor)
        signal = self.quantised(Signal(tensor))
        return self.as_vector(signal) if len(node.shape) == 1 else signal

    def convolution(self, node: Node, signal: Signal) -> Signal:
        layer, config = node.layer, node.layer.get_config()
        names = ("name", "kernel_size", "strides", "padding", "dilation_rate", "use_bias")
        settings = {name: config[name] for name in names}
        if node.is_a(_keras.DepthwiseConv2D):
            twin = Int8DepthwiseConv2D(depth_multiplier=layer.depth_multiplier, **settings)
        else:
            twin = Int8Conv2D(layer.filters, groups=layer.groups, **settings)
        return self.rounded(node, twin(self.quantised(signal).tensor))

    def dense(self, node: Node, signal: Signal) -> Signal:
        tensor, settings = self.quantised(signal).tensor, dict(use_bias=node.layer.use_bias, name=node.layer.name)
        reader = self.following(node)
        if reader is not None and reader.is_a(_keras.BatchNormalization):
            # A convolution has a scale for each channel, into which batch normalisation folds exactly.
            tensor = self.restated(signal, self.as_map(tensor)).tensor
            return self.rounded(node, Int8Conv2D(node.layer.units, 1, **settings)(tensor))
        return self.rounded(node, Int8Dense(node.layer.units, **settings)(tensor))

    def normalisation(self, node: Node, signal: Signal) -> Signal:
        # Where no convolution stands before it, it folds into an identity.
        tensor = self.identity(signal.tensor) if signal.quantiser else signal.tensor
        return self.rounded(node, batch_norm(**{**node.layer.get_config(), "axis": -1})(tensor))

    def rescaling(self, node: Node, signal: Signal) -> Signal:
        tensor = self.as_map(self.quantised(signal).tensor)
        scale, offset = (np.broadcast_to(each, node.shape[-1:]) for each in (node.layer.scale, node.layer.offset))
        layer = Int8DepthwiseConv2D(1, trainable=False)
        tensor = layer(tensor)
        layer.set_weights([np.reshape(scale, (1, 1, -1, 1)), offset])
        if signal.is_image:
            low, high = self.image_range
            ends = np.concatenate([scale * end + offset for end in (low, high)])
            quantiser = FakeQuant(min(0.0, float(ends.min())), max(0.0, float(ends.max())), fixed=True)
            return Signal(quantiser(tensor), quantiser, is_image=True)
        return self.rounded(node, tensor)

    def relu(self, node: Node, signal: Signal) -> Signal:
        highest = node.layer.max_value
        if highest in (None, 6.0):
            return self.rounded(node, _keras.ReLU(highest)(signal.tensor))
        quantiser = FakeQuant(0.0, float(highest), fixed=True)  # 8-bit codes end there
        result = Signal(quantiser(_keras.ReLU()(signal.tensor)), quantiser)
        return self.as_vector(result) if len(node.shape) == 1 else result

    def activation(self, node: Node, signal: Signal) -> Signal:
        """Functions that are operators of their own, and read and write 8-bit codes."""
        return self.rounded(node, self.same_config(node, signal).tensor)

    def prelu(self, node: Node, signal: Signal) -> Signal:
        config = node.layer.get_config() | {"name": node.layer.name}
        return self.rounded(node, _keras.PReLU.from_config(config)(self.quantised(signal).tensor))

    def named_activation(self, node: Node, signal: Signal) -> Signal:
        function, tensor = node.layer.activation.__name__, self.quantised(signal).tensor
        inner = "sigmoid" if function == "swish" else function
        quantiser = FakeQuant(*_FIXED[inner], fixed=True)
        result = quantiser(_keras.Activation(inner)(tensor))
        if function == "swish":
            return self.rounded(node, _keras.Multiply()([tensor, result]))
        return Signal(result, quantiser)

    def arithmetic(self, node: Node, *signals: Signal) -> Signal:
        tensors = [self.quantised(signal).tensor for signal in signals]
        return self.rounded(node, type(node.layer)()(tensors))

    RULES = {
        _keras.Conv2D: convolution,
        _keras.DepthwiseConv2D: convolution,
        _keras.Dense: dense,
        _keras.BatchNormalization: normalisation,
        _keras.Rescaling: rescaling,
        _keras.ReLU: relu,
        _keras.LeakyReLU: activation,
        _keras.PReLU: prelu,
        HardSwish: activation,
        _keras.Activation: named_activation,
        _keras.MaxPooling2D: Twin.same_range,
        _keras.GlobalMaxPooling2D: Twin.same_range,
        _keras.AveragePooling2D: Twin.same_range,
        _keras.GlobalAveragePooling2D: Twin.global_mean,
        _keras.Add: arithmetic,
        _keras.Subtract: arithmetic,
        _keras.Multiply: arithmetic,
        _keras.Maximum: arithmetic,
        _keras.Minimum: arithmetic,
        _keras.Concatenate: Twin.concatenate,
        _keras.ZeroPadding2D: Twin.same_range,
        _keras.Cropping2D: Twin.same_range,
        _keras.Flatten: Twin.reshape,
        _keras.Reshape: Twin.reshape,
        _keras.Dropout: Twin.same_range,
        _keras.SpatialDropout2D: Twin.same_range,
    }
