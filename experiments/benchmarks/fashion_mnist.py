"""Fashion-MNIST: ResNet-8, and a binary net behind a stem that both share."""

from bcnet_keras.experiment.settings import Settings
from experiments.benchmarks import TARGET

SETTINGS = Settings(dataset="fashion_mnist", **TARGET, mixed_precision=True, shared_stem=True)
SEEDS = 3
NOTE = ""
