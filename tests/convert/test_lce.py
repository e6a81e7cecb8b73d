"""What the converters silently take for something else is refused by name, or the file gives the right answers."""

import numpy as np
import pytest
import tensorflow as tf

import bcnet_keras as bc
from bcnet_keras.convert.emit import NotEmitted, emit
from bcnet_keras.convert.lce import convert_binary, convert_int8
from bcnet_keras.layers import INPUT_RANGE, FakeQuant, Int8Conv2D, Int8Dense
from bcnet_keras.runtime import tflite
from bcnet_keras.tflite import flatbuffer

lq = pytest.importorskip("larq", reason="Larq is not installed")
layers = tf.keras.layers
SHAPE = (8, 8, 32)
CODES = np.random.default_rng(1).integers(-128, 128, (16, *SHAPE)).astype(np.int8)
SIGNS = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "use_bias": False}


def binary_net(make):
    """A binary net whose first layer is `make`'s, on 32 channels, its ranges and statistics settled."""
    tf.keras.utils.set_random_seed(0)
    image = tf.keras.Input(SHAPE)
    tensor = layers.BatchNormalization()(make(FakeQuant(*INPUT_RANGE, fixed=True)(image)))
    tensor = bc.global_average(tensor, FakeQuant()) if len(tensor.shape) == 4 else FakeQuant()(tensor)
    net = tf.keras.Model(image, FakeQuant()(Int8Dense(3)(tensor)))
    return settled(net)


def settled(net):
    for layer in net.submodules:
        if isinstance(layer, FakeQuant):
            layer.momentum = 0.0
    net(CODES.astype(np.float32) / 128, training=True)
    return net


def larq(kind=lq.layers.QuantConv2D, **options):
    return lambda tensor: kind(32, 3, name="guilty", **{**SIGNS, **options})(tensor)


def dense(tensor):
    return lq.layers.QuantDense(32, name="guilty", **SIGNS)(layers.Flatten()(tensor))


def one_dimensional(tensor):
    tensor = larq(lq.layers.QuantConv1D)(layers.Reshape((64, 32))(tensor))
    return layers.Reshape((62, 1, 32))(tensor)


def dead_channel(tensor):
    layer = lq.layers.QuantConv2D(32, 3, name="guilty", **{**SIGNS, "kernel_quantizer": "magnitude_aware_sign"})
    result = layer(tensor)
    (kernel,) = layer.get_weights()
    kernel[..., 5] = 0
    layer.set_weights([kernel])
    return result


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (larq(input_quantizer="ste_tern"), "input quantizer SteTern gives -1, 0, 1; use one that gives signs"),
        (larq(input_quantizer="ste_heaviside"), "input quantizer SteHeaviside gives 0, 1; use one that gives signs"),
        (larq(input_quantizer="dorefa_quantizer"), "input quantizer DoReFa gives 0, 0.333333, 1; use one"),
        (larq(kernel_quantizer="ste_tern"), "kernel quantizer SteTern gives more than two numbers; use 'ste_sign'"),
        (larq(kernel_quantizer=None), "its kernel is not quantised; give it a kernel_quantizer"),
        (dead_channel, "its kernel has nothing but 0 for filter 5"),
        (larq(padding="same", pad_values=-1.0), r"it pads with -1; pad with \+1"),
        (larq(groups=2), "its groups have 16 channels, expected a multiple of 32"),
        (dense, "no binary operator for QuantDense; use BinaryDense"),
        (one_dimensional, r"no binary operator for QuantConv1D; use BinaryConv2D on a map \[t, 1, c\]"),
        (larq(lq.layers.QuantConv2DTranspose), "no binary operator for QuantConv2DTranspose; use BinaryConv2D"),
    ],
)
def test_binary_layers_that_would_become_something_else_are_refused_by_name(make, problem):
    net = binary_net(make)
    with pytest.raises(NotEmitted, match="guilty"):
        emit(net)
    with pytest.raises(bc.BcnetError, match=rf"guilty \(.*{problem}"):
        convert_binary(net)


def wide(tensor):
    return layers.Concatenate()([tensor, tensor])


