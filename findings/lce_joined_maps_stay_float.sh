#!/usr/bin/env bash
# Guess: maps of batch-normalized binary convolutions that are concatenated, and then binarized by the
# next layer, are written as bits and joined word by word, as maps that follow in a row are: a sign of
# joined numbers is the joined signs.
# What happens: Larq Compute Engine's converter takes the sign behind the concatenation only. Both
# maps and the joined one are float32, 32 times as large, and the map that has another reader is
# written twice, as bits and as floats.
# Version: larq-compute-engine 0.16.0, larq 0.14.0, TensorFlow 2.17.1, tf-keras 2.17.0.
# Misled: whoever plans RAM for a densely connected binary net by Larq's summary or by its bits.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  larq==0.14.0 larq-compute-engine==0.16.0 tensorflow-cpu==2.17.1 tf-keras==2.17.0 numpy==1.26.4

cat > "$dir/try.py" <<'EOF'
import math
import sys

import larq as lq
import larq_compute_engine as lce
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils


def convolution(tensor):
    tensor = lq.layers.QuantConv2D(
        64, 3, padding="same", pad_values=1.0, use_bias=False, input_quantizer="ste_sign",
        kernel_quantizer="ste_sign", kernel_constraint="weight_clip",
    )(tensor)
    return tf.keras.layers.BatchNormalization()(tensor)


def maps(joined):
    """(type, bytes) of all maps of a converted net of three convolutions but those that end it."""
    image = tf.keras.Input((16, 16, 64))
    tensor = convolution(image)
    added = convolution(tensor)
    if joined:
        added = tf.keras.layers.Concatenate()([tensor, added])
    result = tf.keras.layers.GlobalAveragePooling2D()(convolution(added))
    data = lce.convert_keras_model(tf.keras.Model(image, result))
    graph = flatbuffer_utils.convert_bytearray_to_object(bytearray(data)).subgraphs[0]
    names = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    written = [graph.tensors[index] for operator in graph.operators for index in operator.outputs]
    return [(names[each.type], 4 * math.prod(each.shape)) for each in written[:-2]]


in_a_row, joined = maps(False), maps(True)
for name, found in (("in a row", in_a_row), ("joined", joined)):
    print(f"{name}: " + ", ".join(f"{type} {size} bytes" for type, size in found))
largest = {name: max(size for _, size in found) for name, found in (("in a row", in_a_row), ("joined", joined))}
print(f"largest map: {largest['in a row']} bytes in a row, {largest['joined']} where two are joined")
if {type for type, _ in in_a_row} != {"INT32"} or largest["joined"] != 64 * largest["in a row"]:
    sys.exit("changed")
EOF
TF_USE_LEGACY_KERAS=1 TF_CPP_MIN_LOG_LEVEL=3 "$dir/venv/bin/python" "$dir/try.py" 2> >(grep -v -E 'cuda|oneDNN|TensorRT' >&2)
