#!/usr/bin/env bash
# Guess: RELU6 on int8 works as RELU does: it clamps and converts from the input's scale to the output's.
# What happens: TFLite Micro's RELU converts, its RELU6 clamps and copies the bytes. Where both tensors have
# different scales, as converters write them for an activation that could not be fused, the numbers mean
# something else: -1.0 comes out as 3.01 and 6.0 as 3.29. No error. LiteRT's interpreter gives 0 and 6.
# Version: tflite-micro 0.dev20260928214037, compared with ai-edge-litert 2.1.0 (reference kernels).
# Misled: whoever checks the model in LiteRT and runs it on a microcontroller.
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

QUANTISED = np.array([[-2, 0, 2, 6, 12, 20]], np.int8)  # scale 0.5: -1, 0, 1, 3, 6, 10
seen = {}
for name in "RELU", "RELU6":
    m = Model()
    tensors = [m.tensor((1, 6), "int8", 0.5, 0), m.tensor((1, 6), "int8", 6 / 255, -128)]
    m.graph(tensors, [0], [1], [m.op(name, [0], [1])])
    micro = runtime.Interpreter.from_bytes(m.pack(), arena_size=10000)
    micro.set_input(QUANTISED, 0)
    micro.invoke()
    lite = Interpreter(
        model_content=m.pack(), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    lite.allocate_tensors()
    lite.set_tensor(lite.get_input_details()[0]["index"], QUANTISED)
    lite.invoke()
    outputs = micro.get_output(0), lite.get_tensor(lite.get_output_details()[0]["index"])
    seen[name] = [((q[0].astype(float) + 128) * 6 / 255).round(2).tolist() for q in outputs]
    print(f"{name} of -1, 0, 1, 3, 6, 10: TFLite Micro {seen[name][0]}, LiteRT {seen[name][1]}")
right = [0.0, 0.0, 1.01, 3.01, 6.0, 6.0]
if seen != {"RELU": [right, right], "RELU6": [[3.01, 3.01, 3.06, 3.15, 3.29, 3.29], right]}:
    sys.exit("changed")
EOF
