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
import math
import pathlib
import shutil

import numpy as np
import tensorflow as tf

from bcnet_keras.calibration.curve import logits
from bcnet_keras.errors import BcnetError
from bcnet_keras.layers import FakeQuant
from bcnet_keras.models.pair import STAGES, BCNet, trainable_data
from bcnet_keras.models.pair_cost import int8_share as count_int8_share
from bcnet_keras.training.watch import Watch
from bcnet_keras.utils.atomic_files import replace_when_done, write_atomic

COOPERATIVE_STAGES = ("binary", "boosted", "cooperative")

# The binary net's latent weights move by signs only and like a high rate. The cooperative stage only settles: at 3e-4
# both nets lost on Fashion-MNIST's validation images what they had reached apart, at 5e-5 the pair gained.
LEARNING_RATES = {"binary": 3e-3, "int8": 1e-3, "boosted": 1e-3, "cooperative": 5e-5}
_TRAINED = {
    "binary": lambda pair: (pair.binary,),
    "int8": lambda pair: (pair.int8,),
    "boosted": lambda pair: (pair.int8,),
    "cooperative": lambda pair: (pair.binary, pair.int8),
}
FIRST_TEMPERATURE, LAST_TEMPERATURE = 0.05, 0.02
LARGEST_BOOST = 10.0
SOME_BATCHES = 20  # that settle a net well enough to look at it while it trains
COOLING = 0.8  # part of a stage after which its learning rate is below a tenth

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
    patience=None,
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
      int8_share: the int8 net's part of the cost of both nets; by default counted for `core`, see `models.pair_cost`.
      patience: part of a stage's epochs without a better answer to the validation data after which it cools down and
        ends, see `cooled`; by default all epochs are trained. A stage then also takes back the weights of its best
        epoch where the last ones are clearly worse. Not of the cooperative stage, which is short.
      callbacks: Keras callbacks, used in every stage.
      checkpoint_dir: where finished stages and the epoch in progress are kept. Called again with the same folder, a
        killed training goes on from its last finished epoch, and finished stages are loaded.
      fit_arguments: anything else that `fit` takes, such as `class_weight`, `steps_per_epoch`, `batch_size`.

    After each stage the nets that it trained get their batch statistics anew (see `settle`). A stage that finds nothing
    says so in one line of the log (see `bcnet_keras.training.watch`).

    Returns a dict of stage -> history (dict of metric name -> list with one value an epoch).
    Raises ValueError for unknown stages and for data that cannot be trained on.
    """
    unknown = sorted(set(stages) - set(STAGES))
    if unknown or not stages:
        raise BcnetError(f"stages must be some of {STAGES}, got {tuple(stages)}.")
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
        steps = fit_arguments.get("validation_steps")  # of a data set that may have no end
        nets, labels = _TRAINED[stage](pair), _labels(validation_data, steps)
        waits = patience if stage != "cooperative" and labels is not None else None
        watch = Watch(stage, epochs[stage], labels, _settled_accuracy(nets, train_data, validation_data, steps))
        extra = [_HalfCosine(rates[stage], epochs[stage], waits, kept.progress), watch]
        best = None if waits is None else _Best(nets, validation_data, len(labels), steps)
        if stage == "cooperative":
            settings["int8_share"] = count_int8_share(pair, core) if int8_share is None else int8_share
            if np.any(np.isnan(pair.threshold)):
                pair.threshold = _start_threshold(pair, train_data)
            extra.append(_Annealing(epochs[stage]))
        with pair.distribute_strategy.scope():
            pair.compile(tf.keras.optimizers.Adam(rates[stage], clipnorm=1.0), stage=stage, **settings)
        log.info("stage %s: %d epochs", stage, epochs[stage])
        extra += [best] if best else []
        histories[stage] = _fit(
            pair, train_data, validation_data, epochs[stage], [*callbacks, *extra, *kept.callbacks], fit_arguments
        )
        _settle_best(nets, train_data, best)
        if stage in ("boosted", "cooperative") and validation_data is not None and pair.combine == "sum":
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
    patience=None,
    name="float",
    callbacks=(),
    checkpoint_dir=None,
    **fit_arguments,
):
    """Trains a float Keras classifier of logits, with the checkpoints of `train`; returns its history.

    The optimizer is AdamW; `weight_decay`, as a part of the learning rate, shrinks kernels, not biases or scales.
    `patience` is that of `train`; `name` is that of the stage in the log and of its checkpoints.
    """
    kept = _Kept(checkpoint_dir, name)
    if kept.finished:
        return kept.load(model)
    with model.distribute_strategy.scope():
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = tf.keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay, clipnorm=1.0)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        model.compile(optimizer, loss, metrics=["accuracy"])
        optimizer.build(model.trainable_variables)  # else the first step does, and is traced twice
    steps = fit_arguments.get("validation_steps")
    labels = _labels(validation_data, steps)
    waits = None if labels is None else patience
    best = None if waits is None else _Best([model], validation_data, len(labels), steps)
    watch = Watch(name, epochs, labels, _settled_accuracy([model], train_data, validation_data, steps))
    extra = [_HalfCosine(learning_rate, epochs, waits, kept.progress), watch]
    extra += [best] if best else []
    log.info("stage %s: %d epochs", name, epochs)
    history = _fit(model, train_data, validation_data, epochs, [*callbacks, *extra, *kept.callbacks], fit_arguments)
    _settle_best([model], train_data, best)
    kept.save(model, history)
    return history


def _labels(data, steps=None):
    """Labels of `data` as an array, None without data. `steps` are the batches of a data set that may have no end."""
    if data is None:
        return None
    if not isinstance(data, tf.data.Dataset):
        return np.asarray(data[1])
    batches = (data.take(steps) if steps else data).map(lambda images, labels, *rest: labels)
    if not steps and batches.cardinality() == tf.data.INFINITE_CARDINALITY:
        return None
    found = [labels.numpy() for labels in batches]
    return np.concatenate(found) if found else None


def _settled_accuracy(nets, train_data, validation_data, steps=None):
    """Function (model) for `Watch`: the accuracy of the model's answers to `validation_data`, its `nets` settled on
    some batches of `train_data`. The nets are then what they were."""

    def measure(model):
        weights = [net.get_weights() for net in nets]
        for net in nets:
            settle(net, train_data, SOME_BATCHES)
        accuracy = _evaluated(model, validation_data, steps)
        for net, kept in zip(nets, weights, strict=True):
            net.set_weights(kept)
        return accuracy

    return measure


def _evaluated(model, data, steps=None):
    return model.evaluate(
        *([data] if isinstance(data, tf.data.Dataset) else data), steps=steps, verbose=0, return_dict=True
    )["accuracy"]


def _settle_best(nets, train_data, best):
    def all_settled():
        for net in nets:
            settle(net, train_data)

    all_settled()
    if best is not None:
        best.restore(all_settled)


def settle(net, data, batches=None):
    """Takes a net's batch statistics and 8-bit ranges anew, from the weights as they are now.

    The moving averages that training leaves are those of weights that still changed, and after few steps hardly more
    than what they started with: measured on 1,487 photos of hands, 240 steps, an int8 net had 80.8 % with them and
    95.4 % with settled ones. On Fashion-MNIST, six epochs, a binary net had 83.9 and 86.6 %.

    Means and variances become those of all images seen, whatever the momentum of `BatchNormalization` is; a range of
    `FakeQuant` becomes the mean over batches. Frozen layers keep theirs.

    Arguments:
      net: Keras model.
      data: training data as `fit` takes them, batches of (images, ...) or a tuple of arrays.
      batches: how many batches to see; by default one pass, but at least 50 and at most 300 of them.
    """
    layers = [layer for layer in net.submodules if isinstance(layer, tf.keras.layers.Layer) and layer.trainable]
    norms = [layer for layer in layers if isinstance(layer, tf.keras.layers.BatchNormalization) and layer.built]
    ranges = [layer for layer in layers if isinstance(layer, FakeQuant) and layer.built and not layer.fixed]
    if not norms and not ranges:
        return
    means = [*(norm.moving_mean for norm in norms), *(each.minimum for each in ranges)]
    others = [*(norm.moving_variance for norm in norms), *(each.maximum for each in ranges)]
    images = _image_batches(data)
    if batches is None:
        known = int(images.cardinality())
        batches = 300 if known < 0 else min(max(known, 50), 300)
    strategy = net.distribute_strategy

    @tf.function(reduce_retracing=True)
    def see(batch):
        strategy.run(lambda part: net(part, training=True), args=(batch,))
        return [tf.identity(variable) for variable in means], [tf.identity(variable) for variable in others]

    momenta = {layer: layer.momentum for layer in (*norms, *ranges)}
    seen, totals = 0, [0.0 for _ in means]
    try:
        for layer in momenta:
            layer.momentum = 0.0  # so that each batch leaves its own statistics
        for batch in strategy.experimental_distribute_dataset(images.repeat().take(batches)):
            number = sum(int(tf.shape(part)[0]) for part in strategy.experimental_local_results(batch))
            here = [
                np.stack([first.numpy(), second.numpy()]).astype(np.float64)
                for first, second in zip(*see(batch), strict=True)
            ]
            for each in here[: len(norms)]:
                each[1] += each[0] ** 2  # the mean square, of which the mean over batches is that of all images
            totals = [total + number * each for total, each in zip(totals, here, strict=True)]
            seen += number
    finally:
        for layer, momentum in momenta.items():
            layer.momentum = momentum
    for index, (mean, other, total) in enumerate(zip(means, others, totals, strict=True)):
        first, second = total / seen
        mean.assign(first)
        other.assign(np.maximum(second - first**2, 0) if index < len(norms) else second)


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

    `data`: validation data, as for `train`. Errors are those of `bcnet_keras.calibration.curve.answers`.
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
        raise BcnetError("training diverged: a loss is not finite. Look for NaN images, or lower the learning rate.")
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


def cooled(validation, epochs, patience):
    """How many epochs of a stage are left out because its answers to validation data have stopped getting better.

    Once neither the accuracy nor the loss, each the mean of three epochs, has been better than before for `patience`
    of the stage's epochs, at least five, the schedule goes on where it cools down, at `COOLING` of its way.

    `validation`: (accuracy, loss) of each finished epoch.
    """
    wait, start = max(5, math.ceil(patience * epochs)), math.floor(COOLING * epochs)
    best, since = (-np.inf, -np.inf), 0
    for epoch in range(2, len(validation)):
        if epoch + 1 >= start:
            return 0
        accuracy, loss = np.mean(validation[epoch - 2 : epoch + 1], axis=0)
        better = accuracy > best[0] or -loss > best[1]
        best = max(accuracy, best[0]), max(-loss, best[1])
        since = 0 if better else since + 1
        if since >= wait:
            return start - (epoch + 1)
    return 0


class _HalfCosine(tf.keras.callbacks.Callback):
    """Learning rate after e epochs: rate * (1 + cos(pi * e / epochs)) / 2, with e growing by the batch.

    With `patience` it goes on near its end, and the stage ends early, once validation data ask for it (see `cooled`).
    It depends on epoch, batch and the validation history alone, which is kept in `place`, so that it can resume.
    """

    def __init__(self, rate, epochs, patience=None, place=None):
        super().__init__()
        self.rate, self.epochs, self.patience, self.place = rate, epochs, patience, place
        self.validation, self.left_out = [], 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        if self.patience is not None and epoch > len(self.validation) and self.place is not None:
            self.validation = json.loads(self.place.read_text())[:epoch] if self.place.exists() else []
            for finished in range(len(self.validation)):
                self.left_out = self.left_out or cooled(self.validation[: finished + 1], self.epochs, self.patience)

    def on_train_batch_begin(self, batch, logs=None):
        steps = self.params.get("steps")  # unknown in the first epoch over a data set of unknown size
        done = (self.epoch + self.left_out + (batch / steps if steps else 0)) / self.epochs
        self.model.optimizer.learning_rate = self.rate * (1 + np.cos(np.pi * min(done, 1))) / 2

    def on_epoch_end(self, epoch, logs=None):
        if self.patience is None or not {"val_accuracy", "val_loss"} <= (logs or {}).keys():
            return
        self.validation.append([float(logs["val_accuracy"]), float(logs["val_loss"])])
        if self.place is not None:
            write_atomic(self.place, json.dumps(self.validation))
        if not self.left_out:
            self.left_out = cooled(self.validation, self.epochs, self.patience)
            if self.left_out:
                log.info("validation data show nothing new: cooling down, %d epochs are left out", self.left_out)
        if epoch + 1 + self.left_out >= self.epochs:
            self.model.stop_training = True


class _Best(tf.keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best answers to validation data.

    After a resumed training it knows the epochs since then alone.
    """

    def __init__(self, nets, validation_data, samples, steps=None):
        super().__init__()
        self.nets, self.data, self.samples, self.steps, self.accuracy = nets, validation_data, samples, steps, -1.0

    def on_epoch_end(self, epoch, logs=None):
        if logs and logs.get("val_accuracy", -1.0) > self.accuracy:
            self.epoch, self.accuracy = epoch, logs["val_accuracy"]
            self.weights = [net.get_weights() for net in self.nets]

    def restore(self, settle_again):
        """Takes the best weights back where the last ones are worse by more than a standard error of the accuracy."""
        if self.accuracy < 0:
            return
        last = _evaluated(self.model, self.data, self.steps)
        error = np.sqrt(max(self.accuracy * (1 - self.accuracy), 1 / self.samples) / self.samples)
        if self.accuracy - last > error:
            log.info("the weights of epoch %d answer validation data better: they are taken", self.epoch + 1)
            for net, weights in zip(self.nets, self.weights, strict=True):
                net.set_weights(weights)
            settle_again()


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
    def progress(self):
        """Where the schedule keeps what it has to know of finished epochs."""
        return self.folder and self.folder / f"{self.stage}.progress.json"

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
        self.progress.unlink(missing_ok=True)
