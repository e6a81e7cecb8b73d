"""Converted nets in TensorFlow Lite Micro: the interpreter and the kernels that run on a microcontroller.

interpreter = Interpreter("pair.tflite")          # a classifier of images
answers = interpreter.predict(images)
print(answers.escalated.mean(), interpreter.arena_bytes)

model = Model("any.tflite")                       # any flatbuffer, arrays in and out
outputs = model.run([x])
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from bcnet_keras.errors import FlatbufferError, ToolError
from bcnet_keras.runtime import plugin
from bcnet_keras.runtime.base import BaseInterpreter
from bcnet_keras.runtime.kernels import Budget
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.support import check_micro
from bcnet_keras.utils.silence import captured_output

if TYPE_CHECKING:
    import os


class Model:
    """A flatbuffer in TensorFlow Lite Micro's interpreter, with the operators of Larq Compute Engine and the gate.

    The custom operators are compiled on first use; a flatbuffer without any needs no compiler.

    Arguments:
      source: the flatbuffer's bytes or its path.
      arena_size: bytes of the tensor arena that the flatbuffer may use; None for as many as it takes.
      scratch_budget: bytes of the arena that a binary convolution may use to need fewer cycles, as
        `bcnet::Context` has it on a device (where the default is 48 KB). The outputs are the same.

    Attributes:
      arena_bytes: bytes of the arena that the flatbuffer uses on this machine. Pointers are twice as wide as on a
        microcontroller, so it takes a little less there.

    Raises:
      FileNotFoundError: there is no such file; or there are custom operators and no headers of TensorFlow Lite Micro.
      ValueError: not such a flatbuffer, truncated, with an operator that is missing, or the arena is too small.
    """

    def __init__(
        self, source: str | os.PathLike[str] | bytes, arena_size: int | None = None, scratch_budget: int = 0
    ) -> None:
        model = flatbuffer.read(flatbuffer.load(source))
        if arena_size is not None and (isinstance(arena_size, bool) or not isinstance(arena_size, int)):
            raise FlatbufferError(f"arena_size must be a whole number of bytes, got {arena_size!r}")
        if isinstance(scratch_budget, bool) or not isinstance(scratch_budget, int) or not 0 <= scratch_budget < 1 << 31:
            raise FlatbufferError(f"scratch_budget must be a whole number of bytes, 0 or more, got {scratch_budget!r}")
        check_micro(model)
        custom = flatbuffer.custom_ops(model)
        self._registerers = [plugin.REGISTERER] if custom else []
        graph = model.subgraphs[0]
        self._inputs = [flatbuffer.shape(graph.tensors[index]) for index in graph.inputs]
        self._outputs = [flatbuffer.shape(graph.tensors[index]) for index in graph.outputs]
        data = flatbuffer.write(model)  # sound and aligned whatever wrote the file; the interpreter checks neither
        with plugin.context(scratch_budget) if custom else contextlib.nullcontext() as self._context:
            self._interpreter = self._allocated(data, _roomy_arena(model, scratch_budget))
        self._gate = self._context.gate if self._context and "BcnetGate" in custom else None
        self._own_thresholds: np.ndarray | None = None
        self._budget: Budget | None = None
        with captured_output() as captured:
            self._interpreter.print_allocations()
            self.arena_bytes = int(re.findall(r"Arena allocation total (\d+) bytes", captured())[0])
        if arena_size is not None and arena_size < self.arena_bytes:
            raise FlatbufferError(
                f"an arena of {arena_size} bytes is too small for this flatbuffer, which uses {self.arena_bytes}; give "
                "more, or no arena_size"
            )

    @property
    def thresholds(self) -> np.ndarray | None:
        """The thresholds of the gate that `run` applies: float32 [1] or [classes]; None for a model without gate.

        They can be set, which leaves the flatbuffer as it is; None brings back those of the model.
        """
        if self._gate is None:
            return None
        gate = self._gate
        source, count = (gate.thresholds, gate.threshold_count) if gate.thresholds else (None, 0)
        if not source:
            source, count = gate.model_thresholds, gate.model_threshold_count
        return np.array(source[:count], np.float32)

    @thresholds.setter
    def thresholds(self, values: ArrayLike | None) -> None:
        if self._gate is None:
            raise FlatbufferError("this flatbuffer has no gate whose thresholds could be set")
        if values is None:
            self._gate.thresholds, self._gate.threshold_count = None, 0
            return
        numbers = np.ascontiguousarray(values, np.float32).reshape(-1)
        if not len(numbers) or not ((numbers >= 0) & (numbers <= 1)).all():
            raise FlatbufferError(
                f"thresholds must be one number or one per class, each in [0, 1], got {numbers.tolist()}"
            )
        self._own_thresholds = numbers  # the gate reads this memory
        self._gate.threshold_count = len(numbers)
        self._gate.thresholds = numbers.ctypes.data_as(ctypes.POINTER(ctypes.c_float))

    @property
    def budget(self) -> Budget | None:
        """The `bcnet_keras.runtime.kernels.Budget` that moves the threshold of the gate with every run, or None."""
        return self._budget

    @budget.setter
    def budget(self, budget: Budget | None) -> None:
        if self._gate is None:
            raise FlatbufferError("this flatbuffer has no gate whose threshold a budget could move")
        self._budget = budget  # the gate reads and writes its memory
        self._gate.budget = None if budget is None else ctypes.pointer(budget)

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs the flatbuffer once.

        Arguments:
          inputs: an array for each input, of its shape and type.

        Returns:
          A list of arrays, one for each output.

        Raises:
          ValueError: another number of arrays, or one of another shape or type.
          RuntimeError: the interpreter failed.
        """
        if len(inputs) != len(self._inputs):
            raise FlatbufferError(f"expected {len(self._inputs)} inputs, got {len(inputs)}")
        for index, (value, shape) in enumerate(zip(inputs, self._inputs, strict=True)):
            if np.shape(value) != shape:
                raise FlatbufferError(f"input {index} must have the shape {list(shape)}, got {list(np.shape(value))}")
        # Nothing is silenced here: that would swap the whole process's streams, which other threads write to.
        try:
            self._invoke(inputs)
        except RuntimeError as error:
            raise ToolError(f"TensorFlow Lite Micro cannot run the flatbuffer: {self._reason(inputs, error)}") from None
        return [self._interpreter.get_output(index).reshape(shape) for index, shape in enumerate(self._outputs)]

    def _invoke(self, inputs):
        for index, value in enumerate(inputs):
            self._interpreter.set_input(np.ascontiguousarray(value), index)
        self._interpreter.invoke()

    def _reason(self, inputs, error):
        """Why the inputs cannot be run: what the interpreter prints where it fails once more."""
        with captured_output() as printed:
            try:
                self._invoke(inputs)
            except RuntimeError:
                return " ".join(printed().split()) or str(error)
        return str(error)

    def _allocated(self, data, arena_size):
        """The interpreter of TensorFlow Lite Micro."""
        from tflite_micro import runtime

        with captured_output() as captured:
            try:
                return runtime.Interpreter.from_bytes(
                    data, custom_op_registerers=self._registerers, arena_size=arena_size
                )
            except RuntimeError as error:
                reason = " ".join(captured().split()) or str(error)
        raise FlatbufferError(f"TensorFlow Lite Micro cannot run the flatbuffer: {reason}")


