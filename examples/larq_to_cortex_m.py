"""A Larq model of your own on a Cortex-M: converted, run here, profiled, and written as a CMake project.

    python examples/larq_to_cortex_m.py

Writes larq.tflite and larq_firmware. The net is untrained; train yours as you do, by `model.fit`.
"""

import pathlib

import bcnet_keras as bc
import larq as lq
import larq_compute_engine as lce
import numpy as np
import tensorflow as tf

from bcnet_keras.convert.passes import run_passes
from bcnet_keras.convert.passes.fuse_stem import fuse_front

binary = dict(input_quantizer="ste_sign", kernel_quantizer="ste_sign", kernel_constraint="weight_clip", use_bias=False)
model = tf.keras.Sequential([
    tf.keras.layers.Input((32, 32, 3)),
    tf.keras.layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False),
    tf.keras.layers.BatchNormalization(),
    lq.layers.QuantConv2D(64, 3, padding="same", pad_values=1, **binary),
    tf.keras.layers.BatchNormalization(),
    lq.layers.QuantConv2D(64, 3, strides=2, padding="same", pad_values=1, **binary),
    tf.keras.layers.BatchNormalization(),
    tf.keras.layers.GlobalAveragePooling2D(),
    tf.keras.layers.Dense(10),
])

# Without int8 at both ends, floats would stay between the layers, which a core without a floating-point unit feels.
flatbuffer = lce.convert_keras_model(
    model,
    inference_input_type=tf.int8,
    inference_output_type=tf.int8,
    experimental_default_int8_range=(-6.0, 6.0),  # in place of ranges that quantisation-aware training learns
)
# The int8 convolution and the signs behind it in one operator.
flatbuffer = run_passes(flatbuffer, fuse_front)
pathlib.Path("larq.tflite").write_bytes(flatbuffer)

images = np.random.default_rng(0).integers(-128, 128, (4, 32, 32, 3)).astype(np.int8)  # codes of the input
print(bc.Interpreter("larq.tflite").predict(images).predicted)

print(bc.Profile.of("larq.tflite", core="cortex-m4").text())
print(bc.export("larq.tflite", "cmake", "larq_firmware", name="larq") / "README.md")
