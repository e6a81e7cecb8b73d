"""The benchmarks, one module each: `SETTINGS` of a run, `SEEDS`, and a `NOTE` that stands under every table; with
`ABLATIONS = False` BC-Net's parts are not left out one by one.

Nets and epochs are those of `models.networks.NETWORKS` and `experiment.settings.RECIPES` for the data set.
`VARIANTS` are changes of them that were tried.
"""

import dataclasses
import importlib
import pkgutil

# The paper's best case asked of all: 81.49 % faster than the int8 net, read as 1.8149 times as fast; here a ratio of
# estimated cycles.
BUDGET = 1 / 1.8149
TARGET = {"max_cost": BUDGET, "confidence_level": 0.95}

# Of 32x32 images, behind a shared stem, it takes 0.30 of ResNet-8's instructions, as counted when it was tried.
_POOLED = "64/pool, 128/pool, 256/2"
# Name -> (title, function of the benchmark's settings that gives those that change).
VARIANTS = {
    "narrow": ("binary net half as wide", lambda settings: {"binary_width": 0.5}),
    "wide": ("binary net half as wide again", lambda settings: {"binary_width": 1.5}),
    "pooled": (
        "larger binary net with pooling in place of strides",
        lambda settings: {"binary_blocks": f"{4 if settings.shared_stem else 10} planes, {_POOLED}"},
    ),
    "long": ("twice the epochs, but for the float net", lambda settings: {"epochs": _longer(settings, 2, 2, 2)}),
    "long_binary": ("twice the epochs of the binary net", lambda settings: {"epochs": _longer(settings, 2, 1, 1)}),
    "short_binary": ("half the epochs of the binary net", lambda settings: {"epochs": _longer(settings, 0.5, 1, 1)}),
    "concatenation": (
        "concatenated maps: 32 by each convolution of stride 1",
        lambda settings: {"binary_blocks": _concatenated(settings)},
    ),
    "shared_stem": ("shared stem", lambda settings: {"shared_stem": True}),
    "own_stems": ("a stem for each net", lambda settings: {"shared_stem": False}),
}

# Name -> (height, width and channels of an image, classes).
SHAPES = {
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
    "digits": ((8, 8, 1), 10),
    "fashion_mnist": ((28, 28, 1), 10),
    "fer2013": ((48, 48, 1), 7),
    "mnist_5k": ((10, 10, 1), 10),
    "sign_digits": ((32, 32, 3), 10),
    "speech_commands": ((49, 10, 1), 12),
}

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(name):
    """The module of a benchmark."""
    return importlib.import_module(f"{__name__}.{name}")


def varied(settings, variant):
    """The `Settings` of a benchmark changed to those of one of the `VARIANTS`; the float net stays the same.

    Raises ValueError where the benchmark is that already.
    """
    title, change = VARIANTS[variant]
    changed = dataclasses.replace(settings, **change(settings))
    if changed == settings:
        raise ValueError(f"{variant} ({title}) changes nothing of this benchmark; run it without --variant.")
    return changed


def _longer(settings, *factors):
    if settings.named_recipe is None:
        raise ValueError(f"{settings.dataset} has no epochs of its own to be multiplied: they follow from its images.")
    _, float_epochs, *others = settings.named_recipe
    return (float_epochs, *(int(count * factor) for count, factor in zip(others, factors, strict=True)))


def _concatenated(settings):
    """The blocks of a data set's own net; each convolution of stride 1 but the last adds 32 maps to those it reads."""
    from bcnet_keras.models.networks import CONCAT, NETWORKS, blocks_text

    nets = NETWORKS.get(settings.dataset, NETWORKS["images"]).nets(settings.shared_stem)
    inner = range(0 if nets.planes else 1, len(nets.blocks) - 1)
    blocks = [
        (32, CONCAT) if number in inner and strides == 1 else (filters, strides)
        for number, (filters, strides) in enumerate(nets.blocks)
    ]
    return blocks_text(blocks, nets.planes)
