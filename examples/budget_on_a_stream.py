"""A threshold that keeps to a budget: picked with confidence on validation images, then held on a stream that changes.

    python examples/own_model.py             # writes pair.keras
    python examples/budget_on_a_stream.py

Images grow noisy half-way. A fixed threshold then spends more than it should; `Budget`, the same code as on the device,
moves the threshold.
"""

import bcnet_keras as bc
import numpy as np
import tensorflow as tf

from bcnet_keras import datasets
from bcnet_keras.calibration import answers
from bcnet_keras.runtime.kernels import Budget

pair = tf.keras.models.load_model("pair.keras")
data = datasets.load("digits")
validation = pair.preprocess(data.validation.images), data.validation.labels

curve = bc.calibrate(pair, validation, core="cortex-m4")
most = curve.pair_cost[1]  # cost of an escalated image, over the int8 net alone
limit = (curve.pair_cost[0] + most) / 2
point = curve.pick(max_cost=limit, confidence_level=0.95)
print(f"threshold {point.threshold:.3f}: {point.cost:.3f} of the int8 net on these images, "
      f"at most {curve.upper_cost(point, 0.95):.3f} on fresh ones with a probability of 95 %")

random = np.random.default_rng(0)
chosen = random.integers(len(data.test.images), size=4000)
images = data.test.images[chosen].astype(np.float32)
images[2000:] = np.clip(images[2000:] + random.normal(0, 3, images[2000:].shape), 0, 16)
stream = answers(pair, (pair.preprocess(images), data.test.labels[chosen]))

accepted, escalated, allowed = (round(1_000_000 * cost) for cost in (*curve.pair_cost, point.cost))
budget = Budget(accepted, escalated, allowed, point.threshold, window=256)
for name, asked in {
    "fixed threshold": stream.confidence < point.threshold,
    "budget": budget.run(stream.confidence),
}.items():
    spent = np.where(asked, escalated, accepted) / allowed
    right = np.where(asked, stream.combined, stream.binary) == stream.labels
    print(f"{name}: {spent[:2000].mean():.2f} of the budget, then {spent[2000:].mean():.2f}; "
          f"accuracy {right[:2000].mean():.3f}, then {right[2000:].mean():.3f}")
