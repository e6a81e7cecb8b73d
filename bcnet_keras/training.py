"""Training of a pair, stage by stage; each stage is a plain Keras `fit`.

    train(pair, train_data, validation_data, epochs=20, checkpoint_dir="checkpoints")

1. binary: the binary net alone, optionally with a float teacher.
2. boosted: the int8 net on what the binary net leaves.
3. cooperative: both nets, the boost and the threshold, under a price for each run of the int8 net.

With validation data, the boost is what `fit_boost` finds on them after stages 2 and 3.

The baselines train by the stages `("binary", "int8")`, each net by itself: `coopnet(pair)` swaps the answer on
escalation, `cascade(pair)` adds the two.
"""

import json
import logging
import pathlib
import shutil

import numpy as np
import tensorflow as tf

from bcnet_keras.confidence import logits
from bcnet_keras.files import replace_when_done
from bcnet_keras.model import STAGES, BCNet, trainable_data

COOPERATIVE_STAGES = ("binary", "boosted", "cooperative")

# The binary net's latent weights move by signs only and like a high rate. The cooperative stage only settles: at 3e-4
# both nets lost on Fashion-MNIST's validation images what they had reached apart, at 5e-5 the pair gained.
LEARNING_RATES = {"binary": 3e-3, "int8": 1e-3, "boosted": 1e-3, "cooperative": 5e-5}
FIRST_TEMPERATURE, LAST_TEMPERATURE = 0.05, 0.02
LARGEST_BOOST = 10.0

log = logging.getLogger(__name__)


def train(
    pair,
    train_data,
    validation_data=None,
    epochs=20,
    stages=COOPERATIVE_STAGES,
    learning_rates=None,
    teacher=None,
    cost_weight=0.1,
    int8_share=None,
    core="cortex-m4",
    focus=0.0,
    callbacks=(),
    checkpoint_dir=None,
    **fit_arguments,
):
    """Trains `pair` through `stages`, in this order.

    Arguments:
      train_data, validation_data: as `fit` takes them: batched `tf.data.Dataset` of (images, labels), or tuples of
        arrays. Images are in `pair.input_range`; labels are class numbers or one-hot rows. The validation data also
        set the boost, see `fit_boost`.
      epochs: for each stage; a number, or a dict by stage.
      stages: some of "binary", "int8", "boosted", "cooperative".
      learning_rates: dict by stage that overrides `LEARNING_RATES`; the rate falls to 0 by half a cosine. Adam.
      teacher: Keras model of float logits that the binary net also follows, in the binary and the cooperative stage.
      cost_weight, focus: see `BCNet.compile`.
      int8_share: the int8 net's part of the cost of both nets; by default counted for `core`, see `bcnet_keras.cost`.
      callbacks: Keras callbacks, used in every stage.
      checkpoint_dir: where finished stages and the epoch in progress are kept. Called again with the same folder, a
        killed training goes on from its last finished epoch, and finished stages are loaded.
      fit_arguments: anything else that `fit` takes, such as `class_weight`, `steps_per_epoch`, `batch_size`.

    Returns a dict of stage -> history (dict of metric name -> list with one value an epoch).
    Raises ValueError for unknown stages and for data that cannot be trained on.
    """
    unknown = sorted(set(stages) - set(STAGES))
    if unknown or not stages:
        raise ValueError(f"stages must be some of {STAGES}, got {tuple(stages)}.")
    if not isinstance(epochs, dict):
        epochs = dict.fromkeys(stages, epochs)
    rates = {**LEARNING_RATES, **(learning_rates or {})}
    histories = {}
    for stage in stages:
        kept = _Kept(checkpoint_dir, stage)
        if kept.finished:
            histories[stage] = kept.load(pair)
            continue
        settings = {"teacher": teacher, "focus": focus, "cost_weight": cost_weight}
        extra = [_HalfCosine(rates[stage], epochs[stage])]
        if stage in ("binary", "cooperative"):
            extra.append(_Settling(pair.binary, train_data))
        if stage == "cooperative":
            if int8_share is None:
                from bcnet_keras import cost

                int8_share = cost.int8_share(pair, core)
            settings["int8_share"] = int8_share
            if np.any(np.isnan(pair.threshold)):
                pair.threshold = _start_threshold(pair, train_data)
            extra.append(_Annealing(epochs[stage]))
        with pair.distribute_strategy.scope():
            pair.compile(tf.keras.optimizers.Adam(rates[stage], clipnorm=1.0), stage=stage, **settings)
        log.info("stage %s: %d epochs", stage, epochs[stage])
        histories[stage] = _fit(
            pair, train_data, validation_data, epochs[stage], [*callbacks, *extra, *kept.callbacks], fit_arguments
        )
        if stage in ("boosted", "cooperative") and validation_data is not None and pair.combine == "sum":
            steps = fit_arguments.get("validation_steps")  # of a data set that may have no end
            fit_boost(pair, validation_data.take(steps) if steps else validation_data)
        kept.save(pair, histories[stage])
    return histories


