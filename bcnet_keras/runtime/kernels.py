"""The kernels of ``tflm_ops`` as functions on NumPy arrays, without TensorFlow Lite Micro.

They compute what the operators of the same name compute in a flatbuffer. A C++ compiler is needed on first use.

    packed = kernels.quantize(np.array([[0.5, -2.0, 3.0]], np.float32))     # [[0b010]]
    signs = kernels.dequantize(packed, channels=3, dtype=np.float32)        # [[1, -1, 1]]

Bitpacked arrays are uint32: the last dimension holds 32 channels per word, channel c in bit c % 32, a 1 bit for -1.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from bcnet_keras.device import plan_costs
from bcnet_keras.device.cost_bconv2d import SCRATCH_BUDGET
from bcnet_keras.errors import ArgumentTypeError, BcnetError
from bcnet_keras.runtime import native
from bcnet_keras.tflite import flatbuffer, operators

BCONV2D_KERNELS = ("portable", "carry_save", "sliced")
BCONV2D_TRANSFORMS = ("float", "fixed_point", "linear")
_BCONV2D_OUTPUTS = {"float32": 0, "int8": 1, "uint32": 2}
_TYPES = {np.dtype(np.float32): 0, np.dtype(np.int8): 1, np.dtype(np.bool_): 2}
SOURCES = [
    "tflm_ops/host/kernels.cc",
    *(f"tflm_ops/{source}" for source in operators.kernel_sources() if source.startswith("kernels/")),
]


class GateDecision(NamedTuple):
    """What a gate says of one vector of logits."""

    predicted_class: int
    confidence: float
    """In [0, 1], higher is surer; NaN when a logit is not finite."""
    escalate: bool
    """The confidence is below the threshold."""


class Bconv2dPlan(NamedTuple):
    """How a binary convolution is computed."""

    kernel: str
    """One of :data:`BCONV2D_KERNELS`, or "helium"."""
    table_inputs: int
    """5 for tables of two full adders, 3 for those of one, 0 for kernels without."""
    scratch_bytes: int


def words(channels: int) -> int:
    """Words of 32 bits that ``channels`` bits take."""
    return -(-channels // 32)


def pack_signs(x: np.ndarray) -> np.ndarray:
    """Bitpacks +1 and -1 (or any numbers, by their sign) along the last axis, in NumPy alone."""
    negative = np.asarray(x) < 0
    missing = -negative.shape[-1] % 32
    padded = np.pad(negative, [(0, 0)] * (negative.ndim - 1) + [(0, missing)])
    return np.packbits(padded, axis=-1, bitorder="little").view("<u4").astype(np.uint32)


def quantize(x: np.ndarray, zero_point: int = 0) -> np.ndarray:
    """LceQuantize: signs of ``x`` (float32, int8 or bool; any shape of rank 1 or more), bitpacked along the last axis.

    Values below 0 (``zero_point`` for int8), or False, become 1 bits.
    """
    x = np.ascontiguousarray(x)
    rows, channels = _rows(x.shape)
    output = np.empty((*x.shape[:-1], words(channels)), np.uint32)
    _call("bcnet_quantize", _type(x.dtype), rows, channels, ctypes.c_int32(zero_point), _data(x), _data(output))
    return output


def dequantize(
    x: np.ndarray, channels: int, dtype: DTypeLike = np.float32, scale: float = 1.0, zero_point: int = 0
) -> np.ndarray:
    """LceDequantize: +1 and -1 as float32, their codes as int8, or True and False as bool.

    ``scale`` and ``zero_point`` are those of an int8 output.
    """
    x = _bitpacked("x", x)
    if words(channels) != x.shape[-1]:
        raise BcnetError(f"x has {x.shape[-1]} words per row, expected {words(channels)} for {channels} channels")
    output = np.empty((*x.shape[:-1], channels), dtype)
    rows, _ = _rows(x.shape)
    numbers = ctypes.c_float(scale), ctypes.c_int32(zero_point)
    _call("bcnet_dequantize", _type(output.dtype), rows, channels, *numbers, _data(x), _data(output))
    return output


def bmaxpool2d(x: np.ndarray, options: bytes, output_shape: tuple[int, int, int, int]) -> np.ndarray:
    """LceBMaxPool2d on bitpacked NHWC ``x``; ``options`` as :func:`tflite.flatbuffer.encode_options` makes them."""
    x = _bitpacked("x", x)
    output = np.empty(output_shape, np.uint32)
    _call(
        "bcnet_bmaxpool2d",
        options,
        ctypes.c_size_t(len(options)),
        _dims(x.shape),
        _dims(output_shape),
        _data(x),
        _data(output),
    )
    return output


def bconv2d(
    x: np.ndarray,
    filters: np.ndarray,
    options: bytes,
    output_shape: tuple[int, int, int, int],
    dtype: DTypeLike,
    *,
    multiplier: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    thresholds: np.ndarray | None = None,
    scale: float = 1.0,
    zero_point: int = 0,
    transform: str = "float",
    kernel: str | None = None,
    scratch_budget: int = SCRATCH_BUDGET,
) -> np.ndarray:
    """LceBconv2d on bitpacked NHWC ``x`` and OHWI ``filters``.

    Args:
        options: as :func:`tflite.flatbuffer.encode_options` makes them, with the names of Larq Compute Engine.
        output_shape: NHWC, the last dimension in words for a bitpacked output.
        dtype: float32, int8, or uint32 for a bitpacked output.
        multiplier, bias: float32, one for each output channel; for float32 and int8 outputs.
        thresholds: int32, one for each output channel; for a bitpacked output.
        scale, zero_point: of an int8 output.
        transform: of an int8 output, one of :data:`BCONV2D_TRANSFORMS`: "fixed_point" is within 1 of "float", "linear"
            the same as "float".
        kernel: one of :data:`BCONV2D_KERNELS`; the fastest within the budget if None.
        scratch_budget: bytes of working memory that the kernel may use.

    Raises:
        ValueError: arguments that contradict each other, or a ``kernel`` or ``transform`` that cannot compute this.
    """
    x, filters = _bitpacked("x", x), _bitpacked("filters", filters)
    output = np.empty(output_shape, dtype)
    output_type = _BCONV2D_OUTPUTS.get(output.dtype.name)
    if output_type is None:
        raise ArgumentTypeError(f"dtype must be float32, int8 or uint32, not {output.dtype.name}")
    if output_type == 2:
        vectors = [None, None, _vector("thresholds", thresholds, np.int32, len(filters))]
    else:
        vectors = [_vector(n, v, np.float32, len(filters)) for n, v in (("multiplier", multiplier), ("bias", bias))]
        vectors.append(None)
    _call(
        "bcnet_bconv2d",
        options,
        ctypes.c_size_t(len(options)),
        _dims(x.shape),
        _dims(filters.shape),
        _dims(output_shape),
        output_type,
        -1 if kernel is None else BCONV2D_KERNELS.index(kernel),
        scratch_budget,
        BCONV2D_TRANSFORMS.index(transform),
        ctypes.c_float(scale if output_type == 1 else 1.0),
        ctypes.c_int32(zero_point if output_type == 1 else 0),
        _data(x),
        _data(filters),
        *(None if v is None else _data(v) for v in vectors),
        _data(output),
    )
    return output


def plan_bconv2d(
    options: bytes,
    input_shape: tuple[int, int, int, int],
    filter_shape: tuple[int, int, int, int],
    output_shape: tuple[int, int, int, int],
    dtype: DTypeLike,
    core: str,
    scratch_budget: int = SCRATCH_BUDGET,
) -> Bconv2dPlan:
    """How LceBconv2d would be computed on a core, whose code need not run here.

    Args:
        options, dtype: as for :func:`bconv2d`.
        input_shape, filter_shape, output_shape: of the tensors in the flatbuffer, channels in words where bitpacked.
        core: a name such as "cortex-m4".
        scratch_budget: bytes of working memory that a kernel may use.
    """
    number = list(plan_costs.CORES.values()).index(plan_costs.of_core(core))
    plan = (ctypes.c_int32 * 3)()
    dims = map(_dims, (input_shape, filter_shape, output_shape))
    output_type = _BCONV2D_OUTPUTS[np.dtype(dtype).name]
    size = ctypes.c_size_t(len(options))
    _call("bcnet_plan_bconv2d", options, size, *dims, output_type, number, ctypes.c_int32(scratch_budget), plan)
    return Bconv2dPlan((*BCONV2D_KERNELS, "helium")[plan[0]], plan[1], plan[2])


def thermometer(x: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """BcnetThermometer: NHWC int8 codes against thresholds, bitpacked along the last axis.

    ``thresholds`` are whole numbers in [-128, 128], as many for each channel: those of channel 0 first. Bit i of a
    pixel is 1 where the channel that threshold i belongs to is below it.
    """
    x, thresholds = np.ascontiguousarray(x), np.asarray(thresholds)
    if x.dtype != np.int8:
        raise ArgumentTypeError(f"x must be int8, not {x.dtype}")
    if thresholds.dtype.kind not in "iu":
        raise ArgumentTypeError(f"thresholds must be whole numbers, not {thresholds.dtype}")
    thresholds = _vector("thresholds", thresholds, np.int32, thresholds.size)
    output = np.empty((*x.shape[:-1], words(len(thresholds))), np.uint32)
    dims = _dims(x.shape), _dims(output.shape)
    _call("bcnet_thermometer", *dims, _data(x), _data(thresholds), len(thresholds), _data(output))
    return output


def stem(
    x: np.ndarray,
    weights: np.ndarray,
    thresholds: np.ndarray,
    zero_point: int = 0,
    strides: tuple[int, int] = (1, 1),
    padding: int = 0,
) -> np.ndarray:
    """BcnetStem: sums of a convolution of int8 codes against thresholds, bitpacked along the last axis.

    Args:
        x: int8 NHWC.
        weights: int8 OHWI.
        thresholds: whole numbers of 32 bits, as many for each filter: those of filter 0 first. Bit i of a pixel is 1
            where the sum of weight times code of the filter that threshold i belongs to is below it.
        zero_point: what pixels outside the image count.
        strides: of height and width.
        padding: 0 for SAME, 1 for VALID.
    """
    x, weights, thresholds = np.ascontiguousarray(x), np.ascontiguousarray(weights), np.asarray(thresholds)
    for name, array in (("x", x), ("weights", weights)):
        if array.dtype != np.int8:
            raise ArgumentTypeError(f"{name} must be int8, not {array.dtype}")
    if thresholds.dtype.kind not in "iu":
        raise ArgumentTypeError(f"thresholds must be whole numbers, not {thresholds.dtype}")
    thresholds = _vector("thresholds", thresholds, np.int32, thresholds.size)
    names = ("padding", "stride_height", "stride_width")
    options = flatbuffer.encode_options(dict(zip(names, (padding, *strides), strict=True)))
    dims, filter_dims = _dims(x.shape), _dims(weights.shape)
    window = zip(x.shape[1:3], weights.shape[1:3], strides, strict=True)
    size = [(before - (taps - 1 if padding else 0) - 1) // max(step, 1) + 1 for before, taps, step in window]
    output = np.empty((x.shape[0], *(max(side, 0) for side in size), words(len(thresholds))), np.uint32)
    _call(
        "bcnet_stem",
        options,
        ctypes.c_size_t(len(options)),
        dims,
        ctypes.c_int32(zero_point),
        filter_dims,
        len(thresholds),
        _dims(output.shape),
        _data(x),
        _data(weights),
        _data(thresholds),
        _data(output),
    )
    return output


def gate(logits: np.ndarray, options: bytes, scale: float = 1.0, thresholds: np.ndarray | None = None) -> GateDecision:
    """BcnetGate on one vector of logits, float32 or int8 (with their ``scale``).

    ``thresholds`` (one, or one per class) stand in for those of ``options``.
    """
    logits = np.ascontiguousarray(logits).reshape(-1)
    if logits.dtype not in (np.float32, np.int8):
        raise ArgumentTypeError(f"logits must be float32 or int8, not {logits.dtype}")
    predicted, confidence, escalate = ctypes.c_int32(), ctypes.c_float(), ctypes.c_int32()
    numbers = None if thresholds is None else np.ascontiguousarray(thresholds, np.float32).reshape(-1)
    _call(
        "bcnet_gate",
        options,
        ctypes.c_size_t(len(options)),
        _type(logits.dtype),
        len(logits),
        ctypes.c_float(scale),
        _data(logits),
        None if numbers is None else _data(numbers),
        ctypes.c_size_t(0 if numbers is None else len(numbers)),
        ctypes.byref(predicted),
        ctypes.byref(confidence),
        ctypes.byref(escalate),
    )
    return GateDecision(predicted.value, confidence.value, bool(escalate.value))


class Budget(ctypes.Structure):
    """Holds the mean cost of a stream of answers at a budget by moving the gate's threshold.

    What it computes and promises is in ``tflm_ops/kernels/budget.h``. The costs are whole numbers in any unit
    (cycles, nanojoules).

        budget = Budget(accepted_cost=2_500_000, escalated_cost=25_000_000, budget=10_000_000, threshold=0.9)
        escalate = budget.run(confidences)                    # a stream at once, or one by one:
        budget.update(confidence < budget.threshold)

    Args:
        accepted_cost: cost of an answer of the binary net alone.
        escalated_cost: cost of an answer of both nets.
        budget: what an answer may cost on average, between the two.
        threshold: where the threshold starts, in [0, 1].
        window: answers in which the threshold can cross its whole range, 8 to 65536: larger is steadier, and slower.

    Raises:
        ValueError: an argument is out of range.
    """

    _fields_ = [("level", ctypes.c_int32), ("up", ctypes.c_int32), ("down", ctypes.c_int32)]

    def __init__(
        self, accepted_cost: int, escalated_cost: int, budget: int, threshold: float, window: int = 1024
    ) -> None:
        super().__init__()
        numbers = (accepted_cost, escalated_cost, budget, window)
        if not all(isinstance(number, (int, np.integer)) and abs(number) < 1 << 31 for number in numbers):
            raise BcnetError(f"costs, budget and window must be whole numbers below 2^31, got {numbers}")
        options = (ctypes.c_int32 * 4)(*map(int, numbers))
        _call("bcnet_prepare_budget", options, ctypes.c_float(threshold), ctypes.byref(self))

    @property
    def threshold(self) -> float:
        """The threshold for the next answer, in [0, 1]."""
        function = _library().bcnet_budget_threshold
        function.restype = ctypes.c_float
        return function(ctypes.byref(self))

    @property
    def rate(self) -> float:
        """The part of the answers that may escalate."""
        return self.up / (self.up + self.down)

    def update(self, escalated: bool) -> None:
        """Takes note of an answer."""
        self.run(np.array([-1.0 if escalated else 2.0], np.float32))

    def run(self, confidences: np.ndarray) -> np.ndarray:
        """Decides on float32 ``confidences`` [n], in [0, 1], one after the other; bool [n], true to escalate."""
        confidences = np.ascontiguousarray(confidences, np.float32)
        if confidences.ndim != 1:
            raise BcnetError(f"confidences must have the shape [n], got {list(confidences.shape)}")
        escalated = np.empty(len(confidences), np.bool_)
        size = ctypes.c_size_t(len(confidences))
        _call("bcnet_run_budget", _data(confidences), size, ctypes.byref(self), _data(escalated))
        return escalated


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(native.build("kernels", SOURCES, ["-fno-exceptions", "-fno-rtti"])))


def _call(name: str, *arguments: Any) -> None:
    function = getattr(_library(), name)
    function.restype = ctypes.c_char_p
    if reason := function(*arguments):
        raise BcnetError(f"{name.removeprefix('bcnet_')}: {reason.decode()}")


def _data(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def _dims(shape: Sequence[int]) -> ctypes.Array:
    if len(shape) != 4:
        raise BcnetError(f"expected 4 dimensions, got shape {tuple(shape)}")
    return (ctypes.c_int32 * 4)(*shape)


def _rows(shape: Sequence[int]) -> tuple[int, int]:
    if not shape or 0 in shape:
        raise BcnetError(f"expected at least one dimension and no empty one, got shape {tuple(shape)}")
    return int(np.prod(shape[:-1])), shape[-1]


def _type(dtype: DTypeLike) -> int:
    if (number := _TYPES.get(np.dtype(dtype))) is None:
        raise ArgumentTypeError(f"expected float32, int8 or bool, not {np.dtype(dtype)}")
    return number


def _bitpacked(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint32:
        raise ArgumentTypeError(f"{name} must be uint32 (bitpacked), not {array.dtype}")
    return np.ascontiguousarray(array)


def _vector(name: str, array: np.ndarray | None, dtype: DTypeLike, size: int) -> np.ndarray:
    if array is None or np.shape(array) != (size,):
        raise BcnetError(f"{name} must hold {size} numbers, got {None if array is None else np.shape(array)}")
    return np.ascontiguousarray(array, dtype)
