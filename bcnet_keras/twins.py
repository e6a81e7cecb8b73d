"""Turns a float Keras CNN into its int8 twin and its binary twin.

    quantised = int8_twin(float_model)                  # same layers, same weights, 8-bit rounding in place
    binary = binary_twin(float_model, width=2.0)        # same topology on bits, twice as wide, new weights

Both walk the float model from input to output and give a functional Keras model of `bcnet_keras.layers` that maps
images in `input_range` to logits (a closing softmax is left out).
"""

import collections
import dataclasses

import numpy as np
import tensorflow as tf

from bcnet_keras.layers import (
    INPUT_RANGE,
    BinaryConv2D,
    BinaryDense,
    CalibratedThermometer,
    FakeQuant,
    Int8Conv2D,
    Int8Dense,
    Int8DepthwiseConv2D,
    ThermometerEncoding,
    batch_norm,
    global_average,
)

_keras = tf.keras.layers
_WEIGHTED = (_keras.Conv2D, _keras.DepthwiseConv2D, _keras.SeparableConv2D, _keras.Dense)
_DROPOUT = (_keras.Dropout, _keras.SpatialDropout2D)


def int8_twin(model, input_range=INPUT_RANGE):
    """The int8 net with the topology and the weights of `model`, ready for quantisation-aware training.

    Arguments:
      model: functional or sequential `tf.keras.Model` with one image input [h, w, c] and one output [classes], made of
        Conv2D, DepthwiseConv2D, SeparableConv2D, Dense, BatchNormalization, ReLU, pooling, Add, Concatenate,
        ZeroPadding2D, Flatten, global pooling and Dropout.
      input_range: (lowest, highest) value of the input; codes of uint8 pixels are `pixel - 128`.

    Raises ValueError that names every layer it cannot turn.
    """
    return _Int8Twin(model, input_range).build()


def binary_twin(model, width=1.0, stem="thermometer", planes=None, input_range=INPUT_RANGE):
    """The binary net with the topology of `model`; its weights start anew.

    Convolutions and hidden dense layers become binary, each with batch normalisation behind it; depthwise and separable
    convolutions become full binary ones (a binary kernel gains nothing from being depthwise); ReLU goes, since the
    sign takes its place; the last layer stays int8.

    Arguments:
      model, input_range: as for `int8_twin`.
      width: factor on the number of filters, which then rounds up to a multiple of 32 (a machine word of bits).
      stem: how the image enters: `"thermometer"` (all binary, cheapest), `"int8"` (int8 first convolution), or
        `"shared"`: by the first convolution of the int8 twin, for `share_stem`, and a thermometer behind it. A shortcut
        from there to an Add is left out.
      planes: thermometer planes a channel; None for 8 of the image, or 4 of a shared stem's output.

    Raises ValueError that names every layer it cannot turn.
    """
    return _BinaryTwin(model, input_range, width, stem, planes).build()


def share_stem(binary, int8, images):
    """Gives `binary` the first block of `int8`, its weights and 8-bit range, and freezes it in both, in place.

    Converted, such a pair computes the block once, see `bcnet_keras.convert.cooperative`. Levels of a
    `CalibratedThermometer` straight behind the block are set, too.

    Arguments:
      binary, int8: Keras nets that begin with the same layers, up to the first `FakeQuant` without a fixed range.
      images: batches float32 [n, h, w, c], over which that range is taken.

    Raises ValueError where the nets begin with other layers.
    """
    stems = [_stem(net) for net in (binary, int8)]
    described = [
        [(type(layer), layer.get_config() | dict.fromkeys(("name", "trainable"))) for layer in stem] for stem in stems
    ]
    if not described[0] or described[0] != described[1]:
        names = [", ".join(type(layer).__name__ for layer in stem) for stem in stems]
        raise ValueError(
            f"the nets cannot share a stem: binary begins with {names[0]}; int8 with {names[1]}; "
            "build both with the same settings up to the first FakeQuant."
        )
    real = tf.keras.Model(int8.inputs, stems[1][-1].input)
    reach = [(tf.reduce_min(tensor), tf.reduce_max(tensor)) for tensor in map(real, images)]
    low, high = min(0.0, *(low for low, _ in reach)), max(high for _, high in reach)
    stems[1][-1].range = low, high
    for ours, theirs in zip(*stems, strict=True):
        ours.set_weights(theirs.get_weights())
        ours.trainable = theirs.trainable = False
    for layer in binary.layers:
        if isinstance(layer, CalibratedThermometer) and layer.input is stems[0][-1].output:
            layer.calibrate(real(next(iter(images))), (high - low) / 255)


