"""What a firmware has to know of a flatbuffer."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bcnet_keras.convert.passes.add_gate import read_gate
from bcnet_keras.device.arena import REFERENCE, arena
from bcnet_keras.device.cost import CORES
from bcnet_keras.device.profile import code_size
from bcnet_keras.errors import BcnetError
from bcnet_keras.moved import renamed
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.metadata import metadata
from bcnet_keras.tflite.operators import CUSTOM_OPS, MICRO_OPS
from bcnet_keras.tflite.support import check_micro, remarks
from bcnet_keras.utils.types import StrPath

if TYPE_CHECKING:
    from bcnet_keras.tflite.flatbuffer import schema

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Names of which no namespace, header NAME.h or target of CMake can be made, in whatever case: file systems may not tell
# String.h from string.h. C++'s words, macros that GCC defines, headers of the C library and of Arduino, and what the
# operators and CMake itself have.
_TAKEN = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await
co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype default delete do
double dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable namespace
new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires return
short signed sizeof static static_assert static_cast struct switch template this thread_local throw true try typedef
typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq linux unix assert complex ctype
errno fenv inttypes iso646 limits locale main malloc math memory sched setjmp signal std stdalign stdarg stdatomic
stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar unistd wchar wctype arduino
bcnet bcnet_kernels bcnet_ops kernel_test tensorflowlite tflite all clean help install package rebuild_cache test
"""
_TYPES = ("int8", "uint8", "int16", "int32", "float32", "bool")
_SPARE = 3  # percent of the arena, for other versions of TensorFlow Lite Micro


@dataclass(frozen=True)
class TensorDescription:
    """An input or output: its name in the signature, name of its type, shape, and (scale, zero point) or None."""

    name: str
    type: str
    shape: tuple[int, ...]
    quantization: tuple[float, int] | None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class NetDescription:
    """A flatbuffer, sound and aligned, and what is known of it.

    Attributes:
      name: C identifier.
      origin: name of the file that it was read from, or "a flatbuffer".
      data: bytes of the flatbuffer.
      inputs, outputs: tuples of `TensorDescription`.
      builtin_ops, custom_ops: sorted names of the operators.
      labels: names of the classes, or None.
      thresholds: those of the gate, one or one per class; None for a net alone.
      raw_range, input_range: (low, high) of the data set's values and of the same as the net takes them, or None.
      code_size: bytes of code of the interpreter and the operators, as measured on a Cortex-M4.
      arena_size: bytes of the tensor arena.
      scratch_budget: bytes that a binary convolution may use of them.
      variables: number of resource variables.
      remarks: what TensorFlow Lite Micro does otherwise than TensorFlow Lite, sentences.
      verdict: how the pair compares with its int8 net; None where it was not judged.
    """

    name: str
    origin: str
    data: bytes
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    builtin_ops: tuple[str, ...]
    custom_ops: tuple[str, ...]
    labels: tuple[str, ...] | None
    thresholds: tuple[float, ...] | None
    raw_range: tuple[float, float] | None
    input_range: tuple[float, float] | None
    code_size: int
    arena_size: int
    scratch_budget: int
    variables: int
    remarks: tuple[str, ...]
    verdict: str | None


