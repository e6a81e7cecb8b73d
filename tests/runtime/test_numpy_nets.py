"""Nets and pairs in NumPy and in TensorFlow Lite Micro: the same codes and the same decisions."""

import numpy as np
import pytest
import tensorflow as tf
import zoo
from random_nets import binary_net, int8_net, random_net

import bcnet_keras as bc
from bcnet_keras.convert import convert_parts
from bcnet_keras.convert.emit import emit
from bcnet_keras.models.twins import share_stem
from bcnet_keras.runtime import numpy_runtime, tflm
from bcnet_keras.tflite import flatbuffer

pytestmark = pytest.mark.needs_tflm


@pytest.mark.parametrize("make", [binary_net, int8_net])
@pytest.mark.parametrize("seed", range(8))
def test_random_nets(make, seed):
    net, codes = random_net(make, seed)
    data = flatbuffer.write(emit(net))
    mine, micro = (runtime.Interpreter(data)._run(codes)[0] for runtime in (numpy_runtime, tflm))
    np.testing.assert_array_equal(mine, micro)


def settled(model, **options):
    tf.keras.utils.set_random_seed(1)
    pair = bc.BCNet.from_keras(zoo.with_statistics(model), verbose=0, width=1.0, **options)
    raw = zoo.pixels(model, 24)
    for net in (pair.binary, pair.int8):
        zoo.settle(net, pair.preprocess(raw), statistics=True)
    # In a gap: the gate of built-in operators rounds in another order, and the last bit of a confidence, which is
    # another on other machines, must decide nothing.
    confidence = np.sort(pair.gate.confidence(pair.binary(pair.preprocess(raw))))[6:18]
    widest = np.argmax(np.diff(confidence))
    pair.threshold = float(confidence[widest : widest + 2].mean())
    return pair, raw


SLOW = [pytest.param(make, marks=pytest.mark.slow) for make in (*zoo.SMALL[1:], *zoo.LARGE)]


@pytest.mark.parametrize("make", [zoo.tutorial, *SLOW])
def test_pairs(make):
    pair, raw = settled(make())
    parts = convert_parts(pair)
    for data in (*parts, *(bc.convert(pair, gate=gate, parts=parts) for gate in ("custom", "builtin"))):
        mine, micro = (runtime.Interpreter(data).predict(raw) for runtime in (numpy_runtime, tflm))
        np.testing.assert_array_equal(mine.logits, micro.logits)
        np.testing.assert_array_equal(mine.escalated, micro.escalated)
    assert 0 < mine.escalated.mean() < 1


def test_a_pair_with_one_stem_and_every_measure():
    pair, raw = settled(zoo.tutorial(), stem="shared", measure="entropy", per_class=True)
    share_stem(pair.binary, pair.int8, [pair.preprocess(raw)])
    for gate in ("custom", "builtin"):
        data = bc.convert(pair, gate=gate)
        mine, micro = (runtime.Interpreter(data).predict(raw) for runtime in (numpy_runtime, tflm))
        np.testing.assert_array_equal(mine.logits, micro.logits)
        np.testing.assert_array_equal(mine.escalated, micro.escalated)
