"""Appends layers to the graph of a float model, and collects what scales its image in front of the first layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import ModelError
from bcnet_keras.layers import HardSwish
from bcnet_keras.models.twins.graph import Node
from bcnet_keras.utils.types import Array

_keras = tf.keras.layers


class Front:
    """The user's input behind Reshape and Rescaling, before the first other layer: no node yet.

    Attributes:
      shape: without the batch.
      scale, offset: what is applied to values: numbers, or arrays [channels].
      scaled: whether the user's model has a layer that scales.
      node: the image's `Node`, once a layer reads it.
    """

    def __init__(self, shape: Iterable[int], scale: Any = 1.0, offset: Any = 0.0, scaled: bool = False) -> None:
        self.shape, self.scale, self.offset, self.scaled = tuple(shape), scale, offset, scaled
        self.node: Node | None = None


Value = Front | Node


class Builder:
    """A graph under construction. Values are a `Front` or a `Node`; a vector stands for a map of 1x1, too.

    Attributes:
      nodes: list of `Node` so far.
      image: the `Front` whose node is the image; None until a layer reads it.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.names: set[str] = set()
        self.image: Front | None = None

    def emit(self, layer: Any, *inputs: Node, weights: list[Array] | None = None) -> Node:
        """Appends a new Keras layer that reads `inputs`."""
        tensor = layer(inputs[0].tensor if len(inputs) == 1 else [node.tensor for node in inputs])
        if weights is not None:
            layer.set_weights(weights)
        self.nodes.append(Node(layer, inputs, tensor))
        return self.nodes[-1]

    def name(self, layer: Any) -> str:
        """The layer's name, or one like it where a nested model has the same."""
        name, number = layer.name, 1
        while name in self.names:
            number += 1
            name = f"{layer.name}_{number}"
        self.names.add(name)
        return name

    def node(self, value: Value, reader: Any = None) -> Node:
        """The node of a value; the image's is made when the first layer reads it."""
        if isinstance(value, Node):
            return value
        if value.node is None:
            if self.image is not None:
                raise ModelError(
                    "cannot make a twin: branches of the model read the image through different Rescaling, "
                    "Normalization or Reshape layers; put one in front of all branches."
                )
            self.image = value
            value.node = self.image_node(value, reader)
        return value.node

    def image_node(self, front: Front, reader: Any) -> Node:
        """Appends the image, [h, w, c], and an operator where channels have scales of their own."""
        scale, offset = np.atleast_1d(front.scale), np.atleast_1d(front.offset)
        scale, offset = np.broadcast_arrays(scale, offset)
        shape = front.shape
        if len(shape) == 1:
            raise ModelError(
                f"the Keras model must map images [h, w, c] or series [t, c], got vectors of {shape[0]} values."
            )
        if len(shape) == 2:  # a series is as high as it is long; an image without channels has one
            flat = isinstance(reader, _keras.Flatten) and scale.size == 1
            shape = (*shape, 1) if flat else (shape[0], 1, shape[1])
        # One scale holds for all codes. What channels have of their own is left to an operator.
        front.scale, front.offset = float(scale.mean()), float(offset.mean())
        image = Node(None, (), tf.keras.Input(shape))
        self.nodes.append(image)
        if np.ptp(scale) or np.ptp(offset):
            rest = scale / front.scale
            return self.rescaled(image, rest, offset - front.offset * rest)
        return image

    def affine(self, value: Value, scale: Any, offset: Any) -> Value:
        """The value times `scale` plus `offset`: a part of the front as long as no layer has read the image."""
        if isinstance(value, Front) and value.node is None:
            scale, offset = value.scale * scale, value.offset * scale + offset
            scale, offset = (float(np.ravel(each)[0]) if np.size(each) == 1 else each for each in (scale, offset))
            return Front(value.shape, scale, offset, scaled=True)
        node = self.node(value)
        return self.rescaled(node, *np.broadcast_arrays(np.ravel(scale), np.ravel(offset)))

    def rescaled(self, node: Node, scale: Sequence[float] | Array, offset: Sequence[float] | Array) -> Node:
        """Appends a Rescaling, with one factor or one per channel."""
        values = [float(each[0]) if np.size(each) == 1 else [float(item) for item in each] for each in (scale, offset)]
        return self.emit(_keras.Rescaling(*values), node)

    def reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        """The value in another shape, without the batch."""
        if isinstance(value, Front) and value.node is None and np.size(value.scale) == np.size(value.offset) == 1:
            return Front(shape, value.scale, value.offset, value.scaled)
        node = self.node(value)
        if len(shape) == 2:
            shape = (shape[0], 1, shape[1])
        if math.prod(shape) == shape[-1]:
            return node if len(node.shape) == 1 else self.emit(_keras.Flatten(), node)
        return node if node.shape == shape else self.emit(_keras.Reshape(shape), node)

    def as_map(self, node: Node) -> Node:
        """The node as [h, w, c]."""
        return node if len(node.shape) == 3 else self.emit(_keras.Reshape((1, 1, *node.shape)), node)

    def merged(self, kind: Any, nodes: Sequence[Node]) -> Node:
        """Merges nodes in pairs, in order, by layers of `kind`."""
        if len({len(node.shape) for node in nodes}) > 1:
            nodes = [self.as_map(node) for node in nodes]
        result, *rest = nodes
        for node in rest:
            result = self.emit(kind(), result, node)
        return result

    def product(self, one: Node, other: Node) -> Node:
        """The product of two nodes; x * relu6(x + 3) / 6 is hard-swish, one operator of TensorFlow Lite."""
        for value, gate in ((one, other), (other, one)):
            if _is_hard_sigmoid(gate, value):
                return self.emit(HardSwish(), value)
        return self.merged(_keras.Multiply, [one, other])


def _is_hard_sigmoid(gate, value):
    """Whether `gate` is relu6(value + 3) / 6."""
    if not (gate.is_a(_keras.Rescaling) and gate.inputs[0].is_a(_keras.ReLU)):
        return False
    (relu,) = gate.inputs
    (shifted,) = relu.inputs
    return (
        shifted.is_a(_keras.Rescaling)
        and shifted.inputs[0] is value
        and (shifted.layer.scale, shifted.layer.offset) == (1.0, 3.0)
        and relu.layer.max_value == 6.0
        and np.isclose(gate.layer.scale, 1 / 6)
        and gate.layer.offset == 0
    )
