"""Which float Keras models can be read: names every layer that cannot, before anything is built."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from bcnet_keras.errors import ModelError
from bcnet_keras.models.twins.operations import OPERATIONS
from bcnet_keras.models.twins.rules import AUGMENTATION, FUNCTIONS, RULES, SAME_SIZE, WITH_WEIGHTS

_keras = tf.keras.layers

# What is taken, for messages.
SUPPORTED = (
    f"{', '.join(sorted(kind.__name__ for kind in RULES))}; activations {', '.join(sorted(FUNCTIONS))}; "
    "nested functional and sequential models; and +, -, *, / and "
    + ", ".join(f"tf.{name}" for name in sorted(OPERATIONS) if "__" not in name and "compat" not in name)
)


def check_layers(model: tf.keras.Model) -> None:
    """Raises ModelError where a layer cannot be read, naming all of them."""
    wrong: list[str] = []
    uses: dict[int, int] = {}
    layers: dict[int, Any] = {}
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
    if not any(isinstance(layer, WITH_WEIGHTS) for layer in layers.values()):
        raise ModelError("cannot make a twin: the model has neither a convolution nor a dense layer.")


def _layers_of(model):
    """(layer, how often it is called) of a model and of the models in it."""
    if isinstance(model, tf.keras.Sequential):
        calls = [(layer, 1) for layer in model.layers]
    else:
        nodes = [node for depth in model._nodes_by_depth.values() for node in depth]
        calls = [(layer, sum(node.layer is layer for node in nodes)) for layer in model.layers]
    for layer, count in calls:
        if is_model(layer):
            for inner, times in _layers_of(layer):
                yield inner, times * count
        elif not isinstance(layer, _keras.InputLayer):
            yield layer, count


def is_model(layer: Any) -> bool:
    """Whether a layer is a functional or sequential model."""
    return isinstance(layer, tf.keras.Sequential) or (
        isinstance(layer, tf.keras.Model) and getattr(layer, "_is_graph_network", False)
    )


def _problem(layer):
    """Why a layer cannot be read, in words; None where it can."""
    kind = type(layer).__name__
    if kind == "TFOpLambda":
        return None if layer.symbol in OPERATIONS else f"tf.{layer.symbol or layer.function.__name__}"
    if type(layer) not in RULES:
        return kind
    if kind in AUGMENTATION:
        if kind in SAME_SIZE and len({shape[1:3] for shape in shapes(layer)}) > 1:
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
        axis, rank = getattr(layer, "axis", -1), len(shapes(layer)[0])
        axis = [] if axis is None else [axis] if isinstance(axis, int) else list(axis)
        if any(each not in (-1, rank - 1) for each in axis):
            return f"axis {axis[0] if len(axis) == 1 else axis}; the last one is needed"
    if isinstance(layer, _keras.Normalization) and layer.invert:
        return "an inverted Normalization is not supported"
    return _activation_problem(getattr(layer, "activation", None))


def _activation_problem(activation):
    if activation is None or isinstance(activation, tf.keras.layers.Layer):
        return None if activation is None or type(activation) in RULES else type(activation).__name__
    name = getattr(activation, "__name__", type(activation).__name__)
    is_custom = not str(getattr(activation, "__module__", "")).startswith(("tf_keras", "keras", "tensorflow"))
    if is_custom and activation is not FUNCTIONS.get(name):
        return f"activation {name!r} of your own is not supported"
    return None if name in FUNCTIONS else f"activation {name!r} is not supported"


def shapes(layer: Any) -> tuple[tuple[int | None, ...], ...]:
    """(shape of the first input, shape of the output) where a layer is called first, with the batch."""
    call = layer._inbound_nodes[0]
    return tuple(tuple(tf.nest.flatten(tensors)[0].shape) for tensors in (call.keras_inputs, call.outputs))
