"""The example scripts run once; pages that show parts of them are compared with their text."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


class Examples:
    """Runs example scripts in one folder, with one epoch where they train for many."""

    def __init__(self, folder):
        self.folder, self.spaces = folder, {}

    def run(self, name, *arguments):
        """The names that a script has defined when it ends."""
        if (name, arguments) not in self.spaces:
            path = ROOT / "examples" / f"{name}.py"
            text, count = re.subn(r"^EPOCHS = \{.*\}$", self._one_epoch, path.read_text(), flags=re.MULTILINE)
            assert count == ("EPOCHS[" in text or "=EPOCHS" in text)
            shortened = self.folder / "scripts" / f"{name}.py"  # a file, since AutoGraph reads sources
            shortened.parent.mkdir(exist_ok=True)
            shortened.write_text(text)
            space = {"__name__": "__main__"}
            with pytest.MonkeyPatch.context() as monkeypatch:
                monkeypatch.chdir(self.folder)
                monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
                exec(compile(text, str(shortened), "exec"), space)
            self.spaces[name, arguments] = space
        return self.spaces[name, arguments]

    @staticmethod
    def _one_epoch(line):
        return re.sub(r"\d+", "1", line[0])


@pytest.fixture(scope="session")
def examples(tmp_path_factory):
    return Examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="session")
def my_photos(tmp_path_factory):
    """A folder of 24 images in each of three classes, which differ by a bright stripe."""
    from PIL import Image

    folder, random = tmp_path_factory.mktemp("photos") / "my_photos", np.random.default_rng(0)
    for stripe, name in enumerate(("cat", "dog", "hen")):
        (folder / name).mkdir(parents=True)
        for number in range(24):
            pixels = random.integers(0, 80, (32, 32, 3)).astype(np.uint8)
            pixels[:, 8 * stripe : 8 * stripe + 8] += 120
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder
