"""Digits (UCI, 8x8 pixels, ships with scikit-learn): the small one, from data to report in minutes."""

from bcnet_keras.experiment import Settings
from experiments.benchmarks import BUDGET

SETTINGS = Settings(dataset="digits", max_cost=BUDGET)
SEEDS = 5
NOTE = ""
