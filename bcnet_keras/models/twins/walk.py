"""What both twins have in common: the walk over the graph of the float model."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

import tensorflow as tf

from bcnet_keras.layers import INPUT_RANGE, FakeQuant, Int8DepthwiseConv2D
from bcnet_keras.models.twins.graph import Graph, Node
from bcnet_keras.utils.arguments import range_of
from bcnet_keras.utils.types import Range

_keras = tf.keras.layers
PIXELS = (0.0, 255.0)


def default_input_range(graph: Graph) -> Range:
    """The range of what a model takes where the user does not say: pixels, if it scales them by itself."""
    return PIXELS if graph.takes_raw else INPUT_RANGE


@dataclasses.dataclass
class Signal:
    """A tensor of the twin, the layer that rounded it to 8 bits, and whether batch normalisation is behind it.

    One that `is_image` has seen no layer with weights. One `from_stem` is that of a shared stem, of which only signs
    can be read.
    """

    tensor: tf.Tensor
    quantiser: FakeQuant | None = None
    normalised: bool = False
    is_image: bool = False
    from_stem: bool = False


class Twin:
    """The walk; subclasses say what becomes of each kind of layer in `RULES`, and which inputs it reads in `sources`.

    Arguments:
      graph: `bcnet_keras.models.twins.graph.Graph`.
      input_range: (lowest, highest) value of what the model takes; None for `default_input_range`.
    """

    RULES: ClassVar[Mapping[type, Callable[..., Signal]]]

    def __init__(self, graph: Graph, input_range: Range | None) -> None:
        self.graph = graph
        self.input_range = range_of("input_range", default_input_range(graph) if input_range is None else input_range)
        scale, offset = graph.affine
        lowest = min(scale * value + offset for value in self.input_range)
        step = abs(scale) * (self.input_range[1] - self.input_range[0]) / 255
        if graph.takes_raw and lowest <= 0 <= lowest + 255 * step:
            # Half a code at most, so that pixels lie on codes, of which one is 0: with Rescaling(1 / 127.5, -1) each
            # would lie between two, and be rounded by chance.
            offset += round(lowest / step) * step - lowest
        self.offset = offset
        ends = [scale * value + offset for value in self.input_range]
        self.image_range = min(0.0, *ends), max(0.0, *ends)  # codes must have one for 0
        self.identities: dict[int, int] = {}  # how many a tensor has
        pending, needed = [graph.output], {}
        while pending:
            node = pending.pop()
            if id(node) not in needed:
                needed[id(node)] = self.sources(node)
                pending += needed[id(node)]
        self.nodes = [node for node in graph.nodes if id(node) in needed]
        self.consumers = collections.defaultdict(list)
        for node in self.nodes:
            for source in needed[id(node)]:
                self.consumers[id(source)].append(node)

    def sources(self, node: Node) -> list[Node]:
        """The nodes whose tensors `node` reads in the twin."""
        return list(node.inputs)

    def build(self, name: str) -> tf.keras.Model:
        """The twin, a Keras model."""
        inputs = tensor = tf.keras.Input(self.graph.input_shape, name="image")
        for layer in self.graph.front:
            shifted = {"offset": self.offset} if isinstance(layer, _keras.Rescaling) else {}
            tensor = type(layer).from_config(layer.get_config() | shifted)(tensor)
        image_quant = FakeQuant(*self.image_range, fixed=True, name="image_quant")
        self.signals = {id(self.nodes[0]): Signal(image_quant(tensor), image_quant, is_image=True)}
        for node in self.nodes[1:]:
            signals = [self.signals[id(source)] for source in self.sources(node)]
            self.signals[id(node)] = self.RULES[type(node.layer)](self, node, *signals)
        logits = self.as_vector(self.quantised(self.signals[id(self.graph.output)]))
        return tf.keras.Model(inputs, logits.tensor, name=name)

    def following(self, node: Node) -> Node | None:
        """The one node that reads `node`'s output, or None when there are none or several."""
        consumers = self.consumers[id(node)]
        return consumers[0] if len(consumers) == 1 and node is not self.graph.output else None

    def quantised(self, signal: Signal) -> Signal:
        if not signal.quantiser:
            # Later readers of the same tensor get the rounded one too.
            signal.quantiser = FakeQuant()
            signal.tensor = signal.quantiser(signal.tensor)
        return signal

    def identity(self, tensor: tf.Tensor) -> tf.Tensor:
        """An int8 operation that leaves `tensor` as it is, but whose output can have a scale of its own."""
        # TensorFlow merges operations on one tensor that are alike, which would then have one scale: the padding of a
        # 1x1 kernel changes nothing but that.
        number = self.identities[id(tensor)] = self.identities.get(id(tensor), 0) + 1
        settings = dict(depthwise_initializer="ones", use_bias=False, trainable=False)
        return Int8DepthwiseConv2D(1, padding=("same", "valid")[number % 2], **settings)(self.as_map(tensor))

    def as_map(self, tensor: tf.Tensor) -> tf.Tensor:
        return tensor if tensor.shape.rank == 4 else _keras.Reshape((1, 1, tensor.shape[-1]))(tensor)

    def as_vector(self, signal: Signal) -> Signal:
        """The signal of a rounded map of 1x1 as [n, c]."""
        return signal if signal.tensor.shape.rank == 2 else self.restated(signal, _keras.Flatten()(signal.tensor))

    def restated(self, signal: Signal, tensor: tf.Tensor) -> Signal:
        # The converter loses the range at a reshape, so it is stated again behind it.
        assert signal.quantiser is not None  # the signal is rounded
        return dataclasses.replace(signal, tensor=signal.quantiser(tensor, training=False))

    def concatenate(self, node: Node, *signals: Signal) -> Signal:
        # int8 concatenation copies codes, so all parts need one scale.
        quantiser = FakeQuant()
        if len(node.shape) == 1:  # vectors are small: those that are rounded are rounded once more
            parts = [self.as_vector(self.quantised(signal)).tensor for signal in signals]
        else:
            parts = [self.identity(signal.tensor) if signal.quantiser else signal.tensor for signal in signals]
        return Signal(_keras.Concatenate()(quantiser(parts)), quantiser)

    def same_config(self, node: Node, signal: Signal) -> Signal:
        return Signal(type(node.layer).from_config(node.layer.get_config())(self.quantised(signal).tensor))

    def same_range(self, node: Node, signal: Signal) -> Signal:
        """Layers whose output has their input's scale on the device."""
        result = self.same_config(node, signal)
        result.quantiser, result.is_image = signal.quantiser, signal.is_image
        return result

    def reshape(self, node: Node, signal: Signal) -> Signal:
        return self.restated(signal, self.same_range(node, signal).tensor)

    def global_mean(self, node: Node, signal: Signal) -> Signal:
        # Rounded to the map's levels; the range is not to follow the means too. See `layers.global_average`.
        return self.restated(Signal(None, self.quantised(signal).quantiser), self.same_config(node, signal).tensor)
