"""Converted pairs and nets in TensorFlow Lite, with the binary operators that Larq Compute Engine brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bcnet_keras.convert.cooperative import has_custom_gate, replace_gate_in
from bcnet_keras.convert.passes.fuse_stem import expand_front
from bcnet_keras.errors import FlatbufferError, ToolError
from bcnet_keras.runtime.base import BaseInterpreter
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.lce import interpreter_class
from bcnet_keras.tflite.operators import LCE_OPS
from bcnet_keras.tflite.verify import verify
from bcnet_keras.utils.silence import captured_output

if TYPE_CHECKING:
    import os


class Interpreter(BaseInterpreter):
    """TensorFlow Lite's interpreter for a flatbuffer of `bcnet_keras.convert`, or any int8 classifier of images.

    `BcnetGate`, `BcnetStem` and `BcnetThermometer` are replaced by operators of TensorFlow Lite and LCE that do the
    same.

    Arguments:
      source: the flatbuffer's bytes or its path.
      num_threads: threads that share one operator's work.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: not such a flatbuffer, truncated, or with an operator that the interpreter lacks.
    """

    NAME = "TensorFlow Lite in Larq Compute Engine, optimised kernels"

    def __init__(self, source: str | os.PathLike[str] | bytes, num_threads: int = 1) -> None:
        made_by_lce = interpreter_class()
        if isinstance(num_threads, bool) or not isinstance(num_threads, int) or num_threads < 1:
            raise FlatbufferError(f"num_threads must be a whole number of 1 or more, got {num_threads!r}")
        model = flatbuffer.read(flatbuffer.load(source))
        verify(model)
        if has_custom_gate(model):
            model = replace_gate_in(model, "builtin")  # which expands stem and thermometer too
        elif expand_front(model):
            model = flatbuffer.prune(model)
        missing = sorted(flatbuffer.custom_ops(model) - LCE_OPS)
        if missing:
            raise FlatbufferError(f"TensorFlow Lite lacks the flatbuffer's custom operators {', '.join(missing)}")
        _encode_options_anew(model)
        super().__init__(model)
        # Written anew, the file is sound and aligned whatever wrote it; the interpreter checks neither. The indirect
        # binary convolution gives the same bits as the reference, many times as fast on x86.
        kernel = "use_reference_bconv" if _needs_reference(model) else "use_indirect_bgemm"
        options = {"num_threads": num_threads, kernel: True}
        with captured_output() as captured:
            try:
                self._interpreter = made_by_lce(flatbuffer.write(model), **options)
                # What cannot run fails here, where its reason, which is printed, can be had.
                self._interpreter.predict(np.zeros((1, *self.input_shape), np.int8))
            except RuntimeError as failure:
                reason = " ".join(captured().split()) or " ".join(str(failure).split())
                raise FlatbufferError(f"TensorFlow Lite cannot run the flatbuffer: {reason}") from None

    def _run(self, codes):
        # Nothing is silenced here: that would swap the whole process's streams, which other threads write to.
        try:
            outputs = self._interpreter.predict(codes)
        except RuntimeError as failure:
            raise ToolError(f"TensorFlow Lite cannot run the flatbuffer: {' '.join(str(failure).split())}") from None
        logits, *escalated = outputs if self._gated else [outputs]
        return [logits.reshape(len(codes), self.classes), *(np.reshape(part, len(codes)) for part in escalated)]


def _needs_reference(model):
    """Whether a binary convolution has groups, or padding with 0, which the fast ones of LCE do not know."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            if flatbuffer.op_name(model, operator) == "LceBconv2d":
                words = [flatbuffer.shape(graph.tensors[index])[-1] for index in operator.inputs[:2]]
                options = flatbuffer.custom_options(operator)
                zeros = options.get("pad_values") == 0 and options.get("padding") == flatbuffer.schema.Padding.SAME
                if words[0] != words[1] or zeros:
                    return True
    return False


def _encode_options_anew(model):
    """Larq Compute Engine reads the options of its operators without a check: they are written as they were read."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            if flatbuffer.op_name(model, operator) in LCE_OPS and operator.customOptions is not None:
                options = (
                    flatbuffer.encode_options(flatbuffer.custom_options(operator))
                    if len(operator.customOptions)
                    else b""
                )
                operator.customOptions = np.frombuffer(options, np.uint8)
