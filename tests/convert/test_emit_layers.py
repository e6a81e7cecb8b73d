"""Every kind of layer that nets may be built of by hand: written, and with Keras' answers, code by code."""

import inspect
import sys

import numpy as np
import pytest
import tensorflow as tf
import zoo

import bcnet_keras as bc
from bcnet_keras.convert.emit import NotEmitted, emit
from bcnet_keras.convert.emit.layers import _TRAINING, Emitter
from bcnet_keras.convert.lce import convert_binary
from bcnet_keras.convert.pair import lower
from bcnet_keras.errors import named_packages
from bcnet_keras.layers import (
    BinaryConv2D,
    BinaryDense,
    CalibratedThermometer,
    FakeQuant,
    HardSwish,
    Int8Conv2D,
    Int8Dense,
    Int8DepthwiseConv2D,
    QuantConv2D,
    ThermometerEncoding,
    with_precision,
)
from bcnet_keras.runtime import numpy_runtime
from bcnet_keras.tflite import flatbuffer

layers = tf.keras.layers
SHAPE = (7, 6, 4)
CODES = np.random.default_rng(1).integers(-128, 128, (16, *SHAPE)).astype(np.int8)
RISING, SILENT = "rising", "silent"  # batch normalisation whose factors are all above 0; of which some are 0 or nearly


def random_weights(layer, random):
    """Weights of both signs and no zeros for whatever starts with 0 or 1."""
    if isinstance(layer, layers.BatchNormalization):
        beta = random.uniform(-1, 1, layer.beta.shape)
        gamma = random.uniform(0.3, 1, beta.shape) * (layer.name == RISING or random.choice([-1, 1], beta.shape))
        if layer.name == SILENT:
            gamma[:3] = 0, 1e-9, -1e-20
        layer.set_weights([*([gamma] if layer.scale else []), beta, *layer.get_weights()[-2:]])
    elif isinstance(layer, layers.PReLU):
        layer.set_weights([random.uniform(-0.4, 0.5, layer.alpha.shape)])
    elif isinstance(layer, CalibratedThermometer):
        layer.calibrate(random.uniform(-1, 1, (99, layer.input.shape[-1])), 1 / 128)
    elif getattr(layer, "use_bias", False):
        *kernel, bias = layer.get_weights()
        layer.set_weights([*kernel, random.uniform(-0.3, 0.3, bias.shape)])


def built(make):
    """A net whose logits are the map or vector that `make` gives of the image, in 8-bit codes."""
    tf.keras.utils.set_random_seed(0)
    image = tf.keras.Input(SHAPE)
    quantiser = FakeQuant(name="last")
    tensor = quantiser(make(FakeQuant(-1.0, 127 / 128, fixed=True)(image)))
    if len(tensor.shape) > 2:
        tensor = quantiser(layers.Flatten()(tensor), training=False)
    return tf.keras.Model(image, tensor)


def net(make):
    """The same with random weights, and ranges and statistics of some images."""
    model, random = built(make), np.random.default_rng(2)
    for layer in model.submodules:
        if isinstance(layer, layers.Layer):
            random_weights(layer, random)
    return zoo.settle(model, CODES.astype(np.float32) / 128, statistics=True)


def differences(model):
    """Codes of the file less codes of Keras' answers."""
    data = flatbuffer.write(emit(model))
    graph = flatbuffer.read(data).subgraphs[0]
    scale, zero_point = flatbuffer.quantization(graph.tensors[graph.outputs[0]])
    expected = np.round(model(CODES.astype(np.float32) / 128).numpy() / scale) + zero_point
    assert len(np.unique(expected)) > 8
    return numpy_runtime.Interpreter(data)._run(CODES)[0] - expected


def rounded(tensor):
    return FakeQuant()(tensor)


def convolution(tensor, filters=5, kernel=3, **options):
    return Int8Conv2D(filters, kernel, **options)(tensor)


def normal(tensor, **options):
    return layers.BatchNormalization(**options)(tensor)


def sides(tensor):
    return rounded(convolution(tensor, 4, padding="same")), rounded(convolution(tensor, 4, 1))


def inner():
    """Models in models, one of them called twice."""
    start = tf.keras.Input((5, 4, 5))
    side = tf.keras.Sequential([layers.Input((5, 4, 5)), Int8Conv2D(5, 1), layers.ReLU(), FakeQuant()])
    return tf.keras.Model(start, FakeQuant()(layers.Add()([side(start), side(side(start))])))


