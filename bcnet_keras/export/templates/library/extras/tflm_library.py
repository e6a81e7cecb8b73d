"""Makes a library for Arduino and PlatformIO of a tree of TensorFlow Lite Micro.

    python3 tflm_library.py TREE LIBRARY

TREE is what TensorFlow Lite Micro's create_tflm_tree.py wrote. In LIBRARY, which must not exist, everything is found
from one include folder, src/, and sources end in .cpp, as the Arduino tools expect.
"""

import os
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
# What a tree may have beside the library: tests, programs, files of other targets.
LEFT_OUT = ("*_test.cc", "*_test.c", "test_*", "testing", "python", "examples", "benchmarks", "tools", "*.py", "BUILD*")
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
MANIFEST = '{"name": "TensorFlowLite", "version": "1.0.0", "build": {"flags": ["-std=gnu++17"]}}\n'


def adapted(path, text, nn):
    """The text of a source. Arduino defines no macros and no include folders for a library."""
    text = text.replace("TF_LITE_STATIC_MEMORY", "ARDUINO")
    if nn.is_dir():
        text = text.replace("defined(CMSIS_NN)", "defined(ARDUINO)")
        text = text.replace('#include "Include/arm_nn', '#include "third_party/cmsis_nn/Include/arm_nn')
    if nn / "Source" in path.parents:
        for header in (nn / "Include").rglob("*.h"):
            name = header.relative_to(nn / "Include").as_posix()
            text = text.replace(f'#include "{name}"', f'#include "third_party/cmsis_nn/Include/{name}"')
    return text


def main(tree, library):
    tree, library = Path(tree), Path(library)
    if not (tree / "tensorflow/lite/micro/micro_common.h").is_file():
        sys.exit(f"{tree} is no tree of TensorFlow Lite Micro: tensorflow/lite/micro/micro_common.h is missing")
    if library.exists():
        sys.exit(f"{library} exists; give another folder, or delete it")
    partial = library.with_name(f".{library.name}.{os.getpid()}.partial")
    source = partial / "src"
    for origin, target in FOLDERS.items():
        if (tree / origin).is_dir():
            shutil.copytree(tree / origin, source / target, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for path in sorted(source.rglob("*.cc")):
        path.rename(path.with_suffix(".cpp"))
    nn = source / "third_party/cmsis_nn"
    for path in sorted(source.rglob("*.*")):
        if path.suffix in (".h", ".c", ".cpp"):
            path.write_text(adapted(path, path.read_text(errors="surrogateescape"), nn), errors="surrogateescape")
    (source / "TensorFlowLite.h").write_text("#pragma once\n#include <tensorflow/lite/micro/micro_interpreter.h>\n")
    (partial / "library.properties").write_text(PROPERTIES)
    (partial / "library.json").write_text(MANIFEST)
    partial.rename(library)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python3 tflm_library.py TREE LIBRARY")
    main(*sys.argv[1:])
