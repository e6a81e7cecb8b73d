"""The binary twin: the float model's topology on bits, made lighter where that is asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import ModelError
from bcnet_keras.layers import (
    BinaryConv2D,
    BinaryDense,
    CalibratedThermometer,
    FakeQuant,
    HardSwish,
    Int8Conv2D,
    Int8Dense,
    ThermometerEncoding,
    batch_norm,
    global_average,
)
from bcnet_keras.models.twins.graph import ACTIVATIONS, DROPOUT, WEIGHTED, Graph, Node
from bcnet_keras.models.twins.int8 import Int8Twin
from bcnet_keras.models.twins.stem import stem_of
from bcnet_keras.models.twins.walk import Signal, Twin
from bcnet_keras.utils.types import Range

_keras = tf.keras.layers
STEMS = ("thermometer", "int8", "shared")
TOPOLOGIES = ("whole", "main path", "compact")
_UNCHANGED = (*ACTIVATIONS, _keras.Rescaling)


class BinaryTwin(Twin):
    """See `bcnet_keras.binary_twin`."""

    def __init__(
        self,
        graph: Graph,
        input_range: Range | None,
        width: float,
        stem: str,
        planes: int | None,
        topology: str = "whole",
    ) -> None:
        if not width > 0:
            raise ModelError(f"binary_twin: width must be above 0, got {width}.")
        if stem not in STEMS:
            raise ModelError(f"binary_twin: stem must be 'thermometer', 'int8' or 'shared', got {stem!r}.")
        self.width, self.stem, self.main_path = width, stem, topology == "main path"
        self.planes = (4 if stem == "shared" else 8) if planes is None else planes
        weighted = [node for node in graph.nodes if node.is_a(*WEIGHTED)]
        self.first, self.last = weighted[0], weighted[-1]
        if stem == "shared" and (not self.first.is_a(_keras.Conv2D) or self.first is self.last):
            raise ModelError(
                f"cannot make a twin with a shared stem: the first layer with weights, {self.first.layer.name}, must "
                f"be a Conv2D with others behind it; it is a {type(self.first.layer).__name__}."
            )
        self.graph = graph
        self.readers: dict[int, list[Node]] = {id(node): [] for node in graph.nodes}  # in the float model
        self.depth: dict[int, int] = {}
        self.instead: dict[int, int] = {}
        for node in graph.nodes:
            for source in node.inputs:
                self.readers[id(source)].append(node)
            below = max((self.depth[id(source)] for source in node.inputs), default=0)
            self.depth[id(node)] = below + node.is_a(*WEIGHTED)
        self.thermometers: dict[int, tf.Tensor] = {}
        super().__init__(graph, input_range)

    # What is read.

    def sources(self, node: Node) -> list[Node]:
        if node is self.first and self.stem == "shared":
            return [self.graph.nodes[0]]  # the stem has whatever goes before the convolution
        if node.is_a(_keras.Conv2D, _keras.DepthwiseConv2D):
            return [self.geometry(node)[1]]
        if node.is_a(_keras.Multiply, _keras.Subtract, _keras.Maximum, _keras.Minimum):
            return [self.main_input(node)]
        if node.is_a(_keras.Add, _keras.Concatenate) and self.main_path:
            main = self.main_input(node)
            if node.is_a(_keras.Concatenate):  # the branch that stays gets the filters of all
                last = self.back(main, *_UNCHANGED, *DROPOUT, _keras.BatchNormalization, _keras.MaxPooling2D)
                if last.is_a(_keras.Conv2D, _keras.Dense):
                    self.instead[id(last)] = node.shape[-1]
            return [main]
        return list(node.inputs)

    def main_input(self, node: Node) -> Node:
        """The input that tells most: the largest map, no mere gate, with most layers with weights behind it."""

        def worth(source):
            gate = source.is_a(_keras.Activation) and source.layer.activation.__name__ == "sigmoid"
            gate = gate or source.is_a(_keras.Rescaling) or (source.is_a(_keras.ReLU) and source.layer.max_value == 1)
            return np.prod(source.shape[:-1]), not gate, self.depth[id(source)], source.shape[-1]

        return max(node.inputs, key=worth)

    def back(self, node: Node, *kinds: type) -> Node:
        """The node in front of a chain of `kinds` that nobody else reads."""
        while node.is_a(*kinds) and len(self.readers[id(node)]) == 1:
            (node,) = node.inputs
        return node

    def geometry(self, node: Node) -> tuple[dict[str, Any], Node]:
        """(kernel, strides, padding and dilation of the binary convolution for `node`, the node that it reads).

        A pointwise convolution takes the depthwise one before it in, and the expansion before that: a binary kernel
        gains nothing from being depthwise.
        """
        between = (*_UNCHANGED, *DROPOUT, _keras.BatchNormalization)
        spatial, source = node, node.inputs[0]
        if node is not self.last and _pointwise(node):
            before = self.back(source, *between)
            if before.is_a(_keras.DepthwiseConv2D) and before is not self.last and self.alone(before):
                spatial, source = before, before.inputs[0]
                padding = source
                expansion = self.back(source, *between, _keras.ZeroPadding2D)
                # Wider than what is before and behind it; else it is the block before, as in MobileNet.
                widens = expansion.shape[-1] > max(node.shape[-1], *(each.shape[-1] for each in expansion.inputs), 0)
                if widens and _pointwise(expansion) and expansion is not self.first and self.alone(expansion):
                    source = expansion.inputs[0]
                    # Padding goes with the expansion; what is left must come to the same size.
                    fits = (
                        source.shape[:2] == padding.shape[:2] or _same(spatial.layer, source.shape) == spatial.shape[:2]
                    )
                    source = source if fits else padding
        layer = spatial.layer
        settings = dict(strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate)
        padded = source.is_a(_keras.ZeroPadding2D) and node is not self.last
        if padded and _same(layer, source.inputs[0].shape) == spatial.shape[:2]:
            source = source.inputs[0]
        if node is not self.last and _same(layer, source.shape) == spatial.shape[:2]:
            settings["padding"] = "same"
        return settings | {"kernel_size": layer.kernel_size}, source

    def alone(self, node: Node) -> bool:
        return len(self.readers[id(node)]) == 1

    def filters(self, node: Node, number: int) -> int:
        return max(1, int(np.ceil(self.instead.get(id(node), number) * self.width / 32))) * 32

    def layout(self) -> tuple[tuple[str, int, bool], ...]:
        """What the twin computes, as a tuple: nets of the same one cost the same."""
        layers = []
        for node in self.nodes[1:]:
            filters = 0
            if node.is_a(*WEIGHTED) and node is not self.last:
                filters = self.filters(node, node.shape[-1])
            pooled = node.is_a(_keras.AveragePooling2D) and self.main_path and self.read_as_bits(node)
            layers.append((node.layer.name, filters, pooled))
        return tuple(layers)

    def reads_a_sign(self, node: Node) -> bool:
        """Does `node` pass its input on to nothing but signs?"""
        if node.is_a(*WEIGHTED):
            return node is not self.last and not self.on_means(node)
        passing = [*_UNCHANGED, *DROPOUT, _keras.BatchNormalization, _keras.MaxPooling2D, _keras.Flatten]
        passing += [_keras.Multiply, _keras.Subtract, _keras.Maximum, _keras.Minimum]
        if self.main_path:
            passing += [_keras.Add, _keras.Concatenate, _keras.AveragePooling2D]
        return node.is_a(*passing) and self.read_as_bits(node)

    def on_means(self, node: Node) -> bool:
        """Is `node` a dense layer on means of maps? It is small, and stays int8: of a mean the sign tells little."""
        if not node.is_a(_keras.Dense):
            return False
        source = node.inputs[0]
        while source.is_a(*_UNCHANGED, *DROPOUT, _keras.BatchNormalization):
            source = source.inputs[0]
        return not source.is_a(_keras.Flatten, _keras.Dense) or self.on_means(source)

    def read_as_bits(self, node: Node) -> bool:
        """Do all layers that read `node`'s output take its sign (pooling in between allowed)?"""
        consumers = self.consumers[id(node)]
        return bool(consumers) and node is not self.graph.output and all(map(self.reads_a_sign, consumers))

    # Rules.

    def normalised(self, node: Node, tensor: tf.Tensor) -> Signal:
        """Batch normalisation behind a binary layer; rounded too where somebody needs the number, not the sign."""
        signal = Signal(batch_norm()(tensor), normalised=True)
        reader = self.following(node)
        while reader is not None and reader.is_a(*_UNCHANGED, _keras.BatchNormalization):
            reader = self.following(reader)
        joined = reader is not None and reader.is_a(_keras.Concatenate) and not self.main_path
        return signal if joined or self.read_as_bits(node) else self.quantised(signal)

    def convolution(self, node: Node, signal: Signal) -> Signal:
        if node is self.last:
            return self.classifier_convolution(node, signal)
        if node is self.first and self.stem == "shared":
            return self.shared_stem(signal)
        settings, _ = self.geometry(node)
        if node.is_a(_keras.DepthwiseConv2D):
            number = signal.tensor.shape[-1] * node.layer.depth_multiplier
            filters = number if number % 32 == 0 and not signal.is_image else self.filters(node, node.shape[-1])
        else:
            filters = self.filters(node, node.layer.filters)
        settings["name"] = node.layer.name
        if signal.is_image and self.stem == "int8":
            tensor = Int8Conv2D(filters, use_bias=False, **settings)(signal.tensor)
            return self.quantised(Signal(batch_norm()(tensor), normalised=True))
        return self.normalised(node, BinaryConv2D(filters, **settings)(self.bits(signal)))

    def shared_stem(self, signal: Signal) -> Signal:
        int8 = Int8Twin(self.graph, self.input_range).build("int8")
        stem = stem_of(int8)
        behind = next(number for number, layer in enumerate(stem) if layer.name == "image_quant") + 1
        tensor = signal.tensor
        for layer in stem[behind:]:
            tensor = type(layer).from_config(layer.get_config())(tensor)
        # What the stem has of batch normalisation and ReLU goes as behind a binary layer.
        return Signal(CalibratedThermometer(self.planes)(tensor), normalised=True, from_stem=True)

    def quantised(self, signal: Signal) -> Signal:
        if signal.from_stem:
            raise ModelError(
                f"cannot make a twin with a shared stem: what {self.first.layer.name} computes must go to convolutions "
                "or dense layers, with nothing but batch normalisation, activation or max-pooling in between."
            )
        return super().quantised(signal)

    def bits(self, signal: Signal) -> tf.Tensor:
        """The tensor whose sign a binary layer reads."""
        if not signal.is_image:
            return signal.tensor
        key = id(signal.tensor)
        if key not in self.thermometers:
            self.thermometers[key] = ThermometerEncoding(self.planes, self.image_range)(signal.tensor)
        return self.thermometers[key]

    def classifier_convolution(self, node: Node, signal: Signal) -> Signal:
        layer, tensor = node.layer, self.quantised(signal).tensor
        if not node.is_a(_keras.Conv2D):
            raise ModelError(f"cannot make a twin: the last layer with weights, {layer.name}, must be Conv2D or Dense.")
        names = ("strides", "padding", "dilation_rate", "use_bias", "name")
        settings = {name: getattr(layer, name) for name in names}
        return self.quantised(Signal(Int8Conv2D(layer.filters, layer.kernel_size, **settings)(tensor)))

    def dense(self, node: Node, signal: Signal) -> Signal:
        layer = node.layer
        if node is not self.last:
            if self.on_means(node):
                tensor = self.as_vector(self.quantised(signal)).tensor
                tensor = _keras.ReLU()(Int8Dense(layer.units, name=layer.name)(tensor))
                return self.quantised(Signal(tensor, normalised=True))
            filters = self.filters(node, layer.units)
            return self.normalised(node, BinaryDense(filters, name=layer.name)(self.bits(signal)))
        signal = self.quantised(signal)
        if signal.tensor.shape[1:-1] in ((), (1, 1)):
            signal = self.as_vector(signal)
            return self.quantised(Signal(Int8Dense(layer.units, name=layer.name)(signal.tensor)))
        # On a feature map: one position of a convolution as large as the map, whose mean is the value itself.
        twin = Int8Conv2D(layer.units, signal.tensor.shape[1:3], padding="valid", name=layer.name)
        quantiser = FakeQuant()
        return Signal(global_average(twin(signal.tensor), quantiser), quantiser)

    def normalisation(self, node: Node, signal: Signal) -> Signal:
        if signal.normalised or signal.is_image:  # the binary layer before has one already; a thermometer needs none
            return signal
        tensor = batch_norm(name=node.layer.name)(self.identity(self.quantised(signal).tensor))
        if len(node.shape) == 1:
            tensor = _keras.Flatten()(tensor)
        return self.quantised(Signal(tensor, normalised=True))

    def add(self, node: Node, *signals: Signal) -> Signal:
        added = [signal for signal in signals if not signal.from_stem] or signals
        if len(added) == 1:
            return added[0] if self.main_path else self.quantised(*added)
        first, second = (self.quantised(signal).tensor for signal in added)
        if first.shape[-1] != second.shape[-1]:  # filters round up to whole words, an image has its own number
            largest = max(first, second, key=lambda tensor: tensor.shape[-1])
            return self.quantised(Signal(largest, normalised=True))
        return self.quantised(Signal(_keras.Add()([first, second])))

    def concatenate(self, node: Node, *signals: Signal) -> Signal:
        if self.main_path:
            return signals[0]
        for signal in signals:
            if signal.from_stem:
                self.quantised(signal)
        return super().concatenate(node, *signals)

    def as_vector(self, signal: Signal) -> Signal:
        if signal.tensor.shape.rank == 2:
            return signal
        # A mean over one position: behind a binary convolution a reshape would not stay int8.
        return self.restated(signal, _keras.GlobalAveragePooling2D()(signal.tensor))

    def unchanged(self, node: Node, signal: Signal) -> Signal:
        return signal

    def max_pooling(self, node: Node, signal: Signal) -> Signal:
        layer = node.layer
        pool = _keras.MaxPooling2D(layer.pool_size, layer.strides, layer.padding)
        return dataclasses.replace(signal, tensor=pool(signal.tensor))

    def average_pooling(self, node: Node, signal: Signal) -> Signal:
        if self.main_path and self.read_as_bits(node):
            return self.max_pooling(node, signal)
        return dataclasses.replace(self.same_range(node, signal), normalised=signal.normalised)

    def zero_padding(self, node: Node, signal: Signal) -> Signal:
        # Rounded again to the same levels, because Larq Compute Engine 0.16 takes zero padding before an int8
        # convolution for its padding "same", which is wrong for strides above 1.
        result = self.same_range(node, signal)
        assert result.quantiser is not None  # `same_range` has rounded it
        result.tensor = result.quantiser(result.tensor)
        return result

    def dropout(self, node: Node, signal: Signal) -> Signal:
        # Between binary layers dropout would only flip signs to +1; it serves the last layer alone.
        return self.same_range(node, signal) if self.following(node) is self.last else signal

    def flatten(self, node: Node, signal: Signal) -> Signal:
        # Dense layers of the twin read the whole map, so that no reshape is needed.
        reader = self.following(node)
        while reader is not None and reader.is_a(*_UNCHANGED, *DROPOUT, _keras.BatchNormalization):
            reader = self.following(reader)
        return signal if reader is not None and reader.is_a(_keras.Dense) else self.reshape(node, signal)

    RULES = {
        _keras.Conv2D: convolution,
        _keras.DepthwiseConv2D: convolution,
        _keras.Dense: dense,
        _keras.BatchNormalization: normalisation,
        _keras.Rescaling: unchanged,
        _keras.ReLU: unchanged,
        _keras.LeakyReLU: unchanged,
        _keras.PReLU: unchanged,
        HardSwish: unchanged,
        _keras.Activation: unchanged,
        _keras.MaxPooling2D: max_pooling,
        _keras.GlobalMaxPooling2D: Twin.same_range,
        _keras.AveragePooling2D: average_pooling,
        _keras.GlobalAveragePooling2D: Twin.global_mean,
        _keras.Add: add,
        _keras.Subtract: unchanged,
        _keras.Multiply: unchanged,
        _keras.Maximum: unchanged,
        _keras.Minimum: unchanged,
        _keras.Concatenate: concatenate,
        _keras.ZeroPadding2D: zero_padding,
        _keras.Cropping2D: Twin.same_range,
        _keras.Flatten: flatten,
        _keras.Reshape: Twin.reshape,
        _keras.Dropout: dropout,
        _keras.SpatialDropout2D: dropout,
    }


