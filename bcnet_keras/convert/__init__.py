"""From a Keras pair to one flatbuffer: `bcnet_keras.convert(pair)`.

The package can be called, and is then `convert`. See `cooperative` for the flatbuffer's layout.
"""

import sys
import types

from bcnet_keras.convert.cooperative import convert, convert_parts, get_threshold, merge, replace_gate, set_threshold
from bcnet_keras.convert.gate import Gate

__all__ = ["Gate", "convert", "convert_parts", "get_threshold", "merge", "replace_gate", "set_threshold"]


class _CallablePackage(types.ModuleType):
    __call__ = staticmethod(convert)


sys.modules[__name__].__class__ = _CallablePackage
