"""What TensorFlow Lite Micro refuses of scales and zero points.

    CHECKS["one scale"](name, data_type, inputs, outputs)       # a sentence, or None where it takes them

A check gets the name of an operator, the type of its data, its inputs and its outputs. A record names those that hold
for its operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.operands import count_scales

if TYPE_CHECKING:
    from bcnet_keras.tflite.flatbuffer import Tensors, schema


def _one_scale(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    scales = max(count_scales(tensor) for tensor in (*inputs, *outputs) if tensor is not None)
    return (
        f"TensorFlow Lite Micro's {name} applies the first of {scales} scales to all channels" if scales > 1 else None
    )


def _channel_scales_on_int8_only(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    if len(inputs) < 2 or inputs[1] is None:
        return None
    weights = flatbuffer.type_name(inputs[1])
    if count_scales(inputs[1]) < 2 or (data_type, weights) == ("int8", "int8"):
        return None
    where = f"TensorFlow Lite Micro has no {name} on {data_type}"
    return (
        f"{where} with weights of {weights} that have a scale for each output; convert the model again with one "
        "scale for the weights of each dense layer"
    )


def _scale_for_each_output(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    """It looks at how many there are alone, so that those of another dimension of the same size are taken for these."""
    weights = inputs[1]
    dimension = 3 if name == "DEPTHWISE_CONV_2D" else 0
    if weights is None or count_scales(weights) < 2 or weights.quantization.quantizedDimension == dimension:
        return None
    return (
        f"TensorFlow Lite Micro's {name} takes scales of its weights along dimension {dimension}, but they lie along "
        f"dimension {weights.quantization.quantizedDimension}; convert the model again"
    )


def _equal_scales(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    return None if data_type == "float32" else _unequal(name, inputs[:1], outputs[0], _POOLED_SCALE)


def _equal_codes(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    alike = [tensor for tensor in inputs if tensor is not None and flatbuffer.type_name(tensor) == data_type]
    return _unequal(name, alike, outputs[0]) if data_type == "int8" else None


def _equal_inputs(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    return _unequal(name, inputs[1:], inputs[0]) if data_type == "int8" else None


def _scale_of_the_padding(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    return _unequal(name, inputs[2:3], outputs[0]) if data_type == "int8" else None


def _unequal(name: str, tensors: Iterable[Any], other: schema.TensorT, most: float = 0.0) -> str | None:
    found = flatbuffer.quantization(other)
    for tensor in tensors:
        own = flatbuffer.quantization(tensor)
        if own is None or found is None or (abs(own[0] - found[0]) <= most and own[1] == found[1]):
            continue
        return (
            f"TensorFlow Lite Micro's {name} takes equal scales and zero points alone, but they are {own[0]:.6g} and "
            f"{own[1]} here and {found[0]:.6g} and {found[1]} there; put a QUANTIZE between"
        )
    return None


def _centred_int16(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    for tensor in (*inputs, *outputs) if data_type == "int16" else ():
        if tensor is not None and flatbuffer.type_name(tensor) == "int16":
            found = flatbuffer.quantization(tensor)
            if found is not None and found[1]:
                return (
                    f"TensorFlow Lite Micro's {name} on int16 takes the zero point 0 alone, but one of its tensors has "
                    f"{found[1]}; convert the model again with activations of 16 bits"
                )
    return None


def _fixed_scales(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    """Those without which preparing fails; where it only gives other codes, `_fixed_scale` says so."""
    found = flatbuffer.quantization(outputs[0])
    outputs_type = flatbuffer.type_name(outputs[0])
    needed = _NEEDED_SCALES.get((name, data_type, outputs_type))
    if found is None or needed is None:
        return None
    scale, zero_point = needed
    apart = 0.0 if data_type == outputs_type == "int8" else 1e-3  # those of int8 are compared to the bit
    if found[1] == zero_point and (scale is None or math.isclose(found[0], scale, rel_tol=apart)):
        return None
    which = "" if scale is None else f"the scale {scale:.6g} and "
    return (
        f"TensorFlow Lite Micro's {name} gives {which}the zero point {zero_point} alone, but its output is said to "
        f"have {found[0]:.6g} and {found[1]}; convert the model again"
    )


def _scale_of_the_bias(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    """As GetQuantizedConvolutionMultipler in kernels/kernel_util.cc has it, where one scale holds for all outputs."""
    bias = inputs[2] if len(inputs) > 2 else None
    image, weights, made = (flatbuffer.quantization(tensor) for tensor in (*inputs[:2], outputs[0]))
    if data_type == "float32" or bias is None or image is None or weights is None or made is None:
        return None
    found = flatbuffer.quantization(bias) or (0.0, 0)
    return _product(name, "input", image[0], "weights", weights[0], found[0], 0.02 * made[0])


def _scale_of_the_state(name: str, data_type: str, inputs: Tensors, outputs: Tensors) -> str | None:
    """As svdf_common.cc has it."""
    bias = inputs[3]
    weights, state = (flatbuffer.quantization(inputs[place]) for place in (2, 4))
    if data_type == "float32" or bias is None or weights is None or state is None:
        return None
    found = flatbuffer.quantization(bias) or (0.0, 0)
    return _product(name, "state", state[0], "second weights", weights[0], found[0], 1e-5)


def _product(name: str, one: str, scale: float, other: str, times: float, found: float, most: float) -> str | None:
    if abs(scale * times - found) <= most:
        return None
    return (
        f"TensorFlow Lite Micro's {name} takes a bias of the scale {scale * times:.6g}, that of the {one} times that "
        f"of the {other}, but it has {found:.6g}; convert the model again"
    )


_POOLED_SCALE = 1e-6  # what pooling_common.cc allows
# (operator, type of its input, of its output) -> scale, or None for any, and zero point of its output.
_NEEDED_SCALES: dict[tuple[str, str, str], tuple[float | None, int]] = {
    ("LOGISTIC", "int8", "int8"): (None, -128),
    ("LOGISTIC", "int16", "int16"): (1 / 32768, 0),
    ("LOG_SOFTMAX", "int8", "int8"): (1 / 16, 127),
    ("SOFTMAX", "int8", "int8"): (1 / 256, -128),
    ("SOFTMAX", "int8", "int16"): (1 / 65536, -32768),
    ("SOFTMAX", "int16", "int16"): (1 / 32768, 0),
    ("TANH", "int16", "int16"): (1 / 32768, 0),
}
CHECKS: dict[str, Callable[[str, str, Tensors, Tensors], str | None]] = {
    "centred int16": _centred_int16,
    "channel scales on int8 only": _channel_scales_on_int8_only,
    "equal codes": _equal_codes,
    "equal inputs": _equal_inputs,
    "equal scales": _equal_scales,
    "fixed scales": _fixed_scales,
    "one scale": _one_scale,
    "scale for each output": _scale_for_each_output,
    "scale of the bias": _scale_of_the_bias,
    "scale of the padding": _scale_of_the_padding,
    "scale of the state": _scale_of_the_state,
}
