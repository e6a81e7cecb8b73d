"""Which interpreter runs a flatbuffer on this installation, where nobody says: `bcnet_keras.Interpreter`.

TensorFlow Lite's where Larq Compute Engine brings it, or else that of TensorFlow Lite Micro, which gives the same
answers up to a step here and there.
"""

from __future__ import annotations

from bcnet_keras.runtime import tflite, tflm
from bcnet_keras.tflite import lce

Interpreter: type[tflite.Interpreter] | type[tflm.Interpreter]
Interpreter = tflite.Interpreter if lce.why_missing() is None else tflm.Interpreter
