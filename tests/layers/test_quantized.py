"""Quantisers and quantised layers, held against Larq's of the same names; and files that hold Larq's layers."""

import pathlib
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import bcnet_keras as bc
from bcnet_keras.convert.emit import emit
from bcnet_keras.layers import QuantConv2D, QuantDense, quantizers
from bcnet_keras.tflite import flatbuffer

lq = pytest.importorskip("larq", reason="Larq is not installed")

IMAGES = np.random.default_rng(2).uniform(-1.5, 1.5, (4, 7, 6, 32)).astype(np.float32)
MAPS = hnp.arrays(np.float32, (3, 5), elements=st.floats(-3, 3, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0]))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SteSign", {}),
        ("SteSign", {"clip_value": 0.3}),
        ("SteSign", {"clip_value": None}),
        ("ApproxSign", {}),
        ("SwishSign", {}),
        ("SwishSign", {"beta": 2.5}),
        ("MagnitudeAwareSign", {"clip_value": 0.7}),
    ],
)
@hypothesis.given(values=MAPS, above=MAPS)
@hypothesis.settings(max_examples=50)
def test_values_and_gradients_are_larqs_bit_by_bit(name, options, values, above):
    mine, larqs = getattr(quantizers, name)(**options), getattr(lq.quantizers, name)(**options)
    assert mine.precision == larqs.precision == 1
    inputs, results = tf.constant(values), []
    for quantizer in (mine, larqs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = quantizer(inputs)
        results.append(
            [outputs.numpy().tobytes(), tape.gradient(outputs, inputs, tf.constant(above)).numpy().tobytes()]
        )
    assert results[0] == results[1]


def test_names_and_configurations_give_quantisers():
    for name, kind in (("ste_sign", "SteSign"), ("approx_sign", "ApproxSign"), ("swish_sign", "SwishSign")):
        made = quantizers.quantizer(name)
        assert type(made) is getattr(quantizers, kind)
        larqs = tf.keras.utils.serialize_keras_object(lq.quantizers.get(name))
        assert type(quantizers.quantizer(larqs)) is type(made)
    assert quantizers.quantizer({"class_name": "SteSign", "config": {"clip_value": 0.5}}).clip_value == 0.5
    assert quantizers.quantizer(tf.abs) is tf.abs and quantizers.quantizer(None) is None
    larqs = lq.quantizers.DoReFa(k_bit=3)
    again = quantizers.quantizer(tf.keras.utils.serialize_keras_object(larqs))
    assert isinstance(again, lq.quantizers.DoReFa) and again.precision == 3


@pytest.mark.parametrize("name", ["ste_tern", "sign"])
def test_quantisers_that_there_are_not_are_refused_with_those_that_there_are(name):
    message = f"no quantizer '{name}'; expected one of ste_sign, approx_sign, swish_sign, magnitude_aware_sign"
    with pytest.raises(ValueError, match=message):
        bc.BinaryConv2D(4, 3, input_quantizer=name)


SIGNS = dict(input_quantizer="approx_sign", kernel_quantizer="ste_sign", kernel_constraint="weight_clip")
LAYERS = {
    "plain": ("QuantConv2D", dict(filters=8, kernel_size=3, **SIGNS)),
    "padded": ("QuantConv2D", dict(filters=8, kernel_size=3, padding="same", pad_values=1.0, **SIGNS)),
    "strided": (
        "QuantConv2D",
        dict(filters=8, kernel_size=(3, 2), strides=2, padding="same", pad_values=-1.0, **SIGNS),
    ),
    "dilated": (
        "QuantConv2D",
        dict(filters=8, kernel_size=3, dilation_rate=2, padding="same", pad_values=1.0, **SIGNS),
    ),
    "zeros": ("QuantConv2D", dict(filters=8, kernel_size=3, padding="same", activation="relu", **SIGNS)),
    "grouped": ("QuantConv2D", dict(filters=8, kernel_size=3, padding="same", pad_values=1.0, groups=2, **SIGNS)),
    "scaled": ("QuantConv2D", dict(filters=8, kernel_size=1, kernel_quantizer="magnitude_aware_sign", use_bias=False)),
    "dense": ("QuantDense", dict(units=5, input_quantizer="swish_sign", kernel_quantizer="ste_sign")),
    "float": ("QuantDense", dict(units=5, activation="tanh")),
}


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("graph", [False, True])
def test_layers_train_to_the_same_latent_weights_as_larqs(case, graph):
    name, options = LAYERS[case]
    results = []
    for module in (bc.layers, lq.layers):
        tf.keras.utils.set_random_seed(5)
        net = tf.keras.Sequential([getattr(module, name)(**options), tf.keras.layers.GlobalAveragePooling2D()])
        net.build((None, *IMAGES.shape[1:]))
        net.compile(tf.keras.optimizers.Adam(1.0), "mse", run_eagerly=not graph)
        net.fit(IMAGES, np.ones((4, net.output_shape[-1])), epochs=3, batch_size=2, shuffle=False, verbose=0)
        results.append([*net.get_weights(), net(IMAGES).numpy()])
    for mine, larqs in zip(*results, strict=True):
        np.testing.assert_array_equal(mine, larqs)
    if "kernel_constraint" in options:
        assert np.max(np.abs(results[0][0])) == 1  # so that the constraint was at work


@pytest.mark.parametrize("size", [(None, None), (7, 6)])
def test_padding_is_that_of_larq_for_maps_of_unknown_size_too(size):
    options = dict(filters=3, kernel_size=4, strides=3, padding="same", pad_values=1.0, **SIGNS)
    mine, larqs = QuantConv2D(**options), lq.layers.QuantConv2D(**options)
    inputs = tf.keras.Input((*size, 32))
    nets = [tf.keras.Model(inputs, layer(inputs)) for layer in (mine, larqs)]
    assert nets[0].output_shape == (None, *(None if each is None else -(-each // 3) for each in size), 3)
    mine.set_weights(larqs.get_weights())
    np.testing.assert_array_equal(nets[0](IMAGES), nets[1](IMAGES))


def test_kernels_are_latent_and_their_signs_at_hand():
    layer = QuantConv2D(3, 2, kernel_quantizer="ste_sign", dtype="mixed_float16")
    layer.build((None, 4, 4, 2))
    layer.set_weights([np.full((2, 2, 2, 3), -1e-9), np.zeros(3)])  # 0 in float16
    assert layer.kernel.dtype == tf.float32 and layer.quantized_kernel.dtype == tf.float16
    assert (layer.quantized_kernel.numpy() == -1).all()
    assert layer.kernel.precision == 1 and QuantDense(2, kernel_quantizer="ste_sign").get_config()["units"] == 2


def net(module, seed=1):
    tf.keras.backend.clear_session()  # for the same names
    tf.keras.utils.set_random_seed(seed)
    inputs = tf.keras.Input((8, 8, 32), name="image")
    options = dict(padding="same", pad_values=1.0, use_bias=False, **SIGNS)
    tensor = bc.FakeQuant(-1, 127 / 128, fixed=True)(inputs)
    for number in range(2):
        tensor = module.QuantConv2D(32, 3, strides=1 + number, name=f"binary_{number}", **options)(tensor)
        tensor = tf.keras.layers.BatchNormalization(name=f"norm_{number}")(tensor)
    tensor = bc.global_average(tensor, bc.FakeQuant())
    model = tf.keras.Model(inputs, bc.FakeQuant()(bc.Int8Dense(3, name="dense")(tensor)))
    for images in np.random.default_rng(seed).uniform(-1, 1, (2, 4, 8, 8, 32)).astype(np.float32):
        model(images, training=True)
    return model


def test_nets_of_either_layers_give_the_same_flatbuffer():
    mine, larqs = (flatbuffer.write(emit(net(module))) for module in (bc.layers, lq.layers))
    assert mine == larqs


def test_a_latent_free_optimizer_flips_the_same_weights_as_in_larqs_layers():
    results = []
    for module in (bc.layers, lq.layers):
        tf.keras.utils.set_random_seed(4)
        bop = lq.optimizers.Bop(threshold=1e-7, gamma=0.5)
        optimizer = lq.optimizers.CaseOptimizer(
            (lq.optimizers.Bop.is_binary_variable, bop), default_optimizer=tf.keras.optimizers.legacy.Adam(0.01)
        )
        layer = module.QuantDense(3, kernel_quantizer=lq.quantizers.NoOp(precision=1), input_quantizer="ste_sign")
        model = tf.keras.Sequential([layer])
        model.build((None, 32))
        layer.set_weights([np.sign(layer.get_weights()[0]), np.zeros(3)])
        model.compile(optimizer, "mse")
        model.fit(IMAGES[:, 0, 0], np.ones((4, 3)), epochs=2, verbose=0)
        results.append(layer.get_weights())
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert np.unique(results[0][0]).tolist() == [-1, 1]


FOLDER = pathlib.Path(__file__).parent
# Logits of a ramp, by the version that wrote the file.
LOGITS = [3.066831588745117, 1.2600160837173462, -2.0445544719696045]


@pytest.mark.parametrize("before", ["", "import larq", "sys.modules['larq'] = None"])
def test_files_of_versions_that_built_on_larq_load_where_larq_is_and_where_it_is_not(before):
    """The file holds this package's layers on Larq's bases, and Larq's own `QuantConv2D`."""
    code = (
        f"import sys; {before}\nimport bcnet_keras as bc, numpy as np, tensorflow as tf\nbc.FakeQuant\n"
        f"net = tf.keras.models.load_model({str(FOLDER / 'written_with_larq.keras')!r})\n"
        "image = np.linspace(-1, 0.99, 72, dtype=np.float32).reshape(1, 6, 6, 2)\n"
        "print(net(image).numpy().ravel().tolist())\n"
        "print([type(layer).__module__.partition('.')[0] for layer in net.layers if layer.name == 'quant_conv2d'])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    logits, packages = run.stdout.splitlines()[-2:]
    np.testing.assert_allclose(eval(logits), LOGITS, atol=1e-6, err_msg=run.stderr)
    assert packages == str(["larq" if before == "import larq" else "bcnet_keras"])
