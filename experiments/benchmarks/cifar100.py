"""CIFAR-100: the nets of CIFAR-10 with a hundred classes."""

from bcnet_keras.experiment import Settings
from experiments.benchmarks import BUDGET

SETTINGS = Settings(dataset="cifar100", max_cost=BUDGET, weight_decay=0.05, mixed_precision=True)
SEEDS = 2
NOTE = ""
