"""Keeps the names of version 0.1 importable for one version: each is an alias, and says where it went."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Callable
from typing import Any

# Old module -> new module, both inside this package.
MOVED = {
    "arena": "device.arena",
    "boards": "device.boards",
    "choice": "planning.choice",
    "confidence": "calibration",
    "convert.flatbuffer": "tflite.flatbuffer",
    "convert.gate": "convert.passes.add_gate",
    "convert.pooling": "convert.passes.mean_to_average_pool",
    "convert.sharing": "convert.passes.merge_common_prefix",
    "convert.thermometer": "convert.passes.fuse_thermometer",
    "cost": "device.cost",
    "cost_bconv2d": "device.cost_bconv2d",
    "export.facts": "export.description",
    "files": "utils.atomic_files",
    "model": "models.pair",
    "networks": "models.networks",
    "pair_profile": "models.pair_profile",
    "profile": "device.profile",
    "quiet": "utils.silence",
    "recipe": "training.recipe",
    "report": "experiment.report",
    "search": "planning.search",
    "sketch": "planning.sketch",
    "support": "tflite.support",
    "twins": "models.twins",
    "twins.binary": "models.twins.binary",
    "twins.choice": "models.twins.choice",
    "twins.graph": "models.twins.reader",
    "twins.int8": "models.twins.int8",
    "twins.stem": "models.twins.stem",
    "twins.walk": "models.twins.walk",
    "verdict": "experiment.verdict",
    "watch": "training.watch",
}
_PACKAGE = __package__


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds an old module by importing the new one and handing that out under both names."""

    def find_spec(self, fullname, path=None, target=None):
        package, _, name = fullname.partition(".")
        if package != _PACKAGE or name not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec):
        new = f"{_PACKAGE}.{MOVED[spec.name.partition('.')[2]]}"
        warnings.warn(
            f"{spec.name} is now {new}; the old name goes with the next version", DeprecationWarning, stacklevel=2
        )
        module = importlib.import_module(new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        # The import system has just given the module the old name's spec.
        module.__spec__ = module.__spec__.loader_state


def renamed(module: str, **names: tuple[str, Any]) -> Callable[[str], Any]:
    """Returns a module's `__getattr__` that gives old names with a `DeprecationWarning`.

    Arguments:
      module: full name of the module.
      names: old name -> (what to write instead, the object).
    """

    def get(name):
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new, value = names[name]
        message = f"{module}.{name} is now {new}; the old name goes with the next version"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return value

    return get


def install() -> None:
    """Makes the old names importable."""
    # First, or submodules of a moved package would be found in its folder and loaded a second time.
    sys.meta_path.insert(0, _Finder())
