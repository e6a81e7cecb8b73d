"""Keras layers for nets that run on integers and bits: binary, int8, and the gate between them.

A binary net is built from `BinaryConv2D` and `BinaryDense`, each followed by batch normalisation; an int8 net from
`Int8Conv2D`, `Int8DepthwiseConv2D` and `Int8Dense`; `FakeQuant` marks every place where a real number becomes an 8-bit
code. Nets built so convert without a float operation left:

    x = inputs = tf.keras.Input((32, 32, 3))            # pixels in [-1, 127/128]
    x = ThermometerEncoding(planes=10)(x)               # 30 planes, so that the first layer can be binary
    x = tf.keras.layers.BatchNormalization()(BinaryConv2D(64, 3, strides=2)(x))
    x = tf.keras.layers.BatchNormalization()(BinaryConv2D(64, 3)(x))
    x = global_average(x, FakeQuant())
    logits = FakeQuant()(Int8Dense(10)(x))

All layers take NHWC float32 tensors. The binary ones may compute in mixed precision, see `with_precision`.
"""

import pathlib
import re

import larq as lq
import numpy as np
import tensorflow as tf

# A uint8 pixel p becomes (p - 128) / 128: the int8 code is p - 128, the scale 1/128, the zero point 0.
INPUT_RANGE = (-1.0, 127 / 128)
CPU_INFO = pathlib.Path("/proc/cpuinfo")

_register = tf.keras.utils.register_keras_serializable(package="bcnet_keras")


def _without(config, *keys):
    """`config` less the arguments that a layer fixes for itself."""
    return {key: value for key, value in config.items() if key not in keys}


def _over_replicas(value, reduce):
    """`reduce(value)` over all replicas of the current `tf.distribute` strategy; `value` is a scalar."""
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        value = reduce(context.all_gather(value[tf.newaxis], axis=0))
    return value


def batch_norm(**kwargs):
    """`tf.keras.layers.BatchNormalization` as binary nets need it.

    Signs are sensitive to the statistics, so these average over some hundred batches (a momentum of 0.9 cost a binary
    net three points of accuracy), and over the global batch under a `tf.distribute` strategy.
    """
    # Keras has no fused kernel for synchronised statistics; without one a step of ResNet-8 takes half as long again.
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return tf.keras.layers.BatchNormalization(**{"momentum": 0.99, **kwargs}, synchronized=several)


@_register
class FakeQuant(tf.keras.layers.Layer):
    """Rounds to one of 256 levels in the forward pass and lets gradients through inside the range.

    The range follows the batches of training by an exponential moving average (over the global batch under a
    `tf.distribute` strategy) and is frozen at inference and with `trainable=False`. With `fixed=True` it stays as
    given. Called on a list of tensors it gives a list, rounded with one common range, as `Concatenate` needs it.

    Arguments:
      minimum, maximum: start of the range; `minimum <= 0 <= maximum`, not both 0.
      fixed: keep the range as given.
      symmetric: keep `minimum = -maximum`, so that the zero point is 0.
      momentum: weight of the old range in the moving average, in [0, 1).
    """

    def __init__(self, minimum=-3.0, maximum=3.0, fixed=False, symmetric=False, momentum=0.9, **kwargs):
        super().__init__(**kwargs)
        if not (minimum <= 0 <= maximum and minimum < maximum):
            raise ValueError(f"FakeQuant: the range must contain 0 and not be empty, got [{minimum}, {maximum}].")
        if not 0 <= momentum < 1:
            raise ValueError(f"FakeQuant: momentum must be in [0, 1), got {momentum}.")
        self.initial_range = (float(minimum), float(maximum))
        self.fixed, self.symmetric, self.momentum = fixed, symmetric, momentum

    def build(self, input_shape):
        if not self.fixed:
            self.minimum, self.maximum = (
                self.add_weight(
                    name=name,
                    shape=(),
                    initializer=tf.keras.initializers.Constant(value),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.MEAN,
                )
                for name, value in zip(("minimum", "maximum"), self.initial_range, strict=True)
            )
        super().build(input_shape)

    @property
    def range(self):
        """(minimum, maximum) as floats, as they are now."""
        if self.fixed or not self.built:
            return self.initial_range
        return float(self.minimum), float(self.maximum)

    @range.setter
    def range(self, value):
        minimum, maximum = value
        self.minimum.assign(minimum)
        self.maximum.assign(maximum)

    def call(self, inputs, training=None):
        if self.fixed:
            low, high = self.initial_range
            return tf.nest.map_structure(
                lambda tensor: tf.quantization.fake_quant_with_min_max_args(tensor, low, high), inputs
            )
        if training and self.trainable:
            self._follow(tf.nest.flatten(inputs))
        return tf.nest.map_structure(
            lambda tensor: tf.quantization.fake_quant_with_min_max_vars(tensor, self.minimum, self.maximum), inputs
        )

    def _follow(self, tensors):
        # The quantised range always contains 0, so that padding is exact.
        low = tf.reduce_min([0.0, *(tf.reduce_min(tensor) for tensor in tensors)])
        high = tf.reduce_max([0.0, *(tf.reduce_max(tensor) for tensor in tensors)])
        low, high = _over_replicas(low, tf.reduce_min), _over_replicas(high, tf.reduce_max)
        if self.symmetric:
            high = tf.maximum(high, -low)
            low = -high
        self.minimum.assign(self.momentum * self.minimum + (1 - self.momentum) * low)
        self.maximum.assign(self.momentum * self.maximum + (1 - self.momentum) * high)

    def get_config(self):
        return {
            **super().get_config(),
            "minimum": self.initial_range[0],
            "maximum": self.initial_range[1],
            "fixed": self.fixed,
            "symmetric": self.symmetric,
            "momentum": self.momentum,
        }


