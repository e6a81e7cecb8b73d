"""`BCNet`: a binary net and an int8 net that answer together.

Let b(x) and q(x) be the logits of the two nets, m(x) the confidence of b(x), t a threshold and a the boost. The pair
answers

    F(x) = b(x)              if m(x) >= t   (accepted: the int8 net does not run on the device)
    F(x) = a * b(x) + q(x)   otherwise      (escalated: the first answer is weighted and added, not thrown away)

`combine="swap"` gives q(x) alone on escalation, as CoopNet does (Mocerino and Calimera, arXiv 1911.08606). The idea of
training both nets to cooperate is BC-Net's (Mocerino and Calimera, IEEE TCAS-I 68(1), 2021). Its loss and its
confidence rule are not public; those here are our own.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from bcnet_keras.errors import ModelError
from bcnet_keras.layers import INPUT_RANGE, ConfidenceGate, FakeQuant, leave_quantized_scope
from bcnet_keras.layers.common import float32_layers
from bcnet_keras.models.data_checks import check_class_weight, trainable_data
from bcnet_keras.models.keras3 import is_keras3
from bcnet_keras.models.pair_profile import PairProfile
from bcnet_keras.models.twins.binary import BinaryTwin
from bcnet_keras.models.twins.choice import advice, light_binary_twin
from bcnet_keras.models.twins.int8 import Int8Twin
from bcnet_keras.models.twins.reader import read
from bcnet_keras.utils.arguments import check_number, range_of, threshold_and_rate
from bcnet_keras.utils.types import Array, Range

STAGES = ("binary", "int8", "boosted", "cooperative")
log = logging.getLogger(__name__)


@tf.keras.utils.register_keras_serializable(package="bcnet_keras")
class BCNet(tf.keras.Model):
    """A cooperative pair of nets, trained and evaluated by `fit` and `evaluate` like any Keras model.

    Called on images float32 [n, h, w, c] in `input_range` it gives a dict: `logits` [n, classes] (the pair's answer),
    `escalated` bool [n], `binary_logits` and `int8_logits` [n, classes].

    Arguments:
      binary, int8: Keras models with the same image input and as many logits; see `bcnet_keras.layers`, `binary_twin`,
        `int8_twin`. `int8` may also be a net quantised by `tfmot.quantization.keras.quantize_model`.
      measure: confidence measure, as in `ConfidenceGate`.
      per_class: one threshold per class instead of one for all.
      combine: what an escalated sample's logits are: `"sum"` (boost * binary + int8) or `"swap"` (int8).
      boost: start value of the factor on the binary logits, at least 0. The cooperative stage trains it. On escalated
        samples, where the binary net is unsure, factors well below 1 are best: 0.1 to 0.4 on Fashion-MNIST.
      class_names: names of the classes, kept in the converted file.
      raw_range: (lowest, highest) value of the raw data, such as (0, 255) for images; kept in the converted file.
      input_range: (lowest, highest) value at the nets' input; `raw_range` maps to it linearly.
      front_end: dict of JSON types that describes how a recorded signal becomes the data; kept in the converted file.

    Examples:
      >>> pair = bc.BCNet(bc.binary_twin(float_model), bc.int8_twin(float_model))
      >>> pair.threshold = 0.5
      >>> pair.save("pair.keras")
      >>> print(tf.keras.models.load_model("pair.keras").threshold)
      0.5

    Raises:
      ValueError: the two nets do not fit together.
    """

    @float32_layers()
    def __init__(
        self,
        binary: tf.keras.Model,
        int8: tf.keras.Model,
        measure: str = "score_margin",
        per_class: bool = False,
        combine: str = "sum",
        boost: float = 0.3,
        class_names: Sequence[str] | None = None,
        raw_range: Range = (0, 255),
        input_range: Range = INPUT_RANGE,
        front_end: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.classes = _common_classes(binary, int8)
        if combine not in ("sum", "swap"):
            raise ModelError(f"combine must be 'sum' or 'swap', got {combine!r}.")
        if not boost >= 0:
            raise ModelError(f"boost must be at least 0, got {boost}.")
        if class_names is not None and len(class_names) != self.classes:
            raise ModelError(f"{len(class_names)} class names were given for {self.classes} logits.")
        self.binary, self.int8, self.combine = binary, int8, combine
        self.class_names = None if class_names is None else tuple(str(name) for name in class_names)
        self.raw_range, self.input_range = range_of("raw_range", raw_range), range_of("input_range", input_range)
        self._front_end = None if front_end is None else json.dumps(front_end)  # as text: Keras would wrap a dict
        self._calibrated: str | None = None  # checksum and escalation rate of an `OperatingPoint`, as text likewise
        self.gate = ConfidenceGate(measure, per_class, name="gate")
        self.gate.build((None, self.classes))
        self.output_quant = FakeQuant(-8.0, 8.0, symmetric=True, name="output_quant")
        self.output_quant.build((None, self.classes))
        self.boost = self.add_weight(
            name="boost",
            shape=(),
            initializer=tf.keras.initializers.Constant(boost),
            constraint=tf.keras.constraints.NonNeg(),
            trainable=combine == "sum",  # no loss of a swapping pair depends on it
        )
        self.temperature = self.add_weight(
            name="temperature", shape=(), initializer=tf.keras.initializers.Constant(0.1), trainable=False
        )
        self.build((None, *binary.input_shape[1:]))
        # Images -> logits of both nets, traced once for batches of all sizes, whoever asks.
        self.logits_of = tf.function(self._logits_of, input_signature=[tf.TensorSpec(binary.input_shape)])

    @classmethod
    @float32_layers()
    def from_keras(
        cls,
        model: Any,
        width: float | None = None,
        stem: str = "thermometer",
        planes: int | None = None,
        input_range: Range | None = None,
        board: str | None = None,
        core: str | None = None,
        max_binary_cost: float = 0.3,
        verbose: int = 1,
        **kwargs: Any,
    ) -> BCNet:
        """Makes a pair of a float Keras CNN: its int8 twin (with its weights) and its binary twin (untrained).

        Arguments:
          model: as for `int8_twin`. Ending in one logit or one sigmoid, it becomes a pair of two classes, 0 and 1.
          width: factor on the filters of the binary twin, see `binary_twin`. By default `models.twins.choice` chooses a
            binary net that costs at most `max_binary_cost` of the int8 net (the gate comes on top) and with which the
            pair fits the `board`. It is at most twice as wide as the float model; its topology is simplified or
            replaced if necessary.
          stem, planes: as for `binary_twin`. With `stem="shared"`, call `share_stem` once the float model is trained.
          input_range: (lowest, highest) value at the input of `model`; by default [-1, 127/128], or `raw_range` for a
            model that begins with Rescaling or Normalization.
          board, core: whose estimated cycles are the cost, see `device.boards` and `bcnet_keras.device.cost`; a
            Cortex-M4's by default.
          verbose: 1 prints the cost and memory of each net; 0 prints nothing. `pair.profile()` has the figures.
          kwargs: arguments of `BCNet`.

        Examples:
          >>> pair = bc.BCNet.from_keras(float_model, width=1.0, verbose=0)
          >>> sorted(pair(pair.preprocess(images)))
          ['binary_logits', 'escalated', 'int8_logits', 'logits']

        A warning in the log tells if the binary net is not light or the board cannot hold the pair.

        Raises:
          ValueError: `model` has layers that cannot be converted; the message names each.
        """
        check_number("max_binary_cost", max_binary_cost, above=0)
        graph = read(model)
        if input_range is None and graph.takes_raw:
            input_range = kwargs.get("raw_range", (0, 255))
        twin = Int8Twin(graph, input_range)
        int8 = twin.build(f"{graph.name}_int8")
        if width is None:
            binary, what = light_binary_twin(graph, int8, max_binary_cost, input_range, stem, planes, core, board)
        else:
            binary = BinaryTwin(graph, input_range, width, stem, planes).build(f"{graph.name}_binary")
            what = f"whole, width {width:g}"
        profile = PairProfile.of_nets(binary, int8, core, board)
        if verbose:
            print(f"{profile.text()}\nbinary net: {what}; nothing is trained yet")
        warning = advice(profile, width)
        if warning:
            log.warning(warning)
        return cls(binary, int8, input_range=twin.input_range, **kwargs)

    def profile(self, core: str | None = None, board: str | None = None) -> PairProfile:
        """Returns cost and memory of the pair and its nets, trained or not, as a `models.pair_profile.PairProfile`.

        `core` and `board` are names, as in `from_keras`.
        """
        return PairProfile.of_nets(self.binary, self.int8, core, board)

    @property
    def front_end(self) -> dict[str, Any] | None:
        """Dict that describes how a recorded signal becomes the data, or None."""
        return None if self._front_end is None else json.loads(self._front_end)

    @property
    def threshold(self) -> Array:
        """The gate's threshold: float32 NumPy array, [] or [classes], NaN if not set.

        Assign a number in [0, 1], one per class, or an `OperatingPoint`.
        """
        return self.gate.threshold

    @threshold.setter
    def threshold(self, value: Any) -> None:
        self.gate.threshold, rate = threshold_and_rate(value)
        self._calibrated = None if rate is None else json.dumps([self._decision_weights(), rate])

    @property
    def escalation_rate(self) -> float | None:
        """Part of the calibration data that escalates, from the `OperatingPoint` that was the last threshold.

        None where the threshold was a number, and where `fit` was called or the binary net or the gate changed since.
        """
        weights, rate = (None, None) if self._calibrated is None else json.loads(self._calibrated)
        return rate if rate is not None and weights == self._decision_weights() else None

    def _decision_weights(self) -> int:
        """Checksum of the weights that decide what escalates; those of the gate have the threshold."""
        return zlib.crc32(
            b"".join(weight.tobytes() for part in (self.binary, self.gate) for weight in part.get_weights())
        )

    def preprocess(self, raw: ArrayLike | tf.Tensor) -> tf.Tensor:
        """Maps raw data (values in `raw_range`) to float32 in `input_range`; works on arrays and tensors."""
        return rescale(raw, self.raw_range, self.input_range)

    def combined(self, binary_logits: tf.Tensor, int8_logits: tf.Tensor) -> tf.Tensor:
        """Returns the logits of escalated samples; all [n, classes]."""
        return int8_logits if self.combine == "swap" else self.boost * binary_logits + int8_logits

    def _logits_of(self, images):
        return self.binary(images, training=False), self.int8(images, training=False)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        inputs = self._shaped(inputs)
        binary_logits = self.binary(inputs, training=training)
        int8_logits = self.int8(inputs, training=training)
        escalated = self.gate(binary_logits)
        logits = tf.where(escalated[:, tf.newaxis], self.combined(binary_logits, int8_logits), binary_logits)
        return {
            "logits": self.output_quant(logits, training=training),
            "escalated": escalated,
            "binary_logits": binary_logits,
            "int8_logits": int8_logits,
        }

    def compile(
        self,
        optimizer: str | tf.keras.optimizers.Optimizer = "adam",
        stage: str = "cooperative",
        teacher: Any = None,
        distillation: float = 0.5,
        teacher_temperature: float = 2.0,
        independence: float = 0.5,
        focus: float = 0.0,
        cost_weight: float = 0.1,
        int8_share: float = 1.0,
        **kwargs: Any,
    ) -> None:
        """Sets what `fit` trains.

        Arguments:
          stage: what is trained, and its loss, with E = (1 - independence) * CE(boost * b + q) + independence * CE(q)
            the loss of an escalated sample:
            `"binary"`: the binary net alone, by CE(b).
            `"int8"`: the int8 net alone, by CE(q).
            `"boosted"`: the int8 net beside the frozen binary net, by E.
            `"cooperative"`: both nets, boost and gate, by g * CE(b) + (1 - g) * (E + cost_weight * int8_share), where
            g = sigmoid((m - t) / temperature) is the probability of acceptance. The losses of the stages before are
            added, E with the weight g. Without them each net would forget the samples that the gate gives to the other,
            and the final threshold is seldom the one of training.
          teacher: Keras model (also of Keras 3) that maps the same images to logits, or to probabilities by a softmax
            or sigmoid. In the binary and the cooperative stage the binary net also learns from its answers.
          distillation: weight of the teacher in [0, 1].
          teacher_temperature: divides the logits of teacher and binary net, which softens both answers.
          independence: in [0, 1]; how much the int8 net must also be right by itself. At 0 it learns nothing from
            samples on which the binary net is overconfident.
          focus: in [0, 1]; how much the boosted stage emphasises samples that the binary net gets wrong. A sample's
            weight is 1 - focus * p_b(label), rescaled to mean 1 over the batch.
          cost_weight: price of running the int8 net on every sample, in nats of cross-entropy.
          int8_share: the int8 net's part of the cost of running both nets, in (0, 1].
          kwargs: go to `tf.keras.Model.compile`, such as `run_eagerly`.

        Raises:
          ModelError: unknown stage; or a loss or metrics, which each stage brings along.
        """
        for name in ("loss", "metrics", "loss_weights", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ModelError(
                    f"compile takes no {name}: each stage of a pair brings its own loss and measures accuracy; choose "
                    "the stage instead, or train the nets alone before they become a pair."
                )
        if stage not in STAGES:
            raise ModelError(f"stage must be one of {STAGES}, got {stage!r}.")
        super().compile(optimizer=optimizer, **kwargs)
        self.stage = stage
        self._settings = dict(
            distillation=distillation,
            teacher_temperature=teacher_temperature,
            independence=independence,
            focus=focus,
            cost=cost_weight * int8_share,
        )
        if is_keras3(teacher) or (isinstance(teacher, tf.keras.Model) and _gives_probabilities(teacher)):
            teacher = read(teacher).model
        _check_teacher(teacher, self)
        # In a closure, so that the teacher is not saved as a part of the pair.
        self._teach = None if teacher is None else lambda images: teacher(images, training=False)
        self._make_means()
        _check_optimizer(self.optimizer, self.stage_variables)
        if hasattr(self.optimizer, "build"):  # not of a legacy optimizer, such as Larq's
            # Else the first training step makes the optimizer's variables, and TensorFlow traces it a second time.
            self.optimizer.build(self.stage_variables)

    @tf.__internal__.tracking.no_automatic_dependency_tracking
    def _make_means(self):
        # Untracked, or they would count as weights of the pair and be saved with it.
        self._means = {name: tf.keras.metrics.Mean(name) for name in ("loss", "accuracy", "escalation_rate")}

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        means = getattr(self, "_means", {})
        return [mean for name, mean in means.items() if name != "escalation_rate" or self.stage == "cooperative"]

    @property
    def stage_variables(self) -> list[tf.Variable]:
        """The variables that the compiled stage trains."""
        if self.stage == "binary":
            return self.binary.trainable_variables
        if self.stage in ("int8", "boosted"):
            return self.int8.trainable_variables
        return self.trainable_variables

    def _stage_losses(self, images, targets, training):
        """Cross-entropy (and price) a sample [n], logits [n, classes] of the stage's answer, escalation [n] or None."""
        settings = self._settings
        if self.stage == "binary":
            logits = self.binary(images, training=training)
            return self._binary_loss(images, targets, logits, training), logits, None
        if self.stage == "int8":
            logits = self.int8(images, training=training)
            return _cross_entropy(targets, logits), logits, None
        if self.stage == "boosted":
            binary_logits = tf.stop_gradient(self.binary(images, training=False))
            int8_logits = self.int8(images, training=training)
            logits = self.output_quant(self.combined(binary_logits, int8_logits), training=training)
            losses = self._escalated_loss(targets, logits, int8_logits)
            if training and settings["focus"]:
                weights = 1 - settings["focus"] * tf.reduce_sum(targets * tf.nn.softmax(binary_logits), axis=-1)
                losses *= weights / _replica_mean(weights)
            return losses, logits, None
        outputs = self(images, training=training)
        binary_logits = outputs["binary_logits"]
        combined = self.combined(binary_logits, outputs["int8_logits"])
        margin = self.gate.confidence(binary_logits) - self.gate.threshold_of(binary_logits)
        accept = tf.sigmoid(margin / self.temperature)
        escalated = self._escalated_loss(targets, combined, outputs["int8_logits"])
        losses = accept * _cross_entropy(targets, binary_logits) + (1 - accept) * (escalated + settings["cost"])
        losses += tf.stop_gradient(accept) * escalated + self._binary_loss(images, targets, binary_logits, training)
        return losses, outputs["logits"], tf.cast(outputs["escalated"], tf.float32)

    def _binary_loss(self, images, targets, logits, training):
        losses = _cross_entropy(targets, logits)
        if training and self._teach is not None:
            losses += self._settings["distillation"] * (self._distillation(images, logits) - losses)
        return losses

    def _escalated_loss(self, targets, combined, int8_logits):
        share = self._settings["independence"]
        return (1 - share) * _cross_entropy(targets, combined) + share * _cross_entropy(targets, int8_logits)

    def _distillation(self, images, logits):
        heat = self._settings["teacher_temperature"]
        soft = tf.nn.softmax(tf.stop_gradient(self._teach(images)) / heat)
        # Hinton et al., arXiv 1503.02531: the factor keeps the gradients' size as the temperature grows.
        return heat**2 * (_cross_entropy(soft, logits / heat) - _cross_entropy(soft, tf.math.log(soft + 1e-9)))

    def _shaped(self, images):
        """Images with their known shape, of which Keras tells nothing where a generator gives them."""
        known = tf.TensorShape(images.shape)[1:].is_fully_defined()
        return images if known else tf.ensure_shape(images, self.binary.input_shape)

    def _one_hot(self, labels):
        if labels.shape.rank == 2 and labels.shape[-1] is None:  # of a generator: rows, or class numbers [n, 1]
            rows = tf.shape(labels)[-1] == self.classes
            return tf.cond(rows, lambda: tf.cast(labels, tf.float32), lambda: self._one_hot(tf.reshape(labels, [-1])))
        if labels.shape.rank == 2 and labels.shape[-1] == self.classes:
            return tf.cast(labels, tf.float32)
        labels = tf.reshape(tf.cast(labels, tf.int64), [-1])
        message = f"labels must be whole numbers from 0 to {self.classes - 1}"
        tf.debugging.assert_non_negative(labels, message=message)
        tf.debugging.assert_less(labels, tf.constant(self.classes, tf.int64), message=message)
        return tf.one_hot(labels, self.classes)

    def _forward(self, data, training):
        """Loss of this replica (its samples over the global batch's number), having updated the metrics."""
        images, labels, sample_weight = tf.keras.utils.unpack_x_y_sample_weight(data)
        images = self._shaped(images)
        tf.debugging.assert_all_finite(images, "images hold NaN or infinite values")
        losses, logits, escalated = self._stage_losses(images, self._one_hot(labels), training)
        right = tf.cast(tf.argmax(logits, axis=-1) == tf.argmax(self._one_hot(labels), axis=-1), tf.float32)
        self._means["accuracy"].update_state(right)
        if escalated is not None:
            self._means["escalation_rate"].update_state(escalated)
        if sample_weight is not None:
            losses *= tf.reshape(tf.cast(sample_weight, tf.float32), [-1])
        self._means["loss"].update_state(losses)
        context = tf.distribute.get_replica_context()
        number = tf.cast(tf.shape(losses)[0], tf.float32)
        replicas = context.num_replicas_in_sync
        if replicas > 1:
            number = context.all_reduce(tf.distribute.ReduceOp.SUM, number)
        penalties = tf.add_n(self.losses) / replicas if self.losses else 0.0
        return tf.reduce_sum(losses) / number + penalties

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, validation_data: Any = None, **kwargs: Any
    ) -> tf.keras.callbacks.History:
        leave_quantized_scope()
        self._calibrated = None
        if getattr(self, "stage", None) == "cooperative" and np.any(np.isnan(self.threshold)):
            raise ModelError("the cooperative stage starts from a threshold: set pair.threshold (0.5, say) before fit.")
        self._eval_data_handler = None  # where Keras leaves the validation data of a fit that failed, for the next one
        check_class_weight(self.classes, kwargs.get("class_weight"))
        with trainable_data(self.binary.input_shape, x if y is None else (x, y), validation_data):
            return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def save(self, *args: Any, **kwargs: Any) -> None:
        leave_quantized_scope()  # the latent weights are the pair's
        super().save(*args, **kwargs)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = self._forward(data, training=True)
        self.optimizer.minimize(loss, self.stage_variables, tape=tape)
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        self._forward(data, training=False)
        return {metric.name: metric.result() for metric in self.metrics}

    def get_config(self) -> dict[str, Any]:
        # As text, because SavedModel and `.keras` each rewrite nested configurations in their own way.
        return {
            "name": self.name,
            "binary": self.binary.to_json(),
            "int8": self.int8.to_json(),
            "measure": self.gate.measure,
            "per_class": self.gate.per_class,
            "combine": self.combine,
            "class_names": self.class_names,
            "raw_range": self.raw_range,
            "input_range": self.input_range,
            "front_end": self.front_end,
            "calibrated": self._calibrated,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> BCNet:
        objects = dict(custom_objects or {})
        if '"QuantizeWrapper' in config["int8"]:  # made by tfmot, which registers nothing
            import tensorflow_model_optimization as tfmot

            with tfmot.quantization.keras.quantize_scope():
                objects |= tf.keras.saving.get_custom_objects()
        nets = {part: tf.keras.models.model_from_json(config[part], objects) for part in ("binary", "int8")}
        pair = cls(**{**{key: value for key, value in config.items() if key != "calibrated"}, **nets})
        pair._calibrated = config.get("calibrated")  # not in files of older versions
        return pair

    def get_compile_config(self) -> None:
        # A stage belongs to a training run, not to the saved pair.
        return None


def _check_teacher(teacher, pair):
    """Raises ModelError for a Keras model that reads other images than `pair`, or has other classes."""
    ends = {name: getattr(teacher, name, None) for name in ("input_shape", "output_shape")}
    for name, needed in (("input_shape", pair.binary.input_shape), ("output_shape", (None, pair.classes))):
        if isinstance(ends[name], tuple) and not tf.TensorShape(needed).is_compatible_with(ends[name]):
            raise ModelError(f"the teacher must have the {name} {needed} of the pair's nets, got {ends[name]}.")


def _check_optimizer(optimizer, variables):
    """Raises ModelError for a `larq.optimizers.CaseOptimizer` that has divided other variables among its optimizers.

    It keeps that division, by names of one process, in its configuration, and passes by all variables of other names.
    """
    divided = getattr(optimizer, "var_opt_mapping", None)
    left_out = [variable.name for variable in variables if divided is not None and _key(variable) not in divided]
    if left_out:
        raise ModelError(
            f"the {type(optimizer).__name__} was made for other variables, or loaded from a file, and would not train "
            f"{len(left_out)} of {len(variables)}, such as {left_out[0]}: make a new one."
        )


def _key(variable):
    """As Larq names it."""
    return variable._shared_name if variable._in_graph_mode else variable._unique_id


def _gives_probabilities(model):
    """Whether a Keras model ends in a softmax or sigmoid, or in the one logit of two classes."""
    last = model.layers[-1] if model.layers else None
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    one = isinstance(getattr(model, "output_shape", None), tuple) and model.output_shape[-1] == 1
    return one or isinstance(last, tf.keras.layers.Softmax) or activation in ("softmax", "sigmoid")


def rescale(raw: ArrayLike | tf.Tensor, raw_range: Range, input_range: Range = INPUT_RANGE) -> tf.Tensor:
    """Maps values linearly from `raw_range` to `input_range`, as float32."""
    low, high = raw_range
    to_low, to_high = input_range
    scale = (to_high - to_low) / (high - low)
    return tf.cast(raw, tf.float32) * scale + (to_low - low * scale)


def _common_classes(binary, int8):
    """The number of classes of both nets, having checked that they fit together."""
    for name, net in (("binary", binary), ("int8", int8)):
        if not isinstance(net, tf.keras.Model) or not net.built:
            raise ModelError(f"the {name} net must be a built tf.keras.Model, got {type(net).__name__}.")
        if len(net.inputs or []) != 1 or len(net.outputs or []) != 1:
            raise ModelError(f"the {name} net must be a functional or sequential model with one input and one output.")
        if len(net.output_shape) != 2 or net.output_shape[-1] is None or net.output_shape[-1] < 2:
            raise ModelError(f"the {name} net must end in at least 2 logits, its output shape is {net.output_shape}.")
    if binary.input_shape[1:] != int8.input_shape[1:]:
        raise ModelError(
            f"both nets must read the same images; binary reads {binary.input_shape[1:]}, int8 {int8.input_shape[1:]}."
        )
    if binary.output_shape[-1] != int8.output_shape[-1]:
        raise ModelError(
            f"both nets must give as many logits; binary gives {binary.output_shape[-1]}, int8 {int8.output_shape[-1]}."
        )
    return int(binary.output_shape[-1])


def _cross_entropy(targets, logits):
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def _replica_mean(values):
    """Mean over the global batch."""
    context = tf.distribute.get_replica_context()
    total, number = tf.reduce_sum(values), tf.cast(tf.size(values), tf.float32)
    if context.num_replicas_in_sync > 1:
        total, number = context.all_reduce(tf.distribute.ReduceOp.SUM, [total, number])
    return total / number
