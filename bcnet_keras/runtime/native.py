"""Builds the C++ sources of ``tflm_ops`` into shared libraries on first use and keeps them in a cache.

The name of a library in the cache holds a hash of everything that goes into it: sources, headers, flags and compiler. A
change of any of them makes another library, and an old one is never loaded by mistake.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from bcnet_keras.errors import ToolError

_PACKAGE = Path(__file__).resolve().parents[1]


def source_root() -> Path:
    """The folder that holds ``tflm_ops``: the checkout, or the installed package.

    Raises FileNotFoundError when neither has it.
    """
    for root in (_PACKAGE.parent, _PACKAGE):
        if (root / "tflm_ops" / "sources.txt").is_file():
            return root
    raise FileNotFoundError(f"no tflm_ops sources beside or in {_PACKAGE}; install bcnet-keras from a full source tree")


def cache_folder() -> Path:
    """Where built libraries are kept: ``$BCNET_CACHE``, or ``~/.cache/bcnet``."""
    return Path(os.environ.get("BCNET_CACHE", Path.home() / ".cache" / "bcnet"))


@cache
def _compiler() -> tuple[str, str]:
    """Path and version text of the C++ compiler: ``$CXX``, or the first of g++ and clang++."""
    for name in filter(None, (os.environ.get("CXX"), "g++", "clang++")):
        if path := shutil.which(name):
            return path, subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    raise FileNotFoundError(
        "no C++ compiler found: install g++ (Debian: apt-get install g++), or set CXX to a C++17 compiler"
    )


def build(
    name: str,
    sources: Sequence[str],
    flags: Sequence[str] = (),
    headers: Sequence[Path] = (),
) -> Path:
    """Compiles ``sources`` into a shared library, or finds it in the cache.

    Args:
        name: start of the library's file name.
        sources: files, relative to :func:`source_root`; ``tflm_ops`` is on the include path.
        flags: further compiler flags.
        headers: files outside ``tflm_ops`` whose content the library depends on.

    Returns:
        Path of the library.

    Raises:
        FileNotFoundError: there is no compiler, or no source.
        RuntimeError: the compiler failed; the message has its first error.
    """
    compiler, version = _compiler()
    root = source_root()
    command = ["-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", f"-I{root}", *flags]
    digest = hashlib.sha256("\0".join([version, *command, *sources]).encode())
    operator_headers = sorted(
        path for folder in ("kernels", "micro", "host") for path in (root / "tflm_ops" / folder).rglob("*.h")
    )
    for path in [*operator_headers, *(root / source for source in sources), *headers]:
        digest.update(path.read_bytes())
    library = cache_folder() / "lib" / f"{name}-{digest.hexdigest()[:20]}.so"
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        objects = [Path(folder) / f"{index}.o" for index in range(len(sources))]
        commands = [
            [compiler, *command, "-c", str(root / source), "-o", str(target)]
            for source, target in zip(sources, objects, strict=True)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for run in pool.map(_run, commands):
                _check(run, name)
        built = Path(folder) / library.name
        _check(_run([compiler, "-shared", "-Wl,-Bsymbolic", *map(str, objects), "-o", str(built)]), name)
        built.replace(library)
    return library


def _run(command: Sequence[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True)


def _check(run: subprocess.CompletedProcess, name: str) -> None:
    if run.returncode != 0:
        lines = run.stderr.splitlines()
        first = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
        raise ToolError(f"{run.args[0]} cannot build {name}: {first.strip()}")
