"""Converts binary Keras nets to flatbuffers with int8 input and output, by Larq Compute Engine (LCE).

LCE turns the binary layers into its custom operators `LceQuantize`, `LceBconv2d` and `LceBMaxPool2d` on bitpacked
words. It turns every other layer that stands between two fake quantisations into an int8 builtin.
"""

import tempfile

from bcnet_keras.convert.keras import check_fully_quantized, convert_quietly
from bcnet_keras.convert.passes.mean_to_average_pool import mean_to_average_pool
from bcnet_keras.tflite import flatbuffer


def convert_binary(model):
    """Converts a binary Keras net (images in its input range -> logits) to the bytes of a flatbuffer.

    See `lower_binary`.
    """
    return flatbuffer.rewrite(lower_binary(model))


def lower_binary(model):
    """Converts a binary Keras net (images in its input range -> logits) to a parsed flatbuffer, a `schema.ModelT`.

    All tensors that operators pass on are int8 or bitpacked, input and output too. (The multipliers and biases of an
    `LceBconv2d` that gives int8 are float constants.) The batch is one.

    Raises:
      TypeError: not a Keras model.
      ValueError: the net does not convert, or not to integers only; the message names operator, layer and remedy.
    """
    import larq_compute_engine as lce
    import tensorflow as tf

    def convert(batch_of_one):
        image = tf.TensorSpec(batch_of_one.input_shape, tf.float32, name="image")
        function = tf.function(lambda image: batch_of_one(image, training=False))
        module = tf.Module()
        module.kept = batch_of_one.variables
        # The forward pass alone: `convert_keras_model` has Keras save every layer's functions as well, which takes
        # three times as long.
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(module, folder, signatures=function.get_concrete_function(image))
            return lce.convert_saved_model(folder, inference_input_type=tf.int8, inference_output_type=tf.int8)

    converted = flatbuffer.read(convert_quietly(convert, model, "binary net"))
    mean_to_average_pool(converted)
    check_fully_quantized(converted, model, "binary net")
    return converted
