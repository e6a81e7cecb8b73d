"""One training step of each stage under a `tf.distribute` strategy; writes losses and changed weights as .npz.

usage: python distributed_step.py single|mirrored|workers OUTPUT
"""

import sys

import numpy as np
import tensorflow as tf

import bcnet_keras as bc

STAGES = ("binary", "int8", "boosted", "cooperative")
BATCH = 18  # uneven over two replicas where a last batch of 9 follows


def tiny_float_net():
    layers = tf.keras.layers
    inputs = tf.keras.Input((8, 8, 1))
    tensor = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(inputs)))
    tensor = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(tensor)))
    return tf.keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(tensor)))


def data():
    random = np.random.default_rng(7)
    images = random.uniform(-1, 1, (27, 8, 8, 1)).astype(np.float32)
    weights = random.uniform(0.5, 2, 27).astype(np.float32)
    return images, random.integers(0, 4, 27), weights


def step(strategy):
    """Each stage trains for one epoch of a batch of 18 and one of 9; gives arrays by name."""
    kept = {}
    for stage in STAGES:
        tf.keras.utils.set_random_seed(1)
        with strategy.scope():
            pair = bc.BCNet.from_keras(tiny_float_net(), measure="learned", per_class=True)
            pair.threshold = 0.4
            # Plain gradient descent, so that the change of the weights is the gradient.
            pair.compile(tf.keras.optimizers.SGD(0.1), stage=stage, focus=0.5)
        batches = tf.data.Dataset.from_tensor_slices(data()).batch(BATCH)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        history = pair.fit(batches.with_options(options), epochs=2, verbose=0).history
        for name, values in history.items():
            kept[f"{stage}/{name}"] = np.array(values)
        for index, variable in enumerate(pair.weights):
            kept[f"{stage}/{index:03d}_{variable.name}"] = variable.numpy()
    return kept


def main():
    kind, output = sys.argv[1:]
    if kind == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    elif kind == "workers":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        strategy = tf.distribute.get_strategy()
    kept = step(strategy)
    with open(output, "wb") as file:
        np.savez(file, **kept)


if __name__ == "__main__":
    main()
