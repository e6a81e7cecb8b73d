"""Trains float nets, pairs and the baselines that pairs are measured against."""

from bcnet_keras.moved import renamed
from bcnet_keras.training.baselines import cascade, coopnet
from bcnet_keras.training.batch_norm import recalibrate_batch_norm
from bcnet_keras.training.boost import fit_boost
from bcnet_keras.training.stages import COOPERATIVE_STAGES, LEARNING_RATES, train, train_float

__all__ = [
    "COOPERATIVE_STAGES",
    "LEARNING_RATES",
    "cascade",
    "coopnet",
    "fit_boost",
    "recalibrate_batch_norm",
    "train",
    "train_float",
]
__getattr__ = renamed(__name__, settle=("recalibrate_batch_norm", recalibrate_batch_norm))