def _stem(net):
    """The layers of a net behind its input, up to the first `FakeQuant` without a fixed range."""
    ends = [i for i, layer in enumerate(net.layers) if isinstance(layer, FakeQuant) and not layer.fixed]
    return net.layers[1 : ends[0] + 1] if ends else []


@dataclasses.dataclass
class _Signal:
    """A tensor of the twin, the layer that rounded it to 8 bits, and whether batch normalisation is behind it.

    One `from_stem` is that of a shared stem, of which only signs can be read.
    """

    tensor: tf.Tensor
    quantiser: FakeQuant = None
    normalised: bool = False
    from_stem: bool = False


def _activation(layer):
    """'linear', 'relu', 'relu6' or 'softmax'; else a sentence that says what is wrong."""
    if isinstance(layer, _keras.ReLU):
        if layer.negative_slope or layer.threshold or (layer.max_value not in (None, 6.0)):
            return "negative_slope, threshold and a max_value other than 6 are not supported"
        return "relu6" if layer.max_value else "relu"
    if isinstance(layer, _keras.Softmax):
        return "softmax"
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return name if name in ("linear", "relu", "relu6", "softmax") else f"activation {name!r} is not supported"


class _Twin:
    """The walk over the float model; subclasses say what becomes of each layer type."""

    def __init__(self, model, input_range):
        if not isinstance(model, tf.keras.Sequential) and not getattr(model, "_is_graph_network", False):
            raise ValueError(f"a functional or sequential Keras model is needed, got {type(model).__name__}.")
        if not model.built:
            raise ValueError("the Keras model has no input shape yet; build it first or give its first layer one.")
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise ValueError(
                f"the Keras model must have one input and one output, got {len(model.inputs)} and {len(model.outputs)}."
            )
        shape = tuple(model.inputs[0].shape[1:])
        if len(shape) != 3 or None in shape or len(model.outputs[0].shape) != 2:
            raise ValueError(
                f"the Keras model must map images [h, w, c] of known size to [classes], "
                f"got {shape} to {tuple(model.outputs[0].shape[1:])}."
            )
        self.source, self.input_range, self.input_shape = model, tuple(input_range), shape
        # A clone has one node a layer, whatever else the user has built from the same layers.
        self.model = tf.keras.models.clone_model(model)
        self.layers = [layer for layer in self.model.layers if not isinstance(layer, _keras.InputLayer)]
        self._check_layers()
        self.consumers = collections.defaultdict(list)
        for layer in self.layers:
            for tensor in tf.nest.flatten(layer.input):
                self.consumers[id(tensor)].append(layer)
        self.last = [layer for layer in self.layers if isinstance(layer, _WEIGHTED)][-1]

    def _check_layers(self):
        wrong = []
        for layer in self.layers:
            if type(layer) not in self._RULES:
                wrong.append(f"{layer.name} ({type(layer).__name__})")
            elif len(layer._inbound_nodes) > 1:
                wrong.append(f"{layer.name} (used {len(layer._inbound_nodes)} times; give each use its own layer)")
            elif getattr(layer, "data_format", "channels_last") != "channels_last":
                wrong.append(f"{layer.name} (channels_first; channels_last is needed)")
            elif " " in _activation(layer):
                wrong.append(f"{layer.name} ({_activation(layer)})")
            elif _activation(layer) == "softmax" and layer.output is not self.model.outputs[0]:
                wrong.append(f"{layer.name} (softmax before the end)")
        if wrong:
            raise ValueError(f"cannot make a twin of these layers: {', '.join(wrong)}.")
        if not any(isinstance(layer, _WEIGHTED) for layer in self.layers):
            raise ValueError("cannot make a twin: the model has neither a convolution nor a dense layer.")

    def build(self):
        inputs = tf.keras.Input(self.input_shape, name="image")
        image_quant = FakeQuant(*self.input_range, fixed=True, name="image_quant")
        signals = {id(self.model.inputs[0]): _Signal(image_quant(inputs), image_quant)}
        for layer in self.layers:
            given = [signals[id(tensor)] for tensor in tf.nest.flatten(layer.input)]
            signals[id(layer.output)] = self._RULES[type(layer)](self, layer, *given)
        logits = self.quantised(signals[id(self.model.outputs[0])])
        twin = tf.keras.Model(inputs, logits.tensor, name=f"{self.source.name}_{self._SUFFIX}")
        self.copy_weights(twin)
        return twin

    def copy_weights(self, twin):
        pass

    def following(self, layer):
        """The one layer that reads `layer`'s output, or None when there are none or several."""
        consumers = self.consumers[id(layer.output)]
        return consumers[0] if len(consumers) == 1 else None

    def quantised(self, signal):
        if not signal.quantiser:
            # Later readers of the same tensor get the rounded one too.
            signal.quantiser = FakeQuant()
            signal.tensor = signal.quantiser(signal.tensor)
        return signal

    def identity(self, tensor):
        """An int8 operation that leaves `tensor` as it is, but whose output can have a scale of its own."""
        return Int8DepthwiseConv2D(1, depthwise_initializer="ones", use_bias=False, trainable=False)(tensor)

    def concatenate(self, layer, *signals):
        # int8 concatenation copies codes, so all parts need one scale.
        parts = [self.identity(signal.tensor) if signal.quantiser else signal.tensor for signal in signals]
        quantiser = FakeQuant()
        return _Signal(_keras.Concatenate(axis=layer.axis, name=layer.name)(quantiser(parts)), quantiser)

    def same_config(self, layer, signal):
        return _Signal(type(layer).from_config(layer.get_config())(self.quantised(signal).tensor))

    def same_range(self, layer, signal):
        """Layers whose output has their input's scale on the device."""
        result = self.same_config(layer, signal)
        result.quantiser = signal.quantiser
        return result

    def global_mean(self, layer, signal):
        result = self.same_range(layer, signal)
        # Rounded to the map's levels; the range is not to follow the means too. See `layers.global_average`.
        result.tensor = result.quantiser(result.tensor, training=False)
        return result


