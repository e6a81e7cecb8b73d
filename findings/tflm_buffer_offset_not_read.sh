#!/usr/bin/env bash
# Guess: a model whose constants lie behind the flatbuffer (fields offset and size of Buffer, which converters
# use for large models and on request) is read, or refused.
# What happens: TFLite Micro loads it without a message and takes each such constant for a tensor that
# an operator will compute: it reads whatever the arena holds, often zeros. LiteRT reads the constants.
# Version: tflite-micro 0.dev20260928214037, compared with ai-edge-litert 2.1.0.
# Misled: whoever converts with buffer offsets so that weights can be mapped from flash by address.
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

from ai_edge_litert.interpreter import Interpreter
from model import *

constant = np.array([1, 2, 3, 4], np.float32)
m = Model()
tensors = [m.tensor((1, 4), "float32") for _ in range(2)]
tensors.append(m.tensor((1, 4), "float32", data=constant))
m.graph(tensors, [0], [1], [m.op("ADD", [0, 2], [1], "AddOptions")])
buffer = m.model.buffers[tensors[2].buffer]
buffer.data, buffer.offset, buffer.size = None, 16, constant.nbytes
buffer.offset = -(-len(m.pack()) // 16) * 16
packed = m.pack()
packed += bytes(buffer.offset - len(packed)) + constant.tobytes()
zeros = np.zeros((1, 4), np.float32)
micro = runtime.Interpreter.from_bytes(packed, arena_size=10000)
micro.set_input(zeros, 0)
micro.invoke()
lite = Interpreter(model_content=packed)
lite.allocate_tensors()
lite.set_tensor(lite.get_input_details()[0]["index"], zeros)
lite.invoke()
seen = micro.get_output(0)[0].tolist(), lite.get_tensor(lite.get_output_details()[0]["index"])[0].tolist()
print(f"0 + {constant.tolist()}: TFLite Micro {seen[0]}, LiteRT {seen[1]}")
if seen[0] == constant.tolist() or seen[1] != constant.tolist():
    sys.exit("changed")
EOF