def global_average(tensor, quantiser, pooling=None):
    """The mean over height and width, rounded to the same levels as the map: [n, h, w, c] -> [n, c].

    `quantiser` is a new `FakeQuant`, whose range follows the map. With one scale for both the device runs average
    pooling instead of a mean that is some twenty times as slow. `pooling` is a layer such as MaxPooling2D that works
    on the rounded map, before the mean.
    """
    rounded = quantiser(tensor)
    if pooling is not None:
        rounded = pooling(rounded)
    averaged = tf.keras.layers.GlobalAveragePooling2D()(rounded)
    return quantiser(averaged, training=False)  # so that the range does not follow the means too


@tf.function(jit_compile=True)
def _signs(values):
    return tf.where(values < 0, tf.constant(-1, values.dtype), tf.constant(1, values.dtype))


@tf.function(jit_compile=True)
def _sign_gradients(values, above):
    return above * tf.nn.relu(2 - 2 * tf.abs(values))


@tf.custom_gradient
def _approx_sign(values):
    return _signs(values), lambda above: _sign_gradients(values, above)


@_register
class _ApproxSign(lq.quantizers.ApproxSign):
    """Larq's ApproxSign; in reduced precision compiled into one pass over memory, which is four times as fast."""

    def call(self, inputs):
        # Larq's own operations are those that Larq Compute Engine's converter knows.
        return super().call(inputs) if inputs.dtype == tf.float32 else _approx_sign(inputs)


class _BinaryLayer(lq.layers.QuantConv2D):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        quantizer, policy = self.input_quantizer, self.dtype_policy.name
        # A quantiser is a layer too, and would cast to a precision of its own.
        if isinstance(quantizer, tf.keras.layers.Layer) and quantizer.dtype_policy.name != policy:
            kind = _ApproxSign if type(quantizer) is lq.quantizers.ApproxSign else type(quantizer)
            self.input_quantizer = kind.from_config({**quantizer.get_config(), "dtype": policy})

    def convolution_op(self, inputs, kernel):
        # Larq's quantised kernel is float32, whatever the layer's dtype policy is.
        return super().convolution_op(inputs, tf.cast(kernel, self.compute_dtype))


