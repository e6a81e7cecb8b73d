"""Adds the operators of ``tflm_ops`` to the interpreter of the ``tflite-micro`` wheel.

The operators are compiled on first use against a tree of TensorFlow Lite Micro: ``$TFLM_DIR`` or
``~/.cache/bcnet/tflm``, laid out as TensorFlow Lite Micro's own ``create_tflm_tree.py`` writes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bcnet_keras.errors import ToolError
from bcnet_keras.runtime import kernels, native
from bcnet_keras.tflite import flatbuffer, operators
from bcnet_keras.utils.silence import captured_output

REGISTERER = "RegisterBcnetOps"  # what the wheel looks up

_SOURCES = ["tflm_ops/host/plugin.cc", *(f"tflm_ops/{source}" for source in operators.kernel_sources())]
_THIRD_PARTY = ("flatbuffers/include", "gemmlowp", "ruy")
_HOW = (
    "set TFLM_DIR to a tree that TensorFlow Lite Micro's tools/project_generation/create_tflm_tree.py made "
    "(or put it at ~/.cache/bcnet/tflm)"
)


def tflm_tree() -> Path:
    """The folder with TensorFlow Lite Micro's headers.

    Raises:
      FileNotFoundError: it is not there or lacks a part.
      RuntimeError: its FlatBuffers library has another version than its schema asks for.
    """
    tree = Path(os.environ.get("TFLM_DIR") or Path.home() / ".cache" / "bcnet" / "tflm")
    base = tree / "third_party/flatbuffers/include/flatbuffers/base.h"
    schema = tree / "tensorflow/lite/schema/schema_generated.h"
    for part in (tree / "tensorflow/lite/micro/micro_context.h", schema, base):
        if not part.is_file():
            raise FileNotFoundError(f"no headers of TensorFlow Lite Micro: {part} is missing; {_HOW}")
    pattern = r"FLATBUFFERS_VERSION_(?:MAJOR|MINOR|REVISION)(?: ==)? (\d+)"
    wanted, found = (re.findall(pattern, path.read_text(errors="replace")) for path in (schema, base))
    if wanted[:3] != found[:3]:
        raise ToolError(
            f"{tree} has FlatBuffers {'.'.join(found[:3])} where its schema needs {'.'.join(wanted[:3])}; {_HOW}"
        )
    return tree


def _wheel_flags(wheel):
    """Compiler flags that follow from how the wheel was built, read from the names in its library."""
    names = wheel.read_bytes()
    capacity = re.search(rb"MicroMutableOpResolverILj(\d+)E", names)
    if capacity is None:
        raise ToolError("this version of tflite-micro has another operator resolver; install one that setup.py names")
    if re.search(
        rb"(?:micro|S\d*_)16TFLMRegistration", names
    ):  # inside a namespace, as from 2026-10-06 on; contexts are laid out otherwise there, too
        raise ToolError("this version of tflite-micro registers operators differently; install one that setup.py names")
    flags = [f"-DBCNET_RESOLVER_CAPACITY={capacity[1].decode()}"]
    if b"MicroContext24DecompressTensorToBuffer" in names:
        flags.append("-DUSE_TFLM_COMPRESSION")
    for macro, function in (("INPUT", b"23AllocateTempInputTensor"), ("OUTPUT", b"24AllocateTempOutputTensor")):
        mangled = re.search(rb"_ZN\w+12MicroContext" + function + rb"E\w+", names)
        if mangled is None:
            raise ToolError(
                f"this version of tflite-micro lacks {function.decode()[2:]}; install one that setup.py names"
            )
        if mangled[0] != b"_ZN6tflite12MicroContext" + function + b"EPK10TfLiteNodei":  # as the headers have it
            flags.append(f'-DBCNET_WHEEL_{macro}_TENSOR="{mangled[0].decode()}"')
    return flags


class GateControl(ctypes.Structure):
    """The application's view of a model's gates, as ``micro/bcnet_ops.h`` declares it."""

    _fields_ = [
        ("thresholds", ctypes.POINTER(ctypes.c_float)),
        ("threshold_count", ctypes.c_int32),
        ("model_thresholds", ctypes.POINTER(ctypes.c_float)),
        ("model_threshold_count", ctypes.c_int32),
        ("predicted_class", ctypes.c_int32),
        ("confidence", ctypes.c_float),
        ("escalated", ctypes.c_bool),
        ("budget", ctypes.POINTER(kernels.Budget)),
    ]


class Context(ctypes.Structure):
    """What the application tells the operators of one interpreter, as ``micro/bcnet_ops.h`` declares it."""

    _fields_ = [("tag", ctypes.c_uint32), ("scratch_budget", ctypes.c_int32), ("gate", GateControl)]

    def __init__(self, scratch_budget: int) -> None:
        super().__init__(tag=0x42634E78, scratch_budget=scratch_budget)


@cache
def load() -> Any:
    """Makes the operators known to this process under the name :data:`REGISTERER`; returns the library.

    Raises:
      FileNotFoundError: there is no tree of TensorFlow Lite Micro, or no compiler.
      RuntimeError: the operators cannot be compiled, or do not work in this version of the wheel.
    """
    from tflite_micro.python.tflite_micro import _runtime

    tree = tflm_tree()
    includes = [tree, *(tree / "third_party" / name for name in _THIRD_PARTY)]
    flags = [
        "-fno-exceptions",
        "-fno-rtti",
        "-DTF_LITE_STATIC_MEMORY",
        "-DTF_LITE_DISABLE_X86_NEON",
        "-DFLATBUFFERS_LOCALE_INDEPENDENT=0",
        *_wheel_flags(Path(_runtime.__file__)),
        *(f"-isystem{path}" for path in includes),
    ]
    headers = sorted(path for path in tree.glob("tensorflow/lite/**/*.h"))
    headers += sorted(path for name in _THIRD_PARTY for path in (tree / "third_party" / name).glob("**/*.h"))
    try:
        library = native.build("plugin", _SOURCES, flags, headers)
    except RuntimeError as error:
        raise ToolError(f"{error}; the headers in {tree} may be of another version; {_HOW}") from error
    # The wheel's symbols become visible to the operators, and the registerer to the wheel.
    ctypes.CDLL(_runtime.__file__, mode=ctypes.RTLD_GLOBAL)
    loaded = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    _self_test(tree)
    return loaded


@contextlib.contextmanager
def context(scratch_budget: int) -> Iterator[Any]:
    """The :class:`Context` of an interpreter that this thread makes meanwhile, which it must outlive."""
    made = Context(scratch_budget)
    load().bcnet_use_context(ctypes.byref(made))
    try:
        yield made
    finally:
        load().bcnet_use_context(None)


def _self_test(tree):
    """Runs every operator once in the wheel's interpreter; RuntimeError when the answer is not right."""
    from tflite_micro import runtime

    random = np.random.default_rng(0)
    x = random.normal(size=(1, 2, 2, 40)).astype(np.float32)
    weights = random.choice([-1, 1], (3, 40))
    expected = np.where(x < 0, -1, 1).max(axis=(1, 2)) @ weights.T
    logits = np.array([[0, 1, 9]], np.float32)
    codes, thresholds = random.integers(-128, 128, (1, 2, 2, 1)).astype(np.int8), np.arange(-128, 129, 8, np.int32)
    with captured_output() as captured:
        try:
            interpreter = runtime.Interpreter.from_bytes(
                _self_test_model(weights, thresholds), custom_op_registerers=[REGISTERER], arena_size=1 << 15
            )
            interpreter.set_input(x, 0)
            interpreter.set_input(logits, 1)
            interpreter.set_input(codes, 2)
            interpreter.invoke()
            sums, signs, escalate, planes, again = (interpreter.get_output(index) for index in range(5))
            right = (sums.reshape(1, 3) == expected).all() and (signs == (x >= 0)).all() and not escalate.any()
            right &= (planes.view(np.uint32) == kernels.pack_signs(codes.astype(int) - thresholds)).all()
            right &= (again == planes).all()
            problem = "" if right else "wrong results"
        except RuntimeError as error:
            problem = " ".join(captured().split()) or str(error)
    if problem:
        raise ToolError(
            f"the operators built with the headers in {tree} do not work in the installed tflite-micro ({problem}); "
            "the two must be of about the same version"
        )


