"""Fashion-MNIST: ResNet-8, and a binary net behind an int8 first layer."""

from bcnet_keras.experiment import Settings
from experiments.benchmarks import TARGET

SETTINGS = Settings(dataset="fashion_mnist", **TARGET, mixed_precision=True)
SEEDS = 3
NOTE = ""
