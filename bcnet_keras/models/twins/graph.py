"""Reads a user's float Keras model into a graph of few kinds of layers, from which both twins are made.

    graph = read(float_model)
    graph.model(images)         # the same answers as float logits, from fewer kinds of layers

What a device has no use for goes: augmentation, and a closing softmax or sigmoid. What it has no operator for is
written in others: Conv1D as Conv2D over [t, 1, c], activations as layers of their own, separable convolutions as two,
nested models as their layers, one logit z as the two logits [-z / 2, z / 2], whose softmax is
[1 - sigmoid(z), sigmoid(z)]. Rescaling, Normalization and Reshape in front of everything else become the `front`:
converted nets leave it out, since it changes nothing but the meaning of the 8-bit codes.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import ModelError
from bcnet_keras.layers import HardSwish
from bcnet_keras.models import keras3
from bcnet_keras.utils.types import Range

_keras = tf.keras.layers
log = logging.getLogger(__name__)

# What the graph is made of.
WEIGHTED = (_keras.Conv2D, _keras.DepthwiseConv2D, _keras.Dense)
DROPOUT = (_keras.Dropout, _keras.SpatialDropout2D)
ACTIVATIONS = (_keras.ReLU, _keras.LeakyReLU, _keras.PReLU, _keras.Activation, HardSwish)

_AUGMENTATION = {
    *("RandomBrightness", "RandomContrast", "RandomCrop", "RandomFlip", "RandomHeight", "RandomRotation"),
    *("RandomTranslation", "RandomWidth", "RandomZoom", "GaussianNoise", "GaussianDropout", "AlphaDropout"),
    *("ActivityRegularization", "Resizing", "CenterCrop"),
}
_SAME_SIZE = {"RandomCrop", "RandomHeight", "RandomWidth", "Resizing", "CenterCrop"}  # taken where they change no size
# Names of activation functions in Keras and TensorFlow -> what stands for them in the graph.
_FUNCTIONS = {
    "linear": None,
    "relu": lambda: _keras.ReLU(),
    "relu6": lambda: _keras.ReLU(6.0),
    "leaky_relu": lambda: _keras.LeakyReLU(0.2),
    "sigmoid": lambda: _keras.Activation("sigmoid"),
    "tanh": lambda: _keras.Activation("tanh"),
    "softmax": lambda: _keras.Activation("softmax"),
    "swish": lambda: _keras.Activation("swish"),
    "silu": lambda: _keras.Activation("swish"),
    "hard_sigmoid": lambda: _keras.Rescaling(0.2, 0.5),  # and a ReLU up to 1
    "hard_swish": lambda: HardSwish(),
}


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


def read(model: Any) -> Graph:
    """The `Graph` of a functional or sequential Keras model with one input and one output of class scores.

    Arguments:
      model: of the legacy Keras or of Keras 3, or the path of a file that either has saved.

    Raises ValueError in one line that names every layer that cannot be read, and those that can.
    """
    if isinstance(model, str | os.PathLike):
        model = keras3.load(model)
    if keras3.is_keras3(model):
        model = keras3.to_legacy(model, {kind.__name__ for kind in _Reader.RULES})
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
    _check(model)
    return _Reader().read(model)


def _check(model):
    """Raises ValueError where a layer cannot be read, naming all of them."""
    wrong, uses, layers = [], {}, {}
    for layer, count in _layers_of(model):
        uses[id(layer)] = uses.get(id(layer), 0) + count
        layers[id(layer)] = layer
    for key, layer in layers.items():
        reason = _problem(layer)
        if reason is None and uses[key] > 1 and layer.weights:
            reason = f"used {uses[key]} times; give each use its own layer"
        if reason is not None:
            wrong.append(f"{layer.name} ({reason})")
    if wrong:
        raise ModelError(f"cannot make a twin of these layers: {', '.join(wrong)}. Supported layers: {SUPPORTED}.")
    if not any(isinstance(layer, _WITH_WEIGHTS) for layer in layers.values()):
        raise ModelError("cannot make a twin: the model has neither a convolution nor a dense layer.")


def _layers_of(model):
    """(layer, how often it is called) of a model and of the models in it."""
    if isinstance(model, tf.keras.Sequential):
        calls = [(layer, 1) for layer in model.layers]
    else:
        nodes = [node for depth in model._nodes_by_depth.values() for node in depth]
        calls = [(layer, sum(node.layer is layer for node in nodes)) for layer in model.layers]
    for layer, count in calls:
        if _is_model(layer):
            for inner, times in _layers_of(layer):
                yield inner, times * count
        elif not isinstance(layer, _keras.InputLayer):
            yield layer, count


def _is_model(layer):
    return isinstance(layer, tf.keras.Sequential) or (
        isinstance(layer, tf.keras.Model) and getattr(layer, "_is_graph_network", False)
    )


def _problem(layer):
    """Why a layer cannot be read, in words; None where it can."""
    kind = type(layer).__name__
    if kind == "TFOpLambda":
        return None if layer.symbol in _Reader.OPERATIONS else f"tf.{layer.symbol or layer.function.__name__}"
    if type(layer) not in _Reader.RULES:
        return kind
    if kind in _AUGMENTATION:
        if kind in _SAME_SIZE and len({shape[1:3] for shape in _shapes(layer)}) > 1:
            return f"{kind}, which changes the size; give the model images of that size"
        return None
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return "channels_first; channels_last is needed"
    if isinstance(layer, _keras.ReLU) and layer.threshold:
        return "a threshold of ReLU is not supported"
    if isinstance(layer, _keras.ReLU) and layer.negative_slope and layer.max_value is not None:
        return "negative_slope with max_value is not supported"
    if isinstance(layer, _keras.PReLU) and math.prod(layer.alpha.shape[:-1]) != 1:
        return "PReLU with an alpha for each pixel; use shared_axes=[1, 2]"
    if isinstance(layer, _keras.BatchNormalization | _keras.Concatenate | _keras.Softmax | _keras.Normalization):
        axis, rank = getattr(layer, "axis", -1), len(_shapes(layer)[0])
        axis = [] if axis is None else [axis] if isinstance(axis, int) else list(axis)
        if any(each not in (-1, rank - 1) for each in axis):
            return f"axis {axis[0] if len(axis) == 1 else axis}; the last one is needed"
    if isinstance(layer, _keras.Normalization) and layer.invert:
        return "an inverted Normalization is not supported"
    return _activation_problem(getattr(layer, "activation", None))


def _activation_problem(activation):
    if activation is None or isinstance(activation, tf.keras.layers.Layer):
        return None if activation is None or type(activation) in _Reader.RULES else type(activation).__name__
    name = getattr(activation, "__name__", type(activation).__name__)
    is_custom = not str(getattr(activation, "__module__", "")).startswith(("tf_keras", "keras", "tensorflow"))
    if is_custom and activation is not _FUNCTIONS.get(name):
        return f"activation {name!r} of your own is not supported"
    return None if name in _FUNCTIONS else f"activation {name!r} is not supported"


def _shapes(layer):
    """(shape of the first input, shape of the output) where a layer is called first, with the batch."""
    call = layer._inbound_nodes[0]
    return tuple(tuple(tf.nest.flatten(tensors)[0].shape) for tensors in (call.keras_inputs, call.outputs))


class _Front:
    """The user's input behind Reshape and Rescaling, before the first other layer: no node yet."""

    def __init__(self, shape, scale=1.0, offset=0.0, scaled=False) -> None:
        self.shape, self.scale, self.offset, self.scaled = tuple(shape), scale, offset, scaled
        self.node = None


