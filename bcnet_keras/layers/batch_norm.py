"""Batch normalisation for nets that end in signs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def batch_norm(**kwargs: Any) -> tf.keras.layers.BatchNormalization:
    """`tf.keras.layers.BatchNormalization` as binary nets need it.

    Signs are sensitive to the statistics, so these average over some hundred batches (a momentum of 0.9 cost a binary
    net three points of accuracy), and over the global batch under a `tf.distribute` strategy.
    """
    # Keras has no fused kernel for synchronised statistics; without one a step of ResNet-8 takes half as long again.
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return tf.keras.layers.BatchNormalization(**{"momentum": 0.99, **kwargs}, synchronized=several)
