"""Random nets, written without a converter, against the conversions of Larq Compute Engine and TensorFlow Lite.

python tests/convert/test_emit_random.py 300        # as many of each kind
"""

import sys

import numpy as np
import pytest

import bcnet_keras  # noqa: F401 (first: it switches TensorFlow to the legacy Keras)

import tensorflow as tf  # isort: skip
from random_nets import binary_net, int8_net, random_net

from bcnet_keras.convert.emit import arithmetic, emit
from bcnet_keras.convert.lce import convert_binary, convert_int8
from bcnet_keras.layers import INPUT_RANGE
from bcnet_keras.runtime import tflite
from bcnet_keras.tflite import flatbuffer

BINARY, INT8 = range(40), range(20)  # seeds of the nets that the suite has


def operators(data):
    """(name, options, constants, quantizations) of each operator."""
    model = flatbuffer.read(data)
    graph, found = model.subgraphs[0], []
    for operator in graph.operators:
        tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
        custom = operator.customOptions is not None and len(operator.customOptions) > 0
        options = flatbuffer.custom_options(operator) if custom else {}
        constants = [constant for each in tensors if (constant := flatbuffer.constant(model, each)) is not None]
        found.append((flatbuffer.op_name(model, operator), options, constants, flatbuffer.quantization(tensors[-1])))
    return found


def check_binary(seed):
    """Larq Compute Engine's binary convolutions, bit by bit, and its answers."""
    net, codes = random_net(binary_net, seed)
    mine, theirs = flatbuffer.write(emit(net)), convert_binary(net)
    pairs = [[each for each in operators(data) if each[0] == "LceBconv2d"] for data in (mine, theirs)]
    assert len(pairs[0]) == len(pairs[1]) > 0
    for (_, options, constants, quantization), (_, expected, others, theirs_quantization) in zip(*pairs, strict=True):
        assert options == expected and quantization == theirs_quantization
        assert [each.tobytes() for each in constants] == [each.tobytes() for each in others]
    ours, converted = (tflite.Interpreter(data)._run(codes)[0].astype(int) for data in (mine, theirs))
    np.testing.assert_array_equal(ours, converted)
    return len(pairs[0])


def check_int8(seed):
    """TensorFlow Lite's operators; of its weights, which it takes from rounded floats, hardly one is off by one."""
    net, codes = random_net(int8_net, seed)
    mine, theirs = flatbuffer.write(emit(net)), convert_int8(net, INPUT_RANGE)
    ours, converted = (tflite.Interpreter(data)._run(codes)[0].astype(int) for data in (mine, theirs))
    pairs = [[each for each in operators(data) if each[0] != "RESHAPE"] for data in (mine, theirs)]
    names = [[name.replace("MEAN", "AVERAGE_POOL_2D") for name, *_ in each] for each in pairs]  # are the same
    assert names[0] == names[1]
    if not any(name == "MEAN" for name, *_ in pairs[1]):  # which rounds otherwise for scales that are not quite equal
        assert np.abs(ours - converted).max() <= 1
    for (_, _, constants, quantization), (name, _, others, expected) in zip(*pairs, strict=True):
        np.testing.assert_allclose(quantization, expected, rtol=1e-6)
        for one, other in zip(constants, others, strict=name != "MEAN"):  # which has its axes
            off = np.abs(one.astype(np.int64).ravel() - other.ravel())
            assert off.max() <= 1 and np.mean(off != 0) < 0.01 + 1 / off.size
    return len(pairs[0])


@pytest.fixture
def converters_root(monkeypatch):
    """The inverse square root that converters use, so that constants can be compared bit by bit."""
    monkeypatch.setattr(arithmetic, "inverse_root", converters_inverse_root)


def converters_inverse_root(values):
    return tf.math.rsqrt(values).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("seed", BINARY)
def test_binary_nets_are_larq_compute_engines(seed, converters_root):
    check_binary(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", INT8)
def test_int8_nets_are_those_of_the_converter(seed, converters_root):
    check_int8(seed)


def main():
    count, failed = int(sys.argv[1]), 0
    arithmetic.inverse_root = converters_inverse_root
    for check in (check_binary, check_int8):
        compared = 0
        for seed in range(count):
            try:
                compared += check(seed)
            except Exception as error:
                failed += 1
                print(f"{check.__name__}, seed {seed}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        print(f"{check.__name__}: {count} nets, {compared} operators equal", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
