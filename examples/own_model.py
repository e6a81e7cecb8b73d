"""A float Keras model of your own becomes a pair in one .tflite file, which runs here before it runs on a board.

    python examples/own_model.py

Writes pair.tflite and pair.keras. The images are scikit-learn's 1,797 digits of 8x8 pixels, which need no download.
"""

import pathlib

import bcnet_keras as bc  # before tf.keras is used: it chooses the Keras that this package works with
import tensorflow as tf

from bcnet_keras import datasets

EPOCHS = {"binary": 12, "boosted": 8, "cooperative": 3}

tf.keras.utils.set_random_seed(0)
data = datasets.load("digits")
layers = tf.keras.layers
float_model = tf.keras.Sequential([
    layers.Input((8, 8, 1)),
    layers.Conv2D(16, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU(),
    layers.Conv2D(32, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU(),
    layers.MaxPooling2D(),
    layers.Conv2D(32, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU(),
    layers.GlobalAveragePooling2D(),
    layers.Dense(10),
])

# Both nets, and what each costs on the board before anything is trained.
pair = bc.BCNet.from_keras(
    float_model, board="nucleo-f446re", class_names=data.class_names, raw_range=data.raw_range
)


def batches(split, **options):
    raw = datasets.as_tf_dataset(split, batch_size=32, **options)
    return raw.map(lambda images, labels: (pair.preprocess(images), labels))


train_ds, val_ds = batches(data.train, shuffle=True), batches(data.validation)

# Three stages, each a Keras fit.
bc.train(pair, train_ds, val_ds, epochs=EPOCHS, checkpoint_dir="checkpoints", verbose=2)

# The most accurate threshold for at most 0.7 of the int8 net's cost.
curve = bc.calibrate(pair, val_ds, core="cortex-m4")
point = curve.pick(max_cost=0.7)
pair.threshold = point
print(point)

pathlib.Path("pair.tflite").write_bytes(bc.convert(pair))
pair.save("pair.keras")

answer = bc.Interpreter("pair.tflite").predict(data.test.images)
print("accuracy", (answer.predicted == data.test.labels).mean(), "escalated", answer.escalated.mean())
