"""Reads a user's float Keras model into a graph of few kinds of layers, from which both twins are made.

    >>> graph = read(float_model)
    >>> logits = graph.model(pair.preprocess(images))      # the same answers, from fewer kinds of layers

What a device has no use for goes: augmentation, and a closing softmax or sigmoid. What it has no operator for is
written in others: Conv1D as Conv2D over [t, 1, c], activations as layers of their own, separable convolutions as two,
nested models as their layers, one logit z as the two logits [-z / 2, z / 2], whose softmax is
[1 - sigmoid(z), sigmoid(z)]. Rescaling, Normalization and Reshape in front of everything else become the `front`:
converted nets leave it out, since it changes nothing but the meaning of the 8-bit codes.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import ModelError
from bcnet_keras.layers.common import check_finite
from bcnet_keras.models import keras3
from bcnet_keras.models.twins.builder import Builder, Front
from bcnet_keras.models.twins.check import SUPPORTED, check_layers, is_model, shapes
from bcnet_keras.models.twins.graph import DROPOUT, WEIGHTED, Graph, Node
from bcnet_keras.models.twins.operations import operation
from bcnet_keras.models.twins.rules import AUGMENTATION, RULES, activated

_keras = tf.keras.layers
log = logging.getLogger(__name__)

__all__ = ["SUPPORTED", "Graph", "Node", "read"]


def read(model: Any) -> Graph:
    """The `Graph` of a functional or sequential Keras model with one input and one output of class scores.

    Arguments:
      model: of the legacy Keras or of Keras 3, or the path of a file that either has saved.

    Raises ValueError in one line that names every layer that cannot be read, and those that can.
    """
    if isinstance(model, str | os.PathLike):
        model = keras3.load(model)
    if keras3.is_keras3(model):
        model = keras3.to_legacy(model, {kind.__name__ for kind in RULES})
    if not isinstance(model, tf.keras.Model) or not (
        isinstance(model, tf.keras.Sequential) or getattr(model, "_is_graph_network", False)
    ):
        raise ModelError(f"a functional or sequential Keras model is needed, got {type(model).__name__}.")
    if not model.built or not getattr(model, "inputs", None):
        raise ModelError("the Keras model has no input shape yet; build it first or give its first layer one.")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"the Keras model must have one input and one output, got {len(model.inputs)} and {len(model.outputs)}."
        )
    shape, classes = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    if not 1 <= len(shape) <= 3 or None in shape or len(classes) != 1 or None in classes:
        raise ModelError(
            f"the Keras model must map images [h, w, c] or series [t, c] of known size to [classes], got {shape} to "
            f"{classes}."
        )
    check_layers(model)
    check_finite(model)
    return _Reader().read(model)


class _Reader(Builder):
    """The walk over the user's model. Values are a `Front` or a `Node`."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped: list[str] = []

    def read(self, model):
        start = Front(model.inputs[0].shape[1:])
        output = self.node(self.model(model, [start]))
        while output.is_a(_keras.Activation) and output.layer.activation.__name__ in ("softmax", "sigmoid"):
            if output.layer.activation.__name__ == "sigmoid" and output.shape[-1] > 2:
                raise ModelError(
                    f"the Keras model ends in a sigmoid of {output.shape[-1]} classes, which may all be right at once; "
                    "a pair answers with one class: end in a softmax, or in one or two logits for two classes."
                )
            (output,) = output.inputs
        output = self.two_classes(output) if output.shape == (1,) else output
        if len(output.shape) != 1:
            output = self.emit(_keras.Flatten(), output)
        needed, pending = set(), [output]
        while pending:
            node = pending.pop()
            if id(node) not in needed:
                needed.add(id(node))
                pending += node.inputs
        nodes = [node for node in self.nodes if id(node) in needed]
        for node in nodes:
            if node.is_a(_keras.Activation) and node.layer.activation.__name__ == "softmax":
                raise ModelError("cannot make a twin: the model has a softmax before the end.")
        if self.dropped:
            log.info(
                "left out of both nets: %s; augment the data set instead (data.map(lambda x, y: (augment(x), y)))",
                ", ".join(self.dropped),
            )
        image = self.image
        front = []
        if tuple(model.inputs[0].shape[1:]) != nodes[0].shape:
            front.append(_keras.Reshape(nodes[0].shape))
        affine = float(image.scale), float(image.offset)
        if affine != (1.0, 0.0):
            front.append(_keras.Rescaling(*affine))
        return Graph(nodes, output, front, tuple(model.inputs[0].shape[1:]), model.name, affine, image.scaled)

    def model(self, model, inputs):
        """The value of a model's one output, given those of its inputs."""
        if isinstance(model, tf.keras.Sequential):
            (value,) = inputs
            for layer in model.layers:
                if not isinstance(layer, _keras.InputLayer):
                    value = self.called(layer, [value], shapes(layer)[1], layer._inbound_nodes[0])
            return value
        if len(model.outputs) != 1:
            raise ModelError(f"the nested model {model.name} must have one output, got {len(model.outputs)}.")
        values = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if not node.is_input:
                    layer_inputs = [values[id(tensor)] for tensor in node.keras_inputs]
                    (result,) = tf.nest.flatten(node.outputs)
                    values[id(result)] = self.called(node.layer, layer_inputs, tuple(result.shape), node)
        return values[id(model.outputs[0])]

    def called(self, layer, inputs, shape, node):
        """Returns the value of a layer on `inputs`; `shape` is its output shape in the user's model, with the batch."""
        if is_model(layer):
            return self.model(layer, inputs)
        if type(layer).__name__ in AUGMENTATION:
            self.dropped.append(layer.name)
            return inputs[0]
        if type(layer).__name__ == "TFOpLambda":
            return operation(self, layer, inputs, shape, node)
        if isinstance(layer, _keras.Reshape):
            return self.reshaped(inputs[0], tuple(shape[1:]))
        if isinstance(layer, _keras.Rescaling):
            return self.affine(inputs[0], np.asarray(layer.scale, float), np.asarray(layer.offset, float))
        if isinstance(layer, _keras.Normalization):
            scale = 1 / np.maximum(np.sqrt(np.asarray(layer.variance, float)), tf.keras.backend.epsilon())
            return self.affine(inputs[0], scale.reshape(-1), (-np.asarray(layer.mean, float) * scale).reshape(-1))
        rule = RULES[type(layer)]
        result = rule(self, layer, *(self.node(value, layer) for value in inputs))
        activation = getattr(layer, "activation", None)
        return result if isinstance(layer, _keras.Activation) else activated(self, result, activation)

    def two_classes(self, output):
        """The nodes with two logits in place of one."""
        path = [output]
        while not path[-1].is_a(*WEIGHTED):
            if len(path[-1].inputs) != 1 or not path[-1].is_a(
                _keras.Flatten, _keras.Reshape, _keras.GlobalAveragePooling2D, *DROPOUT
            ):
                raise _no_logit(path[-1])
            path.append(path[-1].inputs[0])
        last = path.pop()
        if last.is_a(_keras.DepthwiseConv2D):
            raise _no_logit(last)
        config = last.layer.get_config()
        config["units" if last.is_a(_keras.Dense) else "filters"] = 2
        weights = [np.concatenate([-each / 2, each / 2], axis=-1) for each in last.layer.get_weights()]
        node = self.emit(type(last.layer).from_config(config), last.inputs[0], weights=weights)
        for old in reversed(path):
            node = self.emit(type(old.layer).from_config(old.layer.get_config()), node)
        return node


def _no_logit(node):
    """The error for a model of one output, which `node` gives in place of a logit."""
    kind = node.layer.activation.__name__ if node.is_a(_keras.Activation) else type(node.layer).__name__
    return ModelError(
        "a model of one logit must end in Dense(1) or a convolution with one filter, and a sigmoid or nothing behind "
        f"it; this one ends in {kind}."
    )
