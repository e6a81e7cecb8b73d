"""The classes of TensorFlow Lite's flatbuffer schema (`ModelT`, `SubGraphT`, ...), without importing TensorFlow.

They are generated code that TensorFlow, TensorFlow Lite Micro and LiteRT install as a single file, which needs no more
than NumPy and FlatBuffers. That file is loaded by its path, since importing it by its name imports all of TensorFlow.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from bcnet_keras.errors import MissingPackageError

# Package -> place of the file in it, in the order of preference.
_PLACES = {
    "tensorflow": "lite/python/schema_py_generated.py",
    "ai_edge_litert": "schema_py_generated.py",
    "tflite_micro": "tensorflow/lite/python/schema_py_generated.py",
}


def _file() -> Path:
    for package, place in _PLACES.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            if (path := Path(folder) / place).is_file():
                return path
    raise MissingPackageError(
        f"no installed package brings the flatbuffer schema of TensorFlow Lite; install one of {', '.join(_PLACES)}"
    )


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bcnet_keras.tflite._schema", _file())
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


schema = _load()
