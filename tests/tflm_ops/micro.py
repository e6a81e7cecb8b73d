"""What tests need of TensorFlow Lite Micro."""

import pytest

from bcnet_keras.runtime import plugin

try:
    plugin.tflm_tree()
    _missing = ""
except FileNotFoundError as error:
    _missing = str(error)

needs_tflm = pytest.mark.skipif(bool(_missing), reason=_missing)
