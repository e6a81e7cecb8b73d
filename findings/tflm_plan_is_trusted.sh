#!/usr/bin/env bash
# Guess: an offline memory plan in a model's metadata belongs to one subgraph, which its second
# number names. A plan with tensors that overlap while both are in use fails in AllocateTensors, and
# an IF copies its inputs whatever the plan says.
# What happens: one table serves the tensors of all subgraphs, one after the other; the second
# number is not read. Nothing checks the offsets: a plan that lets two live tensors overlap loads,
# runs without an error and answers wrongly, and offsets that are no multiples of 16 are taken as
# they are. Where the plan puts an IF's input and the branch's into one place, they share it, and
# the arena is smaller by a whole map.
# Version: tflite-micro 0.dev20260928214037.
# Misled: whoever writes a plan for each subgraph, or trusts that AllocateTensors would notice a
# mistake in it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  tflite-micro==0.dev20260928214037 flatbuffers==25.12.19 numpy==2.2.6

cat > "$dir/try.py" <<'EOF'
import os
import sys

import flatbuffers
import numpy as np
from tflite_micro.python.tflite_micro import runtime
from tflite_micro.tensorflow.lite.python import schema_py_generated as tfl

SIZE = 1000
FLOAT32, BOOL = 0, 6


def make(kind, /, **fields):
    """Returns a schema object with its fields set."""
    obj = getattr(tfl, kind + "T")()
    for key, value in fields.items():
        setattr(obj, key, value)
    return obj


def pack(graphs, plan=None):
    """Packs graphs of (shapes and types, inputs, outputs, operators) with an offline plan."""
    model = make("Model", version=3, operatorCodes=[], subgraphs=[], buffers=[make("Buffer")], metadata=[])
    for tensors, inputs, outputs, operators in graphs:
        packed = []
        for name, sources, results, kind, options in operators:
            code = getattr(tfl.BuiltinOperator, name)
            model.operatorCodes.append(make("OperatorCode", builtinCode=code, deprecatedBuiltinCode=code, version=1))
            packed.append(make("Operator", opcodeIndex=len(model.operatorCodes) - 1, inputs=sources, outputs=results,
                               builtinOptionsType=getattr(tfl.BuiltinOptions, kind), builtinOptions=make(kind, **options)))
        model.subgraphs.append(make("SubGraph", inputs=inputs, outputs=outputs, operators=packed, tensors=[
            make("Tensor", shape=shape, type=dtype, name="t", buffer=0) for shape, dtype in tensors]))
    if plan is not None:
        model.buffers.append(make("Buffer", data=np.frombuffer(np.array(plan, np.int32).tobytes(), np.uint8)))
        model.metadata.append(make("Metadata", name="OfflineMemoryAllocation", buffer=1))
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def arena(model):
    """Returns the smallest arena that loads the model, to 16 bytes; its messages are dropped."""
    shown = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    below, enough = 0, 100_000
    while enough - below > 16:
        middle = (below + enough) // 2
        try:
            runtime.Interpreter.from_bytes(model, arena_size=middle)
            enough = middle
        except RuntimeError:
            below = middle
    os.dup2(shown, 2)
    return enough


def answer(model, *inputs):
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=100_000)
    for index, value in enumerate(inputs):
        interpreter.set_input(value, index)
    interpreter.invoke()
    return interpreter.get_output(0)


MAP = ([1, SIZE], FLOAT32)
# y = |x| + x: x, |x| and y are all in use in the last step.
SUM = [([MAP] * 3, [0], [2], [("ABS", [0], [1], "AbsOptions", {}), ("ADD", [1, 0], [2], "AddOptions", {})])]
x = np.linspace(-1, 1, SIZE, dtype=np.float32)[None]
right = np.abs(x) + x
good = answer(pack(SUM, [1, 0, 3, 0, 4000, 8000]), x)
odd = answer(pack(SUM, [1, 7, 3, 0, 4004, 8008]), x)
overlapping = answer(pack(SUM, [1, 0, 3, 0, 2000, 8000]), x)
print(f"largest error: good plan {np.abs(good - right).max():.3f}, offsets at multiples of 4 and subgraph 7 "
      f"{np.abs(odd - right).max():.3f}, overlapping {np.abs(overlapping - right).max():.3f}")

branch = ([MAP, MAP], [0], [1], [("ABS", [0], [1], "AbsOptions", {})])
chosen = ([([1], BOOL), MAP, MAP, MAP], [0, 1], [3], [
    ("NEG", [1], [2], "NegOptions", {}),
    ("IF", [0, 2], [3], "IfOptions", {"thenSubgraphIndex": 1, "elseSubgraphIndex": 2})])
graphs = [chosen, branch, branch]
# Tensors of the main graph, then of both branches: the NEG's result and the branches' inputs share a place.
shared = [1, 0, 8, -1, 0, 4000, 8000, 4000, 0, 4000, 0]
sizes = arena(pack(graphs)), arena(pack(graphs, shared))
same = np.array_equal(answer(pack(graphs, shared), np.array([True]), x), np.abs(x))
print(f"arena of an IF: {sizes[0]} bytes planned by the interpreter, {sizes[1]} with shared inputs, right: {same}")
if np.abs(good - right).max() or np.abs(odd - right).max() or not np.abs(overlapping - right).max() > 0.5:
    sys.exit("changed")
if not same or sizes[0] - sizes[1] < 3500:
    sys.exit("changed")
EOF
"$dir/venv/bin/python" "$dir/try.py"
