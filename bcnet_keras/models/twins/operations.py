"""How TensorFlow's functions on Keras tensors are written in the layers of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import ModelError
from bcnet_keras.models.twins.builder import Builder, Value
from bcnet_keras.models.twins.rules import FUNCTIONS, Layer, concatenate, global_pooling

_keras = tf.keras.layers

# Symbol of a function -> what it is here: an arithmetic operation, a rule, or a name of `rules.FUNCTIONS`.
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


def operation(builder: Builder, layer: Layer, inputs: Sequence[Value], shape: tuple[Any, ...], node: Any) -> Value:
    """The value of a TensorFlow function on a Keras tensor.

    Arguments:
      layer: the `TFOpLambda` that Keras made of the function.
      inputs: values that it reads.
      shape: of its output in the user's model, with the batch.
      node: Keras' node of this call, which has the other arguments.

    Raises ModelError for a division by a tensor, and for a mean along other axes than height and width.
    """
    function = OPERATIONS[layer.symbol]
    arguments = [value for value in (*node.call_args, *node.call_kwargs.values()) if value is not None]
    if function == "reshape":
        return builder.reshaped(inputs[0], tuple(shape[1:]))
    if isinstance(function, str) and function in FUNCTIONS:
        if len(arguments) == 2 and function == "leaky_relu":
            return builder.emit(_keras.LeakyReLU(float(arguments[1])), builder.node(inputs[0]))
        return builder.emit(FUNCTIONS[function](), builder.node(inputs[0]))
    if function == "mean":
        axis = node.call_kwargs.get("axis", node.call_args[1] if len(node.call_args) > 1 else None)
        if sorted(int(each) % 4 for each in np.ravel(axis)) != [1, 2]:
            raise ModelError(f"cannot make a twin: {layer.name} must average over height and width, axis=[1, 2].")
        return global_pooling(builder, _keras.GlobalAveragePooling2D(), builder.node(inputs[0]))
    if function == "concat":
        return concatenate(builder, layer, *(builder.node(value) for value in inputs))
    operands = [value for value in arguments if not isinstance(value, str)][:2]
    if len(inputs) == 2:
        nodes = [builder.node(value) for value in inputs]
        if function == "divide":
            raise ModelError(f"cannot make a twin: {layer.name} divides one tensor by another.")
        if function == "multiply":
            return builder.product(*nodes)
        return builder.merged({"add": _keras.Add, "subtract": _keras.Subtract}[function], nodes)
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
    return builder.affine(inputs[0], np.asarray(scale, float), np.asarray(offset, float))
