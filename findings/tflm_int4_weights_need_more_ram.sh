#!/usr/bin/env bash
# Guess: weights in int4 halve the flash and leave the RAM as it is: they are unpacked a few at a time.
# What happens: the operator asks for a scratch buffer for all its weights as int8, in the arena. A
# fully connected layer of 256 x 256 saves 32 KB of flash and needs 64 KB more RAM: 46 times the arena of int8.
# Version: tflite-micro 0.dev20260928214037 (reference kernels); results are equal in both forms.
# Misled: whoever quantises to int4 to fit a small board: RAM is what it has least of.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  tflite-micro==0.dev20260928214037 flatbuffers==25.12.19 numpy==2.2.6

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
import os
import sys

from model import *

SIZE = 256
rng = np.random.default_rng(0)
weights = rng.integers(-7, 8, (SIZE, SIZE)).astype(np.int8)
x = rng.integers(-99, 99, (1, SIZE)).astype(np.int8)
low, high = weights.ravel()[0::2], weights.ravel()[1::2]
packed = (low & 15 | (high & 15) << 4).astype(np.uint8)


def build(dtype, data):
    m = Model()
    tensors = [
        m.tensor((1, SIZE), "int8", 0.5), m.tensor((SIZE, SIZE), dtype, 0.1, data=data),
        m.tensor((1, SIZE), "int8", 2.0)]
    m.graph(tensors, [0], [2], [
        m.op("FULLY_CONNECTED", [0, 1, -1], [2], "FullyConnectedOptions")])
    return m.pack()


def arena(model):
    """Returns the smallest arena that loads the model, to 16 bytes; its messages are dropped."""
    shown = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    below, enough = 0, 200_000
    while enough - below > 16:
        middle = (below + enough) // 2
        try:
            runtime.Interpreter.from_bytes(model, arena_size=middle)
            enough = middle
        except RuntimeError:
            below = middle
    os.dup2(shown, 2)
    return enough


seen, outputs = {}, []
for dtype, data in ("int8", weights), ("int4", packed):
    model = build(dtype, data)
    seen[dtype] = arena(model)
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=200_000)
    interpreter.set_input(x, 0)
    interpreter.invoke()
    outputs.append(interpreter.get_output(0))
    print(f"{dtype}: model {len(model)} bytes, arena {seen[dtype]} bytes")
if not np.array_equal(*outputs) or not seen["int4"] - seen["int8"] > SIZE * SIZE * 0.95:
    sys.exit("changed")
EOF
