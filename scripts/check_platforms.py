#!/usr/bin/env python3
"""Says on which machines and Pythons the package can be installed: whether each package that it requires has a wheel.

    python scripts/check_platforms.py            # asks the registry that pip is set up for; some minutes

A table row is a kind of machine and a Python; a cell says whether all wheels are there, or names those that are not. It
installs nothing and runs nothing, so it says nothing about whether the package works there. Exit status 1 where a
package is missing that the requirements do not leave out by a marker.
"""

import functools
import re
import subprocess
import sys
from importlib.metadata import requires

from packaging.requirements import Requirement

# Kind of machine -> (tags of wheels, `platform_system`, `platform_machine`, `sys_platform`).
_ARM = [f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 17)] + ["manylinux2014_aarch64"]
_INTEL = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 17)] + ["manylinux2014_x86_64"]
MACHINES = {
    "Linux, x86-64": (_INTEL, "Linux", "x86_64", "linux"),
    "Linux, Arm 64": (_ARM, "Linux", "aarch64", "linux"),
    "macOS, Arm 64": (["macosx_12_0_arm64"], "Darwin", "arm64", "darwin"),
    "Windows, x86-64": (["win_amd64"], "Windows", "AMD64", "win32"),
}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
EXTRAS = {"base": "", "train": "train"}


@functools.cache
def versions(name, tags, python):
    """The versions of a package that have a wheel for a machine and a Python."""
    machine = [f"--platform={tag}" for tag in tags]
    command = [sys.executable, "-m", "pip", "index", "versions", name, "--pre", "--disable-pip-version-check"]
    options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *machine]
    said = subprocess.run([*command, *options], capture_output=True, text=True).stdout
    found = re.search(r"^Available versions: (.*)$", said, re.MULTILINE)
    return found[1].split(", ") if found else []


def lacking(extra, machine, python):
    """The requirements of an installation that no wheel meets."""
    tags, system, processor, platform = MACHINES[machine]
    target = {"platform_system": system, "platform_machine": processor, "sys_platform": platform}
    target |= {"python_version": python, "python_full_version": f"{python}.0"}
    wanted = {}
    for requirement in map(Requirement, requires("bcnet-keras")):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**target, "extra": each}) for each in ("", extra)):
            wanted.setdefault(requirement.name, []).append(requirement.specifier)
    return [
        name
        for name, specifiers in sorted(wanted.items())
        if not any(
            all(specifier.contains(version, prereleases=True) for specifier in specifiers)
            for version in versions(name, tuple(tags), python)
        )
    ]


def main():
    missing = False
    print("| machine | Python | base | train |\n|---|---|---|---|")
    for machine in MACHINES:
        for python in PYTHONS:
            cells = [lacking(extra, machine, python) for extra in EXTRAS.values()]
            missing |= any(cells)
            print(f"| {machine} | {python} | {' | '.join(', '.join(cell) or 'yes' for cell in cells)} |", flush=True)
    sys.exit(missing)


if __name__ == "__main__":
    main()
