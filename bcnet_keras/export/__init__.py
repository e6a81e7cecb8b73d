"""From a flatbuffer to the sources of a firmware: `bcnet_keras.export("pair.tflite", "arduino", "my_library")`."""

from bcnet_keras.utils.lazy import lazy

# Name -> module of this package that defines it.
_PUBLIC = {"FORMATS": "formats", "Layout": "formats", "export": "formats"}
__all__ = list(_PUBLIC)
__getattr__ = lazy(__name__, _PUBLIC)