def describe(
    source: StrPath, name: str | None, arena_size: int | None, scratch_budget: int, core: str | None = None
) -> NetDescription:
    """Returns `NetDescription`; arguments and errors are those of `bcnet_keras.export.formats.export`."""
    model = flatbuffer.read(flatbuffer.load(source))
    origin = "a flatbuffer" if isinstance(source, (bytes, bytearray, memoryview)) else _printable(Path(source).name)
    builtin, custom = _operators(model)
    graph = model.subgraphs[0]
    inputs, outputs = (
        tuple(_tensor(graph.tensors[index], each) for index, each in zip(side, names, strict=True))
        for side, names in zip((graph.inputs, graph.outputs), flatbuffer.interface_names(model), strict=True)
    )
    if not inputs or not outputs:
        raise BcnetError("the flatbuffer has no input or no output; give one of a whole net")
    record = metadata(model) or {}
    gated = "measure" in record
    classes = outputs[0].shape[-1] if outputs[0].shape else 1
    thresholds = read_gate(model, record["measure"], classes)[1].threshold.reshape(-1).tolist() if gated else None
    labels = record.get("class_names")
    data = flatbuffer.write(model)
    return NetDescription(
        name=_name(name, origin),
        origin=origin,
        data=data,
        inputs=inputs,
        outputs=outputs,
        builtin_ops=builtin,
        custom_ops=custom,
        labels=None if labels is None else tuple(labels),
        thresholds=None if thresholds is None else tuple(thresholds),
        raw_range=record.get("raw_range"),
        input_range=record.get("input_range"),
        code_size=code_size({*builtin, *custom}),
        arena_size=_arena_size(data, arena_size, scratch_budget, core),
        scratch_budget=scratch_budget,
        variables=len(set(flatbuffer.resource_variables(model).values())),
        remarks=remarks(model),
        verdict=record.get("verdict"),
    )


def _operators(model: schema.ModelT) -> tuple[tuple[str, ...], tuple[str, ...]]:
    check_micro(model)
    names = {flatbuffer.op_name(model, operator) for graph in model.subgraphs for operator in graph.operators}
    return tuple(sorted(names & MICRO_OPS)), tuple(sorted(names & CUSTOM_OPS))


def _tensor(tensor: schema.TensorT, name: str) -> TensorDescription:
    type = flatbuffer.type_name(tensor)
    if type not in _TYPES:
        raise BcnetError(f"inputs and outputs must be {', '.join(_TYPES)}, found {type}")
    return TensorDescription(_printable(name), type, flatbuffer.shape(tensor), flatbuffer.quantization(tensor))


def _printable(text: str) -> str:
    """The text on one line: a name of a file may hold anything, and stands in comments of C++."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _name(name: str | None, origin: str) -> str:
    if name is None:
        stem = re.sub(r"[^a-z0-9]+", "_", Path(origin).stem.lower()).strip("_")
        name = f"{stem}_net" if re.match("[a-z]", stem) else f"net_{stem}" if stem else "net"
    if not _NAME.fullmatch(name):
        raise BcnetError(f"the name must be a C identifier (letters, digits, _; a letter first), got {name!r}")
    if name.lower() in _TAKEN.split():
        another = f"{name.lower()}_net"
        raise BcnetError(
            f"the name {name!r} is taken, by C++, a standard header or the build; give another, such as {another}"
        )
    return name


def _arena_size(data: bytes, wanted: int | None, scratch_budget: int, core: str | None) -> int:
    """Bytes of the arena, enough for the core, or for every core: `wanted`, where it is not too small."""
    if wanted is not None and (isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1):
        raise BcnetError(f"arena_size must be a whole number of bytes above 0, got {wanted!r}")
    if isinstance(scratch_budget, bool) or not isinstance(scratch_budget, int) or not 0 <= scratch_budget < 1 << 31:
        raise BcnetError(f"scratch_budget must be a whole number of bytes, 0 or more, got {scratch_budget!r}")
    if core is not None and core not in CORES:
        raise BcnetError(f"unknown core {core!r}: expected one of {', '.join(CORES)}")
    # Whoever builds TensorFlow Lite Micro without CMSIS-NN has its reference kernels.
    planned = [arena(data, each, scratch_budget) for each in (CORES if core is None else (core,)) + (REFERENCE,)]
    needed = max(each.bytes for each in planned)
    if wanted is None and planned[0].incomplete:
        raise BcnetError(
            f"the memory of {', '.join(planned[0].incomplete)} is not known, so that the arena may need more than "
            f"{needed} bytes; give arena_size, after a trial in TensorFlow Lite Micro's interpreter"
        )
    if wanted is not None and wanted < needed:
        raise BcnetError(f"an arena of {wanted} bytes is too small for this flatbuffer, which takes up to {needed}")
    return wanted or -(-needed * (100 + _SPARE) // 1600) * 16


__getattr__ = renamed(
    __name__,
    Facts=("NetDescription", NetDescription),
    TensorFacts=("TensorDescription", TensorDescription),
    read_facts=("describe", describe),
)
