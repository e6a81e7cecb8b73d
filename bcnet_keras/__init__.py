"""Cooperating binary and 8-bit networks for Keras and TensorFlow Lite Micro.

    import bcnet_keras as bc

    pair = bc.BCNet.from_keras(float_model)

The layers, Larq and the quantisation toolkit work with Keras 2, so this package switches `tf.keras` to the legacy
Keras of `tf-keras`. That choice is made when `tf.keras` is first used: import `bcnet_keras` before, or set the
environment variable TF_USE_LEGACY_KERAS=1. Models of Keras 3 (`import keras`) may be given to it all the same. The
public names are loaded on first use, and TensorFlow with the first that needs it.
"""

from __future__ import annotations

import importlib
import os
import sys

from bcnet_keras import moved
from bcnet_keras.utils.lazy import PackageFunction, lazy

__version__ = "1.0.0"

# Public name -> module that defines it.
_PUBLIC = {
    "BcnetError": "errors",
    "BinaryConv2D": "layers",
    "BinaryDense": "layers",
    "Int8Conv2D": "layers",
    "Int8DepthwiseConv2D": "layers",
    "Int8Dense": "layers",
    "HardSwish": "layers",
    "CalibratedThermometer": "layers",
    "ThermometerEncoding": "layers",
    "FakeQuant": "layers",
    "global_average": "layers",
    "ConfidenceGate": "layers",
    "BCNet": "models.pair",
    "binary_twin": "models.twins",
    "int8_twin": "models.twins",
    "share_stem": "models.twins",
    "float_logits": "models.twins",
    "train": "training",
    "coopnet": "training",
    "cascade": "training",
    "calibrate": "calibration",
    "OperatingPoint": "calibration",
    "AccuracyCostCurve": "calibration",
    "Interpreter": "runtime.choice",
    "Profile": "device.profile",
    "profile": "device.profile",
    "get_threshold": "convert",
    "set_threshold": "convert",
}
__all__ = ["__version__", *_PUBLIC, "convert", "export"]
__getattr__ = lazy(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


moved.install()
convert = PackageFunction("bcnet_keras.convert")
export = PackageFunction("bcnet_keras.export")
if "tensorflow" in sys.modules:
    importlib.import_module("bcnet_keras.legacy_keras")  # says at once where it is too late for that
else:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
