"""Silence for converters and runtimes that talk on standard output and error from C++."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator

from bcnet_keras.moved import renamed

_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def captured_output() -> Iterator[Callable[[], str]]:
    """Sends standard output, standard error, warnings and TensorFlow's log to a file for the time of the block.

    Yields a function that returns what came so far as a string. It acts on the whole process, so a second thread waits
    for the end of the block.
    """
    with _one_at_a_time:
        yield from _silenced()


def _silenced():
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    levels = [logger.level for logger in loggers]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")

        def captured():
            file.seek(0)
            return file.read().decode("utf-8", "replace")

        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield captured
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


__getattr__ = renamed(__name__, quiet=("captured_output", captured_output))
