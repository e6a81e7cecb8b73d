"""Reads, writes and builds `.tflite` flatbuffers through the object API of TensorFlow Lite's schema.

A flatbuffer is handled as a `ModelT`: plain Python objects with lists and NumPy arrays. `read` accepts nothing
but a file whose tables and indices hold together, since TensorFlow Lite's interpreters trust a file and read out of
bounds in a damaged one. `write` aligns every buffer to 16 bytes, as the schema demands and the generated Python
code forgets (it packs them 4-aligned); kernels with vector loads rely on it.
"""

from __future__ import annotations

import copy
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, SupportsIndex

import flatbuffers
import numpy as np
from flatbuffers import flexbuffers

from bcnet_keras.errors import ArgumentTypeError, FlatbufferError
from bcnet_keras.tflite.schema import schema as schema  # read from here too
from bcnet_keras.utils.types import Array

# Of an operator, in a rule for its kind: `schema.TensorT`s, and None for an input that it leaves out. A rule that needs
# that input fails with an AttributeError, which is told as damage.
Tensors = Sequence[Any]
FILE_IDENTIFIER = b"TFL3"
MIN_RUNTIME_VERSION = "min_runtime_version"

_DTYPES: dict[int, Any] = {
    schema.TensorType.FLOAT32: np.dtype(np.float32),
    schema.TensorType.FLOAT16: np.dtype(np.float16),
    schema.TensorType.FLOAT64: np.dtype(np.float64),
    schema.TensorType.INT8: np.dtype(np.int8),
    schema.TensorType.INT16: np.dtype(np.int16),
    schema.TensorType.INT32: np.dtype(np.int32),
    schema.TensorType.INT64: np.dtype(np.int64),
    schema.TensorType.UINT8: np.dtype(np.uint8),
    schema.TensorType.UINT16: np.dtype(np.uint16),
    schema.TensorType.UINT32: np.dtype(np.uint32),
    schema.TensorType.UINT64: np.dtype(np.uint64),
    schema.TensorType.BOOL: np.dtype(np.bool_),
}
_TYPE_NAMES: dict[int, str] = {
    value: name.lower() for name, value in vars(schema.TensorType).items() if not name.startswith("_")
}
_OP_NAMES: dict[int, str] = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
OFFLINE_PLAN = "OfflineMemoryAllocation"  # metadata: version, subgraph, number of tensors and their offsets, int32
ONLINE = -1  # offset of a tensor that such a plan leaves to the interpreter
_PLAN_ALIGNMENT = 16
_MOST_DIMENSIONS = 8  # TensorFlow Lite's kernels take up to 6
_UNREADABLE = (struct.error, ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError)
_READ_ERRORS = (*_UNREADABLE, TypeError, ValueError)


class _BoundedBytes(bytearray):
    """Bytes whose slices never run past the end: a string cut short must not be taken for a shorter string."""

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        if isinstance(key, slice) and key.stop is not None and key.stop > len(self):
            raise IndexError("slice past the end")
        return super().__getitem__(key)


class _AlignedBuffer(schema.BufferT):
    """A buffer whose data start at a multiple of 16 bytes in the file."""

    def Pack(self, builder: Any) -> int:  # noqa: N802 (name given by the generated code)
        if self.data is not None and len(self.data):
            # Pads so that the vector's first byte, written len(data) bytes on, lands on a multiple of 16.
            builder.Prep(16, len(self.data))
            data = builder.CreateByteVector(self.data.tobytes())
            schema.BufferStart(builder)
            schema.BufferAddData(builder, data)
        else:
            schema.BufferStart(builder)
        return int(schema.BufferEnd(builder))


def load(source: str | os.PathLike[str] | bytes) -> bytes:
    """Returns the bytes of a flatbuffer given as bytes or as the path of a file.

    Raises:
      FileNotFoundError: the path names no file.
      TypeError: `source` is neither bytes nor a path.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        if not os.path.isfile(source):
            raise FileNotFoundError(f"there is no file {os.fspath(source)!r}; give the path of a .tflite file")
        with open(source, "rb") as file:
            return file.read()
    raise ArgumentTypeError(f"expected the bytes or the path of a .tflite file, got {type(source).__name__}")


def read(data: bytes) -> schema.ModelT:
    """Parses and checks the bytes of a `.tflite` file; returns a `schema.ModelT`.

    Raises:
      ValueError: not a TensorFlow Lite file, one that is truncated or damaged, or one with constants outside.
    """
    data = bytes(data)
    if len(data) < 8 or data[4:8] != FILE_IDENTIFIER:
        found = "an empty file" if not data else f"{data[4:8]!r}"
        raise FlatbufferError(
            f"not a TensorFlow Lite flatbuffer: expected the file identifier {FILE_IDENTIFIER!r} at byte 4, found "
            f"{found}; give a .tflite file"
        )
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(_BoundedBytes(data), 0))
        _fill_empty(model)
        problem = _problem(model)
    except _READ_ERRORS as error:
        problem = f"a table or vector lies outside its {len(data)} bytes ({error})"
    if not problem and any(buffer.offset > 1 or buffer.size > 1 for buffer in model.buffers):  # 0 and 1: data inside
        raise FlatbufferError(
            "constants lie behind the flatbuffer's tables (buffers with an offset), which TensorFlow Lite Micro reads "
            "as empty; convert the model again without use_buffer_offset"
        )
    if problem:
        raise FlatbufferError(f"truncated or damaged TensorFlow Lite flatbuffer: {problem}; write the file again")
    return model


def write(model: schema.ModelT) -> bytes:
    """Packs a `schema.ModelT` into bytes, every buffer's data at a multiple of 16 bytes."""
    packed = copy.copy(model)
    packed.buffers = []
    for buffer in model.buffers:
        aligned = _AlignedBuffer()
        aligned.data = buffer.data
        packed.buffers.append(aligned)
    builder = flatbuffers.Builder(1024)
    builder.Finish(packed.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def rewrite(model: schema.ModelT) -> bytes:
    """Packs a `schema.ModelT` into bytes without tensors, buffers and operator codes that nothing uses."""
    return write(prune(model))


def prune(model: schema.ModelT) -> schema.ModelT:
    """Returns a copy of a `schema.ModelT` without tensors, buffers and operator codes that nothing uses."""
    builder, indices = Builder(model.description), []
    for number, source in enumerate(model.subgraphs):
        graph = builder.subgraph(source.name)
        indices.append(builder.splice(graph, model, number))
        graph.inputs, graph.outputs = indices[-1][source.inputs], indices[-1][source.outputs]
    for signature in model.signatureDefs:
        new = indices[signature.subgraphIndex]
        inputs, outputs = (
            {text(entry.name): new[entry.tensorIndex] for entry in entries}
            for entries in (signature.inputs, signature.outputs)
        )
        builder.signature(signature.subgraphIndex, inputs, outputs, text(signature.signatureKey))
    for entry in model.metadata:
        if text(entry.name) != OFFLINE_PLAN:  # a plan is of the tensors that were there
            builder.metadata(entry.name, metadata(model, text(entry.name)) or b"")
    return builder.model


def op_name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    """The name of an operator: that of the builtin (`CONV_2D`) or of the custom op (`LceBconv2d`)."""
    code = model.operatorCodes[operator.opcodeIndex]
    builtin = _builtin_code(code)
    return text(code.customCode) if builtin == schema.BuiltinOperator.CUSTOM else _OP_NAMES[builtin]


def operands(graph: schema.SubGraphT, operator: schema.OperatorT) -> tuple[Tensors, list[schema.TensorT]]:
    """The inputs of an operator, None for one that it leaves out, and its outputs."""
    inputs = [graph.tensors[index] if index >= 0 else None for index in operator.inputs]
    return inputs, [graph.tensors[index] for index in operator.outputs]


def called_subgraphs(operator: schema.OperatorT) -> tuple[int, ...]:
    """Indices of the subgraphs that an operator runs, as a tuple; empty for one that runs none.

    IF has its two branches, WHILE its condition and its body, CALL_ONCE the subgraph that initialises.
    """
    options = operator.builtinOptions
    if isinstance(options, schema.IfOptionsT):
        return options.thenSubgraphIndex, options.elseSubgraphIndex
    if isinstance(options, schema.WhileOptionsT):
        return options.condSubgraphIndex, options.bodySubgraphIndex
    if isinstance(options, schema.CallOnceOptionsT):
        return (options.initSubgraphIndex,)
    return ()


def resource_variables(model: schema.ModelT) -> dict[tuple[int, int], Any]:
    """The distinct variables that VAR_HANDLE operators name: a dict of (subgraph, tensor of the handle) to its name."""
    found = {}
    for number, graph in enumerate(model.subgraphs):
        for operator in graph.operators:
            options = operator.builtinOptions
            if isinstance(options, schema.VarHandleOptionsT) and len(operator.outputs):
                found[number, int(operator.outputs[0])] = text(options.container), text(options.sharedName)
    return found


def custom_options(operator: schema.OperatorT) -> dict[str, Any]:
    """The options of a custom operator: the map of its flexbuffer, as a dict.

    Raises ValueError when they are no such map.
    """
    data = b"" if operator.customOptions is None else np.asarray(operator.customOptions, np.uint8).tobytes()
    try:
        root = flexbuffers.GetRoot(data)
        options = None if root.IsMap and _nested(root.AsMap) else root.Value
    except (*_READ_ERRORS, AssertionError) as error:
        raise FlatbufferError(
            f"the options of a custom operator are damaged: {error or type(error).__name__}"
        ) from None
    if options is None:
        raise FlatbufferError("the options of a custom operator hold maps or lists of lists, expected a flat map")
    if not isinstance(options, dict):
        raise FlatbufferError(f"the options of a custom operator are {type(options).__name__}, expected a map")
    return options


def _nested(root: flexbuffers.Map) -> bool:
    """Whether options are not flat, as all are: offsets that lead to one another would take for ever to follow."""
    return any(
        each.IsMap or (each.IsVector and any(element.IsMap or element.IsVector for element in each.AsVector))
        for each in root.Values
    )


def encode_options(options: dict[str, Any]) -> bytes:
    """The bytes of a custom operator's options, a dict: a flexbuffer map of ints, floats, strings and float vectors."""
    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in sorted(options.items()):
            builder.Key(key)
            if isinstance(value, str):
                builder.String(value)
            elif isinstance(value, (int, np.integer)):
                builder.Int(int(value))
            elif np.ndim(value) == 0:
                builder.Float(float(value))
            else:
                builder.TypedVectorFromElements([float(v) for v in np.asarray(value)])
    return bytes(builder.Finish())


def custom_ops(model: schema.ModelT) -> set[str]:
    """The names of the custom operators that the file uses, as a set."""
    return {
        text(code.customCode) for code in model.operatorCodes if _builtin_code(code) == schema.BuiltinOperator.CUSTOM
    }


def type_name(tensor: schema.TensorT) -> str:
    """The name of a tensor's type, such as `int8`."""
    return _TYPE_NAMES[tensor.type]


def dtype(tensor: schema.TensorT) -> Any:
    """The NumPy type of a tensor's elements. Raises ValueError for a type that NumPy lacks."""
    if tensor.type not in _DTYPES:
        raise FlatbufferError(
            f"the tensor {text(tensor.name)[:40]!r} has the type {type_name(tensor)}, expected numbers; write the file "
            "again"
        )
    return _DTYPES[tensor.type]


def text(value: str | bytes | None) -> str:
    """A string of the flatbuffer as `str` (the object API gives bytes, or None when there is none)."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else (value or "")


def shape(tensor: schema.TensorT) -> tuple[int, ...]:
    """The shape of a tensor as a tuple of ints."""
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def is_constant(model: schema.ModelT, tensor: schema.TensorT) -> bool:
    """Whether the file holds the tensor's data."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def constant(model: schema.ModelT, tensor: schema.TensorT) -> Array | None:
    """The data of a constant tensor as an array of its type and shape; None for a tensor without data."""
    if not is_constant(model, tensor):
        return None
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
    return np.frombuffer(data.tobytes(), dtype(tensor)).reshape(shape(tensor))


def quantization(tensor: schema.TensorT) -> tuple[float, int] | None:
    """(scale, zero point) of a tensor that is quantised per tensor; None for any other."""
    parameters = tensor.quantization
    if parameters is None or parameters.scale is None or len(parameters.scale) != 1:
        return None
    zero_point = 0 if parameters.zeroPoint is None or not len(parameters.zeroPoint) else int(parameters.zeroPoint[0])
    return float(parameters.scale[0]), zero_point


def interface_names(model: schema.ModelT) -> tuple[list[str], list[str]]:
    """Names of the inputs and of the outputs of subgraph 0, in the order of its tensors, which interpreters go by.

    They are those of the file's first signature. Converters may order tensors otherwise than the model that they
    convert, and TensorFlow Lite Micro has no signatures, so only the names tell which is which. A tensor that no
    signature names has its own name.
    """
    graph = model.subgraphs[0]
    signature = next((each for each in model.signatureDefs if each.subgraphIndex == 0), None)
    sides = []
    for indices, entries in (
        (graph.inputs, signature.inputs if signature else ()),
        (graph.outputs, signature.outputs if signature else ()),
    ):
        named = {entry.tensorIndex: text(entry.name) for entry in entries}
        sides.append([named.get(int(index), text(graph.tensors[index].name)) for index in indices])
    return sides[0], sides[1]


def quantization_parameters(scale: float, zero_point: int) -> schema.QuantizationParametersT:
    """The schema's object for a scale and a zero point that hold for the whole tensor."""
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.array([scale], np.float32)
    parameters.zeroPoint = np.array([zero_point], np.int64)
    return parameters


def metadata(model: schema.ModelT, name: str) -> bytes | None:
    """The bytes of the metadata entry `name`, or None when the file has none."""
    for entry in model.metadata:
        if text(entry.name) == name:
            data = model.buffers[entry.buffer].data
            return b"" if data is None else np.asarray(data, np.uint8).tobytes()
    return None


def remove_metadata(model: schema.ModelT, name: str) -> None:
    """Takes the metadata entry `name` out of a parsed flatbuffer, with its buffer if nothing else has that."""
    gone = [entry for entry in model.metadata if text(entry.name) == name]
    model.metadata = [entry for entry in model.metadata if text(entry.name) != name]
    if getattr(model, "metadataBuffer", None) is not None:  # of old files: buffers of the metadata, by their numbers
        return
    holders: list[Any] = [*(tensor for graph in model.subgraphs for tensor in graph.tensors), *model.metadata]
    for number in sorted({entry.buffer for entry in gone} - {holder.buffer for holder in holders} - {0}, reverse=True):
        del model.buffers[number]
        for holder in holders:
            holder.buffer -= holder.buffer > number


def planned_offsets(model: schema.ModelT) -> Array | None:
    """The offsets that a flatbuffer gives its tensors, int32 [tensors of all subgraphs]; None where it has no plan.

    `ONLINE` leaves a tensor to the interpreter's planner (micro_allocation_info.cc: GetOfflinePlannedOffsets).

    Raises ValueError for a plan of another number of tensors, with which AllocateTensors fails, or for offsets that are
    not at multiples of 16 bytes.
    """
    data = metadata(model, OFFLINE_PLAN)
    if data is None:
        return None
    tensors = sum(len(graph.tensors) for graph in model.subgraphs)
    numbers = np.frombuffer(data[: len(data) // 4 * 4], "<i4")
    if len(numbers) != tensors + 3 or numbers[2] != tensors:
        raise FlatbufferError(
            f"the flatbuffer's memory plan is not of its {tensors} tensors; run the tool that wrote the plan again"
        )
    offsets = numbers[3:]
    if np.any((offsets != ONLINE) & ((offsets < 0) | (offsets % _PLAN_ALIGNMENT != 0))):
        raise FlatbufferError(
            f"the flatbuffer's memory plan has offsets that are no multiples of {_PLAN_ALIGNMENT} bytes; run the tool "
            "that wrote the plan again"
        )
    return offsets


class Builder:
    """Builds a flatbuffer of several subgraphs, each buffer and operator code in it only once."""

    def __init__(self, description: str | bytes | None) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = description
        self.model.operatorCodes = []
        self.model.subgraphs = []
        self.model.buffers = [schema.BufferT()]  # buffer 0 stands for "no data"
        self.model.metadata = []
        self.model.signatureDefs = []
        self._buffers = {b"": 0}
        self._codes: dict[tuple[int, str | bytes | None, int], int] = {}

    @classmethod
    def extending(cls, model: schema.ModelT) -> Builder:
        """A builder that appends to `model`, a `schema.ModelT`, in place."""
        builder = cls(model.description)
        builder.model, builder._buffers = model, {}
        return builder

    def buffer(self, data: Any) -> int:
        """Index of the buffer that holds `data` (bytes, array or None)."""
        data = b"" if data is None else data.tobytes() if isinstance(data, np.ndarray) else bytes(data)
        if data not in self._buffers:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data, np.uint8)
            self._buffers[data] = len(self.model.buffers)
            self.model.buffers.append(buffer)
        return self._buffers[data]

    def subgraph(self, name: str | bytes | None) -> schema.SubGraphT:
        """Appends an empty subgraph and returns it."""
        subgraph = schema.SubGraphT()
        subgraph.name = name
        subgraph.tensors, subgraph.operators = [], []
        self.model.subgraphs.append(subgraph)
        return subgraph

    def tensor(
        self,
        subgraph: schema.SubGraphT,
        name: str,
        type: int,
        shape: Sequence[int],
        quantization: Any = None,
        data: Any = None,
    ) -> int:
        """Appends a tensor to `subgraph` and returns its index. `quantization` is (scale, zero point)."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.type = type
        tensor.shape = np.array(shape, np.int32)
        tensor.hasRank = True
        tensor.buffer = self.buffer(data)
        if quantization is not None:
            tensor.quantization = quantization_parameters(*quantization)
        subgraph.tensors.append(tensor)
        return len(subgraph.tensors) - 1

    def constant(self, subgraph: schema.SubGraphT, name: str, value: Array) -> int:
        """Appends a constant int8, int32 or float32 tensor that holds the array `value`; returns its index."""
        types = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32, "int8": schema.TensorType.INT8}
        return self.tensor(subgraph, name, types[value.dtype.name], value.shape, data=value)

    def operator(
        self,
        subgraph: schema.SubGraphT,
        op: str | bytes,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        version: int = 1,
        custom_options: bytes | None = None,
    ) -> None:
        """Appends an operator. `op` is a builtin's name (`"ADD"`) or, as bytes, a custom op's (`b"BcnetGate"`).

        `options` is an object such as `schema.AddOptionsT()`; `custom_options` are the bytes of a flexbuffer.
        """
        operator = schema.OperatorT()
        if isinstance(op, bytes):
            operator.opcodeIndex = self._code(schema.BuiltinOperator.CUSTOM, op, version)
        else:
            operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, op), None, version)
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array(outputs, np.int32)
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
            operator.builtinOptions = options
        if custom_options is not None:
            operator.customOptions = np.frombuffer(custom_options, np.uint8)
        subgraph.operators.append(operator)

    def splice(
        self,
        subgraph: schema.SubGraphT,
        model: schema.ModelT,
        source: int = 0,
        prefix: str = "",
        leave_out: Callable[[str], bool] = lambda name: False,
    ) -> Array:
        """Copies subgraph `source` of `model` into `subgraph`; the names of its tensors get `prefix`.

        Tensors whose name `leave_out` accepts are left out, and with them the operators that write them; so are tensors
        that nothing uses.
        Returns the new indices of the tensors: an int for each tensor of the source, -1 for one left out.
        """
        graph = model.subgraphs[source]
        indices = np.full(len(graph.tensors), -1, np.int32)
        used = {index for holder in _holders(graph) for index in (*holder.inputs, *holder.outputs)}
        for index, tensor in enumerate(graph.tensors):
            if index not in used or leave_out(text(tensor.name)):
                continue
            moved = copy.deepcopy(tensor)
            moved.name = prefix + text(tensor.name)
            moved.buffer = self.buffer(model.buffers[tensor.buffer].data)
            indices[index] = len(subgraph.tensors)
            subgraph.tensors.append(moved)
        for operator in graph.operators:
            if any(indices[output] < 0 for output in operator.outputs):
                continue
            copied = copy.deepcopy(operator)
            code = model.operatorCodes[operator.opcodeIndex]
            copied.opcodeIndex = self._code(_builtin_code(code), code.customCode, code.version)
            copied.inputs = np.array([index if index < 0 else indices[index] for index in operator.inputs], np.int32)
            copied.outputs = indices[operator.outputs]
            subgraph.operators.append(copied)
        return indices

    def signature(
        self, subgraph_index: int, inputs: dict[str, int], outputs: dict[str, int], key: str = "serving_default"
    ) -> None:
        """Names the inputs and outputs of a subgraph: dicts of name to tensor index."""
        signature = schema.SignatureDefT()
        signature.signatureKey = key
        signature.subgraphIndex = subgraph_index
        signature.inputs = [_tensor_map(*item) for item in inputs.items()]
        signature.outputs = [_tensor_map(*item) for item in outputs.items()]
        self.model.signatureDefs.append(signature)

    def metadata(self, name: str | bytes | None, data: bytes) -> None:
        """Adds a metadata entry of bytes."""
        entry = schema.MetadataT()
        entry.name = name
        entry.buffer = self.buffer(data)
        self.model.metadata.append(entry)

    def min_runtime_version(self, least: str, models: Sequence[schema.ModelT]) -> None:
        """Writes the TensorFlow version that the file needs: `least` or more, as the `models` in it ask for."""
        versions = [least]
        for model in models:
            version = (metadata(model, MIN_RUNTIME_VERSION) or b"").rstrip(b"\0").decode("ascii", "replace")
            if version and all(part.isdigit() for part in version.split(".")):
                versions.append(version)
        newest = max(versions, key=lambda version: [int(part) for part in version.split(".")])
        self.metadata(MIN_RUNTIME_VERSION, newest.encode().ljust(16, b"\0"))  # converters write 16 bytes

    def finish(self) -> bytes:
        """Returns the bytes of the flatbuffer."""
        return write(self.model)

    def _code(self, builtin: int, custom: str | bytes | None, version: int) -> int:
        key = (builtin, custom, version)
        if key not in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = builtin
            code.deprecatedBuiltinCode = min(builtin, 127)  # what readers older than the wide field look at
            code.customCode = custom
            code.version = version
            self._codes[key] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(code)
        return self._codes[key]


def _tensor_map(name: str, index: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry


def _holders(graph: schema.SubGraphT) -> list[schema.SubGraphT | schema.OperatorT]:
    """What has inputs and outputs: a subgraph and its operators."""
    return [graph, *graph.operators]


def _builtin_code(code: schema.OperatorCodeT) -> int:
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _fill_empty(model: schema.ModelT) -> None:
    """Puts an empty list wherever the file leaves out a list, so that nobody has to ask for None."""
    for name in ("operatorCodes", "subgraphs", "buffers", "metadata", "signatureDefs"):
        setattr(model, name, getattr(model, name) or [])
    for graph in model.subgraphs:
        graph.tensors, graph.operators = graph.tensors or [], graph.operators or []
        for holder in _holders(graph):
            holder.inputs = np.array([], np.int32) if holder.inputs is None else holder.inputs
            holder.outputs = np.array([], np.int32) if holder.outputs is None else holder.outputs
    for signature in model.signatureDefs:
        signature.inputs, signature.outputs = signature.inputs or [], signature.outputs or []


def _problem(model: schema.ModelT) -> str | None:
    """The first thing about `model` that does not hold together, in words; None when everything does."""
    buffers, codes = model.buffers, model.operatorCodes
    if not model.subgraphs:
        return "it has no subgraph"
    for index, code in enumerate(codes):
        builtin = _builtin_code(code)
        if builtin not in _OP_NAMES or (builtin == schema.BuiltinOperator.CUSTOM and not code.customCode):
            return f"operator code {index} names no operator"
    for number, graph in enumerate(model.subgraphs):
        where = f"subgraph {number}"
        tensors = graph.tensors
        for index, tensor in enumerate(tensors):
            problem = _tensor_problem(tensor, buffers)
            if problem:
                return f"tensor {index} of {where} {problem}"
        if not _within(graph.inputs, len(tensors)) or not _within(graph.outputs, len(tensors)):
            return f"an input or output of {where} names no tensor"
        for index, operator in enumerate(graph.operators):
            if not 0 <= operator.opcodeIndex < len(codes):
                return f"operator {index} of {where} has no operator code"
            if not _within(operator.inputs, len(tensors), lowest=-1) or not _within(operator.outputs, len(tensors)):
                return f"operator {index} of {where} uses a tensor that does not exist"
            if not _within(called_subgraphs(operator), len(model.subgraphs)):
                return f"operator {index} of {where} runs a subgraph that does not exist"
    looping = _recursive_subgraph(model)
    if looping is not None:
        return f"subgraph {looping} runs itself, which never ends"
    for entry in model.metadata:
        if not 0 <= entry.buffer < len(buffers):
            return f"metadata {text(entry.name)!r} has no buffer"
    for signature in model.signatureDefs:
        if not 0 <= signature.subgraphIndex < len(model.subgraphs):
            return "a signature names a subgraph that does not exist"
        tensors = model.subgraphs[signature.subgraphIndex].tensors
        entries = [entry.tensorIndex for entry in signature.inputs + signature.outputs]
        if not _within(entries, len(tensors)):
            return "a signature names a tensor that does not exist"
    return None


def _recursive_subgraph(model: schema.ModelT) -> int | None:
    """Index of a subgraph that runs itself, through others too; None where there is none."""
    calls = [{called for o in graph.operators for called in called_subgraphs(o)} for graph in model.subgraphs]
    open_calls = set(range(len(calls)))
    while True:
        # A subgraph whose calls all end, ends itself.
        ended = {number for number in open_calls if not calls[number] & open_calls}
        if not ended:
            return min(open_calls, default=None)
        open_calls -= ended


def _tensor_problem(tensor: schema.TensorT, buffers: Sequence[schema.BufferT]) -> str | None:
    if tensor.type not in _TYPE_NAMES:
        return f"has the unknown type {tensor.type}"
    if not 0 <= tensor.buffer < len(buffers):
        return f"uses buffer {tensor.buffer} of {len(buffers)}"
    if len(shape(tensor)) > _MOST_DIMENSIONS:
        return f"has {len(shape(tensor))} dimensions"
    if any(size < 0 for size in shape(tensor)):
        return f"has the shape {list(shape(tensor))}"
    data = buffers[tensor.buffer].data
    if data is not None and len(data) and tensor.type in _DTYPES and tensor.sparsity is None:
        expected = int(np.prod(shape(tensor), dtype=object)) * _DTYPES[tensor.type].itemsize
        if len(data) != expected:
            return f"has {len(data)} bytes of data where its shape needs {expected}"
    return None


def _within(indices: Iterable[int], count: int, lowest: int = 0) -> bool:
    return all(lowest <= index < count for index in indices)