def compact_model(graph: Graph, filters: int, kernel_size: int = 3) -> tf.keras.Model:
    """A float model for `graph`'s images and classes that has a light binary twin whatever the graph looks like.

    Convolutions of stride 2, each of twice the filters of the one before, down to a map of three or four pixels, and
    one of stride 1. `filters` are those of the first.
    """
    inputs = tensor = tf.keras.Input(graph.nodes[0].shape)
    smaller = max(1, int(np.log2(max(2, min((side for side in inputs.shape[1:3] if side > 1), default=1) / 3))))
    for number in range(smaller + 1):
        last = number == smaller
        width = filters * 2 ** min(number, smaller - 1)
        size = [min(kernel_size, side) for side in tensor.shape[1:3]]
        tensor = _keras.Conv2D(width, size, 1 if last else 2, padding="same", use_bias=False)(tensor)
        tensor = _keras.ReLU()(_keras.BatchNormalization()(tensor))
    tensor = _keras.GlobalAveragePooling2D()(tensor)
    return tf.keras.Model(inputs, _keras.Dense(graph.output.shape[0])(tensor))


def _pointwise(node: Node):
    layer = node.layer
    return node.is_a(_keras.Conv2D) and (layer.kernel_size, layer.strides, layer.groups) == ((1, 1), (1, 1), 1)


def _same(layer, shape):
    """Height and width behind a convolution like `layer` with padding "same"."""
    return tuple(-(-side // stride) for side, stride in zip(shape, layer.strides, strict=False))
