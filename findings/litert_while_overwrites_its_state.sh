#!/usr/bin/env bash
# Guess: one pass of a WHILE computes all next values from the present ones: (a, b) -> (b, a) exchanges them, and
# (a, b) -> (a + b, a) are Fibonacci's numbers, as in TFLite Micro.
# What happens: LiteRT writes the body's results over the loop's values one after the other. A value that the body hands
# on unchanged to a later place is read after it was overwritten: (b, a) gives (b, b). No error is told, and the
# kernels, reference or not, and the delegate make no difference.
# Version: ai-edge-litert 2.1.0, compared with NumPy and tflite-micro 0.dev20260928214037.
# Misled: whoever checks a net with a loop on the host before it goes to a microcontroller, where it is right.
# TensorFlow 2.17.1 converts tf.while_loop over a + b, a into such a body.
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

PASSES = 3


def net(swap):
    """Returns a flatbuffer that loops over (i, a, b): (i + 1, b, a) if `swap`, else (i + 1, a + b, a)."""
    m = Model()

    def state():
        return [m.tensor((1,), "int32"), m.tensor((2,), "float32"), m.tensor((2,), "float32")]

    m.graph(state() + state(), [0, 1, 2], [3, 4, 5],
            [m.op("WHILE", [0, 1, 2], [3, 4, 5], "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)])
    m.graph(state() + [m.tensor((1,), "int32", data=np.array([PASSES], np.int32)), m.tensor((1,), "bool")],
            [0, 1, 2], [4], [m.op("LESS", [0, 3], [4], "LessOptions")])
    tensors = state() + [m.tensor((1,), "int32", data=np.array([1], np.int32)), m.tensor((1,), "int32")]
    operators = [m.op("ADD", [0, 3], [4], "AddOptions")]
    if not swap:
        tensors.append(m.tensor((2,), "float32"))
        operators.append(m.op("ADD", [1, 2], [5], "AddOptions"))
    m.graph(tensors, [0, 1, 2], [4, 2 if swap else 5, 1], operators)
    return m.pack()


start = [np.array([0], np.int32), np.array([1, 2], np.float32), np.array([5, 3], np.float32)]
changed = False
for swap in (True, False):
    a, b = start[1:]
    for _ in range(PASSES):
        a, b = (b, a) if swap else (a + b, a)
    right = [[PASSES], a.tolist(), b.tolist()]
    print(f"(a, b) -> {'(b, a)' if swap else '(a + b, a)'}, {PASSES} passes from {[x.tolist() for x in start[1:]]}")
    print(f"  NumPy:             {right[1:]}")
    micro = runtime.Interpreter.from_bytes(net(swap), arena_size=10000)
    for index, x in enumerate(start):
        micro.set_input(x, index)
    micro.invoke()
    output = [micro.get_output(index).tolist() for index in range(3)]
    print(f"  TFLite Micro:      {output[1:]}")
    changed |= output != right
    a, b = start[1:]
    for _ in range(PASSES):
        a = b if swap else a + b
        b = a  # which is overwritten by now
    for kind in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.BUILTIN_REF):
        lite = Interpreter(model_content=net(swap), experimental_op_resolver_type=kind)
        lite.allocate_tensors()
        for detail, x in zip(lite.get_input_details(), start):
            lite.set_tensor(detail["index"], x)
        lite.invoke()
        output = [lite.get_tensor(detail["index"]).tolist() for detail in lite.get_output_details()]
        print(f"  LiteRT:            {output[1:]}  ({kind.name})")
        changed |= output != [[PASSES], a.tolist(), b.tolist()] or output == right
if changed:
    sys.exit("changed")
EOF
