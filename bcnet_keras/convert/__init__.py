"""From a Keras pair to one flatbuffer: `bcnet_keras.convert(pair)`.

`cooperative` says how the flatbuffer is laid out. What works on flatbuffers alone (`cooperative`, `passes`) needs no
TensorFlow; names are loaded on first use.
"""

from bcnet_keras.utils.lazy import lazy

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
__getattr__ = lazy(__name__, _PUBLIC)
