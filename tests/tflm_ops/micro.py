"""What tests need of TensorFlow Lite Micro."""

import re
import shutil

from bcnet_keras.runtime import plugin


def include_flags(folder):
    """Compiler flags for the headers of the tree; what they lack is written to `folder`."""
    tree = plugin.tflm_tree()
    includes = [tree, *(tree / "third_party" / name for name in ("flatbuffers/include", "gemmlowp", "ruy"))]
    if not (tree / "signal").is_dir():  # a tree may leave the signal library out, whose headers the resolver includes
        resolver = (tree / "tensorflow/lite/micro/micro_mutable_op_resolver.h").read_text()
        names = sorted(set(re.findall(r"tflm_signal::(Register_\w+)\(", resolver)))
        stand_in = '#include "tensorflow/lite/micro/micro_common.h"\n'
        stand_in += "namespace tflite { namespace tflm_signal {\n"
        stand_in += "".join(f"TFLMRegistration* {name}();\n" for name in names) + "} }\n"
        for name in re.findall(r'#include "(signal/[^"]+)"', resolver):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"#pragma once\n{stand_in if name.endswith('irfft.h') else ''}")
        includes.append(folder)
    return [f"-isystem{path}" for path in includes]


def laid_out_tree(folder):
    """The tree as TensorFlow Lite Micro's create_tflm_tree.py writes it for cortex_m_generic.

    Where `plugin.tflm_tree()` is a clone of the repository with some of its third parties, the sources that its
    makefile names are copied to `folder`: with reference kernels, and without the signal library, which needs KISS FFT.
    """
    tree = plugin.tflm_tree()
    make = tree / "tensorflow/lite/micro/tools/make"
    if not make.is_dir():
        return tree
    lists = "".join(path.read_text() for path in (make / "sources.inc", make / "Makefile") if path.is_file())
    named = re.findall(r"\$\(TENSORFLOW_ROOT\)(tensorflow/lite/micro/kernels/\w+\.cc)", lists)
    micro = tree / "tensorflow/lite/micro"
    paths = {tree / name for name in named}
    for part in (".", "arena_allocator", "memory_planner", "tflite_bridge"):
        paths |= {path for path in (micro / part).glob("*.cc") if not path.stem.endswith("_test")}
    shared = {path for path in (tree / "tensorflow").rglob("*") if "experimental" not in path.parts}
    shared = {path for path in shared if micro not in path.parents and path.name not in ("array.cc", "array.h")}
    paths |= {path for path in shared if path.suffix in (".c", ".cc", ".h")}
    paths |= {path for part in (tree / "signal", micro) for path in part.rglob("*.h")}
    for special in (micro / "cortex_m_generic").glob("*.cc"):
        paths = (paths - {micro / special.name}) | {special}
    third = {"flatbuffers/include": "*.h", "gemmlowp/fixedpoint": "*.h", "gemmlowp/internal": "*.h", "ruy/ruy": "*.h"}
    paths |= {path for part, names in third.items() for path in (tree / "third_party" / part).rglob(names)}
    for path in paths:
        copy = folder / path.relative_to(tree)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return folder
