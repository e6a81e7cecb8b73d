"""Training on several devices and in several processes equals training on one."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).parents[1] / "support" / "distributed_step.py"


def _start(kind, output, environment=None):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2", **(environment or {})}
    environment["PYTHONPATH"] = str(SCRIPT.parents[2])
    command = [sys.executable, str(SCRIPT), kind, str(output)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _finish(process):
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-3000:]


def _free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _assert_equal(single, other):
    assert single.keys() == other.keys()
    for name in single:
        # Sums over two replicas are taken in another order. Apart from that one device, whose batch normalisation Keras
        # fuses, averages unbiased variances: those of 144 and more samples here.
        tolerance = 1 / 140 if "moving_variance" in name else 2e-3
        np.testing.assert_allclose(other[name], single[name], rtol=tolerance, atol=2e-4, err_msg=name)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    output = tmp_path_factory.mktemp("single") / "single.npz"
    _finish(_start("single", output))
    return dict(np.load(output))


@pytest.mark.slow
def test_two_devices_train_like_one(single, tmp_path):
    output = tmp_path / "mirrored.npz"
    _finish(_start("mirrored", output))
    _assert_equal(single, dict(np.load(output)))


@pytest.mark.slow
def test_two_processes_train_like_one(single, tmp_path):
    ports = _free_ports(2)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    processes = []
    for index in range(2):
        config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        processes.append(_start("workers", tmp_path / f"{index}.npz", {"TF_CONFIG": json.dumps(config)}))
    for process in processes:
        _finish(process)
    for index in range(2):
        _assert_equal(single, dict(np.load(tmp_path / f"{index}.npz")))


@pytest.mark.slow
def test_training_changes_the_weights(single):
    # Else the comparisons above would hold for a training that does nothing.
    for stage in ("binary", "int8", "boosted", "cooperative"):
        losses = single[f"{stage}/loss"]
        assert np.all(np.isfinite(losses)) and losses[0] != losses[1]
