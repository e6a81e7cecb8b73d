"""FER2013, faces of 48x48 grey pixels: ResNet-8, and a wholly binary net on thermometer-coded pixels."""

from bcnet_keras.experiment.settings import Settings
from experiments.benchmarks import TARGET

SETTINGS = Settings(dataset="fer2013", **TARGET, mixed_precision=True)
SEEDS = 2
NOTE = (
    "The data set's own splits Training, PublicTest and PrivateTest. As published, 280 validation and 314 test images "
    "are exact copies of images in other splits, which flatters all nets alike."
)