class Doubled(layers.ReLU):
    def call(self, inputs):
        return 2 * super().call(inputs)


INT8 = {
    "convolution": lambda x: convolution(x),
    "strides": lambda x: convolution(x, strides=2, padding="same"),
    "dilation": lambda x: convolution(x, dilation_rate=2, padding="same", use_bias=False),
    "groups": lambda x: convolution(x, 6, groups=2),
    "its own relu": lambda x: convolution(x, activation="relu"),
    "normalised": lambda x: normal(convolution(x, use_bias=False)),
    "normalised without scale": lambda x: normal(convolution(x), scale=False),
    "silenced filters": lambda x: normal(convolution(x), name=SILENT),
    "weights of 0": lambda x: Int8Dense(9, kernel_initializer="zeros")(layers.Flatten()(x)),
    "normalised and relu": lambda x: layers.ReLU()(normal(convolution(x))),
    "relu6": lambda x: layers.ReLU(6.0)(layers.Rescaling(9.0)(convolution(x))),
    "relu of 0.4": lambda x: layers.ReLU(0.4)(convolution(x)),
    "relu behind a function": lambda x: layers.ReLU(0.3)(rounded(layers.LeakyReLU(0.3)(rounded(convolution(x))))),
    "named activations": lambda x: layers.Activation("relu")(layers.Activation("linear")(convolution(x))),
    "depthwise": lambda x: Int8DepthwiseConv2D(3, strides=2, padding="same")(x),
    "depthwise, multiplied": lambda x: layers.ReLU()(normal(Int8DepthwiseConv2D(3, depth_multiplier=2)(x))),
    "separable": lambda x: convolution(rounded(Int8DepthwiseConv2D(3, use_bias=False)(x)), 6, 1),
    "dense": lambda x: Int8Dense(9)(layers.Flatten()(x)),
    "dense, normalised": lambda x: layers.ReLU()(normal(Int8Dense(9)(layers.Flatten()(x)))),
    "dense on pixels": lambda x: Int8Dense(9)(x),
    "dense on a series": lambda x: normal(Int8Dense(9)(layers.Reshape((42, 4))(x))),
    "normalisation alone": lambda x: normal(x),
    "normalisation of a sum": lambda x: layers.ReLU()(normal(rounded(layers.Add()(sides(x))))),
    "normalisation of a vector": lambda x: normal(rounded(Int8Dense(9)(layers.Flatten()(x)))),
    "rescaling": lambda x: layers.Rescaling([0.5, -2.0, 1.0, 3.0], [0.1, 0.0, -1.0, 2.0])(x),
    "normalised behind pooling": lambda x: normal(layers.MaxPooling2D()(convolution(x)), name=RISING),
    "relu behind pooling": lambda x: layers.ReLU()(layers.MaxPooling2D()(convolution(x))),
    "prelu": lambda x: layers.PReLU(shared_axes=[1, 2])(rounded(convolution(x))),
    "prelu of each pixel": lambda x: layers.PReLU()(rounded(convolution(x))),
    "leaky relu": lambda x: layers.LeakyReLU(0.2)(x),
    "sloping relu": lambda x: layers.ReLU(negative_slope=0.125)(x),
    "hard swish": lambda x: HardSwish()(rounded(layers.Rescaling(4.0)(x))),
    "subtraction": lambda x: layers.Subtract()(sides(x)),
    "product": lambda x: layers.ReLU()(layers.Multiply()(sides(x))),
    "sum of three": lambda x: layers.ReLU()(layers.Add()([*sides(x), x])),
    "largest of three": lambda x: layers.Maximum()([*sides(x), x]),
    "smallest": lambda x: layers.Minimum()(sides(x)),
    "joined": lambda x: layers.Concatenate()(FakeQuant()([convolution(x, 3, 1), convolution(x, 2, 1)])),
    "joined, of other steps": lambda x: layers.Concatenate()(sides(x)),
    "python's plus": lambda x: tf.nn.relu(sum(sides(x)[1:], x)),
    "tensorflow's concat": lambda x: tf.concat(sides(x), axis=-1),
    "zero padding": lambda x: convolution(layers.ZeroPadding2D(((1, 2), (0, 1)))(x), strides=2),
    "cropping": lambda x: convolution(layers.Cropping2D(((1, 2), (0, 1)))(x), kernel=1),
    "mean of windows": lambda x: layers.AveragePooling2D(3, 2, padding="same")(x),
    "largest of windows": lambda x: layers.MaxPooling2D(3, 2, padding="same")(convolution(x)),
    "largest of the map": lambda x: layers.GlobalMaxPooling2D()(normal(convolution(x, 20))),
    "mean of the map": lambda x: layers.GlobalAveragePooling2D(keepdims=True)(rounded(convolution(x, 20))),
    "models in models": lambda x: inner()(rounded(convolution(x))),
    "noise": lambda x: layers.GaussianNoise(0.1)(layers.SpatialDropout2D(0.1)(layers.Dropout(0.1)(x))),
}


