"""What a training run depends on: one declaration, from which `bcnet train` has its flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from bcnet_keras.convert.passes.add_gate import MEASURES
from bcnet_keras.datasets import NAMES
from bcnet_keras.device.boards import BOARDS
from bcnet_keras.device.cost import CORES, DEFAULT_CORE
from bcnet_keras.device.profile import core_of
from bcnet_keras.errors import BcnetError
from bcnet_keras.training.recipe import EFFORT_FACTORS, STAGES, Recipe, recipe_for

# Data set with a recipe made by hand -> (batch size, epochs of the float net, of the binary net, and of the boosted and
# the cooperative stage). Nets alone get the same number of epochs as those in the pair: the int8 net the sum of the
# last two, the binary net the cooperative ones on top of its own. All other sets get `training.recipe.recipe_for`.
RECIPES = {
    "digits": (32, 20, 40, 12, 4),
    "mnist_5k": (50, 20, 30, 30, 8),
    "fashion_mnist": (128, 8, 16, 3, 1),
    "cifar10": (128, 60, 60, 8, 2),
    "speech_commands": (64, 80, 160, 30, 10),
}
TARGET = ("max_cost", "min_accuracy", "confidence_level")  # settings that a finished run can take anew


@dataclasses.dataclass(frozen=True)
class Flag:
    """How a setting is given on the command line.

    Attributes:
      help: what it means, for users of the command line and of Python alike.
      kind: type of one value: int, float, str, or bool; a flag of `listed` ones takes several with commas in between.
      least, most: the range of a number; None for no end.
      choices: the values of a text; empty for any.
    """

    help: str
    kind: type = str
    least: float | None = None
    most: float | None = None
    choices: Sequence[str] = ()
    listed: bool = False

    def check(self, name: str, value: Any) -> None:
        """Raises BcnetError where a setting has a value out of its range; None is in any."""
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise BcnetError(f"{name} must be one of {', '.join(self.choices)}; got {value!r}.")
        low, high = self.least, self.most
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            limits = f"{low:g} or more" if high is None else f"from {low:g} to {high:g}"
            raise BcnetError(f"{name} must be {limits}, got {value!r}.")


def _setting(default: Any, help: str, kind: type = str, **limits: Any) -> Any:
    return dataclasses.field(default=default, metadata={"flag": Flag(help, kind, **limits)})


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run depends on: the flags of `bcnet train`, whose texts stand beside the fields, and these:

    dataset, data_dir, seed, resize: as `datasets.load` takes them.
    core: a name from the start on, that of the board or `DEFAULT_CORE` where none is given.
    min_accuracy: in place of `max_cost`, which is None then, see `AccuracyCostCurve.pick`.
    nets: the `networks.Nets`; None for those of the data set or, for images of one's own, for those that
      `bcnet_keras.planning.choice` finds. A run's folder has those that were taken.

    Raises ValueError for a value out of its range, an unknown core or board, and two that do not go together.
    """

    dataset: str = _setting("digits", f"Data set: {', '.join(NAMES)}.")
    data_dir: str | None = _setting(None, "Folder that holds the data sets. By default $BCNET_DATA_DIR, or ~/datasets.")
    seed: int = _setting(0, "Seed of splits, weights and the order of training.", int, least=0)
    resize: tuple[int, int] | None = _setting(
        None, "Scale the images of a folder to this height and width, such as 32x32. By default they have one size."
    )
    effort: str = _setting("default", "How long to train; see --minutes.", choices=tuple(EFFORT_FACTORS))
    minutes: float | None = _setting(
        None, "Train for about this many minutes on this machine; steps are timed first.", float, least=0
    )
    batch_size: int | None = _setting(
        None, "Batch size. By default it follows from the number of images.", int, least=1
    )
    epochs: tuple[int, ...] | None = _setting(
        None,
        "Epochs of the float net, the binary net, the boosted and the cooperative stage: four numbers. By default they "
        "follow from the number of images.",
        int,
        listed=True,
    )
    measure: str = _setting("score_margin", "Confidence measure of the binary net's answer.", choices=MEASURES)
    per_class: bool = _setting(False, "One threshold per class instead of one for all.", bool)
    core: Any = _setting(  # str from `__post_init__` on
        None,
        f"Core whose estimated cycles are the cost. By default that of the board, or {DEFAULT_CORE}.",
        choices=CORES,
    )
    board: str | None = _setting(
        None,
        "Board whose cycles, with the waits of its flash, are the cost, and whose memories the pair must fit: "
        f"{', '.join(BOARDS)}. Nets for images of your own are chosen to fit it.",
    )
    max_cost: float | None = _setting(
        0.5,
        "Budget of the pair, as a fraction of the int8 net's estimated cycles. Thresholds are picked for it on "
        "validation data; the binary net for images of your own takes at most half of it.",
        float,
        least=0,
    )
    min_accuracy: float | None = _setting(
        None, "Pick the cheapest threshold that reaches this accuracy, 0 to 1.", float, least=0, most=1
    )
    confidence_level: float | None = _setting(
        None,
        "Pick thresholds that keep to the budget on fresh samples with this probability, 0 to 1. By default they keep "
        "to it on the validation data.",
        float,
        least=0,
        most=1,
    )
    cost_weight: float = _setting(
        0.1, "Price of running the int8 net on every sample in the cooperative stage, in nats.", float, least=0
    )
    weight_decay: float | None = _setting(
        None,
        "Decay of the float net's kernels, as a fraction of the learning rate (AdamW). By default the recipe's own.",
        float,
        least=0,
    )
    mixed_precision: bool = _setting(
        False, "Train binary layers in bfloat16, which is faster, where the hardware has it.", bool
    )
    shared_stem: bool | None = _setting(
        None,
        "Both nets begin with the float net's first block, which the device runs once. By default chosen for images of "
        "your own, and off for named data sets.",
        bool,
    )
    binary_width: float = _setting(
        1.0, "Multiplies the filters of the binary net's convolutions, in steps of 32.", float, least=0
    )
    binary_blocks: str | None = _setting(
        None,
        "Filters and strides (1, 2, pool or concat) of the binary net's convolutions, instead of the data set's own. "
        "Begin with a number of planes for thermometer-coded pixels: '10 planes, 64/pool, 128/2, 128/1'.",
    )
    search_minutes: float = _setting(
        0.0, "Minutes to try other binary nets on validation data, once the float net is trained.", float, least=0
    )
    deterministic: bool = _setting(
        False,
        "The same command gives the same flatbuffers, bit for bit, with the same versions on the same machine, even if "
        "the run was killed and resumed; it may train more slowly. Not with --minutes or --search_minutes, which go by "
        "the clock. Without this flag, a run on a CPU mostly repeats itself, and one on a GPU does not.",
        bool,
    )
    nets: Any = None  # `Nets` in a run's folder

    def __post_init__(self) -> None:
        for name, (_, flag) in FLAGS.items():
            flag.check(name, getattr(self, name))
        object.__setattr__(self, "core", core_of(self.core, self.board))
        if self.shared_stem is None and not self.own_images:
            object.__setattr__(self, "shared_stem", False)
        if self.search_minutes and (self.binary_blocks is not None or self.binary_width != 1):
            raise BcnetError("a search draws the binary net's convolutions; leave out binary_blocks and binary_width.")
        if self.deterministic and (self.minutes is not None or self.search_minutes):
            raise BcnetError("minutes and search_minutes go by the clock, which is not deterministic; use epochs.")

    @property
    def own_images(self) -> bool:
        """Whether nets are chosen for the images: those of somebody's own folder, and sign digits as one of them."""
        return self.dataset.startswith("folder:") or self.dataset == "sign_digits"

    @property
    def named_recipe(self) -> tuple[int, ...] | None:
        """As in `RECIPES`, with the settings' own epochs and batch size; None where it takes the data to know it."""
        if self.dataset not in RECIPES and not (self.batch_size and self.epochs):
            return None
        batch_size, *epochs = RECIPES.get(self.dataset, [None])
        return (self.batch_size or batch_size, *(self.epochs or epochs))

    def recipe(self, images: int, classes: int) -> Recipe:
        """The `Recipe` for as many training images and classes, without regard to `minutes`."""
        if self.named_recipe is None:
            found = recipe_for(images, classes, self.effort, self.batch_size)
            if self.epochs:
                epochs = dict(zip(STAGES, self.epochs, strict=True))
                found = dataclasses.replace(found, epochs=epochs, patience=None, passes=1)
        else:
            batch_size, *named = self.named_recipe
            found = Recipe(batch_size, dict(zip(STAGES, named, strict=True)))
            if self.epochs is None:
                found = found.scaled(EFFORT_FACTORS[self.effort])
        decay = self.weight_decay
        return found if decay is None else dataclasses.replace(found, weight_decay=decay)

    @property
    def target(self) -> dict[str, float | None]:
        """Arguments of `AccuracyCostCurve.pick`."""
        return {name: getattr(self, name) for name in TARGET}

    @property
    def device(self) -> dict[str, Any]:
        """Arguments that say whose cycles are the cost."""
        return {"core": self.core, "board": self.board}


FLAGS: dict[str, tuple[Any, Flag]] = {
    field.name: (field.default, field.metadata["flag"])
    for field in dataclasses.fields(Settings)
    if "flag" in field.metadata
}
