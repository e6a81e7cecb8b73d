"""One training run, from the data to the report and the verdict: `run(Settings(dataset="digits"), "runs/digits")`."""

import importlib

_PUBLIC = ("Settings", "read_settings", "run")


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.training_run"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
