"""What all layers share."""

import tensorflow as tf

# A uint8 pixel p becomes (p - 128) / 128: the int8 code is p - 128, the scale 1/128, the zero point 0.
INPUT_RANGE = (-1.0, 127 / 128)

register = tf.keras.utils.register_keras_serializable(package="bcnet_keras")


def without(config, *keys):
    """`config` less the arguments that a layer fixes for itself."""
    return {key: value for key, value in config.items() if key not in keys}


def over_replicas(value, reduce):
    """`reduce(value)` over all replicas of the current `tf.distribute` strategy; `value` is a scalar."""
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        value = reduce(context.all_gather(value[tf.newaxis], axis=0))
    return value
