"""Digits (UCI, 8x8 pixels, ships with scikit-learn): the small one, from data to report in minutes."""

from bcnet_keras.experiment.settings import Settings
from experiments.benchmarks import TARGET

SETTINGS = Settings(dataset="digits", **TARGET)
SEEDS = 5
NOTE = ""
