#!/usr/bin/env bash
# Guess: an int8 FULLY_CONNECTED and a CONV_2D of 1x1 with the same numbers give the same codes by LiteRT's reference
# kernels, and the same as in TFLite Micro.
# What happens: LiteRT's FULLY_CONNECTED rounds a sum times its multiplier once; its CONV_2D and both of TFLite Micro
# round twice (to 31 bits, then to the code). Some codes in a thousand are others by one. The default kernels follow
# neither. TensorFlow 2.20 and 2.21 do the same; 2.17 rounded twice everywhere.
# Version: ai-edge-litert 2.1.0, compared with tflite-micro 0.dev20260928214037 and NumPy.
# Misled: whoever tests a device bit by bit against the host's interpreter, and updates it.
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

PYTHONPATH="$dir" "$dir/venv/bin/python" - <<'EOF'
import sys

from ai_edge_litert.interpreter import Interpreter, OpResolverType
from model import *

CHANNELS, UNITS, SCALES = 16, 8, (0.02, 0.005, 0.015)  # of input, weights and output
random = np.random.default_rng(0)
images = random.integers(-128, 128, (2000, CHANNELS)).astype(np.int8)
weights = random.integers(-127, 128, (UNITS, CHANNELS)).astype(np.int8)


def net(kind):
    m = Model()
    middle = [] if kind == "FULLY_CONNECTED" else [1, 1]
    per_filter = [SCALES[1]] * (1 if kind == "FULLY_CONNECTED" else UNITS)
    tensors = [
        m.tensor([1, *middle, CHANNELS], "int8", SCALES[0]),
        m.tensor([UNITS, *middle, CHANNELS], "int8", per_filter, data=weights),
        m.tensor([1, *middle, UNITS], "int8", SCALES[2]),
        m.tensor([UNITS], "int32", np.multiply(per_filter, SCALES[0]), data=np.zeros(UNITS, np.int32)),
    ]
    options = {"options": "FullyConnectedOptions"}
    if kind == "CONV_2D":
        options = {"options": "Conv2DOptions", "padding": 1, "strideH": 1, "strideW": 1}
        options |= {"dilationHFactor": 1, "dilationWFactor": 1}
    m.graph(tensors, [0], [2], [m.op(kind, [0, 1, 3], [2], **options)])
    m.model.operatorCodes[0].version = 4 if kind == "FULLY_CONNECTED" else 3
    return m.pack()


def in_litert(data, kernels):
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    codes = []
    for image in images:
        interpreter.set_tensor(source["index"], image.reshape(source["shape"]))
        interpreter.invoke()
        codes.append(interpreter.get_tensor(target["index"]).ravel())
    return np.array(codes)


def in_micro(data):
    interpreter = runtime.Interpreter.from_bytes(data)
    codes = []
    for image in images:
        interpreter.set_input(image.reshape(interpreter.get_input_details(0)["shape"]), 0)
        interpreter.invoke()
        codes.append(interpreter.get_output(0).ravel())
    return np.array(codes)


# A sum times a real multiplier in integers, rounded in one step, and in two: to 31 bits, then to the code.
fraction, exponent = np.frexp(float(np.float32(SCALES[0])) * float(np.float32(SCALES[1])) / float(np.float32(SCALES[2])))
multiplier, right = int(round(fraction * (1 << 31))), -int(exponent)
products = (images.astype(np.int64) @ weights.T.astype(np.int64)) * multiplier
once = (products + (1 << (30 + right))) >> (31 + right)
high = np.sign(products) * ((np.abs(products) + (1 << 30)) >> 31)
twice = np.sign(high) * ((np.abs(high) + (1 << (right - 1))) >> right)
expected = {"once": np.clip(once, -128, 127), "twice": np.clip(twice, -128, 127)}

seen = {}
for kind in ("FULLY_CONNECTED", "CONV_2D"):
    data = net(kind)
    answers = {
        "LiteRT, default kernels": in_litert(data, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES),
        "LiteRT, reference kernels": in_litert(data, OpResolverType.BUILTIN_REF),
        "TFLite Micro": in_micro(data),
    }
    for name, codes in answers.items():
        off = {how: int((codes != each).sum()) for how, each in expected.items()}
        print(f"{kind}, {name}: {off['once']} of {codes.size:,} codes differ from rounding once, {off['twice']} from twice")
        seen[kind, name] = [how for how, number in off.items() if number == 0]
sys.exit(not (
    seen["FULLY_CONNECTED", "LiteRT, reference kernels"] == ["once"]
    and seen["CONV_2D", "LiteRT, reference kernels"] == ["twice"]
    and seen["FULLY_CONNECTED", "TFLite Micro"] == seen["CONV_2D", "TFLite Micro"] == ["twice"]
))
EOF
