"""CIFAR-10: MLPerf Tiny's ResNet-8, and a binary net behind a stem that both share."""

from bcnet_keras.experiment.settings import Settings
from experiments.benchmarks import TARGET

SETTINGS = Settings(dataset="cifar10", **TARGET, weight_decay=0.05, mixed_precision=True, shared_stem=True)
SEEDS = 2
NOTE = ""
