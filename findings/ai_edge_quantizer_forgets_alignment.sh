#!/usr/bin/env bash
# Guess: constants of a .tflite file lie at multiples of 16 bytes, whoever wrote it: the schema says
# force_align: 16 of them. An array that is aligned to 16 bytes in flash makes all of them aligned.
# What happens: the Python code that flatbuffers generates does not know force_align for a vector of bytes. Files of
# ai-edge-quantizer, which writes by it, have constants at any multiple of 4, even where the file that it was given
# had all of them at multiples of 16.
# Version: ai-edge-quantizer 0.10.0 with ai-edge-litert 2.3.0 and flatbuffers 25.12.19.
# Misled: whoever reads weights in place: kernels with vector or 64-bit loads, DMA, caches by lines.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  ai-edge-quantizer==0.10.0 ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.2.6

cat > "$dir/try.py" <<'END'
import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

float_file, int8_file = sys.argv[1] + "/float.tflite", sys.argv[1] + "/int8.tflite"


class AlignedBuffer(tfl.BufferT):
    """A buffer whose data begin at a multiple of 16, as the schema says."""

    def Pack(self, builder):
        if self.data is None:
            return super().Pack(builder)
        builder.Prep(16, len(self.data) + 4)
        builder.Pad(-(builder.Offset() + len(self.data)) % 16)
        data = builder.CreateByteVector(bytes(self.data))
        tfl.BufferStart(builder)
        tfl.BufferAddData(builder, data)
        return tfl.BufferEnd(builder)


def make(kind, /, **fields):
    made = getattr(tfl, kind + "T")()
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def tensor(name, shape, data=None):
    number = 0
    if data is not None:
        number = len(buffers)
        buffers.append(AlignedBuffer())
        buffers[-1].data = np.frombuffer(data.tobytes(), np.uint8)
    tensors.append(make("Tensor", shape=list(shape), type=tfl.TensorType.FLOAT32, name=name, buffer=number))
    return len(tensors) - 1


def places(path):
    """Where the constants of a file lie, modulo 16."""
    model = tfl.Model.GetRootAs(open(path, "rb").read(), 0)
    found = [model.Buffers(number) for number in range(model.BuffersLength())]
    return sorted({buffer._tab.Vector(buffer._tab.Offset(4)) % 16 for buffer in found if buffer.DataLength()})


random = np.random.default_rng(0)
buffers, tensors, operators = [make("Buffer")], [], []
last = tensor("image", (1, 64))
for number, (inputs, outputs) in enumerate(((64, 70), (70, 66), (66, 50))):
    weights = tensor(f"weights{number}", (outputs, inputs), random.normal(size=(outputs, inputs)).astype(np.float32))
    bias = tensor(f"bias{number}", (outputs,), random.normal(size=outputs).astype(np.float32))
    result = tensor(f"result{number}", (1, outputs))
    operators.append(make("Operator", inputs=[last, weights, bias], outputs=[result], opcodeIndex=0,
                          builtinOptionsType=tfl.BuiltinOptions.FullyConnectedOptions,
                          builtinOptions=make("FullyConnectedOptions")))
    last = result
code = tfl.BuiltinOperator.FULLY_CONNECTED
graph = make("SubGraph", tensors=tensors, inputs=[0], outputs=[last], operators=operators)
model = make("Model", version=3, buffers=buffers, subgraphs=[graph],
             operatorCodes=[make("OperatorCode", builtinCode=code, deprecatedBuiltinCode=code, version=1)])
builder = flatbuffers.Builder(1024)
builder.Finish(model.Pack(builder), b"TFL3")
open(float_file, "wb").write(bytes(builder.Output()))

asked = quantizer.Quantizer(float_file, recipe.dynamic_wi8_afp32())
asked.quantize().export_model(int8_file)
interpreter = Interpreter(int8_file)
interpreter.allocate_tensors()
interpreter.invoke()
before, after = places(float_file), places(int8_file)
print(f"constants modulo 16: {before} in the file that it was given, {after} in the one that it wrote")
if before != [0] or after == [0] or any(place % 4 for place in after):
    sys.exit("changed")
END
"$dir/venv/bin/python" "$dir/try.py" "$dir" 2> >(grep -v -E 'INFO|WARNING' >&2) | tail -1
