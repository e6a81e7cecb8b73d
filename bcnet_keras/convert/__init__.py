"""From a Keras pair to one flatbuffer: `bcnet_keras.convert(pair)`.

The package can be called, and is then `convert`. `cooperative` says how the flatbuffer is laid out. What works on
flatbuffers alone (`cooperative`, `passes`) needs no TensorFlow; names are loaded on first use.
"""

import importlib
import sys
import types

# Name -> module of this package that defines it.
_PUBLIC = {
    "Gate": "passes.add_gate",
    "convert": "pair",
    "convert_parts": "pair",
    "get_threshold": "cooperative",
    "merge": "cooperative",
    "replace_gate": "cooperative",
    "set_threshold": "cooperative",
}

__all__ = list(_PUBLIC)


class _CallablePackage(types.ModuleType):
    def __getattr__(self, name):
        if name in _PUBLIC:
            return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __call__(self, *arguments, **keywords):
        return self.convert(*arguments, **keywords)


sys.modules[__name__].__class__ = _CallablePackage
