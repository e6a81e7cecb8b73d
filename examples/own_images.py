"""A folder of your own images, one folder per class, becomes an Arduino library.

    python examples/own_images.py my_photos

Writes photos.tflite and photos_library. `bcnet train --dataset folder:my_photos` does more: it chooses the nets and the
length of training, compares the pair with the int8 net alone, and writes a report.
"""

import pathlib
import sys

import bcnet_keras as bc
import tensorflow as tf

from bcnet_keras import datasets

EPOCHS = {"float": 30, "binary": 60, "boosted": 20, "cooperative": 6}
BOARD = "arduino-nano-33-ble"

data = datasets.load(f"folder:{sys.argv[1]}", resize=(32, 32))
print(data.source)
classes = len(data.class_names)
layers = tf.keras.layers


def block(filters, strides):
    return [layers.Conv2D(filters, 3, strides, padding="same", use_bias=False),
            layers.BatchNormalization(), layers.ReLU()]


float_model = tf.keras.Sequential([
    layers.Input(data.train.images.shape[1:]),
    layers.Rescaling(1 / 128, -1),  # the model takes raw pixels
    *block(16, 1), *block(32, 2), *block(64, 2), *block(64, 1),
    layers.GlobalAveragePooling2D(),
    layers.Dense(classes),
])


def batches(split, **options):
    return datasets.as_tf_dataset(split, batch_size=32, **options)


train_ds = batches(data.train, shuffle=True, augmentation=datasets.Variation(mirror=True, shift=1 / 14))
val_ds = batches(data.validation)
float_model.compile(
    "adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
)
float_model.fit(train_ds, validation_data=val_ds, epochs=EPOCHS["float"], verbose=2)

pair = bc.BCNet.from_keras(float_model, board=BOARD, class_names=data.class_names)
bc.train(pair, train_ds, val_ds, epochs=EPOCHS, teacher=float_model, verbose=2)
pair.threshold = bc.calibrate(pair, val_ds).pick(max_cost=0.7)

pathlib.Path("photos.tflite").write_bytes(bc.convert(pair))
answer = bc.Interpreter("photos.tflite").predict(data.test.images)
print("accuracy", (answer.predicted == data.test.labels).mean(), "escalated", answer.escalated.mean())
profile = bc.Profile.of("photos.tflite", board_name=BOARD, escalation_rate=float(answer.escalated.mean()))
print(profile.text())
print(bc.export("photos.tflite", "arduino", "photos_library", name="photos") / "README.md")