class _Int8Twin(_Twin):
    _SUFFIX = "int8"

    def round_unless_fused(self, layer, tensor):
        """Rounds behind convolution -> batch normalisation -> ReLU, which the device computes as one operation."""
        following = self.following(layer)
        fused = isinstance(layer, (*_WEIGHTED, _keras.BatchNormalization, _keras.Add)) and (
            isinstance(following, _keras.ReLU)
            or (isinstance(following, _keras.Activation) and _activation(following) != "softmax")
        )
        fused = fused or (isinstance(layer, _WEIGHTED) and isinstance(following, _keras.BatchNormalization))
        if (fused and _activation(layer) == "linear") or isinstance(following, _keras.Concatenate):
            return _Signal(tensor)
        return self.quantised(_Signal(tensor))

    def activated(self, layer, tensor):
        activation = _activation(layer)
        if activation in ("relu", "relu6"):
            tensor = _keras.ReLU(6.0 if activation == "relu6" else None)(tensor)
        return self.round_unless_fused(layer, tensor)

    def convolution(self, layer, signal):
        config = layer.get_config()
        names = ("name", "kernel_size", "strides", "padding", "dilation_rate", "use_bias")
        settings = {name: config[name] for name in names}
        if isinstance(layer, _keras.DepthwiseConv2D):
            twin = Int8DepthwiseConv2D(depth_multiplier=layer.depth_multiplier, **settings)
        else:
            twin = Int8Conv2D(layer.filters, groups=layer.groups, **settings)
        return self.activated(layer, twin(self.quantised(signal).tensor))

    def separable(self, layer, signal):
        depthwise = Int8DepthwiseConv2D(
            layer.kernel_size,
            layer.strides,
            layer.padding,
            depth_multiplier=layer.depth_multiplier,
            dilation_rate=layer.dilation_rate,
            use_bias=False,
            name=f"{layer.name}_depthwise",
        )
        middle = FakeQuant()(depthwise(self.quantised(signal).tensor))
        pointwise = Int8Conv2D(layer.filters, 1, use_bias=layer.use_bias, name=layer.name)
        return self.activated(layer, pointwise(middle))

    def dense(self, layer, signal):
        tensor = self.quantised(signal).tensor
        if tensor.shape.rank == 4:  # a dense layer on a feature map is a 1x1 convolution
            twin = Int8Conv2D(layer.units, 1, use_bias=layer.use_bias, name=layer.name)
        else:
            twin = Int8Dense(layer.units, use_bias=layer.use_bias, name=layer.name)
        return self.activated(layer, twin(tensor))

    def normalisation(self, layer, signal):
        # Where no convolution stands before it, it folds into an identity.
        tensor = self.identity(signal.tensor) if signal.quantiser else signal.tensor
        return self.round_unless_fused(layer, batch_norm(**layer.get_config())(tensor))

    def relu(self, layer, signal):
        return self.activated(layer, signal.tensor)

    def add(self, layer, *signals):
        total = _keras.Add(name=layer.name)([self.quantised(signal).tensor for signal in signals])
        return self.round_unless_fused(layer, total)

    def flatten(self, layer, signal):
        # The converter loses the range at a reshape, so it is stated again behind it.
        return self.quantised(self.same_config(layer, signal))

    def copy_weights(self, twin):
        for layer in self.layers:
            weights = self.source.get_layer(layer.name).get_weights()
            if isinstance(layer, _keras.SeparableConv2D):
                twin.get_layer(f"{layer.name}_depthwise").set_weights(weights[:1])
                weights = weights[1:]
            if not weights:
                continue
            target = twin.get_layer(layer.name)
            if isinstance(layer, _keras.Dense) and isinstance(target, Int8Conv2D):
                weights[0] = weights[0][np.newaxis, np.newaxis]
            target.set_weights(weights)

    _RULES = {
        _keras.Conv2D: convolution,
        _keras.DepthwiseConv2D: convolution,
        _keras.SeparableConv2D: separable,
        _keras.Dense: dense,
        _keras.BatchNormalization: normalisation,
        _keras.ReLU: relu,
        _keras.Activation: relu,
        _keras.Softmax: relu,
        _keras.MaxPooling2D: _Twin.same_range,
        _keras.GlobalMaxPooling2D: _Twin.same_range,
        _keras.AveragePooling2D: _Twin.same_range,
        _keras.GlobalAveragePooling2D: _Twin.global_mean,
        _keras.Add: add,
        _keras.Concatenate: _Twin.concatenate,
        _keras.ZeroPadding2D: _Twin.same_range,
        _keras.Flatten: flatten,
        _keras.Dropout: _Twin.same_range,
        _keras.SpatialDropout2D: _Twin.same_range,
    }


