"""The search for a binary net: what it draws, what it takes, and that it goes on."""

import dataclasses
import json

import numpy as np
import optuna
import pytest

from bcnet_keras.datasets import Dataset, Split
from bcnet_keras.experiment.training_run import input_batches
from bcnet_keras.models.networks import NETWORKS, blocks_text, parse_blocks
from bcnet_keras.planning.search import draw, net_of, objective, params_of, search, study

NETS = dataclasses.replace(
    NETWORKS["digits"].nets(), filters=4, blocks=((32, 2), (32, 2)), planes=6
)  # small, so that it trains in seconds


@pytest.mark.parametrize(
    ("blocks", "planes", "shared_stem"),
    [
        (((32, "pool"), (32, 1), (64, 2)), 8, False),
        (((32, 2), (64, "pool")), None, False),
        (((32, 2), (64, "pool")), 2, True),
        (((32, "concat"), (32, "concat"), (64, 1)), 2, True),
        (((32, 1), (32, "concat"), (64, 1)), None, False),
    ],
)
def test_a_search_knows_the_nets_that_it_draws(blocks, planes, shared_stem):
    drawn = dict(blocks=blocks, planes=planes, shared_stem=shared_stem)
    assert net_of(params_of(dataclasses.replace(NETS, **drawn))) == drawn
    assert parse_blocks(blocks_text(blocks, planes)) == (blocks, planes)


def finished(path, *trials):
    """A study with trials (changes of `NETS`, accuracy), as a search leaves it."""
    found = study(path, "binary nets", 3)
    for changes, accuracy in trials:
        params = params_of(dataclasses.replace(NETS, **changes))
        distributions = {
            name: optuna.distributions.IntDistribution(2, 6)
            if name == "depth"
            else optuna.distributions.CategoricalDistribution([value])
            for name, value in params.items()
        }
        trial = optuna.trial.create_trial(params=params, distributions=distributions, value=accuracy)
        found.add_trial(trial)


def search_of(path, minutes, count=100, float_net=None, **arguments):
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2
    images = (random.integers(0, 100, (count, 8, 8, 1)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    split = Split(images, labels)
    data = Dataset("synthetic", split, split, split, ("dark", "light"), (0, 255), "")
    float_net = float_net or NETS.build((8, 8, 1), 2)[0]
    batches = input_batches(data, 32, 0)
    asked = dict(epochs=1, max_cost=5.0, core="cortex-m4")
    return search(NETS, path, minutes, float_net, data, batches, **asked, **arguments)


@pytest.mark.parametrize(("accuracy", "takes"), [(0.83, False), (0.9, True)])
def test_another_net_must_be_better_by_more_than_luck(tmp_path, accuracy, takes):
    # The standard error of 80 % on 100 images is 4 points.
    other = dict(blocks=((64, 2), (64, 2)), planes=2, shared_stem=True)
    finished(tmp_path / "log", ({}, 0.8), (other, accuracy), (dict(planes=8), -0.1))
    nets, record = search_of(tmp_path / "log", minutes=0)
    assert nets == (dataclasses.replace(NETS, **other) if takes else NETS)
    assert [trial["state"] for trial in record["trials"]] == ["complete", "complete", "over budget"]
    assert [trial["own"] for trial in record["trials"]] == [True, False, False]
    assert record["trials"][2]["validation_accuracy"] is None
    assert json.loads(json.dumps(record))["trials"][1]["blocks"] == [[64, 2], [64, 2]]


def test_a_search_without_time_keeps_the_nets(tmp_path):
    nets, record = search_of(tmp_path / "log", minutes=0)
    assert nets == NETS and record["trials"] == []


def test_a_study_that_goes_on_draws_other_nets(tmp_path):
    def drawn(count):
        found, nets = study(tmp_path / "log", "binary nets", 3), []
        for _ in range(count):
            trial = found.ask()
            nets.append(draw(trial, 1))
            found.tell(trial, 0.5)
        return nets

    first = drawn(3)
    assert not any(nets in first for nets in drawn(3))


@pytest.mark.slow
def test_a_search_goes_on_until_its_time_is_spent(tmp_path):
    log, float_net = tmp_path / "log", NETS.build((8, 8, 1), 2)[0]
    one = search_of(log, 1e-4, float_net=float_net)[1]["trials"]
    assert [trial["own"] for trial in one] == [True] and one[0]["blocks"] == NETS.blocks
    assert one[0]["state"] == "complete" and 0 < one[0]["cost"] < 5
    assert search_of(log, 1e-4, float_net=float_net)[1]["trials"] == one
    spent = sum(trial.duration.total_seconds() for trial in study(log, "binary nets", 1).trials)
    more = search_of(log, spent / 60 + 1e-3, float_net=float_net)[1]["trials"]
    assert more[0] == one[0] and len(more) >= 2


def test_nets_that_do_not_fit_are_not_trained(tmp_path):
    def accuracy_of(nets, **arguments):
        data = Dataset(
            "none", *[Split(np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1, int))] * 3, ("a", "b"), (0, 255), ""
        )

        class Nothing:
            def predict(self, *_, **__):
                return np.zeros((1, 2))

        asked = {"max_cost": 0.5, "core": "cortex-m4", **arguments}
        tried = objective(nets, Nothing(), data, {"validation": None}, 1, **asked)
        return tried(optuna.trial.FixedTrial(params_of(nets)))

    large = dataclasses.replace(NETS, blocks=((384, 1), (384, 1)))
    assert -100 < accuracy_of(large) < -1  # the further from the budget, the lower
    assert accuracy_of(large, max_cost=200.0, board="bluepill-f103c8", core="cortex-m3") == -1
    assert accuracy_of(dataclasses.replace(NETS, blocks=((32, 2),) * 4)) == -1  # 16 pixels are needed
