"""Fixtures for all tests."""

import contextlib
import logging

import hypothesis
import pytest
from flatbuffers_of import make_int8_net

import bcnet_keras  # noqa: F401 (first: it switches TensorFlow to the legacy Keras)
from bcnet_keras import cli
from bcnet_keras.errors import MissingPackageError
from bcnet_keras.runtime import plugin
from bcnet_keras.tflite import lce

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(wrapper=True)  # around the making of fixtures
def pytest_runtest_setup(item):
    if item.get_closest_marker("needs_tflm"):
        try:
            plugin.tflm_tree()
        except FileNotFoundError as error:
            pytest.skip(str(error))
    if item.get_closest_marker("needs_lce") and lce.why_missing() is not None:
        pytest.skip(lce.why_missing())
    with skipped_without_lce():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with skipped_without_lce():
        return (yield)


@contextlib.contextmanager
def skipped_without_lce():
    """Skips a test that Larq Compute Engine alone can run, where this installation cannot have it."""
    try:
        yield
    except MissingPackageError as error:
        if lce.why_missing() is None or lce.why_missing() not in str(error):
            raise
        pytest.skip(lce.why_missing())


@pytest.fixture(scope="session")
def make_part():
    """A function that makes a small int8 net in a second's fraction: a flatbuffer of RESHAPE and FULLY_CONNECTED."""
    return make_int8_net


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
        output = capsys.readouterr()
        return ended.value.code or 0, output.out, output.err

    yield run
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers
