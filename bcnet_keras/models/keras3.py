"""Models of Keras 3 as models of the legacy Keras: same layers, same names, same weights.

    model = to_legacy(keras3_model, kinds)      # a tf.keras.Model that answers alike
    model = load("float.keras")                 # a file of either Keras

The model is copied layer by layer, from its configuration and its weights as NumPy arrays, so that any backend of Keras
3 may have made it (TensorFlow, JAX, PyTorch). Keras 3 itself is imported for files only.
"""

from __future__ import annotations

import inspect
import json
import pathlib
import zipfile
from collections.abc import Collection
from typing import Any

import h5py
import numpy as np
import tensorflow as tf

from bcnet_keras.errors import MissingPackageError, ModelError
from bcnet_keras.utils.types import StrPath

_keras = tf.keras.layers
# Arguments that concern training, or that `_Copy` sets by itself.
_LEFT_OUT = ("name", "dtype", "seed", "activation")
_LEFT_OUT_ENDS = ("_initializer", "_regularizer", "_constraint")


def is_keras3(model: object) -> bool:
    """Whether an object is a model of Keras 3; told without importing Keras 3."""
    return any(kind.__name__ == "Model" and kind.__module__.split(".")[0] == "keras" for kind in type(model).__mro__)


def load(path: StrPath) -> Any:
    """The model in a `.keras` or `.h5` file, of whichever Keras wrote it.

    Raises ValueError in one line where there is no such file, or none that holds a model.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise ModelError(f"there is no file {path}: give a saved Keras model, a .keras file.")
    try:
        if _version(path) < 3:
            return tf.keras.models.load_model(path, compile=False)
        import keras

        return keras.saving.load_model(path, compile=False)
    except ModelError:
        raise
    except ImportError as error:
        raise MissingPackageError(f'{path} is a file of Keras 3: pip install "keras>=3" ({error})') from None
    except Exception as error:  # a damaged file may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path} does not load as a Keras model: {reason}") from None


def _version(path):
    """The first number of the Keras that wrote a file; raises ModelError for one of weights or functions alone."""
    version = "2"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            version = json.loads(file.read("metadata.json"))["keras_version"]
    elif path.is_dir():
        if not (path / "keras_metadata.pb").exists():  # as `model.export` of Keras 3 writes it
            raise ModelError(f"{path} is no Keras model with its layers: save that as a .keras file by model.save.")
    elif h5py.is_hdf5(path):
        with h5py.File(path) as file:
            if "model_config" not in file.attrs:
                raise ModelError(f"{path} holds weights without a model: save both as a .keras file by model.save.")
            version = str(file.attrs.get("keras_version", version))
    return int(version.split(".")[0])


def to_legacy(model: Any, kinds: Collection[str]) -> tf.keras.Model:
    """A legacy Keras model with the layers and weights of a model of Keras 3.

    Arguments:
      model: functional or sequential `keras.Model`. What only trains (losses, regularizers, precisions) is left out.
      kinds: names of the layers that may be copied.

    Raises ValueError in one line that names each layer that cannot be copied.
    """
    copy = _Copy(kinds)
    result = copy.model(model)
    if copy.wrong:
        raise ModelError(
            f"cannot take these layers over from Keras 3: {', '.join(copy.wrong)}. Layers that can be taken: "
            f"{', '.join(sorted(kinds))}; activations {', '.join(sorted(_FUNCTIONS))}; and keras.ops "
            f"{', '.join(sorted(_OPERATIONS))}."
        )
    return result


def _graph(model):
    """The functional form of a model; that of a sequential one is made when it is built."""
    graph = model if hasattr(model, "_nodes_by_depth") else getattr(model, "_functional", None)
    if graph is not None:
        return graph
    if type(model).__name__ == "Sequential":
        raise ModelError("the Keras model has no input shape yet; build it first or give its first layer one.")
    raise ModelError(
        f"a functional or sequential Keras model is needed, got {type(model).__name__} of Keras 3, whose layers cannot "
        "be told from its code; write it as keras.Model(inputs, outputs)."
    )


class _Copy:
    """The walk over one model and the models in it. `wrong` gathers what cannot be copied, in words."""

    def __init__(self, kinds) -> None:
        self.kinds = kinds
        self.wrong: list[str] = []
        self.made: dict[int, tf.keras.Model] = {}  # id of a layer of Keras 3 -> ours

    def model(self, model):
        graph, tensors = _graph(model), {}
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                outputs = node.output_tensors
                if node.is_input:
                    results = [tf.keras.Input(tensor.shape[1:], name=node.operation.name) for tensor in outputs]
                else:
                    results = self.results(node, tensors)
                tensors.update((id(tensor), result) for tensor, result in zip(outputs, results, strict=True))
        inputs, outputs = ([tensors[id(tensor)] for tensor in ends] for ends in (graph.inputs, graph.outputs))
        return None if self.wrong else tf.keras.Model(inputs, outputs, name=model.name)

    def results(self, node, tensors):
        """Our tensors of what a call of a layer, model or function gives; placeholders where it cannot be copied."""
        operation = node.operation
        if is_keras3(operation):
            if id(operation) not in self.made:
                self.made[id(operation)] = self.model(operation)
            if not self.wrong:
                return tf.nest.flatten(self.made[id(operation)]([tensors[id(each)] for each in node.input_tensors]))
        elif problem := self.problem(operation):
            self.wrong += [] if problem in self.wrong else [problem]
        if self.wrong:  # the walk goes on, to name all
            return [tf.keras.Input(tensor.shape[1:]) for tensor in node.output_tensors]
        if _is_layer(operation):
            inputs = [tensors[id(tensor)] for tensor in node.input_tensors]
            return [self.layer(operation, inputs[0] if len(inputs) == 1 else inputs)]
        arguments = [_replaced(value, tensors) for value in (*node.arguments.args, *node.arguments.kwargs.values())]
        return [_OPERATIONS[type(operation).__name__](operation, *arguments)]

    def problem(self, operation):
        """Why a layer or function cannot be copied, with its name; None where it can."""
        kind = type(operation).__name__
        if not _is_layer(operation):
            return None if kind in _OPERATIONS else f"{operation.name} (keras.ops, {kind})"
        reason, activation = None, getattr(operation, "activation", None)
        if kind not in self.kinds or not type(operation).__module__.startswith("keras."):
            reason = kind
        elif getattr(operation, "quantization_mode", None):
            reason = f"{kind}, quantised to {operation.quantization_mode}; give the float model"
        elif getattr(operation, "lora_enabled", False):
            reason = f"{kind} with LoRA weights; save and load the model, which merges them"
        elif _is_layer(activation):
            return self.problem(activation)
        elif activation is not None and _FUNCTIONS.get(activation.__name__) is None:
            reason = f"activation {activation.__name__!r}"
        return reason and f"{operation.name} ({reason})"

    def layer(self, source, inputs):
        """The output of our copy of a layer, and of its activation behind it."""
        if id(source) not in self.made:
            kind = getattr(_keras, type(source).__name__)
            self.made[id(source)] = kind(name=source.name, **_arguments(source, kind))
        copy, activation = self.made[id(source)], getattr(source, "activation", None)
        if isinstance(copy, _keras.Activation):
            return _activated(activation, inputs)
        result = copy(inputs)
        if copy.weights and not isinstance(copy, _keras.Normalization):
            copy.set_weights([np.asarray(weight, np.float32) for weight in source.get_weights()])
        if activation is None:
            return result
        return self.layer(activation, result) if _is_layer(activation) else _activated(activation, result)


def _is_layer(operation):
    return any(kind.__name__ == "Layer" and kind.__module__.startswith("keras.") for kind in type(operation).__mro__)


def _replaced(value, tensors):
    if isinstance(value, list | tuple):
        return [_replaced(each, tensors) for each in value]
    return tensors.get(id(value), value)


def _arguments(source, kind):
    """The arguments of a layer of Keras 3 that the layer `kind` of the legacy Keras has too."""
    known, config = inspect.signature(kind.__init__).parameters, source.get_config()
    arguments = {
        name: value
        for name, value in config.items()
        if name in known and name not in _LEFT_OUT and not name.endswith(_LEFT_OUT_ENDS)
    }
    if kind is _keras.LeakyReLU:
        arguments["alpha"] = float(source.negative_slope)
    elif kind is _keras.Normalization:
        arguments |= {name: np.ravel(np.asarray(getattr(source, name))) for name in ("mean", "variance")}
    elif kind is _keras.Activation:
        arguments["activation"] = "linear"
    elif kind is _keras.Rescaling:
        arguments |= {name: np.asarray(getattr(source, name)) for name in ("scale", "offset")}
    return arguments


def _activated(function, tensor):
    return _FUNCTIONS[function.__name__](tensor)


def _hard_sigmoid(tensor):
    """relu6(x + 3) / 6; that of the legacy Keras has another slope."""
    return tf.nn.relu6(tensor + 3.0) * (1 / 6)


def _hard_swish(tensor):
    return tf.multiply(tensor, _hard_sigmoid(tensor))


# Activation functions of Keras 3 by name, on our tensors.
_FUNCTIONS = {
    "linear": lambda tensor: tensor,
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "leaky_relu": lambda tensor: tf.nn.leaky_relu(tensor, 0.2),
    "sigmoid": tf.sigmoid,
    "tanh": tf.tanh,
    "softmax": tf.nn.softmax,
    "silu": tf.nn.silu,
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": _hard_swish,
}


def _function(function):
    return lambda operation, tensor: function(tensor)


def _arithmetic(function):
    return lambda operation, one, other: function(one, other)


def _reshaped(operation, tensor, *_):
    return _keras.Reshape(operation.output.shape[1:], name=operation.name)(tensor)


def _relu(operation, tensor):
    names = ("max_value", "negative_slope", "threshold", "name")
    return _keras.ReLU(**{name: getattr(operation, name) for name in names})(tensor)


# Classes of `keras.ops` -> function of (operation, its arguments), on our tensors.
_OPERATIONS = {
    "Add": _arithmetic(tf.add),
    "Subtract": _arithmetic(tf.subtract),
    "Multiply": _arithmetic(tf.multiply),
    "TrueDivide": _arithmetic(tf.divide),
    "Divide": _arithmetic(tf.divide),
    "Concatenate": lambda operation, tensors: _keras.Concatenate(operation.axis, name=operation.name)(tensors),
    "Mean": lambda operation, tensor: tf.reduce_mean(tensor, operation.axis, operation.keepdims),
    "Reshape": _reshaped,
    "ExpandDims": _reshaped,
    "Squeeze": _reshaped,
    "ReLU": _relu,
    "LeakyRelu": lambda operation, tensor: tf.nn.leaky_relu(tensor, operation.negative_slope),
    "Softmax": lambda operation, tensor: _keras.Softmax(operation.axis, name=operation.name)(tensor),
    "Relu": _function(tf.nn.relu),
    "Relu6": _function(tf.nn.relu6),
    "Sigmoid": _function(tf.sigmoid),
    "Tanh": _function(tf.tanh),
    "Silu": _function(tf.nn.silu),
    "HardSigmoid": _function(_hard_sigmoid),
    "HardSilu": _function(_hard_swish),
}
