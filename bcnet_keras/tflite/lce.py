"""Larq Compute Engine's interpreter, where this installation can have it."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from bcnet_keras.errors import MissingPackageError


def why_missing() -> str | None:
    """Why Larq Compute Engine cannot run here, in one sentence; None where it can."""
    if importlib.util.find_spec("larq_compute_engine") is None:
        return (
            "Larq Compute Engine is not installed: pip install larq-compute-engine has it for Python 3.10 to 3.12 on "
            "Linux (x86-64), macOS and Windows"
        )
    if int(np.__version__.split(".")[0]) >= 2:  # its interpreter is compiled for NumPy 1, and fails on others' arrays
        return f'Larq Compute Engine runs with NumPy 1 only, found {np.__version__}: pip install "numpy<2"'
    return None


def interpreter_class() -> Any:
    """`larq_compute_engine.tflite.python.interpreter.Interpreter`; MissingPackageError where it cannot be had."""
    reason = why_missing()
    if reason is not None:
        raise MissingPackageError(f"{reason}.")
    from larq_compute_engine.tflite.python.interpreter import Interpreter

    return Interpreter
