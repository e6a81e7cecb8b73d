"""The layers against naive numpy, and their serialisation."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

import bcnet_keras as bc
from bcnet_keras.layers import (
    INPUT_RANGE,
    MEASURES,
    ApproxSign,
    Int8Conv2D,
    Int8Dense,
    Int8DepthwiseConv2D,
    batch_norm,
    binary,
    fastest_precision,
    with_precision,
)


def _random(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def _signs(values):
    return np.where(values >= 0, 1.0, -1.0)


def _convolution(inputs, kernel, strides, padding_value):
    """Naive "same" convolution, NHWC."""
    n, height, width, _ = inputs.shape
    k, _, _, filters = kernel.shape
    rows, columns = -(-height // strides), -(-width // strides)
    missing = [max(0, (out - 1) * strides + k - size) for out, size in ((rows, height), (columns, width))]
    before = [total // 2 for total in missing]
    pads = [(0, 0), (before[0], missing[0] - before[0]), (before[1], missing[1] - before[1]), (0, 0)]
    padded = np.pad(inputs, pads, constant_values=padding_value)
    outputs = np.zeros((n, rows, columns, filters))
    for row in range(rows):
        for column in range(columns):
            window = padded[:, row * strides : row * strides + k, column * strides : column * strides + k]
            outputs[:, row, column] = np.tensordot(window, kernel, axes=([1, 2, 3], [0, 1, 2]))
    return outputs


@pytest.mark.parametrize("size, kernel, strides", [(5, 3, 1), (6, 3, 2), (7, 1, 2), (8, 5, 3)])
def test_binary_convolution_is_that_of_signs_padded_with_one(size, kernel, strides):
    layer = bc.BinaryConv2D(4, kernel, strides)
    inputs = _random(2, size, size, 3)
    outputs = layer(inputs).numpy()
    expected = _convolution(_signs(inputs), _signs(layer.get_weights()[0]), strides, padding_value=1.0)
    np.testing.assert_array_equal(outputs, expected)


def test_binary_dense_on_vectors_and_on_maps():
    vectors = _random(3, 12)
    layer = bc.BinaryDense(5)
    np.testing.assert_array_equal(
        layer(vectors).numpy(), _signs(vectors) @ _signs(layer.get_weights()[0]).reshape(12, 5)
    )
    maps = _random(3, 2, 3, 4)
    layer = bc.BinaryDense(5)
    outputs = layer(maps).numpy()
    assert outputs.shape == (3, 1, 1, 5) == tuple(layer.compute_output_shape(maps.shape))
    expected = _signs(maps).reshape(3, 24) @ _signs(layer.get_weights()[0]).reshape(24, 5)
    np.testing.assert_array_equal(outputs[:, 0, 0], expected)


def test_binary_dense_refuses_other_ranks():
    with pytest.raises(ValueError, match=r"\[n, features\] or \[n, h, w, c\]"):
        bc.BinaryDense(4)(tf.zeros((2, 3, 4)))


@pytest.mark.parametrize("planes", [1, 8, 15, 255])
def test_thermometer_digits_are_exact_for_every_pixel_value(planes):
    codes = np.arange(-128, 128)
    images = (codes / 128).astype(np.float32).reshape(1, 16, 16, 1)
    images = np.concatenate([images, images[:, ::-1]], axis=-1)
    layer = bc.ThermometerEncoding(planes)
    digits = layer(images).numpy() >= 0
    levels = np.round(layer.levels.astype(np.float64) * 128)
    for channel in range(2):
        channel_digits = digits[0, ..., channel * planes : (channel + 1) * planes]
        np.testing.assert_array_equal(channel_digits, np.round(images[0, ..., channel, None] * 128) >= levels)
    assert len(np.unique(levels)) == planes and levels.min() > -128 and levels.max() <= 127


@pytest.mark.parametrize("planes", [1, 4, 7])
def test_calibrated_thermometer_trains_on_the_values_that_the_device_has(planes):
    step = np.float32(0.0237)
    values = step * np.random.default_rng(planes).integers(0, 256, (2, 5, 5, 16)).astype(np.float32)
    layer = bc.CalibratedThermometer(planes)
    layer(values)
    layer.calibrate(values, step)
    trained = layer(values, training=True).numpy()
    np.testing.assert_array_equal(trained, layer(values).numpy())
    assert len(np.unique(trained)) > planes and 0 < np.mean(trained >= 0) < 1


def test_fake_quant_rounds_to_the_grid_of_its_range():
    inputs = np.linspace(-1.5, 1.5, 1001, dtype=np.float32)
    outputs = bc.FakeQuant(*INPUT_RANGE, fixed=True)(inputs).numpy()
    # Half steps may go either way in float32.
    codes = np.clip(inputs * 128, -128, 127)
    assert np.all(np.abs(outputs * 128 - codes) <= 0.5 + 1e-4)
    np.testing.assert_array_equal(outputs * 128, np.round(outputs * 128))


def test_fake_quant_follows_training_and_holds_still_in_inference():
    layer = bc.FakeQuant(-3.0, 3.0, momentum=0.5)
    inputs = tf.constant([[-1.0, 5.0]])
    layer(inputs, training=True)
    assert layer.range == pytest.approx((-2.0, 4.0))
    layer(inputs, training=False)
    assert layer.range == pytest.approx((-2.0, 4.0))
    symmetric = bc.FakeQuant(-3.0, 3.0, symmetric=True, momentum=0.0)
    symmetric(inputs, training=True)
    assert symmetric.range == (-5.0, 5.0)


def test_fake_quant_of_a_list_has_one_range():
    layer = bc.FakeQuant(momentum=0.0)
    layer([tf.constant([-2.0, 0.5]), tf.constant([7.0])], training=True)
    assert layer.range == (-2.0, 7.0)


@pytest.mark.parametrize("arguments", [(1.0, 2.0), (0.0, 0.0), (1.0, -1.0)])
def test_fake_quant_refuses_ranges_without_zero(arguments):
    with pytest.raises(ValueError, match="must contain 0"):
        bc.FakeQuant(*arguments)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [(1, 2), (3, 1), (2, 3)])
@pytest.mark.parametrize("window", [(3, 3), (1, 4), (5, 2)])
def test_depthwise_convolution_with_unequal_strides(window, strides, padding):
    """Against a convolution of all channels, whose kernel is 0 between different ones."""
    layer = Int8DepthwiseConv2D(window, strides, padding, depth_multiplier=2)
    images = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype(np.float32)
    outputs = layer(images)
    kernel = np.zeros((*window, 3, 6), np.float32)
    for channel in range(3):
        kernel[:, :, channel, 2 * channel : 2 * channel + 2] = layer.quantized_kernel[:, :, channel]
    expected = tf.nn.conv2d(images, kernel, strides, padding.upper())
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    inputs = tf.keras.Input((9, 8, 3))
    assert tf.keras.Model(inputs, layer(inputs)).output_shape == (None, *expected.shape[1:])


@pytest.mark.parametrize("layer", [Int8Conv2D(4, 3), Int8Dense(4), Int8DepthwiseConv2D(3)])
def test_int8_kernels_have_at_most_255_levels_a_scale(layer):
    inputs = _random(2, 4, 4, 3) if not isinstance(layer, Int8Dense) else _random(2, 7)
    layer(inputs)
    reference = layer.get_weights()[0]
    scale = np.abs(reference).max(axis=tuple(range(reference.ndim - 1))) / 127
    if isinstance(layer, Int8Dense):
        scale = np.abs(reference).max() / 127
    kernel = layer.quantized_kernel.numpy()
    np.testing.assert_allclose(kernel / scale, np.round(kernel / scale), atol=1e-2)
    assert np.abs(kernel - reference).max() <= 0.51 * np.max(scale)


_logits = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(2, 12)), elements=st.floats(-20, 20, width=32)
)


@hypothesis.given(_logits)
def test_measures_are_those_of_numpy_and_lie_between_0_and_1(logits):
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    p = shifted / shifted.sum(axis=1, keepdims=True)
    ordered = np.sort(p, axis=1)
    expected = {
        "score_margin": ordered[:, -1] - ordered[:, -2],
        "max_probability": ordered[:, -1],
        "entropy": 1 + np.sum(p * np.log(np.maximum(p, 1e-12)), axis=1) / np.log(p.shape[1]),
    }
    for name, measure in MEASURES.items():
        values = measure(tf.nn.softmax(logits)).numpy()
        np.testing.assert_allclose(values, expected[name], atol=2e-6)
        assert np.all((values >= -1e-6) & (values <= 1 + 1e-6))


def test_gate_escalates_below_the_threshold_only():
    logits = np.log([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]]).astype(np.float32)
    np.testing.assert_array_equal(bc.ConfidenceGate(threshold=0.5)(logits), [True, False, False])
    gate = bc.ConfidenceGate(per_class=True, threshold=[0.9, 0.1])
    np.testing.assert_array_equal(gate(logits), [True, True, False])


def test_gate_without_a_threshold_escalates_everything():
    gate = bc.ConfidenceGate()
    assert gate(_random(4, 3)).numpy().all() and np.isnan(gate.threshold)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, np.nan, [0.2, 2.0]])
def test_gate_refuses_thresholds_outside_0_to_1(threshold):
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\]"):
        bc.ConfidenceGate(threshold=threshold)
    gate = bc.ConfidenceGate(per_class=True)
    gate.build((None, 2))
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\]"):
        gate.threshold = threshold


def test_gate_refuses_unknown_measures_and_shapes():
    with pytest.raises(ValueError, match="measure must be one of"):
        bc.ConfidenceGate("softmax")
    gate = bc.ConfidenceGate(per_class=True)
    gate.build((None, 3))
    with pytest.raises(ValueError, match="shape"):
        gate.threshold = [0.1, 0.2]


def _every_layer():
    inputs = tf.keras.Input((8, 8, 2))
    tensor = bc.FakeQuant(*INPUT_RANGE, fixed=True)(inputs)
    stem = bc.FakeQuant()(Int8Conv2D(3, 3, padding="same")(tensor))
    stem = bc.FakeQuant()(Int8DepthwiseConv2D(3, padding="same")(stem))
    tensor = bc.ThermometerEncoding(5)(tensor)
    tensor = tf.keras.layers.BatchNormalization()(bc.BinaryConv2D(4, 3, strides=1)(tensor))
    tensor = tf.keras.layers.Concatenate()(bc.FakeQuant()([tensor, stem]))
    tensor = tf.keras.layers.BatchNormalization()(bc.BinaryDense(6)(tensor))
    tensor = tf.keras.layers.GlobalAveragePooling2D()(bc.FakeQuant(symmetric=True)(tensor))
    logits = Int8Dense(3)(bc.BinaryDense(5)(tensor))
    return tf.keras.Model(inputs, [logits, bc.ConfidenceGate("learned", per_class=True, threshold=0.3)(logits)])


@pytest.mark.parametrize("place", ["model.keras", "saved_model"])
def test_saved_models_give_identical_outputs(tmp_path, place):
    tf.keras.utils.set_random_seed(3)
    model = _every_layer()
    images = _random(4, 8, 8, 2)
    for _ in range(3):
        model(images, training=True)
    model.save(tmp_path / place)
    loaded = tf.keras.models.load_model(tmp_path / place)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    for mine, theirs in zip(model(images), loaded(images), strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_signs_in_reduced_precision_have_the_same_values_and_gradients():
    layer = bc.BinaryConv2D(2, 1, dtype="mixed_bfloat16")
    values = tf.constant([[-2.0, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 3.0]])
    for dtype in (tf.float32, tf.bfloat16):
        inputs = tf.cast(values, dtype)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([values, inputs])
            expected, signs = ApproxSign()(values), layer.input_quantizer(inputs)
        assert signs.dtype == dtype
        np.testing.assert_array_equal(tf.cast(signs, tf.float32), expected)
        np.testing.assert_array_equal(
            tf.cast(tape.gradient(signs, inputs), tf.float32), tape.gradient(expected, values)
        )


def test_batch_norm_is_not_synchronised_on_one_replica():
    assert not batch_norm().synchronized
    cpu = tf.config.list_logical_devices("CPU")[0].name
    with tf.distribute.OneDeviceStrategy(cpu).scope():
        assert not batch_norm().synchronized
    assert batch_norm(momentum=0.5).momentum == 0.5


@pytest.mark.parametrize(
    ("flags", "capability", "policy"),
    [
        ("fpu avx512f avx512_bf16 fma", None, "mixed_bfloat16"),
        ("fpu amx_bf16", None, "mixed_bfloat16"),
        ("fpu avx avx2 avx512f not_avx512_bf16", None, "float32"),
        (None, None, "float32"),
        ("fpu amx_bf16", (7, 5), "float32"),
        ("fpu", (8, 0), "mixed_bfloat16"),
        ("fpu", (9, 0), "mixed_bfloat16"),
    ],
)
def test_binary_layers_train_in_bfloat16_where_the_hardware_has_it(tmp_path, monkeypatch, flags, capability, policy):
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    monkeypatch.setattr(binary, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] if capability else [])
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert fastest_precision() == policy


def test_mixed_precision_trains_and_gives_the_same_answers_and_the_same_file():
    from bcnet_keras.convert.lce import convert_binary

    tf.keras.utils.set_random_seed(4)
    inputs = tf.keras.Input((8, 8, 2))
    tensor = bc.ThermometerEncoding(5)(bc.FakeQuant(*INPUT_RANGE, fixed=True)(inputs))
    tensor = tf.keras.layers.BatchNormalization(name="of_signs")(bc.BinaryConv2D(32, 3)(tensor))
    tensor = tf.keras.layers.MaxPooling2D(name="pool")(tensor)
    tensor = tf.keras.layers.BatchNormalization(name="of_numbers")(bc.BinaryDense(24)(tensor))
    model = tf.keras.Model(inputs, bc.FakeQuant()(Int8Dense(3)(bc.global_average(tensor, bc.FakeQuant()))))
    images = np.round(_random(64, 8, 8, 2) * 127) / np.float32(128)
    mixed = with_precision(model, "mixed_bfloat16")
    reduced = [layer.name for layer in mixed.layers if layer.compute_dtype == "bfloat16"]
    assert reduced == [mixed.layers[3].name, "of_signs", "pool", mixed.layers[6].name]
    assert with_precision(mixed, "mixed_bfloat16") is mixed
    before = mixed.get_weights()
    mixed.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    mixed.fit(images, np.arange(64) % 3, epochs=5, verbose=0)
    assert not any(np.array_equal(old, new) for old, new in zip(before, mixed.get_weights(), strict=True))
    whole = with_precision(mixed, "float32")
    assert all(layer.compute_dtype == "float32" for layer in whole.layers)
    np.testing.assert_array_equal(whole(images), mixed(images))
    assert convert_binary(mixed) == convert_binary(whole)
