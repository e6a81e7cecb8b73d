"""Arrays of your own, here spectra of made-up vibrations, with few samples of one class: from NumPy to a pair.

    python examples/custom_dataset.py

Writes vibrations.tflite. Anything that fits an array [samples, height, width, channels] goes the same way.
"""

import pathlib

import bcnet_keras as bc
import numpy as np
import tensorflow as tf

from bcnet_keras import datasets

EPOCHS = {"float": 10, "binary": 20, "boosted": 10, "cooperative": 3}
NAMES = ("idle", "running", "worn bearing")


def recordings(count, label, random):
    """`count` recordings of 512 samples: noise, a tone, or a tone with clicks."""
    time = np.arange(512)
    signal = random.normal(0, 0.3, (count, 512))
    if label > 0:
        signal += np.sin(time * random.uniform(0.2, 0.3, (count, 1)) + random.uniform(0, 6, (count, 1)))
    if label > 1:
        signal += 2.0 * (random.random((count, 512)) < 0.01)
    return signal


def spectra(signal):
    """[n, 512] -> float32 [n, 16, 16, 1]: log magnitudes of 16 frames, 16 bands, from 0 to 1."""
    frames = signal.reshape(len(signal), 16, 32)
    magnitudes = np.abs(np.fft.rfft(frames * np.hanning(32), axis=-1))[..., 1:17]
    return np.clip(np.log1p(magnitudes) / 3, 0, 1).astype(np.float32)[..., np.newaxis]


random = np.random.default_rng(0)
counts = (400, 400, 60)
images = np.concatenate([spectra(recordings(count, label, random)) for label, count in enumerate(counts)])
labels = np.repeat(np.arange(3), counts)
datasets.check_arrays(images, labels, num_classes=3)  # one line says what is wrong with them

order = random.permutation(len(labels))
parts = np.split(order, [int(0.6 * len(order)), int(0.8 * len(order))])
train, validation, test = (datasets.Split(images[part], labels[part]) for part in parts)

layers = tf.keras.layers
float_model = tf.keras.Sequential([
    layers.Input(images.shape[1:]),
    layers.Conv2D(16, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU(),
    layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU(),
    layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU(),
    layers.GlobalAveragePooling2D(),
    layers.Dense(len(NAMES)),
])
# Values from 0 to 1 go linearly to the nets' input; the range is kept in the file.
pair = bc.BCNet.from_keras(float_model, class_names=NAMES, raw_range=(0.0, 1.0))


def batches(split, **options):
    raw = datasets.as_tf_dataset(split, batch_size=32, **options)
    return raw.map(lambda values, classes: (pair.preprocess(values), classes))


train_ds, val_ds = batches(train, shuffle=True), batches(validation)
weights = {label: len(labels) / (len(NAMES) * count) for label, count in enumerate(counts)}
bc.train(pair, train_ds, val_ds, epochs=EPOCHS, class_weight=weights, verbose=2)
pair.threshold = bc.calibrate(pair, val_ds).pick(max_cost=0.7)

pathlib.Path("vibrations.tflite").write_bytes(bc.convert(pair))
answer = bc.Interpreter("vibrations.tflite").predict(test.images)
for label, name in enumerate(NAMES):
    rows = test.labels == label
    right, escalated = (answer.predicted[rows] == label).mean(), answer.escalated[rows].mean()
    print(f"{name}: {right:.2f} right, {escalated:.2f} escalated")
