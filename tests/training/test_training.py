"""The stages of training as a user calls them, their checkpoints, and the baselines."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from small_nets import float_net, images_and_labels

import bcnet_keras as bc
from bcnet_keras.layers import FakeQuant
from bcnet_keras.models.pair_cost import pair_cost
from bcnet_keras.training import boost as boost_module
from bcnet_keras.training import cascade, coopnet, fit_boost, recalibrate_batch_norm, train_float
from bcnet_keras.training.callbacks import BestWeights, CosineSchedule, epochs_to_skip


def learnable(number=256, seed=0):
    """Images whose class is where they are bright."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, number)
    images = random.uniform(-1, 0, (number, 8, 8, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 0.9
    return np.clip(images, -1, 127 / 128), labels


def test_three_stages_learn_and_set_the_threshold():
    tf.keras.utils.set_random_seed(2)
    pair = bc.BCNet.from_keras(float_net())
    images, labels = learnable()
    seen = []
    counter = tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(pair.stage))
    histories = bc.train(
        pair,
        (images, labels),
        learnable(64, seed=1),
        epochs={"binary": 8, "boosted": 6, "cooperative": 2},
        int8_share=0.8,
        callbacks=[counter],
        batch_size=32,
        verbose=0,
    )
    assert seen == 8 * ["binary"] + 6 * ["boosted"] + 2 * ["cooperative"]
    assert histories["binary"]["loss"][-1] < histories["binary"]["loss"][0]
    assert 0 <= pair.threshold <= 1 and 0 <= float(pair.boost) <= 10
    scores = pair.evaluate(*learnable(128, seed=3), verbose=0, return_dict=True)
    assert scores["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("stage", "momentum"), [("binary", 0.9), ("int8", 0.999), ("boosted", 0.9), ("cooperative", 0.999)]
)
def test_statistics_at_the_end_are_those_of_the_final_weights(stage, momentum):
    tf.keras.utils.set_random_seed(2)
    pair = bc.BCNet.from_keras(float_net())
    pair.threshold = 0.5
    nets = {"binary": (pair.binary,), "cooperative": (pair.binary, pair.int8)}.get(stage, (pair.int8,))
    norms = [layer for net in nets for layer in net.layers if isinstance(layer, tf.keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = momentum
    images, labels = learnable()
    bc.train(pair, (images, labels), epochs=1, stages=(stage,), int8_share=0.8, batch_size=32, verbose=0)
    assert all(norm.momentum == momentum for norm in norms)
    for net in nets:
        first = next(layer for layer in net.layers if isinstance(layer, tf.keras.layers.BatchNormalization))
        into = tf.keras.Model(net.input, first.input)(images, training=False).numpy().astype(np.float64)
        np.testing.assert_allclose(first.moving_mean, into.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-3)
        # Keras's kernel has n / (n - 1) times the variance of n values.
        np.testing.assert_allclose(first.moving_variance, into.var(axis=(0, 1, 2)), rtol=2e-3, atol=1e-3)


def test_settling_counts_each_image_once_and_leaves_frozen_layers():
    inputs = tf.keras.Input((2, 2, 3))
    trained, frozen = (tf.keras.layers.BatchNormalization(momentum=0.99) for _ in "ab")
    net = tf.keras.Model(inputs, frozen(trained(inputs)))
    frozen.trainable = False
    random = np.random.default_rng(0)
    images = (random.normal(size=(110, 2, 2, 3)) * [1, 2, 3] + random.normal(0, 5, (110, 1, 1, 1))).astype(np.float32)
    recalibrate_batch_norm(
        net, tf.data.Dataset.from_tensor_slices((images,)).batch(20), batches=6
    )  # the last batch has ten
    np.testing.assert_allclose(trained.moving_mean, images.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trained.moving_variance, images.var(axis=(0, 1, 2)), rtol=0.03)
    np.testing.assert_array_equal(frozen.moving_mean, np.zeros(3))
    assert trained.momentum == 0.99


def test_settled_ranges_are_the_mean_over_batches():
    inputs = tf.keras.Input((2, 2, 1))
    quant = FakeQuant()
    net = tf.keras.Model(inputs, quant(inputs))
    images = np.random.default_rng(0).normal(size=(60, 2, 2, 1)).astype(np.float32)
    recalibrate_batch_norm(net, tf.data.Dataset.from_tensor_slices((images,)).batch(20), batches=3)
    parts = images.reshape(3, -1)
    np.testing.assert_allclose(quant.range, (parts.min(1).mean(), parts.max(1).mean()), rtol=1e-5)


def test_float_nets_are_settled_too():
    tf.keras.utils.set_random_seed(2)
    net, (images, labels) = float_net(), learnable()
    train_float(net, (images, labels), epochs=1, batch_size=64, verbose=0)
    first = next(layer for layer in net.layers if isinstance(layer, tf.keras.layers.BatchNormalization))
    into = tf.keras.Model(net.input, first.input)(images, training=False).numpy()
    np.testing.assert_allclose(first.moving_mean, into.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-3)


def test_a_stage_cools_down_when_validation_data_show_nothing_new():
    rising = [[0.5 + 0.01 * epoch, 1 - 0.01 * epoch] for epoch in range(40)]
    assert all(epochs_to_skip(rising[:end], 40, 0.3) == 0 for end in range(41))
    flat = rising[:10] + [rising[9]] * 30
    # Means of three epochs: the last that is better ends at epoch 11, and twelve epochs later the patience is over.
    found = [epochs_to_skip(flat[:end], 40, 0.3) for end in range(1, 30)]
    assert found.index(32 - 24) == 23 and all(count == 0 for count in found[:23]) and found[-1] == 32 - 24
    better_loss = [[0.5, 1 - 0.01 * epoch] for epoch in range(40)]
    assert epochs_to_skip(better_loss[:30], 40, 0.3) == 0
    assert epochs_to_skip(flat, 300, 0.3) == 0


def test_patience_ends_a_stage_and_resumes_alike(tmp_path):
    data = images_and_labels()  # of noise: nothing is learned that validation data would show
    (images, labels), epochs = data, []
    validation = images[:40], np.random.default_rng(5).permutation(labels[:40])
    tell = tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    arguments = dict(epochs=60, patience=0.1, verbose=0, checkpoint_dir=tmp_path)
    history = train_float(float_net(), data, validation, callbacks=[tell], **arguments)
    assert len(history["loss"]) == len(epochs) < 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float.history.json", "float.weights.h5"]
    # What a killed training left is what decides after it.
    first = CosineSchedule(1.0, 60, 0.1)
    first.set_model(float_net())
    values = [[0.5, 1.0]] * 20
    for epoch, (accuracy, loss) in enumerate(values):
        first.on_epoch_begin(epoch)
        first.on_epoch_end(epoch, {"val_accuracy": accuracy, "val_loss": loss})
    second = CosineSchedule(1.0, 60, 0.1)
    second.restore(first.state())
    assert first.skipped == second.skipped > 0


def test_the_best_weights_come_back_where_the_last_are_clearly_worse():
    net, data = float_net(), learnable(200)
    train_float(net, data, epochs=4, batch_size=32, verbose=0)
    net.compile(loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    best, settled = BestWeights([net], tf.data.Dataset.from_tensor_slices(data).batch(50), 200), []
    best.set_model(net)
    good = net.get_weights()
    accuracy = net.evaluate(*data, verbose=0)[1]
    assert accuracy > 0.5
    best.on_epoch_end(0, {"val_accuracy": accuracy})
    best.on_epoch_end(1, {"val_accuracy": accuracy - 0.01})
    best.take_back(lambda: settled.append(1))
    assert not settled
    net.set_weights([0 * weight for weight in good])
    best.take_back(lambda: settled.append(1))
    assert settled == [1]
    for one, other in zip(net.get_weights(), good, strict=True):
        np.testing.assert_array_equal(one, other)


def test_finished_stages_are_not_trained_again(tmp_path):
    tf.keras.utils.set_random_seed(2)
    data = images_and_labels()
    pair = bc.BCNet.from_keras(float_net())
    first = bc.train(pair, data, epochs=1, stages=("binary", "int8"), checkpoint_dir=tmp_path, verbose=0)
    seen = []
    callback = tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    again = bc.BCNet.from_keras(float_net())
    second = bc.train(
        again, data, epochs=1, stages=("binary", "int8"), checkpoint_dir=tmp_path, callbacks=[callback], verbose=0
    )
    assert seen == [] and first == second
    for mine, theirs in zip(pair.weights, again.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{stage}.{kind}" for stage in ("binary", "int8") for kind in ("history.json", "weights.h5")
    ]


RESUMED = """
import sys
import numpy as np, tensorflow as tf
import bcnet_keras as bc
sys.path.insert(0, {tests!r})
from small_nets import float_net, images_and_labels
class Tell(tf.keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print("epoch", self.model.stage, epoch, flush=True)
pair = bc.BCNet.from_keras(float_net())
bc.train(pair, images_and_labels(4096), epochs=40, stages=("binary", "int8"), checkpoint_dir={folder!r},
         batch_size=8, callbacks=[Tell()], verbose=0)
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_last_finished_epoch(tmp_path):
    here = pathlib.Path(__file__).parents[1] / "support"
    script = RESUMED.format(tests=str(here), folder=str(tmp_path / "checkpoints")).replace("epochs=40", "epochs=4")
    environment = {**os.environ, "PYTHONPATH": str(here.parents[1]), "TF_CPP_MIN_LOG_LEVEL": "2"}

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", script],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    process = start()
    for line in process.stdout:
        if line.split()[:3] == ["epoch", "binary", "2"]:
            time.sleep(0.2)
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process = start()
    output, _ = process.communicate(timeout=300)
    epochs = [line.split()[1:] for line in output.splitlines() if line.startswith("epoch")]
    assert process.returncode == 0 and output.splitlines()[-1] == "done"
    assert epochs == [["binary", "2"], ["binary", "3"], *(["int8", str(epoch)] for epoch in range(4))]
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["binary.history.json", "binary.weights.h5", "int8.history.json", "int8.weights.h5"]


def test_float_training_keeps_its_checkpoint(tmp_path):
    data = learnable()
    history = train_float(float_net(), data, epochs=2, checkpoint_dir=tmp_path, verbose=0)
    assert len(history["loss"]) == 2
    assert train_float(float_net(), data, epochs=2, checkpoint_dir=tmp_path, verbose=0) == history


def test_weight_decay_is_of_kernels_alone():
    # One step: AdamW takes rate * decay of what a kernel was, on top of what Adam does.
    data, start = learnable(32), float_net()
    trained = []
    for decay in (0.0, 0.5):
        net = tf.keras.models.clone_model(start)
        net.set_weights(start.get_weights())
        train_float(net, data, epochs=1, learning_rate=0.1, weight_decay=decay, batch_size=32, verbose=0)
        trained.append(net.get_weights())
    for weight, was, plain, decayed in zip(start.weights, start.get_weights(), *trained, strict=True):
        if not weight.trainable:
            continue  # statistics, which follow the kernels
        np.testing.assert_allclose(decayed, plain - 0.05 * was * ("kernel" in weight.name), atol=3e-4)


@pytest.mark.parametrize("make, combine", [(coopnet, "swap"), (cascade, "sum")])
def test_baselines_share_the_nets_and_fit_their_output_range(make, combine):
    tf.keras.utils.set_random_seed(2)
    pair = bc.BCNet.from_keras(float_net(), per_class=True, class_names=list("abcd"))
    images, _ = images_and_labels()
    baseline = make(pair, tf.data.Dataset.from_tensor_slices((images,)).batch(32))
    assert baseline.binary is pair.binary and baseline.int8 is pair.int8 and baseline.combine == combine
    assert float(baseline.boost) == 1.0 and baseline.class_names == tuple("abcd")
    b, q = pair.binary(images).numpy(), pair.int8(images).numpy()
    largest = max(np.abs(b).max(), np.abs(q if combine == "swap" else b + q).max())
    np.testing.assert_allclose(baseline.output_quant.range, (-largest, largest), rtol=1e-5)


def profile(binary, int8, labels, ratio):
    """Least cross-entropy, prior included, of weights (ratio * c, c): a search over a grid of c."""
    answers = ratio * binary + int8
    best = np.inf
    for scale in np.geomspace(1e-4, 10, 400):
        scaled = scale * (answers - answers.max(axis=1, keepdims=True))
        losses = np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels]
        best = min(best, losses.mean() + scale**2 * (1 + ratio**2) / 2 / len(labels))
    return best


@pytest.mark.parametrize("noise, worth", [((1.0, 2.0), "some"), ((3.0, 1.0), "little"), ((0.5, 4.0), "much")])
def test_boost_has_the_least_cross_entropy(monkeypatch, noise, worth):
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 500)
    target = np.eye(4)[labels]
    binary, int8 = (3 * (2 * target + random.normal(0, spread, target.shape)) for spread in noise)
    pair = bc.BCNet.from_keras(float_net(), boost=1.0)
    monkeypatch.setattr(boost_module, "logits", lambda pair, data: (binary, int8, labels))
    boost = fit_boost(pair, None)
    assert boost == float(pair.boost)
    assert {"some": 1 < boost < 10, "little": 0 < boost < 1, "much": boost == 10}[worth]
    loss = profile(binary, int8, labels, boost)
    for ratio in (0, boost / 3, boost / 1.25, *([] if worth == "much" else [1.25 * boost, 3 * boost])):
        assert loss < profile(binary, int8, labels, ratio)
    largest = max(np.abs(binary).max(), np.abs(boost * binary + int8).max())
    np.testing.assert_allclose(pair.output_quant.range, (-largest, largest), rtol=1e-5)


def test_boost_of_a_weak_binary_net_is_small_and_not_zero(monkeypatch):
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 1000)
    target = np.eye(10)[labels]
    # Large logits, far from the weights that suit them: a search that steps too far ends at zero.
    binary = 10 * (0.2 * target + random.normal(0, 2.8, target.shape))
    int8 = 10 * (0.6 * target + random.normal(0, 0.9, target.shape))
    pair = bc.BCNet.from_keras(float_net(), boost=0.3)
    monkeypatch.setattr(pair, "classes", 10)
    monkeypatch.setattr(boost_module, "logits", lambda pair, data: (binary, int8, labels))
    boost = fit_boost(pair, None)
    assert 0 < boost < 0.2
    loss = profile(binary, int8, labels, boost)
    assert all(loss < profile(binary, int8, labels, ratio) for ratio in (0, boost / 2, 2 * boost))


def test_endless_validation_data_end_with_their_steps():
    pair = bc.BCNet.from_keras(float_net())
    endless = tf.data.Dataset.from_tensor_slices(learnable(64, seed=1)).batch(32).repeat()
    bc.train(pair, learnable(64), endless, 1, ("boosted",), validation_steps=2, batch_size=32, verbose=0)


def test_boost_of_a_binary_net_that_errs_throughout_is_zero(monkeypatch):
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 500)
    int8 = 2 * np.eye(4)[labels] + random.normal(0, 2, (500, 4))
    pair = bc.BCNet.from_keras(float_net(), boost=1.0)
    monkeypatch.setattr(boost_module, "logits", lambda pair, data: (-np.eye(4)[labels], int8, labels))
    assert fit_boost(pair, None) == 0.0


def test_the_price_of_the_int8_net_is_counted_where_none_is_given():
    pair = bc.BCNet.from_keras(float_net())
    bc.train(pair, images_and_labels(), epochs=1, stages=("cooperative",), cost_weight=0.5, batch_size=32, verbose=0)
    accepted, escalated = pair_cost(pair)
    assert pair._settings["cost"] == pytest.approx(0.5 * (1 - accepted / escalated))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda images: images / 2 + 0.5,
            "the images use 48 % of the input's range: the net expects values from -1 to 0.9922",
        ),
        (lambda images: 2 * images, "% of the images' values saturate: the net expects values from -1 to 0.9922"),
    ],
)
def test_images_in_another_range_are_warned_of_before_training(change, message, caplog):
    pair = bc.BCNet.from_keras(float_net(), verbose=0)
    images, labels = learnable(64)
    for data in (images, labels), tf.data.Dataset.from_tensor_slices((images, labels)).batch(32):
        bc.train(pair, data, data, epochs=0, stages=["int8"])
    assert "input's range" not in caplog.text and "saturate" not in caplog.text
    other = change(images)
    for data in (other, labels), tf.data.Dataset.from_tensor_slices((other, labels)).batch(32):
        caplog.clear()
        bc.train(pair, data, data, epochs=0, stages=["int8"])
        assert (
            message in caplog.text and "scale them by pair.preprocess" in caplog.text and "input_range" in caplog.text
        )


def test_images_most_of_which_saturate_are_not_trained_on():
    pair = bc.BCNet.from_keras(float_net(), verbose=0)
    images, labels = learnable(64)
    with pytest.raises(
        ValueError, match=r"the net expects values from -1 to 0.9922, found 0.02432 to 243.1; scale them by"
    ):
        bc.train(pair, (128 * images + 128, labels), epochs=1)


def test_settings_and_data_of_other_kinds_are_refused_before_training():
    pair = bc.BCNet.from_keras(float_net(), verbose=0)
    images, labels = learnable(64)
    for epochs in ({"binary": 1}, -1, 0.5):
        with pytest.raises(ValueError, match="epochs must be a whole number of at least 0 for each of .*'bina.* got"):
            bc.train(pair, (images, labels), epochs=epochs)
    with pytest.raises(ValueError, match=r"learning_rates must be of some of .*, got \('bin',\)\."):
        bc.train(pair, (images, labels), learning_rates={"bin": 1e-3})
    with pytest.raises(TypeError, match="tuple of arrays, .images, labels.; got generator, of which tf.data.Dataset"):
        bc.train(pair, (batch for batch in [(images, labels)]))
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    with pytest.raises(ValueError, match=r"images must have the shape \(None, 8, 8, 1\), got \(8, 8, 1\)"):
        bc.train(pair, data.batch(32), data)
    with pytest.raises(ValueError, match="threshold must be a number, got an array of shape"):
        pair.threshold = [0.1, 0.2, 0.3, 0.4]


def test_calibration_refuses_images_most_of_which_saturate():
    pair = bc.BCNet.from_keras(float_net(), verbose=0)
    images, labels = learnable(64)
    with pytest.raises(ValueError, match="the net expects values from -1 to 0.9922, found 0.02432 to 243.1; scale"):
        bc.calibrate(pair, (128 * images + 128, labels))


def test_unknown_stages_are_refused():
    with pytest.raises(ValueError, match="stages must be some of"):
        bc.train(bc.BCNet.from_keras(float_net()), images_and_labels(), stages=("ternary",))
