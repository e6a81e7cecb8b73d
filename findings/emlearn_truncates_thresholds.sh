#!/usr/bin/env bash
# Guess: a tree converted for a microcontroller answers as scikit-learn's, at least where the features are small
# integers, which fit the default int16_t exactly.
# What happens: convert() truncates the thresholds to int16_t. scikit-learn splits integers at halves: x <= 0.5
# becomes x < 0, and 0 goes the other way. On the digits, whose pixels are integers from 0 to
# 16, every third answer changes. No error, no warning from Python.
# Version: emlearn 0.21.1, scikit-learn 1.7.2.
# Misled: whoever trusts the accuracy that scikit-learn reports. Multiplying the features by 2 mends nearly all of it here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  emlearn==0.21.1 scikit-learn==1.7.2 numpy==2.2.6 scipy==1.16.2 setuptools==80.9.0

cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import sys

import emlearn
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

x, y = load_digits(return_X_y=True)
seen = {}
for factor in 1, 2:
    train_x, test_x, train_y, test_y = train_test_split(x * factor, y, test_size=0.4, random_state=0)
    tree = DecisionTreeClassifier(random_state=0).fit(train_x, train_y)
    converted = emlearn.convert(tree).predict(test_x)
    seen[factor] = np.mean(converted == tree.predict(test_x))
    print(f"pixels times {factor}: scikit-learn {tree.score(test_x, test_y):.3f} right, "
          f"emlearn {np.mean(converted == test_y):.3f}, the same answer in {seen[factor]:.3f}")
if not (seen[1] < 0.8 and seen[2] > 0.98):
    sys.exit("changed")
EOF
