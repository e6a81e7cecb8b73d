"""The exceptions of this package. What a user can mend is a `BcnetError`, whose message is one line for that user.

Each is also the built-in exception that Python programmers would expect in its place, so that both can be caught.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class BcnetError(ValueError):
    """A wrong argument, setting or file: the message says what was wrong, what was expected and what to do."""


class FlatbufferError(BcnetError):
    """A `.tflite` file that is damaged, or that holds what cannot be read, run or exported."""


class ModelError(BcnetError):
    """A Keras model of which no twin can be made, or that cannot be trained, paired or converted."""


class DataError(BcnetError):
    """Images, labels or a data set that cannot be used."""


class ArgumentTypeError(BcnetError, TypeError):
    """An argument or an array of a type that cannot be used."""


class ToolError(BcnetError, RuntimeError):
    """A compiler, an interpreter or an installed package that does not do what is needed."""


class MissingPackageError(BcnetError, ImportError):
    """A package that is missing, or installed in a version that cannot be used."""


@contextlib.contextmanager
def named_packages() -> Iterator[None]:
    """Raises `MissingPackageError` for a package that is not installed: most are for training only."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = str(error.name).partition(".")[0]
        if name == __package__:
            raise
        remedy = 'pip install ".[train]" in a clone of bcnet-keras brings what trains and converts'
        if name == "tflite_micro":
            remedy = "pip install tflite-micro has it for Linux on x86-64 only; elsewhere use --runtime=numpy"
        elif name == "matplotlib":
            remedy = "pip install matplotlib brings what draws pages"
        raise MissingPackageError(f"{name}, which this needs, is not installed: {remedy}.") from None
