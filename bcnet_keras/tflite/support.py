"""What TensorFlow Lite Micro refuses, or reads wrongly, of a flatbuffer: told before the flatbuffer is on a board.

    check_micro(flatbuffer.read(data))      # ValueError with one sentence

The rules are those of TensorFlow Lite Micro's revision 90b983c: what the Prepare functions in its kernels folder check
of types. `bcnet_keras.tflite.operators` has those of each operator.
"""

from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer, operators
from bcnet_keras.tflite.operators import CUSTOM_OPS, MICRO_OPS
from bcnet_keras.tflite.verify import verify


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
    verify(model)
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
    record = operators.operator(name)
    inputs = [graph.tensors[index] if index >= 0 else None for index in operator.inputs]
    place = record.data_input
    if len(inputs) <= place or inputs[place] is None:
        return None  # the operator is damaged, which its cost says
    given = flatbuffer.type_name(inputs[place])
    where = f"TensorFlow Lite Micro has no {name} on {given}"
    if record.weights is not None and len(inputs) > 1 and inputs[1] is not None:
        weights = flatbuffer.type_name(inputs[1])
        if weights not in record.weights.get(given, ()):
            return f"{where} with weights of {weights}"
        outputs = [flatbuffer.type_name(graph.tensors[index]) for index in operator.outputs]
        if outputs and outputs[0] != given:
            return f"{where} that gives {outputs[0]}"
    if record.types is not None and given not in record.types:
        return where
    problems = (_CHECKS[check](name, given, inputs) for check in record.checks)
    return next((problem for problem in problems if problem), None)


def _one_scale(name, given, inputs):
    scales = _scales(inputs[0])
    return (
        f"TensorFlow Lite Micro's {name} applies the first of {scales} scales to all channels" if scales > 1 else None
    )


def _channel_scales_on_int8_only(name, given, inputs):
    if len(inputs) < 2 or inputs[1] is None:
        return None
    weights = flatbuffer.type_name(inputs[1])
    if _scales(inputs[1]) < 2 or (given, weights) == ("int8", "int8"):
        return None
    return f"TensorFlow Lite Micro has no {name} on {given} with weights of {weights} that have a scale for each output"


def _scales(tensor):
    quantization = tensor.quantization
    return 0 if quantization is None or quantization.scale is None else len(quantization.scale)


_CHECKS = {"one scale": _one_scale, "channel scales on int8 only": _channel_scales_on_int8_only}
