"""Checks of arguments that several functions take."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from bcnet_keras.errors import ArgumentTypeError, BcnetError, ModelError
from bcnet_keras.utils.types import Range


def check_number(name: str, value: Any, above: float = -math.inf) -> None:
    """Raises ArgumentTypeError for what is no number, and BcnetError for one that is not greater than `above`.

    NaN is not greater than any number where `above` is given.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ArgumentTypeError(f"{name} must be a number, got {value!r}.")
    if above > -math.inf and not float(value) > above:
        raise BcnetError(f"{name} must be greater than {above:g}, got {value:g}.")


def check_rate(rate: float) -> None:
    """Raises BcnetError for an escalation rate outside 0 to 1, NaN among them."""
    if not 0 <= rate <= 1:
        raise BcnetError(f"the escalation rate must lie between 0 and 1, got {rate}")


def threshold_and_rate(threshold: Any) -> tuple[Any, float | None]:
    """The threshold of an `OperatingPoint` with the escalation rate that was measured there; for a number None."""
    rate = getattr(threshold, "escalation_rate", None)
    if rate is not None:
        check_rate(rate)
    return getattr(threshold, "threshold", threshold), None if rate is None else float(rate)


def range_of(name: str, ends: Any) -> Range:
    """(lowest, highest) as floats. Raises ArgumentTypeError for what is no pair of numbers, ModelError for no range."""
    try:
        array = np.asarray(ends)
    except ValueError:  # of lists of different lengths
        array = np.empty(0)
    if array.shape != (2,) or array.dtype.kind not in "iuf":
        raise ArgumentTypeError(f"{name} must be two numbers, (lowest, highest), got {ends!r}.")
    low, high = array.tolist()
    if not -math.inf < low < high < math.inf:
        raise ModelError(f"{name} must be (lowest, highest), got {(low, high)}.")
    return float(low), float(high)
