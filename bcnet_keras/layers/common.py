"""What all layers share."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.errors import ModelError

log = logging.getLogger(__name__)

# A uint8 pixel p becomes (p - 128) / 128: the int8 code is p - 128, the scale 1/128, the zero point 0.
INPUT_RANGE = (-1.0, 127 / 128)

register = tf.keras.utils.register_keras_serializable(package="bcnet_keras")


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    """`config` less the arguments that a layer fixes for itself."""
    return {key: value for key, value in config.items() if key not in keys}


def check_finite(model: tf.keras.Model) -> None:
    """Raises ValueError for a Keras model with NaN or infinity among its weights; the message names some of these."""
    weights = [weight for weight in model.weights if weight.dtype.is_floating]
    names = [weight.name for weight in weights if not np.all(np.isfinite(weight.numpy()))]
    if names:
        others = f" and {len(names) - 3} others" if len(names) > 3 else ""
        raise ModelError(
            f"the model {model.name!r} has NaN or infinity in {', '.join(names[:3])}{others}, as a training that "
            "diverged leaves it: train it again with a lower learning rate, or load an earlier checkpoint."
        )


def leave_quantized_scope() -> None:
    """Turns off Larq's global switch by which variables give their quantised values in place of the latent ones.

    Larq turns it on for a layer's call and leaves it on where that raises, such as in a notebook's cell with a wrong
    shape. All that reads weights afterwards takes the quantised ones: training would go on from +1 and -1.
    """
    larq = sys.modules.get("larq")
    if larq is not None and larq.context.should_quantize():
        larq.context.quantized_scope(False).__enter__()
        log.warning(
            "Larq's quantized_scope was left on, as it is after a layer that could not be called; it is turned off, or "
            "latent weights would be lost"
        )


def over_replicas(value: tf.Tensor, reduce: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """`reduce(value)` over all replicas of the current `tf.distribute` strategy; `value` is a scalar."""
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        value = reduce(context.all_gather(value[tf.newaxis], axis=0))
    return value


@contextlib.contextmanager
def float32_layers() -> Iterator[None]:
    """Makes layers of float32, whatever Keras' global policy is: 8-bit codes are rounded in it. Also a decorator."""
    policy = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("float32")
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)