def train_float(
    model,
    train_data,
    validation_data=None,
    epochs=20,
    learning_rate=2e-3,
    weight_decay=0.0,
    callbacks=(),
    checkpoint_dir=None,
    **fit_arguments,
):
    """Trains a float Keras classifier of logits, with the checkpoints of `train`; returns its history.

    The optimizer is AdamW; `weight_decay`, as a part of the learning rate, shrinks kernels, not biases or scales.
    """
    kept = _Kept(checkpoint_dir, "float")
    if kept.finished:
        return kept.load(model)
    with model.distribute_strategy.scope():
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = tf.keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay, clipnorm=1.0)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        model.compile(optimizer, loss, metrics=["accuracy"])
        optimizer.build(model.trainable_variables)  # else the first step does, and is traced twice
    callbacks = [*callbacks, _HalfCosine(learning_rate, epochs), *kept.callbacks]
    log.info("stage float: %d epochs", epochs)
    history = _fit(model, train_data, validation_data, epochs, callbacks, fit_arguments)
    kept.save(model, history)
    return history


def coopnet(pair, data):
    """CoopNet of two nets that were trained apart: the int8 answer replaces the binary one on escalation.

    `data`, batches of (images, ...), sets the 8-bit range of the answers.
    """
    return _baseline(pair, data, combine="swap")


def cascade(pair, data):
    """The untrained cascade of two nets that were trained apart: on escalation the logits are added.

    `data`, batches of (images, ...), sets the 8-bit range of the answers.
    """
    return _baseline(pair, data, combine="sum")


def _baseline(pair, data, combine):
    # A learned measure comes of training together, which these two have not had.
    measure = "score_margin" if pair.gate.measure == "learned" else pair.gate.measure
    about = {name: getattr(pair, name) for name in ("class_names", "raw_range", "input_range", "front_end")}
    baseline = BCNet(pair.binary, pair.int8, measure, pair.gate.per_class, combine, boost=1.0, **about)
    _set_output_range(baseline, *logits(baseline, data)[:2])
    return baseline


def fit_boost(pair, data):
    """Sets the boost to what the binary logits are worth beside the int8 ones on samples that trained neither net.

    On training data the binary net flatters itself, the more the fewer these are: it has learned them by heart. Found
    is the boost whose sum, at the temperature that suits it, has the least cross-entropy; the 8-bit range of the
    answers follows. Returns the boost, at most `LARGEST_BOOST`: beside an int8 net that has learned nothing there is no
    end to it.

    `data`: validation data, as for `train`. Errors are those of `bcnet_keras.confidence.answers`.
    """
    binary, int8, labels = logits(pair, data)
    binary, int8 = binary.astype(np.float64), int8.astype(np.float64)
    labels = tf.keras.utils.to_categorical(labels, pair.classes)
    weights = np.array([float(pair.boost), 1.0])  # of both nets' logits; their ratio is the boost
    free = np.ones(2, bool)
    for _ in range(100):
        # Newton's method: the cross-entropy is convex in the two weights. A normal prior on them, worth one sample,
        # keeps them finite where every sample is right.
        given = np.stack([binary, int8])[free]
        answer = tf.nn.softmax(np.tensordot(weights[free], given, 1)).numpy()
        gradient = np.mean(np.sum((answer - labels) * given, -1), -1) + weights[free] / len(labels)
        centred = given - np.sum(answer * given, -1, keepdims=True)
        curvature = np.einsum("nc,inc,jnc->ij", answer, centred, centred) / len(labels)
        step = np.linalg.solve(curvature + np.eye(len(curvature)) / len(labels), gradient)
        step /= max(1.0, 2 * np.abs(step).max())
        weights[free] -= step
        if weights[0] < 0:
            weights[0], free[0] = 0.0, False
        if np.abs(step).max() < 1e-6:
            break
    pair.boost.assign(min(weights[0] / max(weights[1], 1e-6), LARGEST_BOOST))
    _set_output_range(pair, binary, int8)
    return float(pair.boost)


