"""Trains float nets, pairs and the baselines that pairs are measured against."""

from bcnet_keras.training.stages import (
    COOPERATIVE_STAGES,
    LEARNING_RATES,
    cascade,
    coopnet,
    settle,
    train,
    train_float,
)

__all__ = ["COOPERATIVE_STAGES", "LEARNING_RATES", "cascade", "coopnet", "settle", "train", "train_float"]
