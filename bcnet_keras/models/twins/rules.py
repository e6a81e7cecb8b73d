"""How each kind of Keras layer is written in the layers of the graph.

A rule takes the `Builder`, the user's layer and the nodes that it reads, and returns the node of its result. `RULES`
lists all; to read another layer, add a rule here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.layers import HardSwish
from bcnet_keras.models.twins.builder import Builder
from bcnet_keras.models.twins.graph import Node

_keras = tf.keras.layers
Layer = Any  # of the user's model

AUGMENTATION = {
    *("RandomBrightness", "RandomContrast", "RandomCrop", "RandomFlip", "RandomHeight", "RandomRotation"),
    *("RandomTranslation", "RandomWidth", "RandomZoom", "GaussianNoise", "GaussianDropout", "AlphaDropout"),
    *("ActivityRegularization", "Resizing", "CenterCrop"),
}
SAME_SIZE = {"RandomCrop", "RandomHeight", "RandomWidth", "Resizing", "CenterCrop"}  # taken where they change no size
# Names of activation functions in Keras and TensorFlow -> what stands for them in the graph; None for nothing.
FUNCTIONS: dict[str, Any] = {
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


def activated(builder: Builder, node: Node, activation: Any) -> Node:
    """The node of a node's output behind an activation: a function, a layer, or None."""
    if activation is None:
        return node
    if isinstance(activation, tf.keras.layers.Layer):
        return RULES[type(activation)](builder, activation, node)
    make = FUNCTIONS[activation.__name__]
    result = node if make is None else builder.emit(make(), node)
    return builder.emit(_keras.ReLU(1.0), result) if activation.__name__ == "hard_sigmoid" else result


def convolution(builder: Builder, layer: Layer, node: Node) -> Node:
    weights = layer.get_weights()
    one_dimensional = layer.rank == 1
    depthwise = isinstance(layer, _keras.DepthwiseConv2D | _keras.DepthwiseConv1D)
    kernel, strides, dilation = (_pair(value) for value in (layer.kernel_size, layer.strides, layer.dilation_rate))
    if one_dimensional:
        weights[0] = weights[0][:, np.newaxis]
        strides = (strides[0], strides[0])  # no matter on a width of 1; operators ask for the same along both axes
    padding = layer.padding
    if padding == "causal":
        node = builder.as_map(node)
        node = builder.emit(_keras.ZeroPadding2D(((dilation[0] * (kernel[0] - 1), 0), (0, 0))), node)
        padding = "valid"
    settings = dict(use_bias=layer.use_bias, name=builder.name(layer))
    if len(node.shape) == 1 and kernel == (1, 1) and not depthwise and layer.groups == 1:
        weights[0] = weights[0][0, 0]
        return builder.emit(_keras.Dense(layer.filters, **settings), node, weights=weights)
    settings |= dict(kernel_size=kernel, strides=strides, padding=padding, dilation_rate=dilation)
    if depthwise:
        twin = _keras.DepthwiseConv2D(depth_multiplier=layer.depth_multiplier, **settings)
    else:
        twin = _keras.Conv2D(layer.filters, groups=layer.groups, **settings)
    return builder.emit(twin, builder.as_map(node), weights=weights)


def separable(builder: Builder, layer: Layer, node: Node) -> Node:
    depthwise, pointwise, *bias = layer.get_weights()
    strides = _pair(layer.strides)
    if layer.rank == 1:
        depthwise, pointwise = depthwise[:, np.newaxis], pointwise[:, np.newaxis]
        strides = (strides[0], strides[0])
    name = builder.name(layer)
    first = _keras.DepthwiseConv2D(
        _pair(layer.kernel_size),
        strides,
        layer.padding,
        depth_multiplier=layer.depth_multiplier,
        dilation_rate=_pair(layer.dilation_rate),
        use_bias=False,
        name=f"{name}_depthwise",
    )
    node = builder.emit(first, builder.as_map(node), weights=[depthwise])
    second = _keras.Conv2D(layer.filters, 1, use_bias=layer.use_bias, name=name)
    return builder.emit(second, node, weights=[pointwise, *bias])


def dense(builder: Builder, layer: Layer, node: Node) -> Node:
    kernel, *bias = layer.get_weights()
    settings = dict(use_bias=layer.use_bias, name=builder.name(layer))
    if len(node.shape) == 1:
        return builder.emit(_keras.Dense(layer.units, **settings), node, weights=[kernel, *bias])
    kernel = kernel[np.newaxis, np.newaxis]  # on a map it is a 1x1 convolution
    return builder.emit(_keras.Conv2D(layer.units, 1, **settings), node, weights=[kernel, *bias])


