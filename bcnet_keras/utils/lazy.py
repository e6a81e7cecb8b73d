"""Packages whose names are loaded on first use, so that reading a flatbuffer does not import TensorFlow."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from bcnet_keras.errors import named_packages


def lazy(package: str, public: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns the `__getattr__` of a package.

    Arguments:
      package: its full name.
      public: name that the package offers -> module in it that defines it.
    """

    def get(name: str) -> Any:
        if name not in public:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with named_packages():
            value = getattr(importlib.import_module(f"{package}.{public[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get


class PackageFunction:
    """A function that has the name of the package that defines it, such as `bcnet_keras.convert(pair)`.

    It has the package's names too: `bcnet_keras.convert.passes` is the module. The parent package binds it under
    that name once the package is imported. Python binds a package in its parent at the first import only, so that
    imports of modules in the package leave the function where it is. The package stays an ordinary module.
    """

    def __init__(self, package: str) -> None:
        self._package = importlib.import_module(package)
        self.__name__ = package.rpartition(".")[2]

    @property
    def __wrapped__(self) -> Any:
        """The function itself, for its signature and its documentation."""
        return getattr(self._package, self.__name__)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.__wrapped__(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._package, name)

    def __dir__(self) -> list[str]:
        return dir(self._package)

    def __repr__(self) -> str:
        return f"<function and package {self._package.__name__!r}>"