@_register
class BinaryConv2D(_BinaryLayer):
    """Convolution of the signs of its input with the signs of its weights: +1 or -1, where sign(0) = +1.

    Output: whole numbers in [-N, N] with N = kernel height x kernel width x input channels / groups. Put
    `BatchNormalization` straight behind it (it becomes a threshold on the device) and pooling behind that. Padding is
    with +1. The latent weights stay in [-1, 1].

    Arguments are those of `tf.keras.layers.Conv2D` less bias and activation, and Larq's `input_quantizer` and
    `kernel_quantizer`. With `dtype="mixed_bfloat16"` it trains faster where bfloat16 does; signs, and sums up to 256,
    are exact in it.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="same",
        input_quantizer="approx_sign",
        kernel_quantizer="ste_sign",
        kernel_constraint="weight_clip",
        **kwargs,
    ):
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            pad_values=1.0,
            use_bias=False,
            input_quantizer=input_quantizer,
            kernel_quantizer=kernel_quantizer,
            kernel_constraint=kernel_constraint,
            **kwargs,
        )

    def get_config(self):
        return _without(super().get_config(), "pad_values", "use_bias", "activation")


@_register
class BinaryDense(_BinaryLayer):
    """Fully connected layer on signs; on the device a binary convolution with one output position.

    Input [n, features] gives [n, units]; a feature map [n, h, w, c] is connected as a whole and gives
    [n, 1, 1, units], so that `BinaryDense` layers follow each other without a reshape (close with
    `GlobalAveragePooling2D`). Larq's `input_quantizer` and `kernel_quantizer` as in `BinaryConv2D`.
    """

    def __init__(
        self,
        units,
        input_quantizer="approx_sign",
        kernel_quantizer="ste_sign",
        kernel_constraint="weight_clip",
        **kwargs,
    ):
        super().__init__(
            units,
            kernel_size=1,
            padding="valid",
            use_bias=False,
            input_quantizer=input_quantizer,
            kernel_quantizer=kernel_quantizer,
            kernel_constraint=kernel_constraint,
            **kwargs,
        )
        self.input_spec = None  # that of a convolution would refuse [n, features]

    def build(self, input_shape):
        shape = tf.TensorShape(input_shape).as_list()
        if len(shape) not in (2, 4) or None in shape[1:]:
            raise ValueError(f"BinaryDense: input must be [n, features] or [n, h, w, c] of known size, got {shape}.")
        rank = len(shape)
        if rank == 2:
            shape = [shape[0], 1, 1, shape[1]]
        self.kernel_size = (shape[1], shape[2])
        super().build(shape)
        self.input_spec = tf.keras.layers.InputSpec(ndim=rank)

    def call(self, inputs):
        if inputs.shape.rank == 4:
            return super().call(inputs)
        outputs = super().call(inputs[:, tf.newaxis, tf.newaxis, :])
        # The mean over one position is the value itself, and unlike a reshape it stays int8 on the device.
        return tf.reduce_mean(outputs, axis=[1, 2])

    def compute_output_shape(self, input_shape):
        shape = tf.TensorShape(input_shape).as_list()
        return tf.TensorShape([shape[0], *([1, 1] if len(shape) == 4 else []), self.filters])

    def get_config(self):
        fixed = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups", "pad_values")
        config = _without(super().get_config(), *fixed, "use_bias", "activation")
        return {**config, "units": self.filters}


def fastest_precision():
    """The policy for `with_precision` in which binary layers train fastest on this machine.

    "mixed_bfloat16" where the hardware multiplies bfloat16: GPUs of compute capability 8.0 or later, x86 processors
    with AVX512_BF16 or AMX, as Linux tells. "float32" elsewhere, for there each product would be converted one by one:
    on two cores with AVX2 a step of CIFAR-10's binary net then took thirteen times as long.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        native = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0)) >= (8, 0)
    else:
        native = CPU_INFO.is_file() and re.search(r"\b(avx512_bf16|amx_bf16)\b", CPU_INFO.read_text())
    return "mixed_bfloat16" if native else "float32"


def with_precision(model, policy):
    """A Keras net with the weights of `model`, whose binary layers have the Keras dtype policy `policy`.

    So has batch normalisation and pooling of which the signs alone are read; all else stays in float32.

    `policy`: "float32", or "mixed_bfloat16" (or "mixed_float16") for faster training on processors that have it, see
      `fastest_precision`.
    Gives `model` itself where all these layers have it already.
    """

    def concerned(layer):
        return isinstance(layer, _BinaryLayer) or _signs_are_read(layer)

    if all(layer.dtype_policy.name == policy for layer in model.submodules if concerned(layer)):
        return model

    def clone(layer):
        config = layer.get_config()
        return type(layer).from_config({**config, "dtype": policy} if concerned(layer) else config)

    copy = tf.keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def _signs_are_read(layer):
    """Is it normalisation or pooling of whose output nothing but signs is read?"""
    if not isinstance(layer, tf.keras.layers.BatchNormalization | tf.keras.layers.MaxPooling2D):
        return False
    readers = [node.outbound_layer for node in layer.outbound_nodes]
    return bool(readers) and all(isinstance(reader, _BinaryLayer) or _signs_are_read(reader) for reader in readers)


