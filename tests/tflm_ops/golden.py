"""Test cases as the files that tflm_ops/tests/kernel_test.cc reads, with the outputs of Larq Compute Engine."""

import struct

import numpy as np
from lce_graphs import run_lce

from bcnet_keras.device import stem
from bcnet_keras.runtime import kernels
from bcnet_keras.tflite import flatbuffer

_OPERATORS = {
    "LceQuantize": 1,
    "LceDequantize": 2,
    "LceBMaxPool2d": 3,
    "LceBconv2d": 4,
    "BcnetGate": 5,
    "BcnetThermometer": 6,
    "BcnetStem": 7,
}
_TYPES = {"float32": 0, "int8": 1, "bool": 2}
_CONVOLUTION_TYPES = {"float32": 0, "int8": 1, "int32": 2}


def _bits(x):
    return struct.unpack("<i", struct.pack("<f", x))[0]


def _case(name, numbers, *blocks):
    blocks = [np.array(numbers, "<i4").tobytes(), *(b if isinstance(b, bytes) else _bytes(b) for b in blocks)]
    body = b"".join(struct.pack("<I", len(b)) + b + bytes(-len(b) % 4) for b in blocks)
    return struct.pack("<III", 0x45534143, _OPERATORS[name], len(blocks)) + body


def _bytes(array):
    return b"" if array is None else np.ascontiguousarray(array).tobytes()


def _record(node, expected):
    x, out = node.inputs[0], node.output
    name = node.name
    if name == "LceQuantize":
        rows = int(np.prod(x.shape[:-1]))
        return _case(name, [_TYPES[x.dtype], rows, x.shape[-1], x.zero_point], x.value, expected)
    if name == "LceDequantize":
        rows = int(np.prod(out.shape[:-1]))
        numbers = [_TYPES[out.dtype], rows, out.shape[-1], out.zero_point, _bits(out.scale or 1.0)]
        return _case(name, numbers, x.value, expected)
    if name == "LceBMaxPool2d":
        return _case(name, [*x.shape, *out.shape], node.option_bytes(), x.value, expected)
    filters, *vectors = node.inputs[1:]
    numbers = [*x.shape, *filters.shape, *out.shape, _CONVOLUTION_TYPES[out.dtype]]
    numbers += [out.zero_point, _bits(out.scale or 1.0)]
    values = [None if t is None else t.value for t in vectors]
    return _case(name, numbers, node.option_bytes(), x.value, filters.value, *values, expected)


def records(nodes):
    """The cases of operators that Larq Compute Engine has, as bytes."""
    result = []
    for start in range(0, len(nodes), 100):
        chunk = nodes[start : start + 100]
        result += [_record(node, expected) for node, expected in zip(chunk, run_lce(chunk), strict=True)]
    return b"".join(result)


def signs_record(rows, channels):
    """A case of LceQuantize of floats that compilers compare wrong, whose signs are read from their bits.

    NaN and 0 of both signs, infinities, and the ends of the normal and the subnormal numbers. LCE on x86 takes
    subnormal numbers for 0.
    """
    special = [0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000]
    bits = np.array(special + [0x80000000 | b for b in special], "<u4")
    bits = np.resize(np.random.default_rng(channels).permuted(np.tile(bits, 4)), (rows, channels))
    magnitude = bits & 0x7FFFFFFF
    negative = (bits >> 31 == 1) & (magnitude != 0) & (magnitude <= 0x7F800000)
    expected = kernels.pack_signs(np.where(negative, -1, 1))
    return _case("LceQuantize", [_TYPES["float32"], rows, channels, 0], bits, expected)


def thermometer_record(x, thresholds):
    """A case of the thermometer, whose bits NumPy computes."""
    bits = np.repeat(x, len(thresholds) // x.shape[-1], axis=-1) < thresholds
    expected = kernels.pack_signs(np.where(bits, -1, 1))
    return _case("BcnetThermometer", [*x.shape, *expected.shape], x, thresholds.astype("<i4"), expected)


def stem_sums(x, weights, zero_point, strides, padding):
    """Sums of products of a convolution in plain NumPy: [n, h, w, filters], int64."""
    filters, *taps, _ = weights.shape
    pads, sizes = [], []
    for before, tap, stride in zip(x.shape[1:3], taps, strides, strict=True):
        after = (before - tap) // stride + 1 if padding else -(-before // stride)
        total = 0 if padding else max(0, (after - 1) * stride + tap - before)
        pads.append((total // 2, total - total // 2))
        sizes.append(after)
    padded = np.pad(x.astype(np.int64), ((0, 0), *pads, (0, 0)), constant_values=zero_point)
    sums = np.zeros((len(x), *sizes, filters), np.int64)
    for y in range(taps[0]):
        for z in range(taps[1]):
            seen = padded[:, y:, z:][:, :: strides[0], :: strides[1]][:, : sizes[0], : sizes[1]]
            sums += seen @ weights[:, y, z].astype(np.int64).T
    return sums


def stem_bits(x, weights, thresholds, zero_point, strides, padding):
    """The words of a stem in plain NumPy."""
    sums = stem_sums(x, weights, zero_point, strides, padding)
    bits = np.repeat(sums, len(thresholds) // len(weights), axis=-1) < thresholds
    return kernels.pack_signs(np.where(bits, -1, 1))


def stem_record(x, weights, thresholds, zero_point, strides, padding):
    """A case of the stem, whose bits NumPy computes, with the bytes of scratch memory of its forms."""
    expected = stem_bits(x, weights, thresholds, zero_point, strides, padding)
    options = {"padding": padding, "stride_height": strides[0], "stride_width": strides[1]}
    numbers = [*x.shape, *weights.shape, *expected.shape, zero_point]
    planes, width = len(thresholds) // len(weights), expected.shape[2]
    for form in ("portable", "thumb", "dsp", "helium"):
        numbers.append(stem.layout(form, weights.shape, planes, strides[1], width).scratch_bytes)
    encoded = flatbuffer.encode_options(options)
    return _case("BcnetStem", numbers, encoded, x, weights, thresholds.astype("<i4"), expected)


def gate_record(logits, scale, options, confidence):
    """A case of the gate, whose confidence was computed elsewhere."""
    numbers = [_TYPES[logits.dtype.name], len(logits), _bits(scale), int(logits.argmax()), _bits(confidence)]
    return _case("BcnetGate", numbers, options, logits)