class _Reader:
    """The walk over the user's model. Values are a `_Front` or a `Node`; a vector stands for a map of 1x1, too."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.names: set[str] = set()
        self.dropped: list[str] = []
        self.image = None  # its `_Front`

    def read(self, model):
        start = _Front(model.inputs[0].shape[1:])
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
                    value = self.called(layer, [value], _shapes(layer)[1], layer._inbound_nodes[0])
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
        if _is_model(layer):
            return self.model(layer, inputs)
        if type(layer).__name__ in _AUGMENTATION:
            self.dropped.append(layer.name)
            return inputs[0]
        if type(layer).__name__ == "TFOpLambda":
            return self.operation(layer, inputs, shape, node)
        if isinstance(layer, _keras.Reshape):
            return self.reshaped(inputs[0], tuple(shape[1:]))
        if isinstance(layer, _keras.Rescaling):
            return self.affine(inputs[0], np.asarray(layer.scale, float), np.asarray(layer.offset, float))
        if isinstance(layer, _keras.Normalization):
            scale = 1 / np.maximum(np.sqrt(np.asarray(layer.variance, float)), tf.keras.backend.epsilon())
            return self.affine(inputs[0], scale.reshape(-1), (-np.asarray(layer.mean, float) * scale).reshape(-1))
        rule = self.RULES[type(layer)]
        result = rule(self, layer, *(self.node(value, layer) for value in inputs))
        activation = getattr(layer, "activation", None)
        return result if isinstance(layer, _keras.Activation) else self.activated(result, activation)

    # What the rules are made of.

    def emit(self, layer, *inputs, weights=None):
        tensor = layer(inputs[0].tensor if len(inputs) == 1 else [node.tensor for node in inputs])
        if weights is not None:
            layer.set_weights(weights)
        self.nodes.append(Node(layer, inputs, tensor))
        return self.nodes[-1]

    def name(self, layer):
        """The layer's name, or one like it where a nested model has the same."""
        name, number = layer.name, 1
        while name in self.names:
            number += 1
            name = f"{layer.name}_{number}"
        self.names.add(name)
        return name

    def node(self, value, reader=None):
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

    def image_node(self, front, reader):
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

    def affine(self, value, scale, offset):
        if isinstance(value, _Front) and value.node is None:
            scale, offset = value.scale * scale, value.offset * scale + offset
            values = (float(np.ravel(each)[0]) if np.size(each) == 1 else each for each in (scale, offset))
            return _Front(value.shape, *values, scaled=True)
        node = self.node(value)
        return self.rescaled(node, *np.broadcast_arrays(np.ravel(scale), np.ravel(offset)))

    def rescaled(self, node, scale, offset):
        values = [float(each[0]) if np.size(each) == 1 else [float(item) for item in each] for each in (scale, offset)]
        return self.emit(_keras.Rescaling(*values), node)

    def reshaped(self, value, shape):
        in_front = isinstance(value, _Front) and value.node is None
        if in_front and np.size(value.scale) == np.size(value.offset) == 1:
            return _Front(shape, value.scale, value.offset, value.scaled)
        node = self.node(value)
        if len(shape) == 2:
            shape = (shape[0], 1, shape[1])
        if math.prod(shape) == shape[-1]:
            return node if len(node.shape) == 1 else self.emit(_keras.Flatten(), node)
        return node if node.shape == shape else self.emit(_keras.Reshape(shape), node)

    def as_map(self, node):
        return node if len(node.shape) == 3 else self.emit(_keras.Reshape((1, 1, *node.shape)), node)

    def activated(self, node, activation):
        if activation is None:
            return node
        if isinstance(activation, tf.keras.layers.Layer):
            return self.RULES[type(activation)](self, activation, node)
        make = _FUNCTIONS[activation.__name__]
        result = node if make is None else self.emit(make(), node)
        return self.emit(_keras.ReLU(1.0), result) if activation.__name__ == "hard_sigmoid" else result

    # Rules: (layer, nodes that it reads) -> node.

    def convolution(self, layer, node):
        weights = layer.get_weights()
        one_dimensional = layer.rank == 1
        depthwise = isinstance(layer, _keras.DepthwiseConv2D | _keras.DepthwiseConv1D)
        kernel, strides, dilation = (_pair(value) for value in (layer.kernel_size, layer.strides, layer.dilation_rate))
        if one_dimensional:
            weights[0] = weights[0][:, np.newaxis]
            strides = (
                strides[0],
                strides[0],
            )  # the same on a width of 1, and the same along both axes, as operators ask
        padding = layer.padding
        if padding == "causal":
            node = self.as_map(node)
            node = self.emit(_keras.ZeroPadding2D(((dilation[0] * (kernel[0] - 1), 0), (0, 0))), node)
            padding = "valid"
        settings = dict(use_bias=layer.use_bias, name=self.name(layer))
        if len(node.shape) == 1 and kernel == (1, 1) and not depthwise and layer.groups == 1:
            weights[0] = weights[0][0, 0]
            return self.emit(_keras.Dense(layer.filters, **settings), node, weights=weights)
        settings |= dict(kernel_size=kernel, strides=strides, padding=padding, dilation_rate=dilation)
        if depthwise:
            twin = _keras.DepthwiseConv2D(depth_multiplier=layer.depth_multiplier, **settings)
        else:
            twin = _keras.Conv2D(layer.filters, groups=layer.groups, **settings)
        return self.emit(twin, self.as_map(node), weights=weights)

    def separable(self, layer, node):
        depthwise, pointwise, *bias = layer.get_weights()
        strides = _pair(layer.strides)
        if layer.rank == 1:
            depthwise, pointwise = depthwise[:, np.newaxis], pointwise[:, np.newaxis]
            strides = (strides[0], strides[0])
        name = self.name(layer)
        first = _keras.DepthwiseConv2D(
            _pair(layer.kernel_size),
            strides,
            layer.padding,
            depth_multiplier=layer.depth_multiplier,
            dilation_rate=_pair(layer.dilation_rate),
            use_bias=False,
            name=f"{name}_depthwise",
        )
        node = self.emit(first, self.as_map(node), weights=[depthwise])
        second = _keras.Conv2D(layer.filters, 1, use_bias=layer.use_bias, name=name)
        return self.emit(second, node, weights=[pointwise, *bias])

    def dense(self, layer, node):
        kernel, *bias = layer.get_weights()
        settings = dict(use_bias=layer.use_bias, name=self.name(layer))
        if len(node.shape) == 1:
            return self.emit(_keras.Dense(layer.units, **settings), node, weights=[kernel, *bias])
        kernel = kernel[np.newaxis, np.newaxis]  # on a map it is a 1x1 convolution
        return self.emit(_keras.Conv2D(layer.units, 1, **settings), node, weights=[kernel, *bias])

    def normalisation(self, layer, node):
        names = ("momentum", "epsilon", "center", "scale")
        settings = {name: getattr(layer, name) for name in names}
        return self.emit(
            _keras.BatchNormalization(**settings, name=self.name(layer)), node, weights=layer.get_weights()
        )

    def relu(self, layer, node):
        if layer.negative_slope:
            return self.emit(_keras.LeakyReLU(float(layer.negative_slope)), node)
        return self.emit(_keras.ReLU(None if layer.max_value is None else float(layer.max_value)), node)

    def leaky_relu(self, layer, node):
        return self.emit(_keras.LeakyReLU(float(layer.alpha)), node)

    def prelu(self, layer, node):
        (alpha,) = layer.get_weights()
        twin = _keras.PReLU(shared_axes=[1, 2][: len(node.shape) - 1] or None, name=self.name(layer))
        return self.emit(twin, node, weights=[alpha.reshape([1] * (len(node.shape) - 1) + [-1])])

    def activation(self, layer, node):
        return self.activated(node, layer.activation)

    def softmax(self, layer, node):
        return self.emit(_keras.Activation("softmax"), node)

    def pooling(self, layer, node):
        node, size, strides = self.as_map(node), layer.pool_size, layer.strides
        kind = _keras.MaxPooling2D if "Max" in type(layer).__name__ else _keras.AveragePooling2D
        if type(layer).__name__.endswith("1D"):
            size, strides = ((tf.nest.flatten(each)[0], 1) for each in (size, strides))
        if layer.padding == "same" or all(a <= b for a, b in zip(_pair(size), node.shape, strict=False)):
            return self.emit(kind(size, strides, layer.padding), node)
        return node

    def global_pooling(self, layer, node):
        if len(node.shape) == 1:
            return node
        kind = _keras.GlobalMaxPooling2D if "Max" in type(layer).__name__ else _keras.GlobalAveragePooling2D
        return self.emit(kind(), node)

    def padding(self, layer, node):
        kind = _keras.Cropping2D if "Cropping" in type(layer).__name__ else _keras.ZeroPadding2D
        size = getattr(layer, "padding", None) or layer.cropping
        size = (tuple(size), (0, 0)) if type(layer).__name__.endswith("1D") else size
        return self.emit(kind(size), self.as_map(node)) if any(tf.nest.flatten(size)) else node

    def flatten(self, layer, node):
        return node if len(node.shape) == 1 else self.emit(_keras.Flatten(), node)

    def dropout(self, layer, node):
        spatial = "Spatial" in type(layer).__name__ and len(node.shape) == 3
        if spatial:
            return self.emit(_keras.SpatialDropout2D(layer.rate), node)
        noise = getattr(layer, "noise_shape", None)
        kept = noise is not None and len(noise) == len(node.shape) + 1
        return self.emit(_keras.Dropout(layer.rate, noise_shape=noise if kept else None), node)

    def merged(self, kind, nodes):
        """`kind` of two and two nodes, in order."""
        if len({len(node.shape) for node in nodes}) > 1:
            nodes = [self.as_map(node) for node in nodes]
        result, *rest = nodes
        for node in rest:
            result = self.emit(kind(), result, node)
        return result

    def merge(self, layer, *nodes):
        if isinstance(layer, _keras.Average):
            total = self.merged(_keras.Add, nodes)
            return self.rescaled(total, [1 / len(nodes)], [0.0])
        if isinstance(layer, _keras.Multiply) and len(nodes) == 2:
            return self.product(*nodes)
        return self.merged(type(layer), nodes)

    def product(self, one, other):
        """x * hard_sigmoid(x), written as x * relu6(x + 3) / 6, is one operator of TensorFlow Lite."""
        for value, gate in ((one, other), (other, one)):
            if _is_hard_sigmoid(gate, value):
                return self.emit(HardSwish(), value)
        return self.merged(_keras.Multiply, [one, other])

    def concatenate(self, layer, *nodes):
        if len({len(node.shape) for node in nodes}) > 1:
            nodes = [self.as_map(node) for node in nodes]
        return self.emit(_keras.Concatenate(), *nodes) if len(nodes) > 1 else nodes[0]

    def operation(self, layer, inputs, shape, node):
        """A function of TensorFlow that was called on a Keras tensor."""
        function = self.OPERATIONS[layer.symbol]
        arguments = [value for value in (*node.call_args, *node.call_kwargs.values()) if value is not None]
        if function == "reshape":
            return self.reshaped(inputs[0], tuple(shape[1:]))
        if isinstance(function, str) and function in _FUNCTIONS:
            if len(arguments) == 2 and function == "leaky_relu":
                return self.emit(_keras.LeakyReLU(float(arguments[1])), self.node(inputs[0]))
            name = function
            result = self.node(inputs[0])
            return self.emit(_FUNCTIONS[name](), result)
        if function == "mean":
            axis = node.call_kwargs.get("axis", node.call_args[1] if len(node.call_args) > 1 else None)
            if sorted(int(each) % 4 for each in np.ravel(axis)) != [1, 2]:
                raise ModelError(f"cannot make a twin: {layer.name} must average over height and width, axis=[1, 2].")
            return self.global_pooling(_keras.GlobalAveragePooling2D(), self.node(inputs[0]))
        if function == "concat":
            return self.concatenate(layer, *(self.node(value) for value in inputs))
        operands = [value for value in arguments if not isinstance(value, str)][:2]
        if len(inputs) == 2:
            nodes = [self.node(value) for value in inputs]
            if function == "divide":
                raise ModelError(f"cannot make a twin: {layer.name} divides one tensor by another.")
            if function == "multiply":
                return self.product(*nodes)
            return self.merged({"add": _keras.Add, "subtract": _keras.Subtract}[function], nodes)
        first = isinstance(operands[0], tf.keras.__internal__.KerasTensor)
        number = np.asarray(operands[1 if first else 0], float).reshape(-1)
        if not first and function == "divide":
            raise ModelError(f"cannot make a twin: {layer.name} divides by a tensor.")
        scale, offset = {
            "add": (1.0, number),
            "subtract": (1.0, -number) if first else (-1.0, number),
            "multiply": (number, 0.0),
            "divide": (1 / number, 0.0),
        }[function]
        return self.affine(inputs[0], np.asarray(scale, float), np.asarray(offset, float))

    def two_classes(self, output):
        """The nodes with two logits in place of one."""
        path = [output]
        while not path[-1].is_a(*WEIGHTED):
            if len(path[-1].inputs) != 1 or not path[-1].is_a(
                _keras.Flatten, _keras.Reshape, _keras.GlobalAveragePooling2D, *DROPOUT
            ):
                raise ModelError("a model of one logit must end in Dense(1) or a convolution with one filter.")
            path.append(path[-1].inputs[0])
        last = path.pop()
        if last.is_a(_keras.DepthwiseConv2D):
            raise ModelError("a model of one logit must end in Dense(1) or a convolution with one filter.")
        config = last.layer.get_config()
        config["units" if last.is_a(_keras.Dense) else "filters"] = 2
        weights = [np.concatenate([-each / 2, each / 2], axis=-1) for each in last.layer.get_weights()]
        node = self.emit(type(last.layer).from_config(config), last.inputs[0], weights=weights)
        for old in reversed(path):
            node = self.emit(type(old.layer).from_config(old.layer.get_config()), node)
        return node

    RULES = {
        _keras.Conv1D: convolution,
        _keras.Conv2D: convolution,
        _keras.DepthwiseConv1D: convolution,
        _keras.DepthwiseConv2D: convolution,
        _keras.SeparableConv1D: separable,
        _keras.SeparableConv2D: separable,
        _keras.Dense: dense,
        _keras.BatchNormalization: normalisation,
        _keras.ReLU: relu,
        _keras.LeakyReLU: leaky_relu,
        _keras.PReLU: prelu,
        _keras.Activation: activation,
        _keras.Softmax: softmax,
        _keras.MaxPooling1D: pooling,
        _keras.MaxPooling2D: pooling,
        _keras.AveragePooling1D: pooling,
        _keras.AveragePooling2D: pooling,
        _keras.GlobalMaxPooling1D: global_pooling,
        _keras.GlobalMaxPooling2D: global_pooling,
        _keras.GlobalAveragePooling1D: global_pooling,
        _keras.GlobalAveragePooling2D: global_pooling,
        _keras.Add: merge,
        _keras.Subtract: merge,
        _keras.Multiply: merge,
        _keras.Average: merge,
        _keras.Maximum: merge,
        _keras.Minimum: merge,
        _keras.Concatenate: concatenate,
        _keras.ZeroPadding1D: padding,
        _keras.ZeroPadding2D: padding,
        _keras.Cropping1D: padding,
        _keras.Cropping2D: padding,
        _keras.Flatten: flatten,
        _keras.Reshape: None,
        _keras.Dropout: dropout,
        _keras.SpatialDropout1D: dropout,
        _keras.SpatialDropout2D: dropout,
        _keras.Rescaling: None,
        _keras.Normalization: None,
        **{getattr(_keras, name): None for name in _AUGMENTATION},
    }
    # Functions of TensorFlow on Keras tensors.
    OPERATIONS = {
        "__operators__.add": "add",
        "math.add": "add",
        "__operators__.sub": "subtract",
        "math.subtract": "subtract",
        "__operators__.mul": "multiply",
        "math.multiply": "multiply",
        "__operators__.truediv": "divide",
        "math.truediv": "divide",
        "math.divide": "divide",
        "nn.relu": "relu",
        "nn.relu6": "relu6",
        "nn.leaky_relu": "leaky_relu",
        "nn.silu": "swish",
        "math.sigmoid": "sigmoid",
        "math.tanh": "tanh",
        "nn.softmax": "softmax",
        "math.reduce_mean": "mean",
        "concat": "concat",
        "reshape": "reshape",
        "expand_dims": "reshape",
        "squeeze": "reshape",
        "compat.v1.squeeze": "reshape",  # as tf.squeeze says of itself
    }


_WITH_WEIGHTS = tuple(
    kind for kind, rule in _Reader.RULES.items() if rule in (_Reader.convolution, _Reader.separable, _Reader.dense)
)
# What is taken, for messages.
SUPPORTED = (
    f"{', '.join(sorted(kind.__name__ for kind in _Reader.RULES))}; activations {', '.join(sorted(_FUNCTIONS))}; "
    "nested functional and sequential models; and +, -, *, / and "
    + ", ".join(f"tf.{name}" for name in sorted(_Reader.OPERATIONS) if "__" not in name and "compat" not in name)
)


def _pair(value):
    """(v, 1) for the one value of a 1D layer, else the two values."""
    first, *rest = tf.nest.flatten(value)
    return (int(first), int(rest[0]) if rest else 1)


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
