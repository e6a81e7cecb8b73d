"""Types that many signatures name."""

import os

StrPath = str | os.PathLike[str]
