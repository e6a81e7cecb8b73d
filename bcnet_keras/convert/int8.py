"""Converts Keras nets with 8-bit fake quantisation to int8 flatbuffers, by TensorFlow Lite's converter.

The net is one of `bcnet_keras.layers` (`FakeQuant`, `Int8Conv2D`, ...) or one that
`tfmot.quantization.keras.quantize_model` made.
"""

import contextlib

import tensorflow as tf

from bcnet_keras.convert.keras import check_fully_quantized, convert_quietly
from bcnet_keras.convert.passes.mean_to_average_pool import mean_to_average_pool
from bcnet_keras.errors import ModelError
from bcnet_keras.layers import FakeQuant
from bcnet_keras.tflite import flatbuffer


def convert_int8(model, input_range):
    """Converts a quantisation-aware trained Keras net to the bytes of an int8 flatbuffer with a batch of one.

    See `lower_int8`.
    """
    return flatbuffer.rewrite(lower_int8(model, input_range))


def lower_int8(model, input_range):
    """Converts a quantisation-aware trained Keras net to a parsed int8 flatbuffer, a `schema.ModelT`, of batch one.

    The input's scale and zero point follow from `input_range` = (lowest, highest): a tfmot net gets that range for the
    time of the conversion, a net of `FakeQuant` layers must have it already.

    Raises:
      TypeError: not a Keras model.
      ValueError: the net was not quantised (a float tensor is left) or does not convert; the message says why.
    """

    def convert(batch_of_one):
        image = tf.TensorSpec(batch_of_one.input_shape, tf.float32)
        function = tf.function(lambda image: batch_of_one(image, training=False)).get_concrete_function(image)
        # Converting through a SavedModel, which is written to disk, takes ten times as long.
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], batch_of_one)
        converter.experimental_lower_to_saved_model = False
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return converter.convert()

    if isinstance(model, tf.keras.Model) and not any(_quantises(layer) for layer in model.submodules):
        raise ModelError(
            "the int8 net has no fake quantisation: make it with bcnet_keras.int8_twin or "
            "tfmot.quantization.keras.quantize_model, and train it"
        )
    with _input_range(model, input_range):
        converted = flatbuffer.read(convert_quietly(convert, model, "int8 net"))
    mean_to_average_pool(converted)
    check_fully_quantized(converted, model, "int8 net")
    return converted


def _quantises(layer):
    return isinstance(layer, FakeQuant) or type(layer).__name__ == "QuantizeLayer"


@contextlib.contextmanager
def _input_range(model, input_range):
    """Sets the input quantiser of a tfmot net to `input_range` and restores its range at the end."""
    variables = []
    for layer in getattr(model, "layers", []):
        if type(layer).__name__ == "QuantizeLayer" and layer.quantizer is not None:
            variables = [layer.quantizer_vars["min_var"], layer.quantizer_vars["max_var"]]
    before = [variable.numpy() for variable in variables]
    for variable, value in zip(variables, input_range if variables else (), strict=True):
        variable.assign(value)
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
