#!/usr/bin/env bash
# Guess: a layer whose call raises changes nothing outside of itself. The exception is caught, and
# other models go on as before.
# What happens: Larq's quantized layers turn a switch of the whole process on while they call their
# kernel, and an exception on the way leaves it on. From then on every quantized layer of every model
# reads its latent weights as signs: get_weights gives -1 and 1 only, save_weights writes those, and
# the latent weights are lost for whoever loads the file.
# Version: larq 0.14.0 with TensorFlow 2.17.1 and tf-keras 2.17.0.
# Misled: whoever catches the error of one bad trial, in a search or a notebook, and trains on.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  larq==0.14.0 tensorflow-cpu==2.17.1 tf-keras==2.17.0 numpy==1.26.4

cat > "$dir/try.py" <<'EOF'
import sys

import larq as lq
import numpy as np
import tensorflow as tf

net = tf.keras.Sequential([tf.keras.Input((16,)), lq.layers.QuantDense(8, kernel_quantizer="ste_sign")])
before = net.get_weights()[0]
net.save_weights(sys.argv[1] + "/before.weights.h5")
try:
    # The kernel without oneDNN refuses unequal strides.
    lq.layers.QuantDepthwiseConv2D(3, strides=(1, 2), depthwise_quantizer="ste_sign")(tf.zeros((1, 8, 8, 1)))
except Exception as error:
    print("caught:", type(error).__name__)
after = net.get_weights()[0]
net.save_weights(sys.argv[1] + "/after.weights.h5")
switch = lq.context.should_quantize()
lq.context._quantized = False  # or loading would meet the same switch
with lq.context.quantized_scope(False):
    net.load_weights(sys.argv[1] + "/after.weights.h5")
    loaded = net.get_weights()[0]
magnitudes = [np.unique(np.abs(values)) for values in (before, after, loaded)]
print(f"switch on: {switch}; different magnitudes before {len(magnitudes[0])}, after {len(magnitudes[1])}, in the saved "
      f"file {len(magnitudes[2])}")
if not switch or np.any(np.abs(after) != 1) or np.any(np.abs(loaded) != 1):
    sys.exit("changed")
EOF
TF_USE_LEGACY_KERAS=1 TF_ENABLE_ONEDNN_OPTS=0 TF_CPP_MIN_LOG_LEVEL=3 "$dir/venv/bin/python" "$dir/try.py" "$dir" 2> >(grep -v -E 'cuda|oneDNN|TensorRT' >&2)
