"""Checks on import that this installation gives TensorFlow with the legacy Keras, which all Keras code here needs."""

import importlib.util
import os
import sys

import numpy as np

from bcnet_keras.errors import MissingPackageError

_TENSORFLOW_VERSIONS = ((2, 17), (2, 20))  # from the first, below the second


def _check():
    """Imports TensorFlow with the legacy Keras; ImportError when this installation cannot give that."""
    if int(np.__version__.split(".")[0]) >= 2:
        raise MissingPackageError(f'bcnet_keras needs NumPy 1, found {np.__version__}; run: pip install "numpy<2"')
    if importlib.util.find_spec("tf_keras") is None:
        raise MissingPackageError(
            "bcnet_keras needs the legacy Keras, which is not installed; run: pip install tf-keras"
        )

    if "tensorflow" not in sys.modules:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf

    lowest, limit = (".".join(map(str, version)) for version in _TENSORFLOW_VERSIONS)
    if not _TENSORFLOW_VERSIONS[0] <= tuple(map(int, tf.__version__.split(".")[:2])) < _TENSORFLOW_VERSIONS[1]:
        raise MissingPackageError(
            f"bcnet_keras needs TensorFlow >={lowest},<{limit}, found {tf.__version__}; "
            f'run: pip install "tensorflow>={lowest},<{limit}" "tf-keras>={lowest},<{limit}"'
        )
    # Both ways to Keras must be the legacy one: `import tensorflow.keras` follows TensorFlow's package path, which is
    # set when TensorFlow is imported; the attribute `tf.keras` is resolved later, when it is first used.
    submodules = any("tf_keras" in os.path.normpath(path).split(os.sep) for path in tf.__path__)
    if not (submodules and tf.keras.Model.__module__.startswith("tf_keras.")):
        raise MissingPackageError(
            "TensorFlow was imported with Keras 3 before bcnet_keras, which needs Keras 2; "
            "import bcnet_keras before tensorflow, or set TF_USE_LEGACY_KERAS=1 in the environment"
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"


_check()
