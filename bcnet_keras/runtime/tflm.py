"""Converted nets in TensorFlow Lite Micro: the interpreter and the reference kernels that run on a microcontroller."""

import re

import numpy as np

from bcnet_keras.convert import flatbuffer
from bcnet_keras.quiet import quiet
from bcnet_keras.runtime.base import BaseInterpreter

_FIRST_ARENA, _LARGEST_ARENA = 1 << 14, 1 << 30


class Interpreter(BaseInterpreter):
    """TensorFlow Lite Micro's interpreter for an int8 classifier of images.

    Arguments:
      source: the flatbuffer's bytes or its path.
      arena_size: bytes of the tensor arena; None for one that is large enough.

    Attributes:
      arena_bytes: bytes of the arena that the flatbuffer uses on this machine. Pointers are twice as wide as on a
        microcontroller, so it takes a little less there.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: not such a flatbuffer, truncated, with a custom operator that is missing, or the arena is too small.
    """

    # Custom operators at hand, and the names of the functions in loaded libraries that register them.
    CUSTOM_OPS = frozenset()
    REGISTERERS = ()

    def __init__(self, source, arena_size=None):
        model = flatbuffer.read(flatbuffer.load(source))
        missing = sorted(flatbuffer.custom_ops(model) - self.CUSTOM_OPS)
        if missing:
            raise ValueError(
                f"TensorFlow Lite Micro lacks the flatbuffer's custom operators {', '.join(missing)}; run it in "
                "bcnet_keras.runtime.tflite"
            )
        super().__init__(model)
        data = flatbuffer.write(model)  # sound and aligned whatever wrote the file; the interpreter checks neither
        if arena_size is not None:
            self._interpreter = self._allocated(data, arena_size)
        else:
            self._interpreter, arena_size = None, _FIRST_ARENA
            while self._interpreter is None and arena_size <= _LARGEST_ARENA:
                self._interpreter = self._allocated(data, arena_size)
                arena_size *= 2
        if self._interpreter is None:
            raise ValueError(
                f"an arena of {arena_size} bytes is too small for this flatbuffer; give more, or no arena_size"
            )
        with quiet() as said:
            self._interpreter.print_allocations()
            self.arena_bytes = int(re.search(r"Arena allocation total (\d+) bytes", said())[1])

    def _allocated(self, data, arena_size):
        """The interpreter of TensorFlow Lite Micro; None when the arena is too small."""
        from tflite_micro import runtime

        with quiet() as said:
            try:
                return runtime.Interpreter.from_bytes(
                    data, custom_op_registerers=list(self.REGISTERERS), arena_size=arena_size
                )
            except RuntimeError as error:
                reason = " ".join(said().split()) or str(error)
        if "missing:" in reason:  # how many bytes are missing
            return None
        raise ValueError(f"TensorFlow Lite Micro cannot run the flatbuffer: {reason}")

    def _run(self, codes):
        outputs = [np.empty((len(codes), self.classes), np.int8), np.empty(len(codes), bool)][: 1 + self._gated]
        for row, image in enumerate(codes):
            self._interpreter.set_input(image[np.newaxis], 0)
            self._interpreter.invoke()
            for index, output in enumerate(outputs):
                output[row] = self._interpreter.get_output(index).reshape(output.shape[1:])
        return outputs
