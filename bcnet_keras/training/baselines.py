"""The baselines that pairs are measured against: two nets trained apart, by the stages "binary" and "int8"."""

from __future__ import annotations

from typing import Any

from bcnet_keras.calibration.measures import logits
from bcnet_keras.models.pair import BCNet
from bcnet_keras.training.boost import set_output_range


def coopnet(pair: BCNet, data: Any) -> BCNet:
    """Makes CoopNet of two nets that were trained apart: on escalation the int8 answer replaces the binary one.

    `data`, batches of (images, ...), sets the 8-bit range of the answers.
    """
    return _baseline(pair, data, combine="swap")


def cascade(pair: BCNet, data: Any) -> BCNet:
    """Makes the untrained cascade of two nets that were trained apart: on escalation the logits are added.

    `data`, batches of (images, ...), sets the 8-bit range of the answers.
    """
    return _baseline(pair, data, combine="sum")


def _baseline(pair, data, combine):
    # A learned measure is trained with both nets together, which these two are not.
    measure = "score_margin" if pair.gate.measure == "learned" else pair.gate.measure
    description = {name: getattr(pair, name) for name in ("class_names", "raw_range", "input_range", "front_end")}
    baseline = BCNet(pair.binary, pair.int8, measure, pair.gate.per_class, combine, boost=1.0, **description)
    set_output_range(baseline, *logits(baseline, data)[:2])
    return baseline
