"""Trains float nets, pairs and the baselines that pairs are measured against; names are loaded on first use."""

from typing import Any

from bcnet_keras.moved import renamed
from bcnet_keras.utils.lazy import lazy

# Name -> module of this package that defines it.
_PUBLIC = {
    "COOPERATIVE_STAGES": "stages",
    "LEARNING_RATES": "stages",
    "cascade": "baselines",
    "coopnet": "baselines",
    "fit_boost": "boost",
    "recalibrate_batch_norm": "batch_norm",
    "train": "stages",
    "train_float": "stages",
}
__all__ = list(_PUBLIC)
_load = lazy(__name__, _PUBLIC)


def __getattr__(name: str) -> Any:
    if name == "settle":
        return renamed(__name__, settle=("recalibrate_batch_norm", _load("recalibrate_batch_norm")))(name)
    return _load(name)
