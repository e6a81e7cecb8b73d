"""CIFAR-100: the nets of CIFAR-10 with a hundred classes."""

from bcnet_keras.experiment.settings import Settings
from experiments.benchmarks import TARGET

SETTINGS = Settings(dataset="cifar100", **TARGET, weight_decay=0.05, mixed_precision=True)
SEEDS = 2
NOTE = ""
