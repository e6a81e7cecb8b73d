"""Speech Commands, twelve classes: MLPerf Tiny's DS-CNN on MFCCs, and a binary net behind an int8 first layer."""

from bcnet_keras.experiment import Settings
from experiments.benchmarks import TARGET

SETTINGS = Settings(dataset="speech_commands", **TARGET)
SEEDS = 3
NOTE = (
    "Trained, validated and tested on the data set's twelve-class test files alone (v0.02), split by speaker: not to "
    "be set beside published Speech Commands figures."
)
