#!/usr/bin/env bash
# Guess: DEQUANTIZE of a weight tensor with a scale for each channel uses each channel's scale, or is refused.
# QUANTIZE refuses it.
# What happens: TFLite Micro uses the first scale for all channels, without an error. LiteRT's interpreter
# uses each channel's own.
# Version: tflite-micro 0.dev20260928214037, compared with ai-edge-litert 2.1.0 (reference kernels).
# Misled: whoever stores float weights as int8 for size (weight-only quantisation leaves DEQUANTIZE in the
# file): the first channel is right, the others are off by a factor.
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

WEIGHTS = np.array([[1, 2], [3, 4]], np.int8)
SCALES = [1.0, 10.0]
m = Model()
tensors = [m.tensor((2, 2), "int8", SCALES, data=WEIGHTS)] + [m.tensor((2, 2), "float32") for _ in range(3)]
m.graph(tensors, [2], [3], [
    m.op("DEQUANTIZE", [0], [1], "DequantizeOptions"), m.op("ADD", [1, 2], [3], "AddOptions")])
zeros = np.zeros((2, 2), np.float32)
micro = runtime.Interpreter.from_bytes(m.pack(), arena_size=10000)
micro.set_input(zeros, 0)
micro.invoke()
lite = Interpreter(model_content=m.pack(), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
lite.allocate_tensors()
lite.set_tensor(lite.get_input_details()[0]["index"], zeros)
lite.invoke()
seen = micro.get_output(0).tolist(), lite.get_tensor(lite.get_output_details()[0]["index"]).tolist()
print(f"{WEIGHTS.tolist()} with scales {SCALES} by row: TFLite Micro {seen[0]}, LiteRT {seen[1]}")
if seen != ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [30.0, 40.0]]):
    sys.exit("changed")
EOF
