"""Scales and zero points that TensorFlow Lite Micro refuses, against its own interpreter."""

import numpy as np
import pytest
from single_operators import net
from tflite_micro.python.tflite_micro import runtime

from bcnet_keras.device.profile import Profile
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.scales import CHECKS
from bcnet_keras.tflite.support import check_micro

ARENA = 1 << 18
# Rule: cases of (operator, type of its data, index of a tensor, factor of its scale, addition to its zero point,
# part of the error).
REFUSED = {
    "fixed scales": [
        ("LOGISTIC", "int8", -1, 1, 5, "the zero point -128 alone"),
        ("LOGISTIC", "int16", -1, 4, 0, "the scale 3.05176e-05 and the zero point 0 alone"),
        ("TANH", "int16", -1, 0.5, 0, "the scale 3.05176e-05 and the zero point 0 alone"),
        ("SOFTMAX", "int8", -1, 1.0003, 0, "the scale 0.00390625 and the zero point -128 alone"),
        ("SOFTMAX", "int8", -1, 1, 1, "the scale 0.00390625 and the zero point -128 alone"),
        ("SOFTMAX", "int16", -1, 1.1, 0, "the scale 3.05176e-05 and the zero point 0 alone"),
        ("LOG_SOFTMAX", "int8", -1, 0.5, 0, "the scale 0.0625 and the zero point 127 alone"),
    ],
    "equal scales": [
        ("AVERAGE_POOL_2D", "int8", -1, 2, 0, "put a QUANTIZE between"),
        ("MAX_POOL_2D", "int16", -1, 2, 0, "put a QUANTIZE between"),
    ],
    "centred int16": [
        ("MUL", "int16", 0, 1, 3, "takes the zero point 0 alone, but one of its tensors has 3"),
        ("SOFTMAX", "int16", 0, 1, 3, "takes the zero point 0 alone, but one of its tensors has 3"),
    ],
    "scale of the bias": [("FULLY_CONNECTED", "int8", 2, 20, 0, "takes a bias of the scale 0.00390625, that of the")],
    "scale of the state": [("SVDF", "int8", 3, 2, 0, "takes a bias of the scale 0.00195312, that of the state")],
    "equal codes": [
        ("REDUCE_MAX", "int8", -1, 2, 0, "takes equal scales and zero points alone"),
        ("REDUCE_MIN", "int8", -1, 1, 1, "takes equal scales and zero points alone"),
    ],
    "scale of the padding": [("PADV2", "int8", 2, 2, 0, "takes equal scales and zero points alone")],
    "equal inputs": [("ADD_N", "int8", 0, 2, 0, "takes equal scales and zero points alone")],
}
# Those with which preparing succeeds although the answers are wrong.
SILENT = {"channel scales on int8 only", "one scale", "scale for each output"}


def changed(name, type, index, factor, addition):
    model = flatbuffer.read(net(name, type))
    parameters = model.subgraphs[0].tensors[index].quantization
    parameters.scale = (np.asarray(parameters.scale) * factor).astype(np.float32)
    parameters.zeroPoint = np.asarray(parameters.zeroPoint) + addition
    return flatbuffer.write(model)


@pytest.mark.parametrize("case", [case for cases in REFUSED.values() for case in cases], ids=str)
def test_the_interpreter_refuses_the_same(case):
    *place, words = case
    name, type = place[:2]
    check_micro(flatbuffer.read(net(name, type)))
    runtime.Interpreter.from_bytes(net(name, type), arena_size=ARENA)
    data = changed(*place)
    with pytest.raises(RuntimeError):
        runtime.Interpreter.from_bytes(data, arena_size=ARENA).invoke()
    with pytest.raises(ValueError, match=words) as refused:
        Profile.of(data)
    assert str(refused.value).startswith(f"TensorFlow Lite Micro's {name} ") and "\n" not in str(refused.value)


def test_every_rule_has_a_case():
    assert set(REFUSED) | SILENT == set(CHECKS)


@pytest.mark.parametrize("name, type", [("SOFTMAX", "int16"), ("LOGISTIC", "int16"), ("TANH", "int16")])
def test_scales_that_were_rounded_pass(name, type):
    data = changed(name, type, -1, 1 + 2e-7, 0)
    runtime.Interpreter.from_bytes(data, arena_size=ARENA).invoke()
    Profile.of(data)
