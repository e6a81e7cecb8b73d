"""Where a result comes from: the command, the revision of the sources, and the versions of packages."""

from __future__ import annotations

import importlib.metadata
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Iterable

PACKAGES = ("tensorflow", "tf-keras", "larq", "larq-compute-engine", "numpy")


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """{package: version} of the packages among `names` that are installed."""
    installed = {each.name.lower().replace("_", "-"): each.version for each in importlib.metadata.distributions()}
    return {name: installed[name] for name in names if name in installed}


def command_line(program: str) -> str:
    """The command that runs now, as one would type it: `program` and the arguments, the home folder as ~."""
    return " ".join([program, *map(shlex.quote, sys.argv[1:])]).replace(str(pathlib.Path.home()), "~")


def revision() -> str | None:
    """The git revision of these sources, with "+" where they differ from it; None outside of a checkout."""
    git = ["git", "-C", str(pathlib.Path(__file__).parent)]
    try:
        head, changed = (
            subprocess.run([*git, *arguments], capture_output=True, text=True, check=True, timeout=60).stdout.strip()
            for arguments in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--", "."])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")
