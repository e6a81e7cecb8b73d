"""Cooperating binary and 8-bit networks for Keras and TensorFlow Lite Micro.

    import bcnet_keras as bc

    pair = bc.BCNet.from_keras(float_model)

Larq, the converter and the quantisation toolkit work with Keras 2, so this package switches TensorFlow to the legacy
Keras of `tf-keras`. That choice is made when TensorFlow is imported: import `bcnet_keras` first, or set the environment
variable TF_USE_LEGACY_KERAS=1. The public names are loaded on first use.
"""

import importlib
import importlib.util
import os
import sys

__version__ = "0.1.0"

_TENSORFLOW_VERSIONS = ((2, 17), (2, 20))  # from the first, below the second

# Public name -> module that defines it.
_PUBLIC = {
    "BinaryConv2D": "layers",
    "BinaryDense": "layers",
    "CalibratedThermometer": "layers",
    "ThermometerEncoding": "layers",
    "FakeQuant": "layers",
    "global_average": "layers",
    "ConfidenceGate": "layers",
    "BCNet": "model",
    "binary_twin": "twins",
    "int8_twin": "twins",
    "share_stem": "twins",
    "float_logits": "twins",
    "train": "training",
    "calibrate": "confidence",
    "OperatingPoint": "confidence",
    "AccuracyCostCurve": "confidence",
    "get_threshold": "convert",
    "set_threshold": "convert",
}
# `convert` is both a subpackage and a function: the subpackage itself can be called.
_CALLABLE_MODULES = ("convert",)

__all__ = ["__version__", *_PUBLIC, *_CALLABLE_MODULES]


def _use_legacy_keras():
    """Imports TensorFlow with the legacy Keras; ImportError when this installation cannot give that."""
    import numpy as np

    if int(np.__version__.split(".")[0]) >= 2:
        raise ImportError(f'bcnet_keras needs NumPy 1, found {np.__version__}; run: pip install "numpy<2"')
    if importlib.util.find_spec("tf_keras") is None:
        raise ImportError("bcnet_keras needs the legacy Keras, which is not installed; run: pip install tf-keras")

    imported_before = "tensorflow" in sys.modules
    if not imported_before:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf

    lowest, limit = (".".join(map(str, version)) for version in _TENSORFLOW_VERSIONS)
    if not _TENSORFLOW_VERSIONS[0] <= tuple(map(int, tf.__version__.split(".")[:2])) < _TENSORFLOW_VERSIONS[1]:
        raise ImportError(
            f"bcnet_keras needs TensorFlow >={lowest},<{limit}, found {tf.__version__}; "
            f'run: pip install "tensorflow>={lowest},<{limit}" "tf-keras>={lowest},<{limit}"'
        )
    # Both ways to Keras must be the legacy one: `import tensorflow.keras` follows TensorFlow's package path, which is
    # set when TensorFlow is imported; the attribute `tf.keras` is resolved later, when it is first used.
    submodules = any("tf_keras" in os.path.normpath(path).split(os.sep) for path in tf.__path__)
    if not (submodules and tf.keras.Model.__module__.startswith("tf_keras.")):
        raise ImportError(
            "TensorFlow was imported with Keras 3 before bcnet_keras, which needs Keras 2; "
            "import bcnet_keras before tensorflow, or set TF_USE_LEGACY_KERAS=1 in the environment"
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"


def __getattr__(name):
    if name in _PUBLIC:
        value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    if name in _CALLABLE_MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(set(globals()) | set(__all__))


_use_legacy_keras()