class _BinaryTwin(_Twin):
    _SUFFIX = "binary"

    def __init__(self, model, input_range, width, stem, planes):
        super().__init__(model, input_range)
        if not width > 0:
            raise ValueError(f"binary_twin: width must be above 0, got {width}.")
        if stem not in ("thermometer", "int8", "shared"):
            raise ValueError(f"binary_twin: stem must be 'thermometer', 'int8' or 'shared', got {stem!r}.")
        self.width, self.stem, self.planes = width, stem, planes
        if planes is None:
            self.planes = 4 if stem == "shared" else 8
        self.first = next(layer for layer in self.layers if isinstance(layer, _WEIGHTED))
        if stem == "shared" and (type(self.first) is not _keras.Conv2D or self.first is self.last):
            raise ValueError(
                f"cannot make a twin with a shared stem: the first layer with weights, {self.first.name}, must be a "
                f"Conv2D with others behind it; it is a {type(self.first).__name__}."
            )

    def filters(self, number):
        return max(1, int(np.ceil(number * self.width / 32))) * 32

    def read_as_bits(self, layer):
        """Do all layers that read `layer`'s output take its sign (pooling in between allowed)?"""
        transparent = (_keras.MaxPooling2D, _keras.ReLU, _keras.Activation, _keras.Flatten, *_DROPOUT)
        consumers = self.consumers[id(layer.output)]
        return bool(consumers) and all(
            (isinstance(consumer, _WEIGHTED) and consumer is not self.last)
            or (isinstance(consumer, _keras.BatchNormalization) and self.read_as_bits(consumer))
            or (isinstance(consumer, transparent) and self.read_as_bits(consumer))
            for consumer in consumers
        )

    def normalised(self, layer, tensor):
        """Batch normalisation behind a binary layer; rounded too where somebody needs the number, not the sign."""
        signal = _Signal(batch_norm()(tensor), normalised=True)
        as_it_is = self.read_as_bits(layer) or isinstance(self.following(layer), _keras.Concatenate)
        return signal if as_it_is else self.quantised(signal)

    def convolution(self, layer, signal):
        if layer is self.last:
            return self.classifier_convolution(layer, signal)
        if layer is self.first and self.stem == "shared":
            return self.shared_stem(signal)
        if isinstance(layer, _keras.DepthwiseConv2D):
            filters = signal.tensor.shape[-1] * layer.depth_multiplier
            filters = filters if layer is not self.first else self.filters(filters)
        else:
            filters = self.filters(layer.filters)
        settings = dict(
            strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate, name=layer.name
        )
        if layer is self.first and self.stem == "int8":
            tensor = Int8Conv2D(filters, layer.kernel_size, use_bias=False, **settings)(signal.tensor)
            return self.quantised(_Signal(batch_norm()(tensor), normalised=True))
        tensor = self.bits(layer, signal)
        return self.normalised(layer, BinaryConv2D(filters, layer.kernel_size, **settings)(tensor))

    def shared_stem(self, signal):
        stem = _stem(int8_twin(self.source, self.input_range))
        first = next(i for i, layer in enumerate(stem) if isinstance(layer, Int8Conv2D))
        tensor = signal.tensor
        for layer in stem[first:]:
            tensor = type(layer).from_config(layer.get_config())(tensor)
        # What the stem has of batch normalisation and ReLU goes as behind a binary layer.
        return _Signal(CalibratedThermometer(self.planes)(tensor), normalised=True, from_stem=True)

    def quantised(self, signal):
        if signal.from_stem:
            raise ValueError(
                f"cannot make a twin with a shared stem: what {self.first.name} computes must go to convolutions or "
                "dense layers, with nothing but batch normalisation, activation or max-pooling in between."
            )
        return super().quantised(signal)

    def bits(self, layer, signal):
        """The tensor whose sign a binary layer reads."""
        if layer is self.first:
            return ThermometerEncoding(self.planes, self.input_range)(signal.tensor)
        return signal.tensor

    def classifier_convolution(self, layer, signal):
        tensor = self.quantised(signal).tensor
        if not isinstance(layer, _keras.Conv2D):
            raise ValueError(f"cannot make a twin: the last layer with weights, {layer.name}, must be Conv2D or Dense.")
        twin = Int8Conv2D(
            layer.filters, layer.kernel_size, layer.strides, layer.padding, use_bias=layer.use_bias, name=layer.name
        )
        return self.quantised(_Signal(twin(tensor)))

    def dense(self, layer, signal):
        if layer is not self.last:
            return self.normalised(
                layer, BinaryDense(self.filters(layer.units), name=layer.name)(self.bits(layer, signal))
            )
        signal = self.quantised(signal)
        if signal.tensor.shape.rank == 2:
            return self.quantised(_Signal(Int8Dense(layer.units, name=layer.name)(signal.tensor)))
        # On a feature map: one position of a convolution as large as the map, whose mean is the value itself.
        twin = Int8Conv2D(layer.units, signal.tensor.shape[1:3], padding="valid", name=layer.name)
        quantiser = FakeQuant()
        return _Signal(global_average(twin(signal.tensor), quantiser), quantiser)

    def normalisation(self, layer, signal):
        if signal.normalised:  # the binary layer before has one already
            return signal
        tensor = batch_norm(name=layer.name)(self.identity(self.quantised(signal).tensor))
        return self.quantised(_Signal(tensor, normalised=True))

    def add(self, layer, *signals):
        signals = [signal for signal in signals if not signal.from_stem] or signals
        if len(signals) == 1:
            return self.quantised(*signals)
        total = _keras.Add(name=layer.name)([self.quantised(signal).tensor for signal in signals])
        return self.quantised(_Signal(total))

    def concatenate(self, layer, *signals):
        for signal in signals:
            if signal.from_stem:
                self.quantised(signal)
        return super().concatenate(layer, *signals)

    def unchanged(self, layer, signal):
        return signal

    def max_pooling(self, layer, signal):
        pool = type(layer).from_config(layer.get_config())
        return dataclasses.replace(signal, tensor=pool(signal.tensor))

    def zero_padding(self, layer, signal):
        # Rounded again to the same levels, because Larq Compute Engine 0.16 takes zero padding before an int8
        # convolution for its padding "same", which is wrong for strides above 1.
        result = self.same_range(layer, signal)
        result.tensor = result.quantiser(result.tensor)
        return result

    def dropout(self, layer, signal):
        # Between binary layers dropout would only flip signs to +1; it serves the last layer alone.
        return self.same_range(layer, signal) if self.following(layer) is self.last else signal

    def flatten(self, layer, signal):
        # Dense layers of the twin read the whole map, so that no reshape is needed.
        return signal if any(self.consumers[id(layer.output)]) else self.same_range(layer, signal)

    _RULES = {
        _keras.Conv2D: convolution,
        _keras.DepthwiseConv2D: convolution,
        _keras.SeparableConv2D: convolution,
        _keras.Dense: dense,
        _keras.BatchNormalization: normalisation,
        _keras.ReLU: unchanged,
        _keras.Activation: unchanged,
        _keras.Softmax: unchanged,
        _keras.MaxPooling2D: max_pooling,
        _keras.GlobalMaxPooling2D: _Twin.same_range,
        _keras.AveragePooling2D: _Twin.same_range,
        _keras.GlobalAveragePooling2D: _Twin.global_mean,
        _keras.Add: add,
        _keras.Concatenate: concatenate,
        _keras.ZeroPadding2D: zero_padding,
        _keras.Flatten: flatten,
        _keras.Dropout: dropout,
        _keras.SpatialDropout2D: dropout,
    }
