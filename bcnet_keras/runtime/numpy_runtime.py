"""Converted nets and pairs in NumPy alone: no wheel of an interpreter and no compiler is needed.

    >>> answers = Interpreter("pair.tflite").predict(images)

Codes and decisions are those of TensorFlow Lite Micro's reference kernels, bit by bit. It has the operators that
`bcnet_keras.convert` writes, and those of usual int8 nets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bcnet_keras.convert.cooperative import has_custom_gate, replace_gate_in
from bcnet_keras.errors import FlatbufferError
from bcnet_keras.runtime.base import BaseInterpreter
from bcnet_keras.runtime.numpy_nodes import Node, Tensor
from bcnet_keras.runtime.numpy_operators import KERNELS
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.metadata import metadata
from bcnet_keras.tflite.verify import verify

if TYPE_CHECKING:
    import os

    from bcnet_keras.tflite.flatbuffer import schema


class _Subgraph:
    """A subgraph whose kernels are prepared. `called` are those that its IF operators choose from."""

    def __init__(self, model: schema.ModelT, number: int) -> None:
        graph = model.subgraphs[number]
        self.inputs, self.outputs = [int(i) for i in graph.inputs], [int(i) for i in graph.outputs]
        tensors = [Tensor.read(model, tensor) for tensor in graph.tensors]
        self.constants = {index: each.value for index, each in enumerate(tensors) if each.value is not None}
        self.steps = [self._step(model, tensors, operator) for operator in graph.operators]

    def _step(self, model, tensors, operator):
        name = flatbuffer.op_name(model, operator)
        inputs, outputs = ([int(index) for index in each] for each in (operator.inputs, operator.outputs))
        if name == "IF":
            then, other = (_Subgraph(model, number) for number in flatbuffer.called_subgraphs(operator))
            return lambda condition, *given: (then if condition.all() else other).run(given), inputs, outputs
        if name not in KERNELS:
            raise FlatbufferError(
                f"the NumPy runtime lacks the operator {name}; it has {', '.join([*sorted(KERNELS), 'IF'])}: use "
                "--runtime=tflm or tflite"
            )
        options = operator.builtinOptions
        if options is None and operator.customOptions is not None and len(operator.customOptions):
            options = flatbuffer.custom_options(operator)
        given = tuple(tensors[index] if index >= 0 else None for index in inputs)
        kernel = KERNELS[name](Node(name, given, tuple(tensors[index] for index in outputs), options))
        return lambda *arrays: [kernel(*arrays)], inputs, outputs

    def run(self, given: Any) -> list[np.ndarray]:
        values = self.constants | dict(zip(self.inputs, given, strict=True))
        for run, inputs, outputs in self.steps:
            results = run(*(values.get(index) for index in inputs))
            values.update(zip(outputs, results, strict=True))
        return [values[index] for index in self.outputs]


class Interpreter(BaseInterpreter):
    """A flatbuffer of `bcnet_keras.convert`, or an int8 classifier of images, in NumPy.

    Arguments:
      source: the flatbuffer's bytes or its path.

    Examples:
      >>> from bcnet_keras.runtime.numpy_runtime import Interpreter
      >>> answer = Interpreter(converted).predict(images)
      >>> answer.predicted.shape, answer.escalated.dtype
      ((4,), dtype('bool'))

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: not such a flatbuffer, truncated, or with an operator that this runtime lacks.
    """

    NAME = "NumPy"

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        model = flatbuffer.read(flatbuffer.load(source))
        verify(model)
        if "measure" in (metadata(model) or {}) and not has_custom_gate(model):
            model = replace_gate_in(model, "custom")  # in place of a gate of many float operators
        super().__init__(model)
        self._graph = _Subgraph(model, 0)

    def _run(self, codes):
        outputs = [self._graph.run([image[np.newaxis]]) for image in codes]
        logits = np.concatenate([each[0].reshape(1, self.classes) for each in outputs])
        return [logits, *([np.concatenate([each[1].reshape(1) for each in outputs])] if self._gated else [])]
