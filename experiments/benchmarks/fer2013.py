"""FER2013, faces of 48x48 grey pixels: ResNet-8, and a wholly binary net on thermometer-coded pixels."""

from bcnet_keras.experiment.settings import Settings
from experiments.benchmarks import TARGET

SETTINGS = Settings(dataset="fer2013", **TARGET, mixed_precision=True)
SEEDS = 2
NOTE = ""
