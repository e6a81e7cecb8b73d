#!/usr/bin/env bash
# Guess: Larq Compute Engine's converter refuses a quantizer that its kernels do not have, or leaves
# the layer in float. What it converts to a binary convolution gives the answers of the Keras model.
# What happens: inputs quantized by ste_tern, with the values -1, 0 and 1, are converted to a binary
# convolution, which has no 0: small inputs become 1 or -1. No warning. One dead filter under
# magnitude_aware_sign does the opposite: the whole layer stays a float convolution, with weights 32
# times as large, while larq.models.summary calls all of them binary.
# Version: larq-compute-engine 0.16.0, larq 0.14.0, TensorFlow 2.17.1, tf-keras 2.17.0.
# Misled: whoever trusts that a file that was converted, or a summary, is of the net that was trained.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  larq==0.14.0 larq-compute-engine==0.16.0 tensorflow-cpu==2.17.1 tf-keras==2.17.0 numpy==1.26.4

cat > "$dir/try.py" <<'EOF'
import sys

import larq as lq
import larq_compute_engine as lce
import numpy as np
import tensorflow as tf


def net(dead=False, **quantizers):
    image = tf.keras.Input((8, 8, 64))
    layer = lq.layers.QuantConv2D(64, 3, use_bias=False, **quantizers)
    result = tf.keras.layers.GlobalAveragePooling2D()(layer(image))
    model = tf.keras.Model(image, result)
    kernel = np.random.default_rng(0).uniform(-1, 1, (3, 3, 64, 64)).astype(np.float32)
    if dead:
        kernel[..., 5] = 0
    model.set_weights([kernel])
    return model


images = np.random.default_rng(1).normal(size=(4, 8, 8, 64)).astype(np.float32)
errors = {}
for quantizer in ("ste_sign", "ste_tern"):
    model = net(input_quantizer=quantizer, kernel_quantizer="ste_sign", kernel_constraint="weight_clip")
    answers = lce.testing.Interpreter(lce.convert_keras_model(model), use_reference_bconv=True).predict(images)
    expected = model.predict(images, verbose=0)
    errors[quantizer] = np.abs(answers - expected).max() / np.abs(expected).max()
sizes = {}
for dead in (False, True):
    model = net(dead, input_quantizer="ste_sign", kernel_quantizer="magnitude_aware_sign", kernel_constraint="weight_clip")
    sizes[dead] = len(lce.convert_keras_model(model))
print({name: f"largest error {error:.3f} of the largest answer" for name, error in errors.items()})
print(f"magnitude_aware_sign: {sizes[False]} bytes, {sizes[True]} with one dead filter")
if errors["ste_sign"] > 0.01 or errors["ste_tern"] < 0.05 or sizes[True] < 10 * sizes[False]:
    sys.exit("changed")
EOF
TF_USE_LEGACY_KERAS=1 TF_CPP_MIN_LOG_LEVEL=3 "$dir/venv/bin/python" "$dir/try.py" 2> >(grep -v -E 'cuda|oneDNN|TensorRT' >&2)
