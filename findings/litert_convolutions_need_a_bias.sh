#!/usr/bin/env bash
# Guess: the bias of a layer may be left out, as the schema and TFLite Micro have it, in all kinds of
# layers or in none.
# What happens: LiteRT's reference kernels run a FULLY_CONNECTED and a DEPTHWISE_CONV_2D without a bias
# and refuse a CONV_2D ("has_bias was not true"), in float32 and in int8. TFLite Micro runs all of them.
# Version: ai-edge-litert 2.1.0, compared with tflite-micro 0.dev20260928214037.
# Misled: whoever writes flatbuffers without a converter, or drops biases of zeros to save flash, tests
# on a microcontroller and checks accuracy on a host.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  tflite-micro==0.dev20260928214037 flatbuffers==25.12.19 numpy==2.2.6 ai-edge-litert==2.1.0

cat > "$dir/try.py" <<'EOF'
import sys

import flatbuffers
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime
from tflite_micro.tensorflow.lite.python import schema_py_generated as tfl

OPS = tfl.BuiltinOperator
KINDS = {
    "CONV_2D": (tfl.Conv2DOptionsT, "Conv2DOptions", (1, 4, 4, 2), (3, 1, 1, 2), (1, 4, 4, 3)),
    "DEPTHWISE_CONV_2D": (tfl.DepthwiseConv2DOptionsT, "DepthwiseConv2DOptions", (1, 4, 4, 2), (1, 1, 1, 2), (1, 4, 4, 2)),
    "FULLY_CONNECTED": (tfl.FullyConnectedOptionsT, "FullyConnectedOptions", (1, 8), (3, 8), (1, 3)),
}


def model(name, type):
    """One layer without a bias, whose inputs are the data and the weights."""
    options, union, *shapes = KINDS[name]
    graph, result = tfl.SubGraphT(), tfl.ModelT()
    graph.tensors, result.buffers = [], [tfl.BufferT(), tfl.BufferT()]
    for number, shape in enumerate(shapes):
        tensor = tfl.TensorT()
        tensor.shape, tensor.type, tensor.name = list(shape), getattr(tfl.TensorType, type), f"t{number}"
        tensor.buffer = 1 if number == 1 else 0
        if type == "INT8":
            tensor.quantization = tfl.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [0]
        graph.tensors.append(tensor)
    size = int(np.prod(shapes[1]))
    result.buffers[1].data = np.ones(size, np.int8 if type == "INT8" else np.float32).view(np.uint8)
    operator, code = tfl.OperatorT(), tfl.OperatorCodeT()
    operator.inputs, operator.outputs, operator.opcodeIndex = [0, 1], [2], 0
    operator.builtinOptions = options()
    operator.builtinOptionsType = getattr(tfl.BuiltinOptions, union)
    for field in ("strideH", "strideW", "depthMultiplier", "dilationHFactor", "dilationWFactor"):
        if hasattr(operator.builtinOptions, field):
            setattr(operator.builtinOptions, field, 1)
    code.builtinCode = code.deprecatedBuiltinCode = getattr(OPS, name)
    code.version = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4}[name]
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [2]
    result.version, result.subgraphs, result.operatorCodes = 3, [graph], [code]
    builder = flatbuffers.Builder(0)
    builder.Finish(result.Pack(builder), b"TFL3")
    return bytes(builder.Output()), shapes[0]


def in_litert(data, given):
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def in_micro(data, given):
    interpreter = runtime.Interpreter.from_bytes(data)
    interpreter.set_input(given, 0)
    interpreter.invoke()
    return interpreter.get_output(0)


found = {}
for name in KINDS:
    for type in ("FLOAT32", "INT8"):
        data, shape = model(name, type)
        given = np.full(shape, 2, np.int8 if type == "INT8" else np.float32)
        answers = {}
        for place, run in (("LiteRT", in_litert), ("TFLite Micro", in_micro)):
            try:
                answers[place] = "runs, first value " + str(run(data, given).ravel()[0])
            except (RuntimeError, ValueError) as error:
                answers[place] = "refuses: " + " ".join(str(error).split())[:70]
        print(f"{name} {type}: " + "; ".join(f"{place} {answer}" for place, answer in answers.items()))
        found[name, type] = [answer.startswith("runs") for answer in answers.values()]
expected = {(name, type): [name != "CONV_2D", True] for name, type in found}
if found != expected:
    sys.exit("changed")
EOF
"$dir/venv/bin/python" "$dir/try.py" 2>/dev/null
