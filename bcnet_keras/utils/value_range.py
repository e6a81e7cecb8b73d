"""Whether images have the values that a net takes: most mistakes in scaling show in their range."""

from __future__ import annotations

import logging

import numpy as np

from bcnet_keras.errors import DataError
from bcnet_keras.utils.types import Array

# Parts of the values that saturate from which on images are warned of and refused; and the parts of the input's range
# that images must fill, or are warned of: any, and a number of them.
_WARNED, _REFUSED, _FILLED, _FILLED_BY_MANY, _MANY = 0.02, 0.5, 1 / 32, 0.6, 10

log = logging.getLogger(__name__)


def check_range(images: Array, low: float, high: float, remedy: str) -> None:
    """Refuses, or warns of, images [n, ...] whose values are in another range than a net's input.

    Arguments:
      low, high: the values of the input's lowest and highest code.
      remedy: what to do about it, which ends the message.

    Raises:
      DataError: most values lie outside.
    """
    expected = f"the net expects values from {low:.4g} to {high:.4g}, found {images.min():.4g} to {images.max():.4g}"
    slack = 1.5 * (high - low) / 255
    outside = np.mean((images < low - slack) | (images > high + slack))
    if outside > _REFUSED:
        raise DataError(f"{100 * outside:.1f} % of the images' values saturate: {expected}; {remedy}")
    if outside > _WARNED:
        log.warning("%.1f %% of the images' values saturate: %s; %s", 100 * outside, expected, remedy)
        return
    used = (images.max() - images.min()) / (high - low)
    if 0 < used < (_FILLED if len(images) < _MANY else _FILLED_BY_MANY):
        log.warning("the images use %.2g %% of the input's range: %s; %s", 100 * used, expected, remedy)
