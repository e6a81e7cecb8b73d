#!/usr/bin/env bash
# Guess: entropy and divergences count 0 log 0 as 0, as the definition says and SciPy does.
# What happens: arm_entropy_f32 and arm_kullback_leibler_f32 return NaN as soon as one probability is 0, and
# arm_jensenshannon_distance_f32 returns 0.0: of two different distributions it says that they are equal.
# Version: cmsisdsp 1.10.1 (CMSIS-DSP's own Python package), compared with SciPy 1.16.2.
# Misled: whoever gates or calibrates a classifier by the entropy of its answer on a microcontroller: a sure
# answer of a quantised softmax has exact zeros.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  cmsisdsp==1.10.1 numpy==2.2.6 scipy==1.16.2

cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import math
import sys

import cmsisdsp
import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

sure, even = np.array([1, 0], np.float32), np.array([0.5, 0.5], np.float32)
rows = [
    ("entropy of (1, 0)", cmsisdsp.arm_entropy_f32(sure), entropy(sure)),
    ("Kullback-Leibler of (1, 0) to (.5, .5)", cmsisdsp.arm_kullback_leibler_f32(sure, even), entropy(sure, even)),
    ("Jensen-Shannon distance of the two", cmsisdsp.arm_jensenshannon_distance_f32(sure, even),
     jensenshannon(sure, even))]
for name, micro, scipy in rows:
    print(f"{name}: CMSIS-DSP {micro:.4f}, SciPy {scipy:.4f}")
if not (math.isnan(rows[0][1]) and math.isnan(rows[1][1]) and rows[2][1] == 0):
    sys.exit("changed")
EOF