def _set_output_range(pair, binary, int8):
    largest = max(np.abs(each).max() for each in (binary, pair.combined(binary, int8)))
    pair.output_quant.range = (-largest, largest)


def _fit(model, train_data, validation_data, epochs, callbacks, fit_arguments):
    input_shape = getattr(model, "binary", model).input_shape
    with trainable_data(input_shape, train_data, validation_data):
        images, *rest = [train_data] if isinstance(train_data, tf.data.Dataset) else train_data
        history = model.fit(
            images,
            **dict(zip(("y", "sample_weight"), rest, strict=False)),
            validation_data=validation_data,
            epochs=epochs,
            callbacks=callbacks,
            **fit_arguments,
        ).history
    if not all(np.all(np.isfinite(values)) for values in history.values()):
        raise ValueError("training diverged: a loss is not finite. Look for NaN images, or lower the learning rate.")
    return {name: [float(value) for value in values] for name, values in history.items()}


def _image_batches(data):
    if not isinstance(data, tf.data.Dataset):
        data = tf.data.Dataset.from_tensor_slices(tuple(data)).batch(128)
    return data.map(lambda images, *rest: images)


def _start_threshold(pair, train_data):
    """The median confidence over some batches, so that half of the samples escalate as the cooperative stage starts."""
    images = _image_batches(train_data).take(10)
    confidence = [pair.gate.confidence(pair.binary(batch, training=False)).numpy() for batch in images]
    return float(np.clip(np.median(np.concatenate(confidence)), 0.05, 0.95))


class _Settling(tf.keras.callbacks.Callback):
    """When training ends, takes a net's batch statistics and 8-bit ranges anew from the weights as they then are.

    The averages that training leaves are those of weights that still changed their signs. Measured on Fashion-MNIST,
    six epochs: 83.9 % correct with them, 86.6 % with statistics of the final weights.
    """

    BATCHES = 300  # enough for averages with a momentum of 0.99

    def __init__(self, net, train_data):
        super().__init__()
        self.net, self.data = net, train_data

    def on_train_end(self, logs=None):
        strategy = self.net.distribute_strategy

        @tf.function
        def settle(batches):
            for images in batches:
                strategy.run(lambda part: self.net(part, training=True), args=(images,))

        batches = _image_batches(self.data).repeat().take(self.BATCHES)
        settle(strategy.experimental_distribute_dataset(batches))


class _HalfCosine(tf.keras.callbacks.Callback):
    """Learning rate after e epochs: rate * (1 + cos(pi * e / epochs)) / 2, with e growing by the batch.

    It depends on epoch and batch alone, so that it can resume.
    """

    def __init__(self, rate, epochs):
        super().__init__()
        self.rate, self.epochs = rate, epochs

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        steps = self.params.get("steps")  # unknown in the first epoch over a data set of unknown size
        done = (self.epoch + (batch / steps if steps else 0)) / self.epochs
        self.model.optimizer.learning_rate = self.rate * (1 + np.cos(np.pi * done)) / 2


class _Annealing(tf.keras.callbacks.Callback):
    """Cools the gate's temperature geometrically from `FIRST_TEMPERATURE` to `LAST_TEMPERATURE`."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        done = epoch / max(1, self.epochs - 1)
        self.model.temperature.assign(FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** done)


class _Kept:
    """What one stage keeps on disk: the epoch in progress, then its weights and history."""

    def __init__(self, folder, stage):
        self.stage, self.folder = stage, None if folder is None else pathlib.Path(folder)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.weights = self.folder / f"{stage}.weights.h5"
            self.history = self.folder / f"{stage}.history.json"
            self.backup = self.folder / f"{stage}_in_progress"

    @property
    def finished(self):
        return self.folder is not None and self.weights.exists()

    @property
    def callbacks(self):
        if self.folder is None:
            return []
        # The last epoch is kept until the stage's weights are.
        return [tf.keras.callbacks.BackupAndRestore(str(self.backup), delete_checkpoint=False)]

    def load(self, model):
        model.load_weights(self.weights)
        log.info("stage %s is finished already; loaded from %s", self.stage, self.weights)
        return json.loads(self.history.read_text())

    def save(self, model, history):
        if self.folder is None:
            return
        # The weights come last: where they are, the stage is finished.
        with replace_when_done(self.history) as path:
            path.write_text(json.dumps(history))
        with replace_when_done(self.weights) as path:
            model.save_weights(path)
        shutil.rmtree(self.backup, ignore_errors=True)
