"""Experiments that compare a cooperative pair with its baselines over several seeds."""

import os

# As for the `bcnet` command: TensorFlow leaves its faster kernels off where a processor lacks AVX-512.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
