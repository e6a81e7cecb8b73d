"""Which interpreter runs a flatbuffer on this installation, where nobody says: `bcnet_keras.Interpreter`.

TensorFlow Lite's where Larq Compute Engine brings it, or else NumPy's, which needs nothing that an installation may
lack and gives the same answers up to a step here and there.
"""

from __future__ import annotations

from bcnet_keras.runtime import numpy_runtime, tflite, tflm
from bcnet_keras.tflite import lce

RUNTIMES: dict[str, type[tflite.Interpreter] | type[tflm.Interpreter] | type[numpy_runtime.Interpreter]] = {
    "tflite": tflite.Interpreter,
    "tflm": tflm.Interpreter,
    "numpy": numpy_runtime.Interpreter,
}
Interpreter = RUNTIMES["tflite" if lce.why_missing() is None else "numpy"]