@_register
class ThermometerEncoding(tf.keras.layers.Layer):
    """Compares each channel with `planes` evenly spaced levels, so that a binary layer can read real-valued input.

    Output channel `c * planes + p` is `x_c - level_p` in 8-bit codes; its sign is the thermometer digit, which the
    binary layer that follows takes. Levels lie on the input's 8-bit grid, so the digits on the device are exact.

    Arguments:
      planes: levels a channel, 1 to 255.
      input_range: (lowest, highest) value of the input; 0 must be inside. The default is that of `bcnet_keras` nets.
    """

    def __init__(self, planes=8, input_range=INPUT_RANGE, **kwargs):
        super().__init__(**kwargs)
        if not (isinstance(planes, int) and 1 <= planes <= 255):
            raise ValueError(f"ThermometerEncoding: planes must be a whole number from 1 to 255, got {planes}.")
        if not input_range[0] <= 0 <= input_range[1] or input_range[0] >= input_range[1]:
            raise ValueError(f"ThermometerEncoding: input_range must contain 0, got {tuple(input_range)}.")
        self.planes, self.input_range = planes, tuple(float(value) for value in input_range)

    @property
    def levels(self):
        """float32 [planes]: the levels, in the input's unit."""
        low, high = self.input_range
        step = (high - low) / 255
        codes = np.ceil((np.arange(self.planes) + 0.5) * 255 / self.planes) + np.round(low / step)
        return (codes * step).astype(np.float32)

    def call(self, inputs):
        channels = inputs.shape[-1]
        # One 1x1 convolution does it: a copy of channel c for each level, minus the level.
        kernel = np.repeat(np.eye(channels, dtype=np.float32), self.planes, axis=1)[np.newaxis, np.newaxis]
        kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            kernel, [-1.0] * (channels * self.planes), [1.0] * (channels * self.planes), narrow_range=True
        )
        planes = tf.nn.bias_add(tf.nn.conv2d(inputs, kernel, 1, "VALID"), -np.tile(self.levels, channels))
        # In the input's step, so no difference is rounded to another sign; and from below 0 to above it, wherever the
        # input's own range lies, so that none saturates to another sign either.
        low, high = self.input_range
        step = (high - low) / 255
        return tf.quantization.fake_quant_with_min_max_args(planes, -128 * step, 127 * step)

    def compute_output_shape(self, input_shape):
        shape = tf.TensorShape(input_shape).as_list()
        return tf.TensorShape([*shape[:-1], shape[-1] * self.planes])

    def get_config(self):
        return {**super().get_config(), "planes": self.planes, "input_range": self.input_range}


@_register
class CalibratedThermometer(tf.keras.layers.Layer):
    """A `ThermometerEncoding` with levels of its own for each channel, set by `calibrate` and left alone by training.

    It stands behind a `FakeQuant`, on whose codes the levels lie, and in front of a binary layer.

    Arguments:
      planes: levels a channel, 1 to 255.
    """

    def __init__(self, planes, **kwargs):
        super().__init__(**kwargs)
        self.planes = planes

    def build(self, input_shape):
        settings = dict(initializer="ones", trainable=False)
        self.levels = self.add_weight(name="levels", shape=(input_shape[-1] * self.planes,), **settings)  # in codes
        self.step = self.add_weight(name="step", shape=(), **settings)
        super().build(input_shape)

    def calibrate(self, values, step):
        """Sets the levels so that they part the values of each channel into sets of about equal size.

        Arguments:
          values: float [..., c], at least one a channel. The first level is above 0, where behind a ReLU most may be.
          step: difference of two codes of the `FakeQuant`.
        """
        codes = np.sort(np.asarray(values).reshape(-1, values.shape[-1]) / step, axis=0)
        least = np.maximum(np.mean(codes <= 0, axis=0), 1 / (self.planes + 1))
        shares = least[:, np.newaxis] + (1 - least[:, np.newaxis]) * np.arange(self.planes) / self.planes
        rows = np.minimum(shares * len(codes), len(codes) - 1).astype(int)
        levels = np.ceil(np.take_along_axis(codes, rows.T, axis=0) - 0.5)
        self.levels.assign(np.maximum(levels, 1).T.reshape(-1))
        self.step.assign(step)

    def call(self, inputs, training=None):
        if training:
            copies = tf.repeat(inputs, self.planes, axis=-1)
        else:  # the same values in one operator that flatbuffers have too, but a slow one where nets train
            ones = tf.ones((1, 1, inputs.shape[-1], self.planes))
            kernel = tf.quantization.fake_quant_with_min_max_args(ones, -1.0, 1.0, narrow_range=True)
            copies = tf.nn.depthwise_conv2d(inputs, kernel, [1, 1, 1, 1], "VALID")
        differences = tf.nn.bias_add(copies, -self.levels * self.step)
        # Codes of the same step, so that no difference is rounded to another sign.
        return tf.quantization.fake_quant_with_min_max_vars(differences, -128 * self.step, 127 * self.step)

    def compute_output_shape(self, input_shape):
        shape = tf.TensorShape(input_shape).as_list()
        return tf.TensorShape([*shape[:-1], shape[-1] * self.planes])

    def get_config(self):
        return {**super().get_config(), "planes": self.planes}


