"""One training run, from the data to the report and the verdict: `run(Settings(dataset="digits"), "runs/digits")`."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = ("Settings", "read_settings", "run")


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.training_run"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
