"""The graph that a float Keras model is read into: layers of few kinds, from which both twins are made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from bcnet_keras.layers import HardSwish
from bcnet_keras.utils.types import Range

_keras = tf.keras.layers

# What the graph is made of.
WEIGHTED = (_keras.Conv2D, _keras.DepthwiseConv2D, _keras.Dense)
DROPOUT = (_keras.Dropout, _keras.SpatialDropout2D)
ACTIVATIONS = (_keras.ReLU, _keras.LeakyReLU, _keras.PReLU, _keras.Activation, HardSwish)


class Node:
    """A layer of the graph.

    Attributes:
      layer: Keras layer of one of the kinds above, built, with its weights; None for the image.
      inputs: tuple of `Node`.
      tensor: its output as a Keras tensor of `Graph.model`.
      shape: that output's, without the batch: (h, w, c) of a map, (c,) of a vector.
    """

    def __init__(self, layer: Any, inputs: Iterable[Node], tensor: tf.Tensor) -> None:
        self.layer, self.inputs, self.tensor = layer, tuple(inputs), tensor
        self.shape = tuple(tensor.shape[1:])

    def is_a(self, *kinds: type) -> bool:
        return isinstance(self.layer, kinds)


class Graph:
    """A float model as nodes, from the image to the logits.

    Attributes:
      nodes: list of `Node` in the order in which they run, the image first.
      output: the `Node` of the logits.
      front: Keras layers between the user's input and the image: Reshape and Rescaling.
      input_shape: of the user's input, without the batch.
      affine: (scale, offset) that the front applies to values, two floats.
      takes_raw: whether the user's model scales its input by itself, as one that takes pixels from 0 to 255 does.
      name: of the user's model.
    """

    def __init__(
        self,
        nodes: list[Node],
        output: Node,
        front: list[tf.keras.layers.Layer],
        input_shape: tuple[int, ...],
        name: str,
        affine: Range = (1.0, 0.0),
        takes_raw: bool = False,
    ) -> None:
        self.nodes, self.output, self.front, self.input_shape, self.name = nodes, output, front, input_shape, name
        self.affine, self.takes_raw = affine, takes_raw

    @property
    def model(self) -> tf.keras.Model:
        """The graph as a Keras model: what the user's model takes -> float logits [n, classes]."""
        inputs = tf.keras.Input(self.input_shape)
        tensor = inputs
        for layer in self.front:
            tensor = layer(tensor)
        image = tf.keras.Model(self.nodes[0].tensor, self.output.tensor)
        return tf.keras.Model(inputs, image(tensor), name="logits")
