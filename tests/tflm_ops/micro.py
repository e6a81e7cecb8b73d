"""What tests need of TensorFlow Lite Micro."""

import re

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
