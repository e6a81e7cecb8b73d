"""Makes a library for Arduino and PlatformIO of a tree of TensorFlow Lite Micro.

    python3 tflm_library.py TREE LIBRARY

TREE is what TensorFlow Lite Micro's create_tflm_tree.py wrote. In LIBRARY, which must not exist, everything is found
from one include folder, src/, sources end in .cpp, as the Arduino tools expect, and the macros that TensorFlow Lite
Micro's makefile gives to the compiler stand in a header, src/tflm_config.h.
"""

import os
import re
import shutil
import sys
from pathlib import Path

# Folders of TREE, and where they are included from.
FOLDERS = {
    "tensorflow": "tensorflow",
    "signal": "signal",
    "third_party/flatbuffers/include/flatbuffers": "flatbuffers",
    "third_party/gemmlowp/fixedpoint": "fixedpoint",
    "third_party/gemmlowp/internal": "internal",
    "third_party/ruy/ruy": "ruy",
    "third_party/kissfft": "third_party/kissfft",
    "third_party/cmsis_nn": "third_party/cmsis_nn",
}
# Further include folders of the makefile: what is found in them is included by its path from src/.
INCLUDE_FOLDERS = ("third_party/cmsis_nn", "third_party/cmsis_nn/Include", "third_party/kissfft")
# The last leaves out the clock, for which every microcontroller has a header of its own.
MACROS = ("TF_LITE_STATIC_MEMORY", "CMSIS_NN", "PROJECT_GENERATION")
MESSAGES = "tensorflow/lite/micro/cortex_m_generic/debug_log_callback.h"
PROPERTIES = """name=TensorFlowLite
version=1.0.0
author=The TensorFlow Authors
maintainer=nobody
sentence=TensorFlow Lite Micro, from a tree of its sources.
paragraph=Made by tflm_library.py.
category=Data Processing
url=https://github.com/tensorflow/tflite-micro
architectures=*
includes=TensorFlowLite.h
"""
MANIFEST = """{
  "name": "TensorFlowLite",
  "version": "1.0.0",
  "build": { "flags": ["-std=gnu++17"], "unflags": ["-std=gnu++11", "-std=gnu++14"] }
}
"""


def adapted(path: Path, text: str, source: Path) -> str:
    """The text of a file in `source`, which has no include folder but `source`, and no macros."""

    def from_source(match: re.Match[str]) -> str:
        name = match[2]
        if (path.parent / name).is_file() or (source / name).is_file():
            return match[0]
        found = next((f"{folder}/{name}" for folder in INCLUDE_FOLDERS if (source / folder / name).is_file()), name)
        return f'{match[1]}"{found}"'

    text = re.sub(r'^(\s*#\s*include\s+)"([^"]+)"', from_source, text, flags=re.MULTILINE)
    if re.search(rf"\b({'|'.join(MACROS)})\b", text):
        text = f'#include "tflm_config.h"\n{text}'
    return text


def write_library(tree: Path, library: Path) -> None:
    """Writes the library of a tree to a folder, which must not exist."""
    source = library / "src"
    for origin, target in FOLDERS.items():
        if (tree / origin).is_dir():
            shutil.copytree(tree / origin, source / target)
    for path in sorted(source.rglob("*.cc")):
        path.rename(path.with_suffix(".cpp"))
    for path in sorted(source.rglob("*.*")):
        if path.suffix in (".h", ".c", ".cpp"):
            text = adapted(path, path.read_text(errors="surrogateescape"), source)
            path.write_text(text, errors="surrogateescape")
    # KISS FFT is included, once for each type of numbers; by itself it is nobody's.
    for path in sorted((source / "third_party/kissfft").rglob("*.c")):
        path.rename(path.with_suffix(".c.inc"))
    for path in sorted((source / "signal").rglob("*.cpp")):
        path.write_text(re.sub(r'"(third_party/kissfft/[^"]+\.c)"', r'"\1.inc"', path.read_text()))
    macros = [name for name in MACROS if name != "CMSIS_NN" or (source / "third_party/cmsis_nn").is_dir()]
    lines = [line for name in macros for line in (f"#ifndef {name}", f"#define {name}", "#endif")]
    (source / "tflm_config.h").write_text("\n".join(["#pragma once", *lines, ""]))
    (source / "TensorFlowLite.h").write_text(
        f"#pragma once\n#include <tensorflow/lite/micro/micro_interpreter.h>\n#include <{MESSAGES}>\n"
    )
    (library / "library.properties").write_text(PROPERTIES)
    (library / "library.json").write_text(MANIFEST)


def main(tree: Path, library: Path) -> None:
    """Checks the arguments and makes the library; nothing is left where it fails."""
    if (tree / "tensorflow/lite/micro/tools/make/Makefile").exists():
        sys.exit(f"{tree} is TensorFlow Lite Micro's repository; give the tree that its create_tflm_tree.py writes")
    if not (tree / "tensorflow/lite/micro/micro_common.h").is_file():
        sys.exit(f"{tree} is no tree of TensorFlow Lite Micro: tensorflow/lite/micro/micro_common.h is missing")
    if not (tree / MESSAGES).is_file():
        sys.exit(f"{tree} is a tree for another target: make it with TARGET=cortex_m_generic ({MESSAGES} is missing)")
    if library.exists():
        sys.exit(f"{library} exists; give another folder, or delete it")
    partial = library.with_name(f".{library.name}.{os.getpid()}.partial")
    try:
        write_library(tree, partial)
        partial.rename(library)
    except OSError as error:
        sys.exit(f"cannot write {library}: {error}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python3 tflm_library.py TREE LIBRARY")
    main(*map(Path, sys.argv[1:]))
