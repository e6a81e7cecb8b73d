"""Turns a float Keras CNN into its int8 twin and its binary twin.

    >>> quantised = int8_twin(float_model)                  # same layers, same weights, 8-bit rounding in place
    >>> binary = binary_twin(float_model, width=2.0)        # same topology on bits, twice as wide, new weights

Both read the float model (`reader`, by the `rules` of its layers) into a `graph` of few kinds of layers, walk it from
image to logits (`walk`, `int8`, `binary`), and give a functional Keras model of `bcnet_keras.layers` that maps what
the float model takes to logits.
`light_binary_twin` (`choice`) picks the binary twin by what it costs on a core.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from bcnet_keras.layers.common import float32_layers
from bcnet_keras.models.twins.binary import BinaryTwin
from bcnet_keras.models.twins.int8 import Int8Twin
from bcnet_keras.models.twins.reader import SUPPORTED, read
from bcnet_keras.models.twins.stem import share_stem
from bcnet_keras.utils.types import Range

__all__ = ["SUPPORTED", "binary_twin", "float_logits", "int8_twin", "share_stem"]


@float32_layers()
def float_logits(model: Any) -> tf.keras.Model:
    """The float Keras model with the weights of `model` that gives logits [n, classes], for a teacher.

    A closing softmax or sigmoid is left out, one logit becomes two, and augmentation goes. Errors as for `int8_twin`.

    Examples:
      >>> teacher = bc.float_logits(float_model)
      >>> teacher.output_shape
      (None, 3)
    """
    return read(model).model


@float32_layers()
def int8_twin(model: Any, input_range: Range | None = None) -> tf.keras.Model:
    """The int8 net with the topology and the weights of `model`, ready for quantisation-aware training.

    Arguments:
      model: functional or sequential Keras model (`tf.keras`, or Keras 3 with any backend), or the path of a `.keras`
        file. It has one image [h, w, c], grey image [h, w] or series [t, c] as input and one output [classes], or [1]
        for two classes, and is made of the layers in `models.twins.SUPPORTED`. Weights are copied as they are, so train
        it first. Augmentation layers are left out.
      input_range: (lowest, highest) value of what the model takes; by default [-1, 127/128], where codes of uint8
        pixels are `pixel - 128`, or [0, 255] for a model that begins with Rescaling or Normalization.

    Examples:
      >>> int8 = bc.int8_twin(float_model)
      >>> int8.input_shape, int8.output_shape
      ((None, 8, 8, 1), (None, 3))

    The twin takes what the model takes. Raises ValueError that names every layer it cannot convert.
    """
    graph = read(model)
    return Int8Twin(graph, input_range).build(f"{graph.name}_int8")


@float32_layers()
def binary_twin(
    model: Any,
    width: float = 1.0,
    stem: str = "thermometer",
    planes: int | None = None,
    input_range: Range | None = None,
) -> tf.keras.Model:
    """The binary net with the topology of `model`; its weights start anew.

    Convolutions and hidden dense layers become binary, each with batch normalisation behind it. Where a depthwise
    convolution goes before a pointwise one, both become one binary convolution (and so does an expansion before them),
    since a binary kernel gains nothing from being depthwise. Activations go, as the sign takes their place, and so do
    gates of squeeze and excite. The last layer stays int8.

    Arguments:
      model, input_range: as for `int8_twin`.
      width: factor on the number of filters, which then rounds up to a multiple of 32 (a machine word of bits).
      stem: how the image enters: `"thermometer"` (all binary, cheapest), `"int8"` (int8 first convolution), or
        `"shared"`: by the first convolution of the int8 twin, for `share_stem`, and a thermometer behind it. A shortcut
        from there to an Add is left out.
      planes: thermometer planes per channel; None for 8 of the image, or 4 of a shared stem's output.

    Examples:
      >>> binary = bc.binary_twin(float_model, width=2.0, planes=4)
      >>> [layer.filters for layer in binary.layers if isinstance(layer, bc.BinaryConv2D)]
      [32]

    Raises ValueError that names every layer it cannot convert.
    """
    graph = read(model)
    return BinaryTwin(graph, input_range, width, stem, planes).build(f"{graph.name}_binary")
