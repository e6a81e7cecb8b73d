"""A flatbuffer as the source of a firmware: `bcnet_keras.export("pair.tflite", "arduino", "my_library")`.

The folder that it writes holds, in the structure that the ecosystem expects (`src` is another folder in some),

* `src/NAME_model.h` and `NAME_model.cc`: the flatbuffer as an array aligned to 16 bytes, and what is known of it
  (shapes, scales, zero points, labels, thresholds, size of the arena);
* `src/NAME_ops.h`: a `MicroMutableOpResolver` of the right size, and a function that adds the operators the model has;
* `src/NAME.h` and `src/NAME.cc`: the net in an interpreter with its own arena: `Begin`, `Input`, `Run`, `Output`;
* `bcnet_ops/`: the sources of the operators that TensorFlow Lite Micro lacks. Any number of exported nets share one;
* an example, and a README that says how TensorFlow Lite Micro itself comes into the project.
"""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from bcnet_keras.device.cost_bconv2d import SCRATCH_BUDGET
from bcnet_keras.errors import BcnetError
from bcnet_keras.export.description import describe
from bcnet_keras.export.sources import substitutions
from bcnet_keras.runtime.native import source_root
from bcnet_keras.utils.atomic_files import replace_when_done
from bcnet_keras.utils.types import StrPath

log = logging.getLogger(__name__)
_TEMPLATES = Path(__file__).parent / "templates"
_OPERATORS = ("kernels", "micro")  # folders of tflm_ops


@dataclass(frozen=True)
class Layout:
    """Where an ecosystem has things.

    Attributes:
      templates: folders of templates whose content goes to the top.
      source: folder of the net's sources; NAME stands for its name.
      operators: folder of the operators that all nets share.
      taken: what goes there of tflm_ops.
      suffix: that of C++ sources.
      fast_code: how the build is told of `BCNET_FAST_CODE`, the end of a sentence.
    """

    templates: tuple[str, ...]
    fast_code: str
    source: str = "src"
    operators: str = "bcnet_ops"
    taken: tuple[str, ...] = _OPERATORS
    suffix: str = ".cc"


_LAYOUTS = {
    "c": Layout(("c",), "define it for the sources of `bcnet_ops`: `-DBCNET_FAST_CODE=.RamFunc`."),
    "cmake": Layout(
        ("cmake",),
        "set it when you configure: `cmake --preset cortex-m4 -DBCNET_FAST_CODE=.ramfunc`.",
        taken=(*_OPERATORS, "cmake", "emulator", "tests", "CMakeLists.txt", "sources.txt"),
    ),
    # The suffix is the one that every version of Arduino's tools compiles.
    "arduino": Layout(
        ("arduino", "library"),
        "add it to the line of step 3: `compiler.cpp.extra_flags=-std=gnu++17 -DBCNET_FAST_CODE=.data.bcnet`.",
        "libraries/NAME/src",
        "libraries/bcnet_ops/src",
        suffix=".cpp",
    ),
    "zephyr": Layout(
        ("zephyr",),
        "set `CONFIG_BCNET_FAST_CODE=y`, where Zephyr knows functions in RAM (`CONFIG_ARCH_HAS_RAMFUNC_SUPPORT`).",
    ),
    "platformio": Layout(
        ("platformio", "library"),
        "add it in `platformio.ini`: `build_flags = -std=gnu++17 -DBCNET_FAST_CODE=.RamFunc`.",
        "lib/NAME/src",
        "lib/bcnet_ops/src",
    ),
}
FORMATS = tuple(_LAYOUTS)
_NOT_TAKEN = ("fuzz_*", "block_count.cc")  # tools of this project's own tests


def export(
    source: StrPath,
    format: str,
    output: StrPath,
    name: str | None = None,
    arena_size: int | None = None,
    scratch_budget: int = SCRATCH_BUDGET,
    core: str | None = None,
) -> Path:
    """Writes a flatbuffer as a folder of sources for a build system.

    Arguments:
      source: the bytes or the path of a `.tflite` file: a cooperating pair, a net of Larq Compute Engine, or any other
        whose operators TensorFlow Lite Micro has.
      format: one of `FORMATS`.
      output: the folder to write, which must not exist.
      name: C identifier that starts the names of files and symbols. By default that of the file, with `_net` behind.
      arena_size: bytes of the tensor arena. By default as many as the net takes on the core that takes most, and 3 %.
      scratch_budget: bytes of the arena that a binary convolution may use to need fewer cycles.
      core: one of `bcnet_keras.device.cost.CORES`, whose arena is enough; by default all of them.

    Returns:
      pathlib.Path of the folder.

    Examples:
      >>> folder = bc.export(converted, "c", "sources", name="net")
      >>> (folder / "README.md").is_file()
      True

    Raises:
      FileExistsError: there is something at `output`.
      FileNotFoundError: there is no such file.
      ValueError: unknown format, a name that is no identifier, no sound flatbuffer, an operator that TensorFlow Lite
        Micro lacks, or an arena that is too small.
    """
    if format not in _LAYOUTS:
        raise BcnetError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}")
    output = Path(output)
    if output.exists() or output.is_symlink():
        raise FileExistsError(f"{output} exists; give another folder, or delete it")
    net = describe(source, name, arena_size, scratch_budget, core)
    for sentence in net.remarks:
        log.warning("%s", sentence)
    layout = _LAYOUTS[format]
    values = substitutions(net, layout)
    with replace_when_done(output) as partial:
        _fill(_TEMPLATES / "common", partial / layout.source.replace("NAME", net.name), values, layout.suffix)
        _fill(_TEMPLATES / "operators", partial / layout.operators, values)
        for part in layout.templates:
            _fill(_TEMPLATES / part, partial, values)
        _copy_operators(partial / layout.operators / "tflm_ops", layout)
    return output


def _fill(templates: Path, target: Path, values: dict[str, str], suffix: str = ".cc") -> None:
    """Writes every template under `templates` to `target`: `@key@` stands for a value, `NAME` in paths for the name."""
    for template in sorted(path for path in templates.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        path = target / str(template.relative_to(templates)).replace("NAME", values["name"])
        if path.suffix == ".cc":
            path = path.with_suffix(suffix)
        # At once: what looks like a key in a value, as in the name of a file, is none.
        text = re.sub(r"@(\w+)@", lambda match: values.get(match[1], match[0]), template.read_text())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _copy_operators(target: Path, layout: Layout) -> None:
    sources = source_root() / "tflm_ops"
    target.mkdir()
    for part in layout.taken:
        if (sources / part).is_file():
            shutil.copy(sources / part, target / part)
        else:
            shutil.copytree(sources / part, target / part, ignore=shutil.ignore_patterns(*_NOT_TAKEN, "__pycache__"))
    for path in sorted(target.rglob("*.cc")):
        path.rename(path.with_suffix(layout.suffix))
