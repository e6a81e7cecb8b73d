#!/usr/bin/env bash
# Guess: load_weights of a .weights.h5 file matches layers by name, or refuses a net whose layers are not those of the
# file; a net with fewer layers than the file is refused, as with .h5 files.
# What happens: the file has no names of layers but "dense", "dense_1", "dense_2", by kind and order. A net with other
# names takes them in its own order, and a net with fewer layers takes the first ones, both without a word: the head of
# a net that lacks the middle layer gets the middle layer's weights.
# Version: tf-keras 2.17.0 with TensorFlow 2.17.1.
# Misled: whoever reuses checkpoints after changing a net: a backbone without its head, a layer taken out.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  tensorflow-cpu==2.17.1 tf-keras==2.17.0 numpy==1.26.4

cat > "$dir/try.py" <<'END'
import sys

import numpy as np
import tf_keras as keras


def net(*names):
    return keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(4, name=name) for name in names)])


def taken(names, suffix):
    """{layer: whose weights it has now}, or the error."""
    loaded = net(*names)
    try:
        loaded.load_weights(sys.argv[1] + "/net" + suffix)
    except ValueError:
        return "refused"
    return {
        layer.name: other.name
        for layer in loaded.layers
        for other in saved.layers
        if np.array_equal(layer.get_weights()[0], other.get_weights()[0])
    }


saved = net("stem", "middle", "head")
for suffix in (".weights.h5", ".h5"):
    saved.save_weights(sys.argv[1] + "/net" + suffix)
seen = {
    suffix: [taken(names, suffix) for names in (("head", "middle", "stem"), ("stem", "head"))]
    for suffix in (".weights.h5", ".h5")
}
for suffix, (turned, shorter) in seen.items():
    print(f"{suffix}: layers in another order took {turned}, a net without the middle layer {shorter}")
turned = {"head": "stem", "middle": "middle", "stem": "head"}
if seen != {".weights.h5": [turned, {"stem": "stem", "head": "middle"}], ".h5": [turned, "refused"]}:
    sys.exit("changed")
END
TF_CPP_MIN_LOG_LEVEL=3 "$dir/venv/bin/python" "$dir/try.py" "$dir" 2> >(grep -v -E 'cuda|oneDNN|TensorRT' >&2)
