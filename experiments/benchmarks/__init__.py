"""The benchmarks, one module each: `SETTINGS` of a run, `SEEDS`, and a `NOTE` that stands under every table.

Nets and epochs are those of `bcnet_keras.networks.NETWORKS` and `bcnet_keras.experiment.RECIPES` for the data set.
`VARIANTS` are changes of them that were tried.
"""

import dataclasses
import importlib
import pkgutil

# The paper's best case asked of all: 81.49 % faster than the int8 net, read as 1.8149 times as fast.
BUDGET = 1 / 1.8149
TARGET = {"max_cost": BUDGET, "confidence_level": 0.95}

VARIANTS = {
    "narrow": "binary net half as wide",
    "wide": "binary net half as wide again",
    "long": "twice the epochs, but for the float net",
    "shared_stem": "shared stem",
}

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(name):
    """The module of a benchmark."""
    return importlib.import_module(f"{__name__}.{name}")


def varied(settings, variant):
    """The `Settings` of a benchmark changed to those of one of the `VARIANTS`; the float net stays the same."""
    if variant == "long":
        _, float_epochs, *others = settings.recipe
        return dataclasses.replace(settings, epochs=(float_epochs, *(2 * count for count in others)))
    changes = {"narrow": {"binary_width": 0.5}, "wide": {"binary_width": 1.5}, "shared_stem": {"shared_stem": True}}
    return dataclasses.replace(settings, **changes[variant])
