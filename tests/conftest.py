"""Fixtures for all tests."""

import logging

import hypothesis
import numpy as np
import pytest

import bcnet_keras  # noqa: F401 (first: it switches TensorFlow to the legacy Keras)
from bcnet_keras import cli
from bcnet_keras.runtime import plugin
from bcnet_keras.tflite import flatbuffer

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)  # before fixtures are made
def pytest_runtest_setup(item):
    if item.get_closest_marker("needs_tflm"):
        try:
            plugin.tflm_tree()
        except FileNotFoundError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def make_part():
    """A function that makes a small int8 net in a second's fraction: a flatbuffer of RESHAPE and FULLY_CONNECTED."""
    return _make_part


def _make_part(
    seed,
    classes=4,
    shape=(3, 3, 2),
    scale=0.05,
    zero_point=0,
    image=(1 / 128, 0),
    end=None,
    batch=1,
    spread=1.0,
    stem=None,
    skip=False,
):
    """Random weights, `scale` and `zero_point` those of the logits, whose codes mostly lie in 64 * `spread` around it.

    `end` is the name of a builtin operator without options that is put behind the logits. `stem` is the seed of a 1x1
    CONV_2D in front, with the image's scale at its output too; with `skip` the image is added to that.
    """
    schema = flatbuffer.schema
    int8, random, size = schema.TensorType.INT8, np.random.default_rng(seed), int(np.prod(shape))
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    pixels = builder.tensor(graph, "pixels", int8, [batch, *shape], image)
    flat = builder.tensor(graph, "flat", int8, [batch, size], image)
    front = pixels
    if stem is not None:
        own, channels = np.random.default_rng(stem), shape[-1]
        numbers = own.integers(-127, 128, (channels, 1, 1, channels)).astype(np.int8)
        filters = builder.tensor(graph, "filters", int8, numbers.shape, (0.01, 0), numbers)
        biases = own.integers(-3000, 3000, channels).astype(np.int32)
        bias = builder.tensor(graph, "bias", schema.TensorType.INT32, [channels], (0.01 * image[0], 0), biases)
        front = builder.tensor(graph, "front", int8, [batch, *shape], image)
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
        builder.operator(graph, "CONV_2D", [pixels, filters, bias], [front], options, version=3)
        if skip:
            total = builder.tensor(graph, "total", int8, [batch, *shape], image)
            builder.operator(graph, "ADD", [front, pixels], [total], schema.AddOptionsT(), version=2)
            front = total
    options = schema.ReshapeOptionsT()
    options.newShape = np.array([batch, size], np.int32)
    builder.operator(graph, "RESHAPE", [front, builder.constant(graph, "s", options.newShape)], [flat], options)
    weights = random.integers(-127, 128, (classes, size)).astype(np.int8)
    # Pixels and weights are uniform with a deviation of about 74 codes.
    weight_scale = scale * 32 * spread / (74 * 74 * np.sqrt(size) * image[0])
    kernel = builder.tensor(graph, "kernel", int8, weights.shape, (weight_scale, 0), weights)
    logits = builder.tensor(graph, "logits", int8, [batch, classes], (scale, zero_point))
    builder.operator(graph, "FULLY_CONNECTED", [flat, kernel, -1], [logits], schema.FullyConnectedOptionsT(), version=4)
    if end:
        last = builder.tensor(graph, "last", int8, [batch, classes], (scale, zero_point))
        builder.operator(graph, end, [logits], [last])
        logits = last
    graph.inputs, graph.outputs = np.array([pixels], np.int32), np.array([logits], np.int32)
    builder.signature(0, {"x": pixels}, {"y": logits})
    return builder.finish()


@pytest.fixture
def bcnet(monkeypatch, capsys):
    """A function that runs a command line in this process; gives its exit status, standard output and error."""
    loggers = [logging.getLogger(name) for name in (None, "tensorflow", "absl", "bcnet_keras")]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["bcnet", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    yield run
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers
