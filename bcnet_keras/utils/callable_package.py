"""Packages that are also the function of their name: `bcnet_keras.convert(pair)`, `bcnet_keras.convert.passes`."""

from __future__ import annotations

import importlib
import sys
import types


class _CallablePackage(types.ModuleType):
    def __getattr__(self, name):
        public = self.__dict__.get("_PUBLIC", {})
        if name in public:
            return getattr(importlib.import_module(f"{self.__name__}.{public[name]}"), name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __call__(self, *arguments, **keywords):
        return getattr(self, self.__name__.rpartition(".")[2])(*arguments, **keywords)


def make_callable(package: str) -> None:
    """Makes a call of `package` a call of its function of the same name.

    Where the package has a dict `_PUBLIC`, public name -> module of the package that defines it, these names are loaded
    on first use. The import system puts a package in the place of a function with its name, so that only the
    package itself can serve as both.
    """
    sys.modules[package].__class__ = _CallablePackage
