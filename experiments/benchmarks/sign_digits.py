"""Sign Language Digits: 1,487 photos of hands at 32x32 for training, by the recipe that follows from their number."""

from bcnet_keras.experiment.settings import Settings
from experiments.benchmarks import TARGET

# Half of the int8 net's cycles, and as for Speech Commands not for each seed with 95 %: on 165 validation photos
# that would cost many points of escalation.
TARGET = TARGET | {"max_cost": 0.5, "confidence_level": 0.8}
SETTINGS = Settings(dataset="sign_digits", **TARGET)
SEEDS = 3
NOTE = (
    "Stratified random splits: who is on a photo is not recorded, so the same hands may be in training and test, and "
    "the figures are not those of unknown people."
)
