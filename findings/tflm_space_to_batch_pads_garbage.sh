#!/usr/bin/env bash
# Guess: SPACE_TO_BATCH_ND pads int8 maps with the zero point, so that the padding means 0.0, as PAD does.
# What happens: TFLite Micro pads with a field that it never sets: 0 as a rule, at times what lay in memory.
# With zero point -128, as behind a ReLU, the border means half of the range instead of nothing.
# LiteRT's interpreter pads with the zero point.
# Version: tflite-micro 0.dev20260928214037, compared with ai-edge-litert 2.1.0 (reference kernels).
# Misled: whoever deploys dilated convolutions, which come as SPACE_TO_BATCH_ND, CONV_2D and
# BATCH_TO_SPACE_ND where the converter cannot fold them: values near the border are wrong.
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

ZERO = -128
x = np.full((1, 2, 2, 1), 100, np.int8)
m = Model()
tensors = [
    m.tensor((1, 2, 2, 1), "int8", 0.1, ZERO),
    m.tensor((2,), "int32", data=np.array([2, 2], np.int32)),
    m.tensor((2, 2), "int32", data=np.array([[1, 1], [1, 1]], np.int32)),
    m.tensor((4, 2, 2, 1), "int8", 0.1, ZERO)]
m.graph(tensors, [0], [3], [m.op("SPACE_TO_BATCH_ND", [0, 1, 2], [3])])
lite = Interpreter(model_content=m.pack(), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
lite.allocate_tensors()
lite.set_tensor(lite.get_input_details()[0]["index"], x)
lite.invoke()
expected = lite.get_tensor(lite.get_output_details()[0]["index"])
print(f"LiteRT:       the padding is {sorted(set(expected.ravel().tolist()) - {100})}, zero point {ZERO}")
wrong = 0
for _ in range(5):
    micro = runtime.Interpreter.from_bytes(m.pack(), arena_size=10000)
    micro.set_input(x, 0)
    micro.invoke()
    output = micro.get_output(0)
    wrong += not np.array_equal(output, expected)
    print(f"TFLite Micro: the padding is {sorted(set(output.ravel().tolist()) - {100})}")
if not wrong or set(expected.ravel().tolist()) != {100, ZERO}:
    sys.exit("changed")
EOF