# Mean differences where the device rounds once more than Keras, or where a layer makes a difference larger. Operators
# that rescale 8-bit codes (LEAKY_RELU, PRELU, QUANTIZE) round a product to a whole number before they halve it.
LOOSE = {
    **dict.fromkeys(("sum of three", "mean of windows", "mean of the map"), 1.0),
    **dict.fromkeys(("joined, of other steps", "tensorflow's concat", "largest of three", "smallest"), 0.2),
    **dict.fromkeys(("leaky relu", "sloping relu", "prelu", "prelu of each pixel", "relu behind a function"), 0.25),
    **dict.fromkeys(("normalisation of a sum", "python's plus", "models in models"), 0.03),
}


@pytest.mark.parametrize("name", INT8)
def test_int8_layers_answer_as_keras(name):
    off = np.abs(differences(net(INT8[name])))
    assert off.max() <= (3 if name in LOOSE else 1)  # integers part ties otherwise
    assert off.mean() < LOOSE.get(name, 0.03)


@pytest.mark.parametrize("function", ["sigmoid", "tanh"])
def test_functions_answer_as_keras(function):
    def make(x):
        low, high = {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}[function]
        return FakeQuant(low, high, fixed=True)(layers.Activation(function)(rounded(layers.Rescaling(3.0)(x))))

    assert np.abs(differences(net(make))).max() <= 1


def binary(tensor, filters=32, kernel=3, **options):
    return BinaryConv2D(filters, kernel, **options)(tensor)


def bits(tensor):
    return ThermometerEncoding(7)(tensor)


def block(tensor, **options):
    return normal(binary(tensor, **options))


