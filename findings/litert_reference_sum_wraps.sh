#!/usr/bin/env bash
# Guess: the reference kernels are the slow ones that are right: SUM on int8 saturates at 127 as the optimised
# kernel does, and int16 is handled.
# What happens: with BUILTIN_REF a SUM of int8 that leaves the range wraps (300 becomes -1 or another
# number) and a SUM of int16 returns numbers without meaning. The default kernels and TFLite Micro saturate.
# Version: ai-edge-litert 2.1.0, compared with its default kernels and tflite-micro 0.dev20260928214037.
# Misled: whoever takes OpResolverType.BUILTIN_REF for the standard against which kernels are tested.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  tflite-micro==0.dev20260928214037 flatbuffers==25.12.19 numpy==2.2.6 ai-edge-litert==2.1.0

cat > "$dir/model.py" <<'EOF'
import flatbuffers
import numpy as np
from tflite_micro.python.tflite_micro import runtime
from tflite_micro.tensorflow.lite.python import schema_py_generated as tfl

OPS, OPTIONS = tfl.BuiltinOperator, tfl.BuiltinOptions
TYPES = {"int8": 9, "int16": 7, "int32": 2, "float32": 0, "resource": 13, "int4": 17, "bool": 6}


def make(kind, /, **fields):
    """Returns a schema object with its fields set."""
    obj = getattr(tfl, kind + "T")()
    for key, value in fields.items():
        setattr(obj, key, value)
    return obj


class Model:
    """A TensorFlow Lite model, written graph by graph."""

    def __init__(self):
        self.model = make("Model", version=3, operatorCodes=[], subgraphs=[], buffers=[make("Buffer")])

    def tensor(self, shape, dtype, scale=None, zero=0, data=None):
        t = make("Tensor", shape=list(shape), type=TYPES[dtype], name="t", buffer=0)
        if scale is not None:
            scale = list(np.ravel(scale))
            t.quantization = make("QuantizationParameters", scale=scale, zeroPoint=[zero] * len(scale))
        if data is not None:
            t.buffer = len(self.model.buffers)
            self.model.buffers.append(make("Buffer", data=np.frombuffer(data.tobytes(), np.uint8)))
        return t

    def op(self, code_name, inputs, outputs, options=None, **fields):
        code = getattr(OPS, code_name)
        self.model.operatorCodes.append(
            make("OperatorCode", builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=1))
        o = make("Operator", opcodeIndex=len(self.model.operatorCodes) - 1, inputs=inputs, outputs=outputs)
        if options:
            o.builtinOptionsType = getattr(OPTIONS, options)
            o.builtinOptions = make(options, **fields)
        return o

    def graph(self, tensors, inputs, outputs, operators):
        self.model.subgraphs.append(
            make("SubGraph", tensors=tensors, inputs=inputs, outputs=outputs, operators=operators))

    def pack(self):
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
EOF

PYTHONPATH="$dir" "$dir/venv/bin/python" - "$dir" <<'EOF'
import sys

from ai_edge_litert.interpreter import Interpreter, OpResolverType
from model import *

seen = {}
for dtype, values in ("int8", [30, 60, 90, 120]), ("int16", [10, 20, 30, 40]):
    x = np.array([values], dtype)
    m = Model()
    tensors = [
        m.tensor((1, 4), dtype, 0.1), m.tensor((1,), "int32", data=np.array([1], np.int32)),
        m.tensor((1,), dtype, 0.1)]
    m.graph(tensors, [0], [2], [m.op("SUM", [0, 1], [2], "ReducerOptions")])
    micro = runtime.Interpreter.from_bytes(m.pack(), arena_size=10000)
    micro.set_input(x, 0)
    micro.invoke()
    seen[dtype] = [micro.get_output(0).item()]
    for resolver in OpResolverType.AUTO, OpResolverType.BUILTIN_REF:
        lite = Interpreter(model_content=m.pack(), experimental_op_resolver_type=resolver)
        lite.allocate_tensors()
        lite.set_tensor(lite.get_input_details()[0]["index"], x)
        lite.invoke()
        seen[dtype].append(lite.get_tensor(lite.get_output_details()[0]["index"]).item())
    print(f"SUM of {values} in {dtype}: TFLite Micro {seen[dtype][0]}, "
          f"LiteRT {seen[dtype][1]}, its reference kernel {seen[dtype][2]}")
if seen["int8"][:2] != [127, 127] or seen["int16"][:2] != [100, 100]:
    sys.exit("changed: the others")
if seen["int8"][2] == 127 or seen["int16"][2] == 100:
    sys.exit("changed: the reference kernel is right")
EOF
