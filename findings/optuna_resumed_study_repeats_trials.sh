#!/usr/bin/env bash
# Guess: a study that is loaded from its database goes on where it stopped, also when its sampler has a seed.
# What happens: the sampler's random state is not in the database. A resumed study with the same seed suggests
# the first trials again, number for number: half of the budget goes to trials that are there already.
# Version: Optuna 4.5.0, with TPESampler, RandomSampler and NSGAIISampler.
# Misled: whoever runs a search for a network in several sessions or workers with a seed, for the sake of
# reproducibility.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv --without-pip "$dir/venv"
python3 -m pip --python "$dir/venv/bin/python" install -q --disable-pip-version-check \
  optuna==4.5.0 numpy==2.2.6

cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
repeated = 0
for sampler in optuna.samplers.TPESampler, optuna.samplers.RandomSampler, optuna.samplers.NSGAIISampler:
    for _ in range(2):
        study = optuna.create_study(
            storage=f"sqlite:///{sampler.__name__}.db", study_name="search", load_if_exists=True,
            sampler=sampler(seed=0))
        study.optimize(lambda trial: trial.suggest_int("channels", 8, 256) + trial.suggest_float("rate", 0, 1), 4)
    params = [trial.params for trial in study.trials]
    repeated += params[:4] == params[4:]
    print(sampler.__name__, [p["channels"] for p in params[:4]], "then", [p["channels"] for p in params[4:]])
if repeated != 3:
    sys.exit("changed")
EOF
