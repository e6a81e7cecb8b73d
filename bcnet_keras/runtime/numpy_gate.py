"""The gate of a pair in NumPy: `BcnetGate` as `tflm_ops/kernels/gate.cc` computes it, in single precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bcnet_keras.runtime.numpy_nodes import Kernel, Node
from bcnet_keras.utils.types import Array

_float = np.float32


def _rounded(function: Any, x: ArrayLike) -> Any:
    """A function in double precision, rounded to single: what C's functions of floats give."""
    return function(np.asarray(x, np.float64)).astype(_float)


def _sum(values: Array) -> Any:
    """One after the other, as the kernel adds."""
    return np.add.accumulate(values, dtype=_float)[-1]


def confidence(scores: Array, best: int, measure: str, weights: Array, bias: float) -> Any:
    """That of float32 `scores` [classes], the logits less the largest one; in [0, 1]."""
    scores = np.maximum(scores, _float(-100))  # below that is a probability of 0
    logs = scores - _rounded(np.log, _sum(_rounded(np.exp, scores)))
    probabilities = _rounded(np.exp, logs)
    largest, second = probabilities[best], np.delete(probabilities, best).max(initial=_float(0))
    entropy = -_sum(probabilities * logs)
    certainty = max(_float(0), _float(1) - entropy / _rounded(np.log, _float(len(scores))))
    if measure == "learned":
        products = np.concatenate([[_float(bias)], weights[: len(scores)] * probabilities]).astype(_float)
        total = _sum(products)
        for weight, value in zip(weights[len(scores) :], (largest - second, largest, certainty), strict=True):
            total = total + weight * value
        return _float(1) / (_float(1) + _rounded(np.exp, -total))
    return {"score_margin": largest - second, "max_probability": largest, "entropy": certainty}[measure]


def gate(node: Node) -> Kernel:
    options, logits = node.options, node[0]
    thresholds = np.asarray(options["threshold"], _float)
    weights = np.asarray(options.get("weights", []), _float)
    scale = _float(logits.scale if logits.type == "int8" else 1)

    def run(x):
        values = x.reshape(-1)
        best = int(values.argmax())
        if values.dtype == _float and not np.isfinite(values).all():
            return np.array([True])
        scores = values - values[best] if values.dtype == _float else values.astype(_float) - _float(values[best])
        sure = confidence(scores * scale, best, options["measure"], weights, options.get("bias", 0.0))
        return np.array([not sure >= thresholds[best if len(thresholds) > 1 else 0]])

    return run
