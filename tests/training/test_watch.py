"""What a training that finds nothing says, and when."""

import logging
import re

import numpy as np
import pytest
import tensorflow as tf

from bcnet_keras.training import stages
from bcnet_keras.training.stages import train_float
from bcnet_keras.training.watch import class_findings, findings

TEN = np.full(10, 0.1)


def history(loss, accuracy, validation=None):
    logs = {"loss": list(loss), "accuracy": list(accuracy)}
    return logs | ({} if validation is None else {"val_accuracy": list(validation)})


@pytest.mark.parametrize(
    ("logs", "reason"),
    [
        (history([2.30, 2.30, 2.299, 2.30, 2.30], [0.1, 0.11, 0.1, 0.1, 0.1]), "loss"),
        (history([2.5, 2.4, 2.3, 2.25, 2.2], [0.1, 0.11, 0.12, 0.13, 0.14]), "chance"),
        (history([2.0, 1.5, 1.0, 0.5, 0.1], [0.3, 0.5, 0.7, 0.9, 1.0], [0.3, 0.4, 0.5, 0.5, 0.5]), "gap"),
        (history([2.0, 1.5, np.nan], [0.3, 0.5, 0.1]), "diverged"),
        (history([2.0, 1.5, 1.0, 0.5, 0.1], [0.3, 0.5, 0.7, 0.9, 1.0], [0.3, 0.4, 0.5, 0.8, 0.9]), None),
        (history([0.01, 0.01, 0.01, 0.01, 0.01], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]), None),  # nothing left to learn
    ],
)
def test_findings(logs, reason):
    found = findings(logs, epochs=8, steps=50, shares=TEN, validation_samples=200)
    assert list(found) == ([] if reason is None else [reason])
    assert all("\n" not in line for line in found.values())


def test_nothing_is_said_too_early():
    stuck = history([2.3, 2.3, 2.3], [0.1, 0.1, 0.1])
    assert findings(stuck, epochs=8, steps=10, shares=TEN) == {}
    assert findings(stuck, epochs=50, steps=100, shares=TEN) == {}
    assert list(findings(stuck, epochs=8, steps=100, shares=TEN)) == ["loss"]
    # A gap that so few validation samples do not show.
    apart = history([2.0, 1.0, 0.5, 0.2, 0.1], [0.4, 0.7, 0.9, 0.95, 0.9], [0.5, 0.6, 0.7, 0.7, 0.7])
    assert findings(apart, 8, 50, TEN, validation_samples=12) == {}
    assert list(findings(apart, 8, 50, TEN, validation_samples=500)) == ["gap"]


def test_always_saying_the_most_frequent_class_is_chance():
    skewed = np.array([0.9, 0.1])
    logs = history([0.5, 0.4, 0.36, 0.34, 0.33], [0.9, 0.9, 0.9, 0.9, 0.9])
    assert list(findings(logs, 8, 50, skewed)) == ["chance"]


def test_classes():
    names = ("cat", "dog", "fish")
    assert class_findings(names, [200, 300, 250]) == {}
    found = class_findings(names, [400, 300, 12], [40, 60, 0])
    assert list(found) == ["few", "unbalanced", "unanswered"]
    assert "fish (12)" in found["few"] and "cat has 400" in found["unbalanced"] and "fish" in found["unanswered"]


def net():
    inputs = tf.keras.Input((4, 4, 1))
    return tf.keras.Model(inputs, tf.keras.layers.Dense(2)(tf.keras.layers.Flatten()(inputs)))


def test_a_training_that_finds_nothing_says_so_once_while_it_happens(caplog):
    tf.keras.utils.set_random_seed(0)
    images = np.zeros((400, 4, 4, 1), np.float32)  # all alike, so that nothing tells the classes apart
    labels = np.arange(400) % 5 // 3
    epochs_then = []
    tell = tf.keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: epochs_then.append(sum("stage float" in m for m in caplog.messages))
    )
    with caplog.at_level(logging.WARNING, "bcnet_keras.training.watch"):
        train_float(
            net(), (images, labels), (images[:100], labels[:100]), 20, batch_size=16, verbose=0, callbacks=[tell]
        )
    # TensorFlow may speak of retracing, which depends on what the process has trained before.
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("bcnet_keras")]
    assert len(ours) == 1 and "stage float, epoch" in ours[0]
    assert epochs_then[-1] == 1 and epochs_then[0] == 0


def test_a_diverged_training_ends_at_once():
    model, epochs = net(), []
    images = np.zeros((64, 4, 4, 1), np.float32)

    def spoil(epoch, logs):
        epochs.append(epoch)
        if epoch == 2:
            model.set_weights([np.nan * weight for weight in model.get_weights()])

    spoiler = tf.keras.callbacks.LambdaCallback(on_epoch_begin=spoil)
    with pytest.raises(ValueError, match="training diverged in stage float: .*lower the learning rate"):
        train_float(model, (images, np.arange(64) % 2), epochs=50, batch_size=16, verbose=0, callbacks=[spoiler])
    assert epochs == [0, 1, 2]


def lagging_net(momentum=0.999):
    """A net whose moving statistics hardly follow: they are nothing like those of its batches while it trains."""
    inputs = tf.keras.Input((4, 4, 1))
    tensor = tf.keras.layers.Flatten()(inputs)
    for width in (64, 64):
        tensor = tf.keras.layers.ReLU()(
            tf.keras.layers.BatchNormalization(momentum=momentum)(tf.keras.layers.Dense(width)(tensor))
        )
    return tf.keras.Model(inputs, tf.keras.layers.Dense(2)(tensor))


def patterns(number, seed, learnable):
    """Images of class 1 are brighter on the left; where nothing can be learned, labels have nothing to do with them."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, number)
    images = random.normal(3, 1, (number, 4, 4, 1)).astype(np.float32)
    if learnable:
        images[labels == 1, :, :2] += 1.5
    return images, labels


@pytest.mark.parametrize("learnable", [True, False])
def test_a_gap_is_that_of_settled_statistics(learnable, caplog):
    tf.keras.utils.set_random_seed(0)
    with caplog.at_level(logging.WARNING, "bcnet_keras.training.watch"):
        seen = train_float(
            lagging_net(),
            patterns(320, 0, learnable),
            patterns(400, 1, learnable),
            30,
            learning_rate=5e-3,
            batch_size=16,
            verbose=0,
        )
    # To whom looks at the history alone the net learns by heart in both cases.
    assert list(findings(seen, 30, 20, np.full(2, 0.5), 400)) == ["gap"]
    by_heart = [line for line in caplog.messages if "learns its images by heart" in line]
    assert len(by_heart) == (0 if learnable else 1)
    if by_heart:
        found = re.search(
            r"epoch (\d+) of 30: ([\d.]+) % of the training samples are right and ([\d.]+) %", by_heart[0]
        )
        assert int(found[1]) >= 15 and float(found[2]) > 85 and 40 < float(found[3]) < 60


def test_looking_at_settled_statistics_leaves_a_net_as_it_was():
    tf.keras.utils.set_random_seed(0)
    model, data = lagging_net(), patterns(64, 0, True)
    model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(*data, epochs=10, verbose=0)
    before = model.get_weights()
    accuracy = stages._recalibrated_accuracy([model], data, patterns(400, 1, True))(model)
    for weight, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)
    assert all(layer.momentum == 0.999 for layer in model.layers if hasattr(layer, "momentum"))
    # What Keras itself answers once each batch is normalised by its own statistics.
    images, labels = patterns(400, 1, True)
    assert accuracy == pytest.approx(np.mean(model(images, training=True).numpy().argmax(-1) == labels), abs=0.05)
