"""Damaged flatbuffers: each is refused in one short line, or its figures are those of a sound one.

python tests/tflite/test_damaged.py 100000 [seed]        # a longer run
"""

import math
import pickle
import random
import sys
from collections import Counter
from unittest import mock

import numpy as np
import pytest
from flatbuffers_of import branching_net, make_int8_net

from bcnet_keras.convert import Gate, get_threshold, merge, set_threshold
from bcnet_keras.device.cost import CORES
from bcnet_keras.device.profile import Profile
from bcnet_keras.errors import BcnetError
from bcnet_keras.export.description import describe
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.support import check_micro
from bcnet_keras.tflite.verify import MOST_BYTES, verify

schema = flatbuffer.schema
NUMBERS = (0, 1, -1, 2, 3, 7, 255, 256, 4097, 65536, 1 << 20, 1 << 24, (1 << 31) - 1, -(1 << 31))


def binary_net():
    """A thermometer, binary convolutions and pooling."""
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    types, custom = schema.TensorType, flatbuffer.encode_options
    image = builder.tensor(graph, "image", types.INT8, [1, 8, 8, 2], (1.0, 0))
    thresholds = builder.constant(graph, "thresholds", np.arange(-60, 60, 15, np.int32).repeat(1))
    planes = builder.tensor(graph, "planes", types.INT32, [1, 8, 8, 1])
    builder.operator(graph, b"BcnetThermometer", [image, thresholds], [planes], custom_options=b"")
    filters = builder.constant(graph, "filters", np.zeros((40, 3, 3, 1), np.int32))
    middle = builder.constant(graph, "middle", np.zeros(40, np.int32))
    bits = builder.tensor(graph, "bits", types.INT32, [1, 8, 8, 2])
    sizes = {"stride_height": 1, "stride_width": 1, "dilation_height_factor": 1, "dilation_width_factor": 1}
    options = custom({"channels_in": 8, "padding": 0, "pad_values": 1, "fused_activation_function": 0, **sizes})
    builder.operator(graph, b"LceBconv2d", [planes, filters, -1, -1, middle], [bits], custom_options=options)
    pooled = builder.tensor(graph, "pooled", types.INT32, [1, 4, 4, 2])
    window = {"filter_height": 2, "filter_width": 2, "stride_height": 2, "stride_width": 2, "padding": 1}
    builder.operator(graph, b"LceBMaxPool2d", [bits], [pooled], custom_options=custom(window))
    signs = builder.tensor(graph, "signs", types.FLOAT32, [1, 4, 4, 40])
    builder.operator(graph, b"LceDequantize", [pooled], [signs], custom_options=b"")
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array([signs], np.int32)
    return builder.finish()


def five_files():
    gate = Gate.create(4, "score_margin", 0.5)
    parts = [make_int8_net(seed, shape=(4, 4, 2), stem=1) for seed in (1, 2)]
    return [
        make_int8_net(3, shape=(4, 4, 2), stem=2, skip=True, end="LOGISTIC"),
        merge(*parts, gate),
        merge(*parts, gate, kind="builtin"),
        binary_net(),
        branching_net([1, ("IF", [2], [("WHILE", [1], [3])]), ("ONCE", [4])]),
    ]


def damaged_fields(model, rng):
    """One field of the parsed model with another value."""
    graph = rng.choice(model.subgraphs)
    kind = rng.randrange(9)
    number = rng.choice(NUMBERS)
    if kind < 2:
        tensor = rng.choice(graph.tensors)
        if tensor.shape is not None and len(tensor.shape):
            tensor.shape = np.array(tensor.shape)
            tensor.shape[rng.randrange(len(tensor.shape))] = number
    elif kind == 2:
        rng.choice(graph.tensors).type = rng.randrange(20)
    elif kind == 3:
        rng.choice(graph.tensors).buffer = rng.randrange(len(model.buffers) + 2)
    elif kind == 4 and graph.operators:
        operator = rng.choice(graph.operators)
        side = rng.choice(("inputs", "outputs"))
        indices = np.array(getattr(operator, side), np.int32)
        if len(indices):
            indices[rng.randrange(len(indices))] = rng.randrange(-2, len(graph.tensors) + 1)
        setattr(operator, side, indices[: rng.randrange(len(indices) + 1)] if rng.random() < 0.3 else indices)
    elif kind == 5 and graph.operators:
        options = rng.choice(graph.operators).builtinOptions
        fields = [name for name, value in vars(options or object.__new__(_Nothing)).items() if isinstance(value, int)]
        if fields:
            name = rng.choice(fields)
            setattr(options, name, number if "Factor" in name or "stride" in name else number & 127)
    elif kind == 6:
        found = [o for each in model.subgraphs for o in each.operators if o.customOptions is not None]
        if found:
            operator = rng.choice(found)
            data = np.array(operator.customOptions, np.uint8)
            if len(data):
                data[rng.randrange(len(data))] = rng.randrange(256)
            operator.customOptions = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.2 else data
    elif kind == 7:
        rng.choice(model.operatorCodes).builtinCode = rng.randrange(160)
    else:
        quantization = rng.choice(graph.tensors).quantization
        if quantization is not None:
            scales = None, np.zeros(0, np.float32), np.full(5, np.nan, np.float32), np.full(1, 2.0**-7, np.float32)
            quantization.scale = rng.choice(scales)
            quantization.zeroPoint = rng.choice((None, np.zeros(3, np.int64), quantization.zeroPoint, np.full(1, 9)))
            quantization.quantizedDimension = rng.choice((0, 0, 1, 3, -1))


