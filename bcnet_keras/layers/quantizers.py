"""Quantisers of binary layers: signs forward, the gradient of a smoother function backward.

Names, arguments, values and gradients are those of `larq.quantizers` (Geiger et al., doi 10.21105/joss.01746), so that
nets of either package train and convert alike. Here, too, sign(0) = +1. A quantiser keeps the dtype of its input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from bcnet_keras.errors import ModelError
from bcnet_keras.layers.common import register


def sign(values: tf.Tensor) -> tf.Tensor:
    """+1 and -1, with sign(0) = +1; any shape, the same dtype. The converters know signs by this form."""
    return tf.sign(tf.sign(values) + 0.1)


@tf.function(jit_compile=True)
def _signs(values: tf.Tensor):
    return tf.where(values < 0, tf.constant(-1, values.dtype), tf.constant(1, values.dtype))


@tf.function(jit_compile=True)
def _triangle_gradients(values: tf.Tensor, above: tf.Tensor):
    return above * tf.nn.relu(2 - 2 * tf.abs(values))


@tf.custom_gradient
def _compiled_approx_sign(values: tf.Tensor):
    return _signs(values), lambda above: _triangle_gradients(values, above)


class Quantizer(tf.keras.layers.Layer):
    """Signs whose gradient is `gradient(values, gradient above)`."""

    precision = 1  # bits, as Larq's optimizers ask for it

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # a layer of another precision would get its input cast

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient
        def signs(values: tf.Tensor):
            return sign(values), lambda above: self.gradient(values, above)

        return signs(inputs)

    def gradient(self, values: tf.Tensor, above: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@register
class SteSign(Quantizer):
    """Straight-through estimator: the gradient passes where |x| <= `clip_value`, and everywhere if that is None.

    Hubara et al., arXiv 1602.02830.
    """

    def __init__(self, clip_value: float | None = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clip_value = clip_value

    def gradient(self, values: tf.Tensor, above: tf.Tensor) -> tf.Tensor:
        if self.clip_value is None:
            return above
        return tf.where(tf.abs(values) <= self.clip_value, above, tf.zeros_like(above))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "clip_value": self.clip_value}


@register
class ApproxSign(Quantizer):
    """The gradient is that of a piecewise quadratic: 2 - 2 |x| where |x| <= 1, else 0 (Liu et al., arXiv 1808.00278).

    In reduced precision it is compiled into one pass over memory, which is four times as fast.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return super().call(inputs) if inputs.dtype == tf.float32 else _compiled_approx_sign(inputs)

    def gradient(self, values: tf.Tensor, above: tf.Tensor) -> tf.Tensor:
        sizes = tf.abs(values)
        return tf.where(sizes <= 1, 2 * (1 - sizes) * above, tf.zeros_like(above))


@register
class SwishSign(Quantizer):
    """The gradient is that of a sign-swish of steepness `beta` (Darabi et al., arXiv 1812.11800)."""

    def __init__(self, beta: float = 5.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.beta = beta

    def gradient(self, values: tf.Tensor, above: tf.Tensor) -> tf.Tensor:
        steep = self.beta * values
        return above * self.beta * (2 - steep * tf.tanh(steep / 2)) / (1 + tf.cosh(steep))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta}


@register
class MagnitudeAwareSign(SteSign):
    """Signs of a kernel times the mean size of each filter's weights (the last axis), which takes no gradient.

    Liu et al., arXiv 1808.00278, section 3.3. On the device the size becomes a part of the batch normalisation.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        sizes = tf.reduce_mean(tf.abs(inputs), axis=list(range(inputs.shape.rank - 1)))
        return tf.stop_gradient(sizes) * super().call(inputs)


@register
class WeightClip(tf.keras.constraints.Constraint):
    """Keeps latent weights in [-`clip_value`, `clip_value`], where the gradient of `SteSign` is not 0."""

    def __init__(self, clip_value: float = 1) -> None:
        self.clip_value = clip_value

    def __call__(self, weights: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(weights, -self.clip_value, self.clip_value)

    def get_config(self) -> dict[str, Any]:
        return {"clip_value": self.clip_value}


_QUANTIZERS = {
    "ste_sign": SteSign,
    "approx_sign": ApproxSign,
    "swish_sign": SwishSign,
    "magnitude_aware_sign": MagnitudeAwareSign,
}
_CONSTRAINTS = {"weight_clip": WeightClip}


def quantizer(identifier: Any) -> Callable[[tf.Tensor], tf.Tensor] | None:
    """The quantiser that `identifier` stands for.

    `identifier`: a name ("ste_sign", "approx_sign", "swish_sign", "magnitude_aware_sign"), a configuration, also that
    of Larq's class of the same name, None, or any function of a tensor, such as a quantiser of Larq.

    Raises:
      ModelError: an unknown name.
    """
    if identifier is None or callable(identifier):
        return identifier
    made = _made(identifier, _QUANTIZERS)
    if made is None and isinstance(identifier, dict):
        made = tf.keras.utils.deserialize_keras_object(identifier)
    if made is None:
        raise ModelError(
            f"there is no quantizer {identifier!r}; expected one of {', '.join(_QUANTIZERS)}, or a function such as a "
            "quantizer of Larq"
        )
    return made


def constraint(identifier: Any) -> Any:
    """What Keras takes for a constraint, less the name and the configuration of `weight_clip`: a `WeightClip`."""
    return _made(identifier, _CONSTRAINTS) or identifier


def _made(identifier: Any, kinds):
    """A new object of one of `kinds` {name: class} from a name or a configuration; None where it is of none."""
    named = {**kinds, **{kind.__name__: kind for kind in kinds.values()}}
    if isinstance(identifier, str):
        return named[identifier]() if identifier in named else None
    name = identifier.get("class_name") if isinstance(identifier, dict) else None
    kind = named.get(str(name).rpartition(">")[2].lstrip("_"))  # "_ApproxSign", as earlier files have it
    return None if kind is None else kind.from_config(identifier["config"])