@pytest.mark.parametrize(
    "make",
    [
        larq(),
        larq(kernel_quantizer="magnitude_aware_sign"),
        larq(input_quantizer="approx_sign", use_bias=True, padding="same", pad_values=1.0),
        lambda tensor: lq.layers.QuantConv2D(64, 3, groups=2, **SIGNS)(wide(tensor)),
        pytest.param(larq(padding="same"), marks=pytest.mark.slow),  # zeros, which only the converter writes
    ],
)
def test_larq_layers_that_can_be_taken_answer_as_in_keras(make):
    net = binary_net(make)
    expected = net(CODES.astype(np.float32) / 128).numpy()
    try:
        data = flatbuffer.write(emit(net))
    except NotEmitted as reason:
        assert "pads with 0" in str(reason)
        data = convert_binary(net)
    graph = flatbuffer.read(data).subgraphs[0]
    step, zero_point = flatbuffer.quantization(graph.tensors[graph.outputs[0]])
    answers = (tflite.Interpreter(data)._run(CODES)[0].astype(np.float32) - zero_point) * step
    assert np.abs(expected - expected.mean(axis=0)).mean() > 20 * step
    assert np.abs(answers - expected).mean() < 2 * step


class Centred(layers.Layer):
    """Takes the mean of the batch off, of which a converted net has one image only."""

    def build(self, input_shape):
        self.quantisers = FakeQuant(), FakeQuant()
        super().build(input_shape)

    def call(self, inputs):
        first, second = self.quantisers
        return second(inputs - first(tf.reduce_mean(inputs, axis=0, keepdims=True)))


def int8_net(make):
    tf.keras.utils.set_random_seed(0)
    image = tf.keras.Input(SHAPE)
    tensor = FakeQuant()(Int8Conv2D(8, 3)(make(FakeQuant(*INPUT_RANGE, fixed=True)(image))))
    return settled(tf.keras.Model(image, FakeQuant()(Int8Dense(3)(layers.Flatten()(tensor)))))


def test_a_file_that_does_not_answer_as_keras_is_refused():
    with pytest.raises(bc.BcnetError, match="converted int8 net does not answer as Keras does: logits of random"):
        convert_int8(int8_net(Centred()), INPUT_RANGE)


def test_a_net_without_a_range_at_its_end_gives_no_float_file():
    image = tf.keras.Input(SHAPE)
    tensor = layers.Flatten()(FakeQuant()(Int8Conv2D(8, 3)(FakeQuant(*INPUT_RANGE, fixed=True)(image))))
    net = tf.keras.Model(image, Int8Dense(3, name="guilty")(tensor))
    for convert in (convert_binary, lambda net: convert_int8(net, INPUT_RANGE)):
        with pytest.raises(bc.BcnetError, match="'guilty' works on float32; put FakeQuant before and behind"):
            convert(net)


def tfmot_net(make):
    import tensorflow_model_optimization as tfmot

    tf.keras.utils.set_random_seed(0)
    image = tf.keras.Input((8, 8, 3))
    net = tf.keras.Model(image, layers.Dense(3)(layers.Flatten()(make(image))))
    net = tfmot.quantization.keras.quantize_model(net)
    net(np.random.default_rng(0).uniform(-1, 1, (8, 8, 8, 3)).astype(np.float32), training=True)
    return net


@pytest.mark.parametrize(
    ("make", "guilty"),
    [
        (lambda image: layers.ReLU(4.0)(layers.Conv2D(8, 3)(image)), "CONV_2D of layer 'quant_re_lu"),
        (
            lambda image: layers.ReLU()(layers.BatchNormalization()(layers.Dense(16)(layers.Flatten()(image)))),
            "FULLY_CONNECTED of layer 'quant_dense",
        ),
        (
            lambda image: layers.ReLU()(layers.BatchNormalization()(layers.Conv2DTranspose(4, 3)(image))),
            "TRANSPOSE_CONV of layer 'quant_conv2d_transpose",
        ),
        (lambda image: layers.Activation("swish")(layers.Conv2D(8, 3)(image)), None),
        (lambda image: layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3)(image))), None),
    ],
)
def test_tfmot_nets_have_no_float_inside(make, guilty):
    net = tfmot_net(make)
    if guilty is None:
        convert_int8(net, INPUT_RANGE)  # which compares its answers
        return
    with pytest.raises(bc.BcnetError, match=f"{guilty}.*works on float32; tfmot leaves it in float; make the int8 net"):
        convert_int8(net, INPUT_RANGE)
