"""What `BCNet`, `fit`, `train` and `calibrate` refuse: nets that do not fit together, data of no use."""

import numpy as np
import pytest
import tensorflow as tf

import bcnet_keras as bc
from bcnet_keras.experiment import Settings
from bcnet_keras.training.stages import train_float

CLASSES, SHAPE = 4, (8, 8, 1)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (16, *SHAPE)).astype(np.float32)
LABELS = np.arange(16) % CLASSES
NAN = np.where(np.arange(16)[:, None, None, None] == 3, np.float32(np.nan), IMAGES)


def _float_net(shape=SHAPE, classes=CLASSES):
    layers = tf.keras.layers
    inputs = tf.keras.Input(shape)
    tensor = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Conv2D(4, 3)(inputs)))
    return tf.keras.Model(inputs, layers.Dense(classes)(tensor))


def _pair(*arguments, **settings):
    return bc.BCNet.from_keras(_float_net(*arguments), planes=3, **settings)


@pytest.fixture(scope="module")
def pair():
    pair = _pair()
    pair.threshold = 0.5
    pair.compile("adam", stage="int8")
    return pair


def _batches(images, labels):
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)


def _one_line(caught, message):
    assert message in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (((9, 9, 1), CLASSES), "both nets must read the same images; binary reads (8, 8, 1), int8 (9, 9, 1)."),
        (((8, 8, 3), CLASSES), "both nets must read the same images; binary reads (8, 8, 1), int8 (8, 8, 3)."),
        ((SHAPE, 5), "both nets must give as many logits; binary gives 4, int8 5."),
    ],
)
def test_nets_that_differ_make_no_pair(pair, other, message):
    with pytest.raises(ValueError) as caught:
        bc.BCNet(pair.binary, _pair(*other).int8)
    _one_line(caught, message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"combine": "mean"}, "combine must be 'sum' or 'swap', got 'mean'."),
        ({"boost": -1.0}, "boost must be at least 0, got -1.0."),
        ({"boost": float("nan")}, "boost must be at least 0, got nan."),
        ({"class_names": ["a", "b"]}, "2 class names were given for 4 logits."),
        ({"raw_range": (255, 0)}, "raw_range must be (lowest, highest), got (255, 0)."),
        ({"measure": "luck"}, "measure must be one of"),
    ],
)
def test_wrong_settings_of_a_pair(pair, settings, message):
    with pytest.raises(ValueError) as caught:
        bc.BCNet(pair.binary, pair.int8, **settings)
    _one_line(caught, message)


def test_what_is_no_classifier_makes_no_pair(pair):
    two_inputs = [tf.keras.Input(SHAPE), tf.keras.Input(SHAPE)]
    added = tf.keras.layers.Flatten()(tf.keras.layers.Add()(two_inputs))
    for net, message in (
        ("net", "must be a built tf.keras.Model, got str"),
        (tf.keras.Model(two_inputs, added), "with one input and one output"),
    ):
        with pytest.raises(ValueError) as caught:
            bc.BCNet(pair.binary, net)
        _one_line(caught, message)
    with pytest.raises(ValueError) as caught:
        bc.BCNet(_float_net(SHAPE, 1), _float_net(SHAPE, 1))
    _one_line(caught, "must end in at least 2 logits")


@pytest.mark.parametrize("threshold", [1.5, -0.1, float("nan"), [0.5, 0.5, 0.5, 2.0], [0.5, 0.5]])
def test_wrong_thresholds_are_refused_and_change_nothing(pair, threshold):
    with pytest.raises(ValueError) as caught:
        pair.threshold = threshold
    _one_line(caught, "threshold must ")
    assert pair.threshold == 0.5
    with pytest.raises(ValueError) as caught:
        bc.convert(pair, threshold=threshold)
    _one_line(caught, "the threshold ")


ARRAYS = [
    (IMAGES[:0], LABELS[:0], ValueError, "the training data is empty; at least one labelled sample is needed."),
    (IMAGES, LABELS + 1, ValueError, "labels must be whole numbers from 0 to 3."),
    (IMAGES, LABELS - 1, ValueError, "labels must be whole numbers from 0 to 3."),
    (IMAGES, LABELS[:5], ValueError, "16 images need as many labels, got 5."),
    (IMAGES, LABELS.astype(str), TypeError, "labels must be class numbers or one-hot rows, got string."),
    (NAN, LABELS, ValueError, "images hold NaN or infinite values."),
    ((IMAGES * 100).astype(np.uint8), LABELS, TypeError, "images must be floats in the input range"),
    (IMAGES > 0, LABELS, TypeError, "got bool."),
    (IMAGES[:, :7], LABELS, ValueError, "images must have the shape (None, 8, 8, 1), got (16, 7, 8, 1)."),
    (IMAGES[..., 0], LABELS, ValueError, "images must have the shape (None, 8, 8, 1), got (16, 8, 8)."),
    ([*IMAGES[:15], IMAGES[15, :7]], LABELS, ValueError, "images or labels differ in size."),
]


