"""Arguments that several functions take: what passes, and what is refused in one line."""

import math

import numpy as np
import pytest

from bcnet_keras.errors import ArgumentTypeError, BcnetError
from bcnet_keras.utils.arguments import check_number, range_of


@pytest.mark.parametrize("ends", [(0, 1), [0.0, 1.0], np.array([0, 1], np.uint8), (np.float32(0), np.int64(1))])
def test_ranges_of_all_kinds_of_numbers_are_floats(ends):
    assert range_of("range", ends) == (0.0, 1.0) and all(isinstance(end, float) for end in range_of("range", ends))


@pytest.mark.parametrize("ends", ["01", ("0", "1"), (0,), (0, 1, 2), 5, None, (0, None), (0, (1, 2)), {0, 1}])
def test_what_is_no_pair_of_numbers_is_refused(ends):
    with pytest.raises(ArgumentTypeError, match=r"^range must be two numbers, \(lowest, highest\), got "):
        range_of("range", ends)


@pytest.mark.parametrize("ends", [(1, 0), (1, 1), (0, math.nan), (-math.inf, 0)])
def test_pairs_that_are_no_range_are_refused(ends):
    with pytest.raises(BcnetError, match=r"^range must be \(lowest, highest\), got \("):
        range_of("range", ends)


def test_numbers_are_told_from_others():
    for value in (1, 0.5, np.float32(2), np.int8(3)):
        check_number("cost", value, above=0)
    check_number("cost", math.nan)
    for value in ("1", None, [1.0], True):
        with pytest.raises(ArgumentTypeError, match="^cost must be a number, got "):
            check_number("cost", value)
    for value in (-1, 0, math.nan):
        with pytest.raises(BcnetError, match="^cost must be greater than 0, got "):
            check_number("cost", value, above=0)