BINARY = {
    "thermometer": lambda x: block(bits(x)),
    "thermometer of another range": lambda x: block(ThermometerEncoding(9, (-0.5, 1.5))(x)),
    "levels of its own": lambda x: block(CalibratedThermometer(5)(rounded(layers.ReLU()(convolution(x))))),
    "signs of codes": lambda x: block(rounded(convolution(x)), strides=2),
    "signs of a function": lambda x: block(rounded(layers.LeakyReLU(0.1)(rounded(convolution(x))))),
    "two": lambda x: block(block(bits(x)), padding="valid"),
    "40 filters": lambda x: block(block(bits(x), filters=40), dilation_rate=2),
    "relu behind": lambda x: layers.ReLU()(block(bits(x))),
    "relu before normalisation": lambda x: block(normal(layers.ReLU()(binary(bits(x))))),
    "relu6 before normalisation": lambda x: normal(layers.ReLU(6.0)(binary(bits(x)))),
    "pooled": lambda x: block(layers.MaxPooling2D(2, padding="same")(block(bits(x)))),
    "pooled before normalisation": lambda x: block(normal(layers.MaxPooling2D()(binary(bits(x))), name=RISING)),
    "largest of the map": lambda x: normal(BinaryDense(20)(layers.GlobalMaxPooling2D()(block(bits(x))))),
    "padded between": lambda x: block(layers.ZeroPadding2D(1)(block(bits(x))), padding="valid"),
    "cropped between": lambda x: block(layers.Cropping2D(1)(block(bits(x), filters=40))),
    "flattened": lambda x: normal(BinaryDense(20)(layers.Flatten()(block(bits(x))))),
    "dense on a map": lambda x: normal(BinaryDense(20)(normal(BinaryDense(33)(bits(x))))),
    "dense on a vector": lambda x: normal(BinaryDense(20)(rounded(Int8Dense(20)(layers.Flatten()(x))))),
    "joined": lambda x: block(layers.Concatenate()([block(bits(x)), block(bits(x), filters=5)])),
    "a shortcut": lambda x: block(rounded(layers.Add()([rounded(block(bits(x))), rounded(block(bits(x)))]))),
    "larq's, with bias": lambda x: QuantConv2D(
        8, 3, pad_values=1.0, padding="same", input_quantizer="ste_sign", kernel_quantizer="magnitude_aware_sign"
    )(bits(x)),
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_layers_answer_as_keras(name):
    off = np.abs(differences(net(BINARY[name])))
    # A difference of one in front of a sign may turn it.
    loose = name in ("levels of its own", "signs of codes", "signs of a function")
    assert (loose or off.max() <= 1) and off.mean() < (0.3 if loose else 0.01)


def operators(model):
    return [flatbuffer.op_name(model, operator) for operator in model.subgraphs[0].operators]


def test_maps_between_binary_layers_are_bits():
    """Zeros are the sign +1, so that padding, cropping, joining and flattening move words: 32 times fewer bytes."""
    for name, between in (
        ("padded between", "PAD"),
        ("cropped between", "STRIDED_SLICE"),
        ("flattened", "RESHAPE"),
        ("joined", "CONCATENATION"),
    ):
        model = emit(net(BINARY[name]))
        graph = model.subgraphs[0]
        (operator,) = [each for each in graph.operators if flatbuffer.op_name(model, each) == between][:1]
        assert {flatbuffer.type_name(graph.tensors[index]) for index in operator.outputs} == {"int32"}, name
        assert "LceQuantize" not in operators(model), name


def test_relu_in_front_of_normalisation_is_larq_compute_engines():
    model = net(lambda x: bc.global_average(BINARY["relu before normalisation"](x), FakeQuant()))
    mine, theirs = (flatbuffer.read(data) for data in (flatbuffer.write(emit(model)), convert_binary(model)))
    constants = []
    for file in (mine, theirs):
        graph = file.subgraphs[0]
        first = [each for each in graph.operators if flatbuffer.op_name(file, each) == "LceBconv2d"][0]
        assert flatbuffer.custom_options(first)["fused_activation_function"] == 1
        constants.append([flatbuffer.constant(file, graph.tensors[first.inputs[index]]) for index in (1, 4)])
    np.testing.assert_array_equal(constants[0][0], constants[1][0])
    assert np.abs(constants[0][1].astype(float) - constants[1][1]).max() <= 1  # the converter's inverse square root


def test_a_net_in_mixed_precision_gives_the_same_file():
    model = net(BINARY["pooled"])
    assert flatbuffer.write(emit(with_precision(model, "mixed_bfloat16"))) == flatbuffer.write(emit(model))


def test_every_kind_of_layer_is_in_a_net_above():
    source = inspect.getsource(sys.modules[__name__])
    assert not [kind.__name__ for kind in Emitter.RULES if kind not in _TRAINING and f"{kind.__name__}(" not in source]


def odd(kind, *arguments, **options):
    return lambda x: kind(*arguments, name="odd", **options)(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (odd(layers.Conv2D, 4, 3), r"'odd' \(Conv2D\) cannot be written; use Int8Conv2D or BinaryConv2D"),
        (odd(layers.SeparableConv2D, 4, 3), "cannot be written; use Int8DepthwiseConv2D and Int8Conv2D"),
        (odd(layers.UpSampling2D), r"'odd' \(UpSampling2D\) cannot be written; expected one of .*AveragePooling2D"),
        (odd(layers.Softmax), "'odd'.*a net of a pair ends in logits"),
        (odd(layers.Activation, "softmax"), "'odd': the activation 'softmax' has no operator; leave it out"),
        (odd(layers.Activation, "swish"), "'odd': the activation 'swish' .*use Multiply"),
        (odd(layers.Activation, lambda x: x), "'odd': the activation '<lambda>' has no operator; there are relu"),
        (odd(Int8Conv2D, 4, 3, activation=tf.math.softplus), "'odd': the activation 'softplus'"),
        (odd(Doubled), r"'odd' \(Doubled\) cannot be written: the class computes something of its own; use ReLU"),
        (odd(Int8Conv2D, 4, 3, padding="same", pad_values=1.0), "'odd' pads with 1; pad with 0"),
        (odd(Int8Conv2D, 4, 3, input_quantizer="ste_sign"), "'odd' quantises its input itself; .* use BinaryConv2D"),
        (odd(QuantConv2D, 4, 3, kernel_quantizer="ste_sign"), "'odd'.*does not take the sign of its input"),
        (odd(layers.ReLU, threshold=0.2), "'odd': no operator has a threshold"),
        (odd(layers.BatchNormalization, axis=1), "'odd' normalises along axis 1; expected the last"),
        (lambda x: layers.Concatenate(1, name="odd")([x, x]), "'odd' joins along axis 1; expected the last"),
        (lambda x: layers.Multiply(name="odd")([x, x, x]), "'odd' merges 3 tensors; merge them in pairs"),
        (lambda x: layers.Average(name="odd")([x, x]), "use Add, FakeQuant and Rescaling"),
        (lambda x: x + 1.0, r"\(tf.__operators__.add\) has a number for one of its tensors; use Rescaling"),
        (lambda x: tf.concat([x, x], 1), "must join along the last axis"),
        (lambda x: tf.math.exp(x), r"\(tf.math.exp\) cannot be written; expected one of"),
        (lambda x: layers.Add()([convolution(x, name="odd"), convolution(x)]), "'odd'.*FakeQuant is missing behind it"),
        (lambda x: layers.Flatten()(layers.MaxPooling2D()(convolution(x, name="odd"))), None),
        (
            lambda x: normal(layers.AveragePooling2D()(convolution(x)), name="odd"),
            "'odd'.*straight behind a convolution",
        ),
        (lambda x: normal(layers.ReLU()(convolution(x)), name="odd"), "'odd'.*put FakeQuant in front of it"),
        (lambda x: HardSwish()(ThermometerEncoding(3, name="odd")(x)), "'odd'.*a binary layer must follow"),
        (lambda x: block(FakeQuant(-9, 9, fixed=True)(ThermometerEncoding(3, name="odd")(x))), "'odd'.*remove it"),
        (lambda x: BinaryDense(3)(layers.Flatten()(block(bits(x), filters=20))), "FakeQuant is missing behind it"),
    ],
)
def test_what_cannot_be_written_is_named_with_what_can(make, message):
    image = tf.keras.Input(SHAPE)
    tensor = FakeQuant()(make(FakeQuant(-1.0, 127 / 128, fixed=True)(image)))
    model = tf.keras.Model(image, tensor if len(tensor.shape) == 2 else FakeQuant()(layers.Flatten()(tensor)))
    if message is None:
        emit(model)
        return
    with pytest.raises(NotEmitted, match=message):
        emit(model)


