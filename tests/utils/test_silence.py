"""Silence for a block, and what becomes of the process's standard output and error."""

import os
import threading

import numpy as np
import pytest

from bcnet_keras.runtime import tflite, tflm
from bcnet_keras.utils.silence import captured_output


def _streams():
    """Device and inode of what standard output and error point at."""
    return [(state.st_dev, state.st_ino, state.st_nlink) for state in (os.fstat(number) for number in (1, 2))]


def _in_threads(work, count=4):
    """Runs `work(number)` in so many threads at once; raises what one of them raised."""
    failures, start = [], threading.Barrier(count)

    def guarded(number):
        start.wait()
        try:
            work(number)
        except BaseException as error:  # a thread's own would only be printed
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_a_block_is_silent_and_its_words_can_be_had(capfd):
    with captured_output() as captured:
        os.write(1, b"to output\n")
        os.write(2, b"to error\n")
        words = captured()
    os.write(1, b"after\n")
    assert words == "to output\nto error\n"
    assert capfd.readouterr() == ("after\n", "")


def test_blocks_in_many_threads_leave_the_streams(capfd):
    before = _streams()

    def work(number):
        for turn in range(50):
            with captured_output() as captured, captured_output() as inner:
                os.write(2, f"{number} {turn}".encode())
                assert inner() == f"{number} {turn}" and captured() == ""

    _in_threads(work)
    assert _streams() == before
    os.write(1, b"out\n")
    os.write(2, b"error\n")
    assert capfd.readouterr() == ("out\n", "error\n")


@pytest.mark.parametrize(
    "runtime", [pytest.param(tflite, marks=pytest.mark.needs_lce), pytest.param(tflm, marks=pytest.mark.needs_tflm)]
)
def test_an_interpreter_in_each_of_four_threads(make_part, capfd, runtime):
    before, data = _streams(), make_part(1, shape=(3, 3, 2))
    images = np.random.default_rng(0).random((600, 3, 3, 2)).astype(np.float32)
    expected, answers = runtime.Interpreter(data).predict(images).logits, {}

    def work(number):
        interpreter = runtime.Interpreter(data)
        answers[number] = interpreter.predict(images).logits
        os.write(1, f"thread {number}\n".encode())

    _in_threads(work)
    assert _streams() == before
    assert all(np.array_equal(answer, expected) for answer in answers.values()) and len(answers) == 4
    os.write(2, b"error\n")
    assert capfd.readouterr().err == "error\n"


@pytest.mark.parametrize(
    "runtime", [pytest.param(tflite, marks=pytest.mark.needs_lce), pytest.param(tflm, marks=pytest.mark.needs_tflm)]
)
def test_running_swaps_no_stream(make_part, monkeypatch, runtime):
    interpreter, seen = runtime.Interpreter(make_part(1, shape=(3, 3, 2))), []
    before = _streams()
    duplicate = os.dup2

    def watched(*arguments, **keywords):
        seen.append(arguments)
        return duplicate(*arguments, **keywords)

    monkeypatch.setattr(os, "dup2", watched)
    interpreter.predict(np.zeros((300, 3, 3, 2), np.float32))
    assert seen == [] and _streams() == before