def _int8_kernel(kernel):
    """Symmetric 8-bit rounding of a kernel, with a scale for each output channel (the last axis)."""
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(kernel), axis=list(range(len(kernel.shape) - 1)))) + 1e-8
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -largest, largest, narrow_range=True)


def _int8_kernel_one_scale(kernel):
    """Symmetric 8-bit rounding of a kernel with one scale, as int8 fully connected and depthwise layers have it."""
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(kernel))) + 1e-8
    return tf.quantization.fake_quant_with_min_max_vars(kernel, -largest, largest, narrow_range=True)


@_register
class Int8Conv2D(lq.layers.QuantConv2D):
    """`tf.keras.layers.Conv2D` with an int8 kernel, one scale an output channel. Put `FakeQuant` behind its activation.

    Since every output channel has its own scale, batch normalisation behind it folds into the kernel exactly.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, kernel_quantizer=_int8_kernel, **kwargs)

    def get_config(self):
        return _without(super().get_config(), "input_quantizer", "kernel_quantizer", "pad_values")


@_register
class Int8DepthwiseConv2D(lq.layers.QuantDepthwiseConv2D):
    """`tf.keras.layers.DepthwiseConv2D` with an int8 kernel of one scale. Put `FakeQuant` behind its activation."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, depthwise_quantizer=_int8_kernel, **kwargs)

    def get_config(self):
        return _without(super().get_config(), "input_quantizer", "depthwise_quantizer", "pad_values")


@_register
class Int8Dense(lq.layers.QuantDense):
    """`tf.keras.layers.Dense` with an int8 kernel of one scale. Put `FakeQuant` before and behind it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, kernel_quantizer=_int8_kernel_one_scale, **kwargs)

    def get_config(self):
        return _without(super().get_config(), "input_quantizer", "kernel_quantizer")


@_register
class HardSwish(tf.keras.layers.Layer):
    """x * relu6(x + 3) / 6 (Howard et al., arXiv 1905.02244), one operator on the device. Put `FakeQuant` around it."""

    def call(self, inputs):
        return inputs * tf.nn.relu6(inputs + 3.0) * (1 / 6)


def front_of(net):
    """The layers between a net's input and the `FakeQuant` of its image: Reshape and Rescaling; [] where others are.

    They only say what the 8-bit codes of the image stand for, so converted nets begin behind them.
    """
    layers = [layer for layer in net.layers if not isinstance(layer, tf.keras.layers.InputLayer)]
    kinds = tf.keras.layers.Reshape, tf.keras.layers.Rescaling
    number = next((number for number, layer in enumerate(layers) if not isinstance(layer, kinds)), 0)
    return layers[:number] if layers and isinstance(layers[number], FakeQuant) else []


def front_affine(net):
    """(scale, offset) of what a net's front does to the values of its input."""
    scale, offset = 1.0, 0.0
    for layer in front_of(net):
        if isinstance(layer, tf.keras.layers.Rescaling):
            scale, offset = scale * layer.scale, offset * layer.scale + layer.offset
    return scale, offset


def score_margin(probabilities):
    """Highest minus second highest probability; [n, classes] -> [n] in [0, 1]."""
    top = tf.math.top_k(probabilities, k=2).values
    return top[:, 0] - top[:, 1]


def max_probability(probabilities):
    """Highest probability; [n, classes] -> [n] in [1/classes, 1]."""
    return tf.reduce_max(probabilities, axis=-1)