def test_nets_of_other_forms_are_refused():
    image = tf.keras.Input((None, 6, 4))
    net = tf.keras.Model(image, FakeQuant()(layers.GlobalMaxPooling2D()(FakeQuant()(image))))
    with pytest.raises(NotEmitted, match=r"has the shape \[None, None, 6, 4\], of which the size must be known"):
        emit(net)
    image = tf.keras.Input(SHAPE)
    with pytest.raises(NotEmitted, match=r"must end in logits \[n, classes\], got \[None, 7, 6, 4\]"):
        emit(tf.keras.Model(image, FakeQuant()(image)))
    with pytest.raises(NotEmitted, match="functional or sequential Keras model with one input and one output"):
        emit(tf.keras.Model(image, [FakeQuant()(image), image]))


def test_a_batch_that_is_fixed_becomes_one():
    image = tf.keras.Input(SHAPE, batch_size=8)
    tensor = FakeQuant()(Int8Dense(3)(layers.Flatten()(FakeQuant()(image))))
    model = emit(tf.keras.Model(image, tensor))
    assert {flatbuffer.shape(model.subgraphs[0].tensors[index])[0] for index in model.subgraphs[0].inputs} == {1}


def test_without_a_converter_the_message_is_that_of_the_layer():
    def missing(net):
        with named_packages():
            raise ModuleNotFoundError("No module named 'larq_compute_engine'", name="larq_compute_engine")

    image = tf.keras.Input(SHAPE)
    model = tf.keras.Model(image, FakeQuant()(layers.Dense(3, name="odd")(layers.Flatten()(FakeQuant()(image)))))
    with pytest.raises(bc.BcnetError, match=r"'odd' \(Dense\) .*use Int8Dense.*larq_compute_engine, .* not installed"):
        lower(model, missing)
