#!/usr/bin/env bash
# Guess: whether TensorFlow takes a layer follows from the layer and the version.
# What happens: it follows from the processor. One wheel has two sets of kernels for processors, its own and oneDNN's, and
# takes oneDNN's by default where the processor has instructions such as AVX512_VNNI (release notes of TensorFlow 2.9).
# A depthwise convolution with unequal strides runs in oneDNN's and is refused by the other.
# Version: TensorFlow 2.17.1 on x86-64.
# Misled: whoever trains spectra with strides (1, 2) on one machine and evaluates, or tests, on another.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  tensorflow-cpu==2.17.1 numpy==1.26.4

cat > "$dir/try.py" <<'END'
import tensorflow as tf


try:
    result = tf.nn.depthwise_conv2d(tf.zeros((1, 8, 8, 1)), tf.zeros((3, 3, 1, 1)), [1, 1, 2, 1], "SAME")
    print(result.shape)
except tf.errors.InvalidArgumentError:
    print("refused")
END
try() {
  TF_ENABLE_ONEDNN_OPTS=$1 TF_CPP_MIN_LOG_LEVEL=3 "$dir/venv/bin/python" "$dir/try.py" \
    2> >(grep -v -E 'cuda|oneDNN|TensorRT' >&2)
}
without=$(try 0)
with=$(try 1)
echo "strides (1, 2): $without by the own kernels, $with by oneDNN's"
[ "$without" = "refused" ] && [ "$with" = "(1, 8, 4, 1)" ] || { echo changed >&2; exit 1; }
