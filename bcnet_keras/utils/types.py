"""Types that many signatures name."""

import os
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Range = tuple[float, float]  # (lowest, highest)
StrPath = str | os.PathLike[str]