def _roomy_arena(model, scratch_budget):
    """Bytes of an arena that no flatbuffer fills: in one that is too small the wheel's interpreter may crash."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    operators = sum(len(graph.operators) for graph in model.subgraphs)
    activations = sum(
        8 * math.prod(flatbuffer.shape(tensor)) for tensor in tensors if not flatbuffer.is_constant(model, tensor)
    )
    constants = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    # Scratch memory of an operator is at most some copies of what it reads and writes, weights included. The tables of
    # a binary convolution are 16 times its weights, and its choices 17 times its input.
    scratch = 4 * activations + 4 * constants + min(scratch_budget, 32 * (activations + constants))
    return (1 << 20) + scratch + (1 << 10) * (len(tensors) + operators)


class Interpreter(BaseInterpreter):
    """TensorFlow Lite Micro's interpreter for an int8 classifier of images, or a cooperating pair of them.

    Arguments, `arena_bytes` and errors are those of `Model`.
    """

    NAME = "TensorFlow Lite Micro, reference kernels"

    def __init__(
        self, source: str | os.PathLike[str] | bytes, arena_size: int | None = None, scratch_budget: int = 0
    ) -> None:
        super().__init__(flatbuffer.read(flatbuffer.load(source)))
        self._model = Model(source, arena_size, scratch_budget)
        self.arena_bytes = self._model.arena_bytes

    @property
    def thresholds(self) -> np.ndarray | None:
        """The thresholds of the gate, which can be set: see `Model.thresholds`."""
        return self._model.thresholds

    @thresholds.setter
    def thresholds(self, values: ArrayLike | None) -> None:
        self._model.thresholds = values

    @property
    def budget(self) -> Budget | None:
        """What moves the threshold with every image: see `Model.budget`."""
        return self._model.budget

    @budget.setter
    def budget(self, budget: Budget | None) -> None:
        self._model.budget = budget

    def _run(self, codes):
        outputs = [np.empty((len(codes), self.classes), np.int8), np.empty(len(codes), bool)][: 1 + self._gated]
        for row, image in enumerate(codes):
            for output, value in zip(outputs, self._model.run([image[np.newaxis]]), strict=True):
                output[row] = value.reshape(output.shape[1:])
        return outputs
