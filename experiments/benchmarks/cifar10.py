"""CIFAR-10: MLPerf Tiny's ResNet-8, and a wholly binary net on thermometer-coded pixels."""

from bcnet_keras.experiment import Settings
from experiments.benchmarks import TARGET

SETTINGS = Settings(dataset="cifar10", **TARGET, weight_decay=0.05, mixed_precision=True)
SEEDS = 2
NOTE = ""