def entropy(probabilities):
    """1 - H(p) / log(classes), so that 1 is certain and 0 is uniform; [n, classes] -> [n]."""
    logs = tf.math.log(tf.maximum(probabilities, 1e-12))
    return 1 + tf.reduce_sum(probabilities * logs, axis=-1) / np.log(probabilities.shape[-1])


MEASURES = {"score_margin": score_margin, "max_probability": max_probability, "entropy": entropy}


class _UnitInterval(tf.keras.constraints.Constraint):
    def __call__(self, value):
        return tf.clip_by_value(value, 0.0, 1.0)


@_register
class ConfidenceGate(tf.keras.layers.Layer):
    """Says for which samples the binary net's answer is not trusted: where its confidence is below the threshold.

    Call on logits [n, classes]; gives bool [n], true = escalate to the int8 net.

    Arguments:
      measure: `"score_margin"`, `"max_probability"`, `"entropy"`, or `"learned"`: a logistic function of the class
        probabilities and of the three other measures, whose weights train with the cooperative stage.
      per_class: one threshold for each class that the binary net predicts, instead of one for all.
      threshold: start value in [0, 1], or None for "not set": then every sample escalates.
    """

    def __init__(self, measure="score_margin", per_class=False, threshold=None, **kwargs):
        super().__init__(**kwargs)
        if measure not in (*MEASURES, "learned"):
            raise ValueError(f"ConfidenceGate: measure must be one of {[*MEASURES, 'learned']}, got {measure!r}.")
        self.measure, self.per_class = measure, per_class
        self.initial_threshold = None if threshold is None else self._checked(threshold)

    @staticmethod
    def _checked(threshold):
        values = np.asarray(threshold, np.float32)
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(f"threshold must be in [0, 1], got {threshold}.")
        return values

    def build(self, input_shape):
        classes = int(input_shape[-1])
        if classes < 2:
            raise ValueError(f"ConfidenceGate: needs logits of at least 2 classes, got {classes}.")
        self._threshold = self.add_weight(
            name="threshold",
            shape=(classes,) if self.per_class else (),
            initializer=tf.keras.initializers.Constant(np.nan),
            constraint=_UnitInterval(),
        )
        if self.measure == "learned":
            # Starts as a function that rises with the score margin: 0.5 at a margin of 0.5.
            start = np.zeros(classes + 3, np.float32)
            start[classes] = 4.0
            self.weights_vector = self.add_weight(
                name="weights_vector", shape=(classes + 3,), initializer=tf.keras.initializers.Constant(start)
            )
            self.bias = self.add_weight(name="bias", shape=(), initializer=tf.keras.initializers.Constant(-2.0))
        super().build(input_shape)
        if self.initial_threshold is not None:
            self.threshold = self.initial_threshold

    @property
    def threshold(self):
        """float32 numpy array, [] or [classes]; NaN where not set."""
        return self._threshold.numpy()

    @threshold.setter
    def threshold(self, value):
        values = self._checked(value)
        if values.shape not in ((), tuple(self._threshold.shape)):
            raise ValueError(f"threshold must have shape {tuple(self._threshold.shape)} or (), got {values.shape}.")
        self._threshold.assign(np.broadcast_to(values, self._threshold.shape))

    def confidence(self, logits):
        """float32 [n] in [0, 1]; higher is surer."""
        probabilities = tf.nn.softmax(logits)
        if self.measure != "learned":
            return MEASURES[self.measure](probabilities)
        measures = tf.stack([measure(probabilities) for measure in MEASURES.values()], axis=-1)
        features = tf.concat([probabilities, measures], axis=-1)
        return tf.sigmoid(tf.linalg.matvec(features, self.weights_vector) + self.bias)

    def threshold_of(self, logits):
        """float32 [n]: the threshold that holds for each sample."""
        if self.per_class:
            return tf.gather(self._threshold, tf.argmax(logits, axis=-1))
        return tf.broadcast_to(self._threshold, tf.shape(logits)[:1])

    def call(self, logits):
        return tf.logical_not(self.confidence(logits) >= self.threshold_of(logits))

    def compute_output_shape(self, input_shape):
        return tf.TensorShape(input_shape[:1])

    def get_config(self):
        start = self.initial_threshold
        return {
            **super().get_config(),
            "measure": self.measure,
            "per_class": self.per_class,
            "threshold": None if start is None else start.tolist(),
        }
