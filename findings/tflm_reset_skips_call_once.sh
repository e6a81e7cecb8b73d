#!/usr/bin/env bash
# Guess: Interpreter.reset() brings a model with variables back to its start: the next invoke runs the
# initialisation in CALL_ONCE again, or the variables keep what the initialisation wrote.
# What happens: reset() sets the variables to zero and CALL_ONCE counts as done, so the initial values never
# come back. A counter that starts at 5 gives 6, 7 after loading and 1, 2 after reset.
# Version: tflite-micro 0.dev20260928214037.
# Misled: whoever resets a streaming or recurrent model between recordings (state, running means, tables).
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
import sys

from model import *


def handle(m):
    return m.tensor((), "resource"), m.op("VAR_HANDLE", [], [0], "VarHandleOptions", sharedName="count")


m = Model()
variable, make_variable = handle(m)
make_variable.outputs = [1]
scalar = [m.tensor((1,), "float32") for _ in range(3)]
m.graph([scalar[0], variable, scalar[1], scalar[2]], [0], [3], [
    m.op("CALL_ONCE", [], [], "CallOnceOptions", initSubgraphIndex=1),
    make_variable,
    m.op("READ_VARIABLE", [1], [2], "ReadVariableOptions"),
    m.op("ADD", [2, 0], [3], "AddOptions"),
    m.op("ASSIGN_VARIABLE", [1, 3], [], "AssignVariableOptions")])
variable, make_variable = handle(m)
start = m.tensor((1,), "float32", data=np.array([5], np.float32))
m.graph([variable, start], [], [], [
    make_variable, m.op("ASSIGN_VARIABLE", [0, 1], [], "AssignVariableOptions")])
interpreter = runtime.Interpreter.from_bytes(m.pack(), arena_size=10000)


def count():
    interpreter.set_input(np.ones(1, np.float32), 0)
    interpreter.invoke()
    return float(interpreter.get_output(0)[0])


seen = [count(), count()]
interpreter.reset()
seen += [count(), count()]
print(f"a counter that starts at 5: {seen[:2]} after loading, {seen[2:]} after reset()")
if seen != [6.0, 7.0, 1.0, 2.0]:
    sys.exit("changed")
EOF