def _self_test_model(weights, thresholds):
    schema, encode = flatbuffer.schema, flatbuffer.encode_options
    types = schema.TensorType
    builder = flatbuffer.Builder("self-test")
    graph = builder.subgraph("main")

    def tensor(type, shape):
        return builder.tensor(graph, f"t{len(graph.tensors)}", type, shape)

    def constant(value):
        return builder.constant(graph, f"t{len(graph.tensors)}", value)

    def operator(name, inputs, output, **options):
        encoded = encode(options) if options else b""
        builder.operator(graph, name, inputs, [output], custom_options=encoded)
        return output

    x, logits = tensor(types.FLOAT32, (1, 2, 2, 40)), tensor(types.FLOAT32, (1, 3))
    bits = operator(b"LceQuantize", [x], tensor(types.INT32, (1, 2, 2, 2)))
    signs = operator(b"LceDequantize", [bits], tensor(types.BOOL, (1, 2, 2, 40)))
    pool = {"filter_height": 2, "filter_width": 2, "stride_height": 2, "stride_width": 2, "padding": 1}
    pooled = operator(b"LceBMaxPool2d", [bits], tensor(types.INT32, (1, 1, 1, 2)), **pool)
    packed = kernels.pack_signs(weights).view(np.int32).reshape(3, 1, 1, 2)
    inputs = [pooled, constant(packed), constant(np.ones(3, np.float32)), constant(np.zeros(3, np.float32)), -1]
    convolution = {"channels_in": 40, "padding": 1, "pad_values": 0, "fused_activation_function": 0}
    convolution |= {"stride_height": 1, "stride_width": 1, "dilation_height_factor": 1, "dilation_width_factor": 1}
    sums = operator(b"LceBconv2d", inputs, tensor(types.FLOAT32, (1, 1, 1, 3)), **convolution)
    gate = {"measure": "score_margin", "threshold": [0.5]}
    escalate = operator(b"BcnetGate", [logits], tensor(types.BOOL, (1,)), **gate)
    codes = tensor(types.INT8, (1, 2, 2, 1))
    planes = operator(b"BcnetThermometer", [codes, constant(thresholds)], tensor(types.INT32, (1, 2, 2, 2)))
    one = constant(np.ones((1, 1, 1, 1), np.int8))  # the stem with one weight of 1 is a thermometer
    stem = {"padding": 1, "stride_height": 1, "stride_width": 1}
    again = operator(b"BcnetStem", [codes, one, constant(thresholds)], tensor(types.INT32, (1, 2, 2, 2)), **stem)
    graph.inputs = np.array([x, logits, codes], np.int32)
    graph.outputs = np.array([sums, signs, escalate, planes, again], np.int32)
    return builder.finish()
