"""Checks on import that this installation gives TensorFlow with the legacy Keras, which all Keras code here needs."""

import importlib.util
import os
import sys

from bcnet_keras.errors import MissingPackageError, named_packages

_TENSORFLOW_VERSIONS = ((2, 17), (2, 22))  # from the first, below the second


def _check():
    """Imports TensorFlow with the legacy Keras; ImportError when this installation cannot give that."""
    if "tensorflow" not in sys.modules and importlib.util.find_spec("tensorflow") is None:
        with named_packages():
            raise ModuleNotFoundError(name="tensorflow")
    if importlib.util.find_spec("tf_keras") is None:
        raise MissingPackageError(
            "bcnet_keras needs the legacy Keras, which is not installed; run: pip install tf-keras"
        )

    if "tensorflow" not in sys.modules:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf

    _switch(tf)

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
            "tf.keras was used as Keras 3 before bcnet_keras was imported, which needs it as Keras 2; "
            "import bcnet_keras first, or set TF_USE_LEGACY_KERAS=1 in the environment; models of Keras 3 may be made "
            "with `import keras` at any time"
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"


def _switch(tf):
    """Makes `tf.keras` the legacy one where nobody has used it yet, such as after `import keras`, which loads it."""
    unused = getattr(vars(tf).get("keras"), "_tfll_initialized", True) is False
    if unused and "tensorflow.keras" not in sys.modules:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        folder = importlib.util.find_spec("tf_keras.api._v2").submodule_search_locations[0]
        if folder not in tf.__path__:
            tf.__path__.insert(0, folder)


_check()
