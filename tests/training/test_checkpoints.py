"""What a training keeps on disk: it goes on bit for bit, and a damaged file is found and trained again."""

import errno
import logging
import resource

import h5py
import numpy as np
import pytest
import tensorflow as tf
from small_nets import float_net, images_and_labels

import bcnet_keras as bc
from bcnet_keras.datasets import Split
from bcnet_keras.experiment.training_run import input_batches
from bcnet_keras.training import checkpoints
from bcnet_keras.training.stages import train_float
from bcnet_keras.utils.sealed_files import read_record


class Killed(BaseException):
    """Nothing catches it, as nothing catches the signal."""


class KillAt(tf.keras.callbacks.Callback):
    """Ends the training in a batch: the `count`th of the whole training."""

    def __init__(self, count):
        super().__init__()
        self.left = count

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise Killed


def _batches(seed=3, passes=2):
    images, labels = images_and_labels(40)
    split = Split(np.round((images + 1) * 100).astype(np.uint8), labels)
    data = bc.datasets.Dataset("test", split, split, split, tuple("abcd"), (0, 255), "", "photo")
    return input_batches(data, 16, seed, passes)


def _float(folder, built_on=None, epochs=1, killed_at=0, dropout=0.0):
    """A float net that is trained in the folder, or goes on there."""
    tf.keras.utils.set_random_seed(2)
    net, batches = float_net(), _batches()
    if dropout:
        images = tf.keras.Input((8, 8, 1))
        net = tf.keras.Model(images, net(tf.keras.layers.Dropout(dropout)(images)))
    callbacks = [KillAt(killed_at)] if killed_at else []
    fit = dict(epochs=epochs, checkpoint_dir=folder, built_on=built_on, patience=0.5, callbacks=callbacks, verbose=0)
    train_float(net, batches["train"], batches["validation"], **fit)
    return net


def _pair(folder, killed_at=0):
    """(weights, flatbuffer) of a pair that is trained in the folder, or goes on there."""
    tf.keras.backend.clear_session()  # the names of layers, which stand in the flatbuffer, count from the start
    tf.keras.utils.set_random_seed(2)
    pair, batches = bc.BCNet.from_keras(float_net(), width=1, verbose=0), _batches()
    callbacks = [KillAt(killed_at)] if killed_at else []
    fit = dict(int8_share=0.8, callbacks=callbacks, checkpoint_dir=folder, epochs=2, verbose=0)
    bc.train(pair, batches["train"], batches["validation"], stages=("boosted", "cooperative"), **fit)
    return pair.get_weights(), bc.convert(pair)


