"""Flatbuffers of single operators, written with the schema's object API, and their outputs in LCE's interpreter."""

from dataclasses import dataclass, field

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from bcnet_keras.runtime import kernels
from bcnet_keras.tflite import flatbuffer, lce

TENSOR_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "bool": schema.TensorType.BOOL,
}


@dataclass
class Tensor:
    """A tensor of an operator: its value (of a constant or an input) or its shape and type (of an output)."""

    shape: tuple
    dtype: str
    value: np.ndarray | None = None
    scale: float | None = None
    zero_point: int = 0
    constant: bool = False

    @classmethod
    def of(cls, value, **kwargs):
        value = np.asarray(value)
        dtype = "int32" if value.dtype == np.uint32 else value.dtype.name
        return cls(value.shape, dtype, value.view(np.int32) if value.dtype == np.uint32 else value, **kwargs)


@dataclass
class Node:
    """A custom operator; an input of None is an absent optional one."""

    name: str
    inputs: list
    output: Tensor
    options: dict | bytes = field(default_factory=dict)  # bytes: as a flatbuffer holds them

    def option_bytes(self):
        if isinstance(self.options, bytes):
            return self.options
        return flatbuffer.encode_options(self.options) if self.options else b""


def model(nodes):
    """A flatbuffer in which each node is a branch of its own: its non-constant inputs are inputs of the graph."""
    result = schema.ModelT()
    result.version = 3
    result.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph_inputs, graph_outputs = [], [], [], []
    names = sorted({node.name for node in nodes})
    result.operatorCodes = []
    for name in names:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = name.encode()
        code.version = 1
        result.operatorCodes.append(code)

    def add(tensor):
        t = schema.TensorT()
        t.name = f"t{len(graph.tensors)}".encode()
        t.shape = np.array(tensor.shape, np.int32)
        t.type = TENSOR_TYPES[tensor.dtype]
        t.buffer = 0
        if tensor.constant:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(tensor.value).tobytes(), np.uint8)
            result.buffers.append(buffer)
            t.buffer = len(result.buffers) - 1
        if tensor.scale is not None:
            t.quantization = schema.QuantizationParametersT()
            t.quantization.scale = np.array([tensor.scale], np.float32)
            t.quantization.zeroPoint = np.array([tensor.zero_point], np.int64)
        graph.tensors.append(t)
        return len(graph.tensors) - 1

    for node in nodes:
        operator = schema.OperatorT()
        operator.opcodeIndex = names.index(node.name)
        ids = [-1 if tensor is None else add(tensor) for tensor in node.inputs]
        operator.inputs = np.array(ids, np.int32)
        graph_inputs += [i for i, t in zip(ids, node.inputs, strict=True) if t is not None and not t.constant]
        graph_outputs.append(add(node.output))
        operator.outputs = np.array(graph_outputs[-1:], np.int32)
        if node.options:
            operator.customOptions = np.frombuffer(node.option_bytes(), np.uint8)
        graph.operators.append(operator)
    graph.inputs = np.array(graph_inputs, np.int32)
    graph.outputs = np.array(graph_outputs, np.int32)
    result.subgraphs = [graph]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(result.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def run_lce(nodes, reference=True):
    """The output of each node in LCE's interpreter, with its reference or its optimised binary convolution."""
    interpreter = lce.interpreter_class()(model(nodes), use_reference_bconv=reference).interpreter
    inputs = [t.value for node in nodes for t in node.inputs if t is not None and not t.constant]
    outputs = interpreter.predict(inputs)
    return [o.view(np.uint32) if o.dtype == np.int32 else o for o in outputs]


def run_kernels(node, **kwargs):
    """The output of a node in the kernels of tflm_ops; keyword arguments are those of `kernels.bconv2d`."""
    x, out = node.inputs[0], node.output
    value = x.value.view(np.uint32) if x.dtype == "int32" else x.value
    if node.name == "LceQuantize":
        return kernels.quantize(value, zero_point=x.zero_point)
    if node.name == "LceDequantize":
        return kernels.dequantize(value, out.shape[-1], out.dtype, out.scale or 1.0, out.zero_point)
    if node.name == "LceBMaxPool2d":
        return kernels.bmaxpool2d(value, node.option_bytes(), out.shape)
    filters, multiplier, bias, thresholds = (None if t is None else t.value for t in node.inputs[1:])
    return kernels.bconv2d(
        value,
        filters.view(np.uint32),
        node.option_bytes(),
        out.shape,
        np.uint32 if out.dtype == "int32" else out.dtype,
        multiplier=multiplier,
        bias=bias,
        thresholds=thresholds,
        scale=out.scale or 1.0,
        zero_point=out.zero_point,
        **kwargs,
    )