def normalisation(builder: Builder, layer: Layer, node: Node) -> Node:
    names = ("momentum", "epsilon", "center", "scale")
    settings = {name: getattr(layer, name) for name in names}
    return builder.emit(
        _keras.BatchNormalization(**settings, name=builder.name(layer)), node, weights=layer.get_weights()
    )


def relu(builder: Builder, layer: Layer, node: Node) -> Node:
    if layer.negative_slope:
        return builder.emit(_keras.LeakyReLU(float(layer.negative_slope)), node)
    return builder.emit(_keras.ReLU(None if layer.max_value is None else float(layer.max_value)), node)


def leaky_relu(builder: Builder, layer: Layer, node: Node) -> Node:
    return builder.emit(_keras.LeakyReLU(float(layer.alpha)), node)


def prelu(builder: Builder, layer: Layer, node: Node) -> Node:
    (alpha,) = layer.get_weights()
    twin = _keras.PReLU(shared_axes=[1, 2][: len(node.shape) - 1] or None, name=builder.name(layer))
    return builder.emit(twin, node, weights=[alpha.reshape([1] * (len(node.shape) - 1) + [-1])])


def activation(builder: Builder, layer: Layer, node: Node) -> Node:
    return activated(builder, node, layer.activation)


def softmax(builder: Builder, layer: Layer, node: Node) -> Node:
    return builder.emit(_keras.Activation("softmax"), node)


def pooling(builder: Builder, layer: Layer, node: Node) -> Node:
    node, size, strides = builder.as_map(node), layer.pool_size, layer.strides
    kind = _keras.MaxPooling2D if "Max" in type(layer).__name__ else _keras.AveragePooling2D
    if type(layer).__name__.endswith("1D"):
        size, strides = ((tf.nest.flatten(each)[0], 1) for each in (size, strides))
    if layer.padding == "same" or all(a <= b for a, b in zip(_pair(size), node.shape, strict=False)):
        return builder.emit(kind(size, strides, layer.padding), node)
    return node


def global_pooling(builder: Builder, layer: Layer, node: Node) -> Node:
    if len(node.shape) == 1:
        return node
    kind = _keras.GlobalMaxPooling2D if "Max" in type(layer).__name__ else _keras.GlobalAveragePooling2D
    return builder.emit(kind(), node)


def padding(builder: Builder, layer: Layer, node: Node) -> Node:
    kind = _keras.Cropping2D if "Cropping" in type(layer).__name__ else _keras.ZeroPadding2D
    size = getattr(layer, "padding", None) or layer.cropping
    size = (tuple(size), (0, 0)) if type(layer).__name__.endswith("1D") else size
    return builder.emit(kind(size), builder.as_map(node)) if any(tf.nest.flatten(size)) else node


def flatten(builder: Builder, layer: Layer, node: Node) -> Node:
    return node if len(node.shape) == 1 else builder.emit(_keras.Flatten(), node)


def dropout(builder: Builder, layer: Layer, node: Node) -> Node:
    spatial = "Spatial" in type(layer).__name__ and len(node.shape) == 3
    if spatial:
        return builder.emit(_keras.SpatialDropout2D(layer.rate), node)
    noise = getattr(layer, "noise_shape", None)
    kept = noise is not None and len(noise) == len(node.shape) + 1
    return builder.emit(_keras.Dropout(layer.rate, noise_shape=noise if kept else None), node)


def merge(builder: Builder, layer: Layer, *nodes: Node) -> Node:
    if isinstance(layer, _keras.Average):
        total = builder.merged(_keras.Add, nodes)
        return builder.rescaled(total, [1 / len(nodes)], [0.0])
    if isinstance(layer, _keras.Multiply) and len(nodes) == 2:
        return builder.product(*nodes)
    return builder.merged(type(layer), nodes)


def concatenate(builder: Builder, layer: Layer, *nodes: Node) -> Node:
    if len({len(node.shape) for node in nodes}) > 1:
        nodes = tuple(builder.as_map(node) for node in nodes)
    return builder.emit(_keras.Concatenate(), *nodes) if len(nodes) > 1 else nodes[0]


def _pair(value):
    """(v, 1) for the one value of a 1D layer, else the two values."""
    first, *rest = tf.nest.flatten(value)
    return (int(first), int(rest[0]) if rest else 1)


# None: `reader` takes the layer itself, since it may be a part of the front or is left out.
RULES: dict[Any, Any] = {
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
    **{getattr(_keras, name): None for name in AUGMENTATION},
}

WITH_WEIGHTS = tuple(kind for kind, rule in RULES.items() if rule in (convolution, separable, dense))