def _assert_same(one, other):
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.slow
def test_a_killed_pair_ends_in_the_same_flatbuffer(tmp_path):
    # An epoch is six batches, two passes of three. Killed in the second epoch of the boosted stage, then, behind its
    # last six batches, in that of the cooperative one.
    weights, flatbuffer = _pair(tmp_path / "whole")
    for moment in (9, 15):
        with pytest.raises(Killed):
            _pair(tmp_path / "killed", killed_at=moment)
    weights_again, flatbuffer_again = _pair(tmp_path / "killed")
    _assert_same(weights, weights_again)
    assert flatbuffer == flatbuffer_again
    for stage in ("boosted", "cooperative"):
        one, other = (read_record(tmp_path / kind / f"{stage}.history.json")[0] for kind in ("whole", "killed"))
        assert one["history"] == other["history"] and len(one["history"]["loss"]) == 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of a float net whose training of four epochs nobody disturbed."""
    return _float(tmp_path_factory.mktemp("whole"), epochs=4).get_weights()


def test_a_killed_training_ends_with_the_same_bits(whole, tmp_path):
    for moment in (3, 8, 17):
        with pytest.raises(Killed):
            _float(tmp_path, epochs=4, killed_at=moment)
    _assert_same(_float(tmp_path, epochs=4).get_weights(), whole)
    record, sealed = read_record(tmp_path / "float.history.json")
    assert sealed and len(record["history"]["loss"]) == 4 and not list(tmp_path.glob("*_in_progress"))


def test_dropout_goes_on_with_the_same_masks(tmp_path):
    tf.keras.backend.experimental.enable_tf_random_generator()  # as `repeatable` does
    try:
        whole = _float(tmp_path / "whole", epochs=3, dropout=0.5).get_weights()
        with pytest.raises(Killed):
            _float(tmp_path / "killed", epochs=3, dropout=0.5, killed_at=14)
        _assert_same(_float(tmp_path / "killed", epochs=3, dropout=0.5).get_weights(), whole)
    finally:
        tf.keras.backend.experimental.disable_tf_random_generator()


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_epoch_is_set_aside_for_the_one_before(whole, tmp_path, caplog, damage):
    with pytest.raises(Killed):
        _float(tmp_path, epochs=4, killed_at=20)
    first, last = sorted((tmp_path / "float_in_progress").iterdir())
    assert (first.name, last.name) == ("epoch_000002.state", "epoch_000003.state")
    _damage(last, damage)
    with caplog.at_level(logging.INFO):
        net = _float(tmp_path, epochs=4)
    assert f"{last} is damaged: set aside as {last.name}.damaged." in caplog.text
    assert "stage float resumes after epoch 2" in caplog.text
    _assert_same(net.get_weights(), whole)


def _damage(path, kind):
    content = path.read_bytes()
    if kind == "flip":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.write_bytes(content[: len(content) // 2] if kind == "cut" else b"")


@pytest.mark.parametrize(
    ("name", "damage"),
    [("weights.h5", "cut"), ("weights.h5", "flip"), ("history.json", "flip"), ("history.json", "missing")],
)
def test_a_damaged_stage_is_trained_again(tmp_path, caplog, name, damage):
    first, path = _float(tmp_path), tmp_path / f"float.{name}"
    if damage == "missing":
        path.unlink()
    else:
        _damage(path, damage)
    again = _float(tmp_path)
    _assert_same(first.get_weights(), again.get_weights())
    (line,) = [record.getMessage() for record in caplog.records if "set aside" in record.getMessage()]
    assert str(path) in line and "\n" not in line and "stage float is trained again" in line
    caplog.clear()
    _float(tmp_path)
    assert "set aside" not in caplog.text


def test_a_stage_of_other_data_is_not_taken(tmp_path, caplog):
    _float(tmp_path, "data one")
    weights = (tmp_path / "float.weights.h5").read_bytes()
    _float(tmp_path, "data one")
    assert "other data" not in caplog.text and (tmp_path / "float.weights.h5").read_bytes() == weights
    other = _float(tmp_path, "data two", epochs=2)
    assert "float.weights.h5 was trained on other data, settings or stages: set aside" in caplog.text
    assert (tmp_path / "float.weights.h5.damaged").read_bytes() == weights
    _assert_same(other.get_weights(), _float(tmp_path / "alone", "data two", epochs=2).get_weights())


@pytest.mark.parametrize("fitted", [True, False])
def test_a_file_that_loads_in_part_leaves_the_model_as_it_was(tmp_path, fitted):
    images, labels = images_and_labels(40)
    nets = float_net(), float_net()
    for net in nets:
        net.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    nets[0].fit(images, labels, verbose=0)
    nets[0].save_weights(tmp_path / "float.weights.h5")
    (tmp_path / "float.history.json").write_text("{}")  # of an earlier version, without a checksum
    with h5py.File(tmp_path / "float.weights.h5", "r+") as file:
        place = [name for name in file["layers"] if len(file[f"layers/{name}/vars"])][-1]
        del file[f"layers/{place}/vars/0"]
    if fitted:
        nets[1].fit(images, labels, verbose=0)
    before = [variable.numpy() for variable in checkpoints._variables(nets[1])]
    assert not checkpoints.StageCheckpoint(tmp_path, "float").finished(nets[1])
    after = [variable.numpy() for variable in checkpoints._variables(nets[1])]
    _assert_same(before, after[: len(before)])
    assert not any(each.any() for each in after[len(before) :])


def test_a_full_disk_ends_in_one_line_and_the_training_goes_on_behind_it(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            _float(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG and "\n" not in str(caught.value)
    assert "cannot write" in str(caught.value) and "epoch_000001.state" in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    _float(tmp_path)
    assert (tmp_path / "float.weights.h5").exists()


def test_a_full_disk_names_the_weights(tmp_path):
    net = float_net()
    net.compile("adam", "mse")
    kept = checkpoints.StageCheckpoint(tmp_path, "float")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot write .*float.weights.h5: File too large$"):
            kept.save(net)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_order_and_augmentation_follow_from_the_epoch():
    batches = _batches(passes=2)["train"]

    def shown(epoch):
        batches.epoch.assign(epoch)
        return [(images.numpy(), labels.numpy()) for images, labels in batches]

    first, second, again = shown(0), shown(5), shown(0)
    assert len(first) == int(batches.cardinality()) == 6
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0], same[0])
        np.testing.assert_array_equal(one[1], same[1])
    order = [np.concatenate([labels for _, labels in each]).tolist() for each in (first[:3], first[3:], second[:3])]
    assert order[0] != order[1] != order[2] and sorted(order[0]) == sorted(order[1]) == sorted(order[2])
