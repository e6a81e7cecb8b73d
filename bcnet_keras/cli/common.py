"""What the commands share: reading arguments and files."""

from __future__ import annotations

import zipfile

import numpy as np

from bcnet_keras.errors import BcnetError


def read_array(path: str, what: str) -> np.ndarray:
    """The array in a .npy file; the error names the file and `what` it should hold."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path} with {what}.") from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise BcnetError(f"{path} is not a .npy file of {what}.") from None
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise BcnetError(f"{path} must hold one array of {what}; save it by numpy.save.")
    return array


def number_of(text: str, flag: str) -> float:
    """The number that a flag was given as text."""
    try:
        return float(text)
    except ValueError:
        raise BcnetError(f"{flag} takes numbers, got {text!r}.") from None


def positionals(arguments: list[str], number: int, what: str = "") -> list[str]:
    """`arguments`, of which there must be `number`; `what` says what they are."""
    if len(arguments) != number:
        expected = what if number else "no arguments besides flags"
        raise BcnetError(f"expected {expected}, got {' '.join(arguments) or 'nothing'}.")
    return arguments
