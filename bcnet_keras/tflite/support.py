"""What TensorFlow Lite Micro refuses, or reads wrongly, of a flatbuffer: told before the flatbuffer is on a board.

    check_micro(flatbuffer.read(data))      # ValueError with one sentence

The rules are those of TensorFlow Lite Micro's revision 90b983c: the operators of micro_mutable_op_resolver.h, and what
the Prepare functions in its kernels folder check of types.
"""

from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.operators import CUSTOM_OPS, MICRO_OPS

# Operators with weights -> types of the weights by type of the input.
_WITH_INT4 = {"float32": {"float32"}, "int8": {"int8", "int4"}, "int16": {"int8"}}
_WEIGHTED = {
    "CONV_2D": _WITH_INT4,
    "DEPTHWISE_CONV_2D": _WITH_INT4,
    "FULLY_CONNECTED": _WITH_INT4,
    "TRANSPOSE_CONV": {"float32": {"float32"}, "int8": {"int8"}, "int16": {"int8"}},
}
_DATA_INPUT = {"TRANSPOSE_CONV": 2}  # where it is not the first
_THREE_TYPES = {"float32", "int8", "int16"}
# Operator -> types of its first input. Those that copy or compare any type are left out.
_INPUT_TYPES = {
    "DEQUANTIZE": {"int8", "int16", "uint8"},
    "QUANTIZE": {"float32", "int32", "int16", "int8", "uint8"},
    "MAX_POOL_2D": _THREE_TYPES,
    "AVERAGE_POOL_2D": _THREE_TYPES,
    "SOFTMAX": _THREE_TYPES,
    "LOGISTIC": _THREE_TYPES,
    "TANH": _THREE_TYPES,
    "LEAKY_RELU": _THREE_TYPES,
    "RELU": _THREE_TYPES,
    "RELU6": _THREE_TYPES,
    "HARD_SWISH": {"float32", "int8"},
    "ELU": {"float32", "int8"},
    "ADD": {*_THREE_TYPES, "int32"},
    "SUB": {*_THREE_TYPES, "int32"},
    "MUL": {*_THREE_TYPES, "int32"},
    "MEAN": _THREE_TYPES,
    "SUM": _THREE_TYPES,
    **dict.fromkeys(("FLOOR", "CEIL", "ROUND", "EXP", "SIN", "COS", "LOG", "SQRT", "SQUARE"), {"float32"}),
}


def check_micro(model):
    """Raises ValueError, with one sentence that says what to do, where TensorFlow Lite Micro cannot run `model`.

    Arguments:
      model: a `schema.ModelT`, as `flatbuffer.read` gives it.
    """
    names = {flatbuffer.op_name(model, operator) for graph in model.subgraphs for operator in graph.operators}
    missing = sorted(names - MICRO_OPS - CUSTOM_OPS)
    if missing:
        raise FlatbufferError(
            f"TensorFlow Lite Micro lacks the operator{'s' * (len(missing) > 1)} {', '.join(missing)}; expected its "
            f"builtin ones and {', '.join(sorted(CUSTOM_OPS))}"
        )
    for buffer in model.buffers:
        if buffer.offset > 1 or buffer.size > 1:  # 0 and 1 stand for data inside
            raise FlatbufferError(
                "constants lie behind the flatbuffer's tables (buffers with an offset), which TensorFlow Lite Micro "
                "reads as empty; convert the model again without use_buffer_offset"
            )
    for graph in model.subgraphs:
        for index in (*graph.inputs, *graph.outputs):
            _check_dimensions(graph.tensors[index])
        for operator in graph.operators:
            problem = _types_problem(flatbuffer.op_name(model, operator), graph, operator)
            if problem:
                raise FlatbufferError(f"{problem}; quantise weights and activations both to int8, or neither")


def _check_dimensions(tensor):
    signature = () if tensor.shapeSignature is None else tuple(int(size) for size in tensor.shapeSignature)
    unknown = [number for number, size in enumerate(signature) if size < 0 and number]
    if unknown:
        raise FlatbufferError(
            f"the tensor {flatbuffer.text(tensor.name)!r} has unknown dimensions {list(signature)}, of which only the "
            "first, the batch, may be unknown: TensorFlow Lite Micro takes the rest for 1; convert the model again "
            "with an input of known size"
        )


def _types_problem(name, graph, operator):
    """What TensorFlow Lite Micro does not take of an operator's types; None where it takes them."""
    inputs = [graph.tensors[index] if index >= 0 else None for index in operator.inputs]
    place = _DATA_INPUT.get(name, 0)
    if len(inputs) <= place or inputs[place] is None:
        return None  # the operator is damaged, which its cost says
    given = flatbuffer.type_name(inputs[place])
    where = f"TensorFlow Lite Micro has no {name} on {given}"
    if name in _WEIGHTED and len(inputs) > 1 and inputs[1] is not None:
        weights = flatbuffer.type_name(inputs[1])
        if weights not in _WEIGHTED[name].get(given, ()):
            return f"{where} with weights of {weights}"
        outputs = [flatbuffer.type_name(graph.tensors[index]) for index in operator.outputs]
        if outputs and outputs[0] != given:
            return f"{where} that gives {outputs[0]}"
        quantization = inputs[1].quantization
        scales = 0 if quantization is None or quantization.scale is None else len(quantization.scale)
        if name == "FULLY_CONNECTED" and scales > 1 and (given, weights) != ("int8", "int8"):
            return f"{where} with weights of {weights} that have a scale for each output"
    if name in _INPUT_TYPES and given not in _INPUT_TYPES[name]:
        return where
    if name == "DEQUANTIZE":
        quantization = inputs[0].quantization
        scales = 0 if quantization is None or quantization.scale is None else len(quantization.scale)
        if scales > 1:
            return f"TensorFlow Lite Micro's DEQUANTIZE applies the first of {scales} scales to all channels"
    return None
