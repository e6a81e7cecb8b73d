"""Which interpreter runs a flatbuffer on this installation, where nobody says."""

from __future__ import annotations

from bcnet_keras.runtime import tflite, tflm
from bcnet_keras.tflite import lce


def interpreter_class() -> type[tflite.Interpreter] | type[tflm.Interpreter]:
    """TensorFlow Lite's interpreter where Larq Compute Engine brings it, or else that of TensorFlow Lite Micro."""
    return tflite.Interpreter if lce.why_missing() is None else tflm.Interpreter