@pytest.mark.parametrize(("images", "labels", "error", "message"), ARRAYS)
def test_arrays_that_cannot_be_trained_on(pair, images, labels, error, message):
    for fit in (
        lambda: pair.fit(images, labels, verbose=0),
        lambda: bc.train(pair, (images, labels), epochs=1, stages=("int8",), verbose=0),
        lambda: pair.fit(IMAGES, LABELS, validation_data=(images, labels), verbose=0),
    ):
        with pytest.raises(error) as caught:
            fit()
        _one_line(caught, message)


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [case for case in ARRAYS if isinstance(case[0], np.ndarray) and len(case[0]) == len(case[1]) > 0],
)
def test_batches_that_cannot_be_trained_on(pair, images, labels, error, message):
    for fit in (
        lambda: pair.fit(_batches(images, labels), verbose=0),
        lambda: bc.train(pair, _batches(images, labels), epochs=1, stages=("int8",), verbose=0),
        lambda: pair.fit(_batches(IMAGES, LABELS), validation_data=_batches(images, labels), verbose=0),
    ):
        with pytest.raises(error) as caught:
            fit()
        _one_line(caught, message.replace("(16, ", "(None, "))


def test_batches_without_labels_and_without_samples(pair):
    for batches, message in (
        (tf.data.Dataset.from_tensor_slices(IMAGES).batch(8), "the data must be (images, labels)."),
        (_batches(IMAGES, LABELS).take(0), "the training data is empty"),
    ):
        with pytest.raises(ValueError) as caught:
            pair.fit(batches, verbose=0)
        _one_line(caught, message)


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (IMAGES, LABELS + 1, ValueError, "label value of 4 which is outside the valid range of [0, 4)."),
        (NAN, LABELS, ValueError, "images hold NaN or infinite values."),
        (IMAGES[:, :7], LABELS, ValueError, "images must have the shape (None, 8, 8, 1), got (16, 7, 8, 1)."),
    ],
)
def test_the_float_net_is_as_strict(images, labels, error, message):
    with pytest.raises(error) as caught:
        train_float(_float_net(), (images, labels), epochs=1, verbose=0)
    _one_line(caught, message)


def test_a_cooperative_stage_needs_a_threshold():
    pair = _pair()
    pair.compile("adam", stage="cooperative")
    with pytest.raises(ValueError) as caught:
        pair.fit(IMAGES, LABELS, verbose=0)
    _one_line(caught, "set pair.threshold")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": ()}, "stages must be some of"),
        ({"stages": ("warm-up",)}, "stages must be some of"),
    ],
)
def test_wrong_stages(pair, settings, message):
    with pytest.raises(ValueError) as caught:
        bc.train(pair, (IMAGES, LABELS), epochs=1, **settings)
    _one_line(caught, message)


def test_calibration_needs_data_and_a_target_within_reach(pair):
    with pytest.raises(ValueError) as caught:
        bc.calibrate(pair, (IMAGES[:0], LABELS[:0]), pair_cost=(0.2, 1.2))
    _one_line(caught, "the data is empty")
    with pytest.raises(ValueError) as caught:
        bc.calibrate(pair, (NAN, LABELS), pair_cost=(0.2, 1.2))
    _one_line(caught, "images hold NaN or infinite values")
    for images in (IMAGES[:, 1:], IMAGES[..., 0]):
        with pytest.raises(ValueError) as caught:
            bc.calibrate(pair, (images, LABELS), pair_cost=(0.2, 1.2))
        _one_line(caught, f"images must have the shape [n, 8, 8, 1], got {list(images.shape)}")
    with pytest.raises(TypeError) as caught:
        bc.calibrate(pair, (np.zeros(IMAGES.shape, np.uint8), LABELS), pair_cost=(0.2, 1.2))
    _one_line(caught, "images must be floats in the input range (pair.preprocess), got uint8")
    curve = bc.calibrate(pair, (IMAGES, LABELS), pair_cost=(0.2, 1.2))
    for target, message in (
        ({}, "give either max_cost or min_accuracy"),
        ({"max_cost": 0.5, "min_accuracy": 0.5}, "give either max_cost or min_accuracy"),
        ({"max_cost": 0.1}, "the binary net alone costs 0.200"),
        ({"min_accuracy": 1.1}, "no threshold reaches an accuracy of 1.1"),
    ):
        with pytest.raises(ValueError) as caught:
            curve.pick(**target)
        _one_line(caught, message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_cost": -1.0}, "max_cost must be 0 or more, got -1.0"),
        ({"max_cost": float("nan")}, "max_cost must be 0 or more, got nan"),
        ({"confidence_level": 1.5}, "confidence_level must be from 0 to 1, got 1.5"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"measure": "luck"}, "measure must be one of score_margin, max_probability, entropy, learned; got 'luck'"),
    ],
)
def test_settings_out_of_their_range(settings, message):
    with pytest.raises(bc.BcnetError, match=message):
        Settings(**settings)