class _Nothing:
    pass


def damaged(data, model, rng):
    """A damaged copy: of a field, of bytes, or cut off."""
    if rng.random() < 0.6:
        changed = pickle.loads(pickle.dumps(model))
        damaged_fields(changed, rng)
        try:
            return flatbuffer.write(changed)
        except Exception:  # what cannot be packed is no file
            return data[: rng.randrange(len(data))]
    result = bytearray(data)
    if rng.random() < 0.2:
        return bytes(result[: rng.randrange(len(result))])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        result[rng.randrange(len(result))] ^= 1 << rng.randrange(8)
    return bytes(result)


def check_guard(data):
    model = flatbuffer.read(data)
    check_micro(model)
    verify(model)
    sizes = [math.prod(flatbuffer.shape(tensor)) for graph in model.subgraphs for tensor in graph.tensors]
    assert all(0 <= size <= MOST_BYTES for size in sizes), "a tensor that the guard forbids"


def check_profile(data):
    profile = Profile.of(data, "cortex-m4")
    profile.text()
    model = flatbuffer.read(data)
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    constants = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    most = 8 * sum(math.prod(flatbuffer.shape(tensor)) for tensor in tensors) + 64 * constants
    assert 0 < profile.arena.bytes <= (1 << 18) + 8 * most, "an absurd arena"
    figures = [profile.cost.instructions[core] for core in CORES]
    assert all(0 <= figure < 1e12 for figure in figures), "absurd instructions"


def check_export(data):
    assert 0 < describe(data, "net", None, 48 << 10).arena_size < 2 * MOST_BYTES


USES = {
    "get_threshold": get_threshold,
    "set_threshold": lambda data: set_threshold(data, 0.25),
    "profile": check_profile,
    "export": check_export,
    "guard": check_guard,
}


def fuzz(count, seed):
    """Counts of what became of `count` damaged files; AssertionError that names the seed of the first bad one.

    All uses read the file first, so that one that cannot be read goes to one of them, and one that can is parsed once.
    """
    files = [(data, flatbuffer.read(data)) for data in five_files()]
    for data, _ in files:
        check_profile(data), check_guard(data)
    read, ends = flatbuffer.read, Counter()
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        damage = damaged(*files[number % len(files)], rng)
        uses, parsed = USES, None
        try:
            parsed = pickle.dumps(read(damage))
        except BcnetError:
            uses = {name: USES[name] for name in rng.sample(list(USES), 1)}
        except Exception as error:
            raise AssertionError(f"{seed} {number}: {type(error).__name__}: {error}") from error

        def again(data, damage=damage, parsed=parsed):
            return pickle.loads(parsed) if parsed and data == damage else read(data)

        for name, use in uses.items():
            try:
                with mock.patch.object(flatbuffer, "read", again):
                    use(damage)
                ends[name, "accepted"] += 1
            except BcnetError as error:
                ends[name, "refused"] += 1
                assert "\n" not in str(error) and len(str(error)) < 400, f"{seed} {number}: {name}: {error}"
            except Exception as error:
                raise AssertionError(f"{seed} {number}: {name}: {type(error).__name__}: {error}") from error
    return ends


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_are_refused_in_a_line(seed):
    ends = fuzz(60, seed)
    for name in USES:
        assert ends[name, "accepted"] and ends[name, "refused"]


if __name__ == "__main__":
    for (name, end), times in sorted(fuzz(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "0").items()):
        print(f"{name:14} {end:9} {times:9,}")
