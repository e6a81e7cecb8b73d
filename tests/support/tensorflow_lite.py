"""Where TensorFlow Lite's reference kernels answer otherwise from one version of TensorFlow to the next."""

import numpy as np
import tensorflow as tf

# FULLY_CONNECTED in int8 rounds a sum times its multiplier twice up to TensorFlow 2.19, as TensorFlow Lite Micro does,
# and once from 2.20 on: now and then the code is another by one.
ROUNDS_ONCE = tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 20)


def assert_same_codes(micro, reference):
    """Asserts that int8 codes of TensorFlow Lite Micro are those of TensorFlow Lite's reference kernels."""
    differences = np.abs(np.asarray(micro, int) - np.asarray(reference, int))
    assert differences.max() <= ROUNDS_ONCE and np.mean(differences > 0) <= 0.03 * ROUNDS_ONCE, differences
