"""Float CNNs whose int8 twins are today's standard on microcontrollers, and binary nets beside them.

    >>> float_net, binary_net = NETWORKS["digits"](input_shape=(8, 8, 1), classes=10)
    >>> pair = bc.BCNet(binary_net, bc.int8_twin(float_net))

All map images in `INPUT_RANGE` to logits. A pair of such nets is described by a `Nets`, which JSON can hold. `NETWORKS`
has those of named data sets; `bcnet_keras.planning.choice` finds others for a user's own images.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from bcnet_keras.errors import ModelError
from bcnet_keras.layers import (
    INPUT_RANGE,
    BinaryConv2D,
    CalibratedThermometer,
    FakeQuant,
    Int8Conv2D,
    Int8Dense,
    ThermometerEncoding,
    batch_norm,
    global_average,
)

_keras = tf.keras.layers
POOL, CONCAT = "pool", "concat"
Blocks = tuple[tuple[int, int | str], ...]  # (filters, strides) of each convolution, see `binary_cnn`


def _convolution(tensor, filters, kernel_size=3, strides=1, relu=True):
    tensor = _keras.Conv2D(filters, kernel_size, strides, padding="same", use_bias=False)(tensor)
    tensor = batch_norm()(tensor)
    return _keras.ReLU()(tensor) if relu else tensor


def resnet8(
    input_shape: Sequence[int],
    classes: int,
    filters: int = 16,
    stem: tuple[int, int] = (3, 1),
    strides: Sequence[int] = (1, 2, 2),
) -> tf.keras.Model:
    """Float ResNet-8: the image classification net of MLPerf Tiny (Banbury et al., arXiv 2106.07597) at 32x32x3.

    Three stages of one residual block with `filters`, 2 x and 4 x `filters`, behind a convolution.

    Arguments:
      stem: kernel size and strides of that convolution; larger ones suit larger images.
      strides: those of the stages, 1 or 2 each.
    """
    inputs = tf.keras.Input(input_shape)
    tensor = _convolution(inputs, filters, *stem)
    for width, stride in zip((filters, 2 * filters, 4 * filters), strides, strict=True):
        branch = _convolution(tensor, width, strides=stride)
        branch = _convolution(branch, width, relu=False)
        if stride > 1 or tensor.shape[-1] != width:
            tensor = _keras.Conv2D(width, 1, stride, padding="same")(tensor)
        tensor = _keras.ReLU()(_keras.Add()([tensor, branch]))
    tensor = _keras.GlobalAveragePooling2D()(tensor)
    return tf.keras.Model(inputs, _keras.Dense(classes)(tensor), name="resnet8")


def ds_cnn(input_shape: Sequence[int], classes: int, filters: int = 64) -> tf.keras.Model:
    """Float DS-CNN: the keyword spotting net of MLPerf Tiny (Zhang et al., arXiv 1711.07128) at 49x10x1."""
    inputs = tf.keras.Input(input_shape)
    tensor = _convolution(inputs, filters, kernel_size=(10, 4), strides=2)
    tensor = _keras.Dropout(0.2)(tensor)
    for _ in range(4):
        tensor = _keras.DepthwiseConv2D(3, padding="same", use_bias=False)(tensor)
        tensor = _keras.ReLU()(batch_norm()(tensor))
        tensor = _convolution(tensor, filters, kernel_size=1)
    tensor = _keras.Dropout(0.4)(tensor)
    tensor = _keras.GlobalAveragePooling2D()(tensor)
    return tf.keras.Model(inputs, _keras.Dense(classes)(tensor), name="ds_cnn")


def binary_cnn(
    input_shape: Sequence[int],
    classes: int,
    blocks: Sequence[tuple[int, int | str]],
    planes: int | None = None,
    stem: tuple[Any, ...] | None = None,
) -> tf.keras.Model:
    """Binary CNN of 3x3 convolutions with an int8 classifier on the average map.

    Arguments:
      blocks: (filters, strides) of each convolution; filters best in multiples of 32. Strides are 1, 2, "pool" for
        one without strides and 2x2 max-pooling behind it, which on the device is an OR of bits
        (behind the last convolution, whose map is averaged, a maximum of int8), or "concat" for one without strides
        whose channels stand before those that it reads (BinaryDenseNet, Bethge et al., arXiv 1906.08637): on the
        device words of bits are copied. Neither the last convolution nor an int8 one can be of that kind.
      planes: thermometer planes per channel, so that all convolutions are binary; None for an int8 first one.
      stem: (filters, kernel size, strides) of an int8 convolution with ReLU, as float nets begin, for `share_stem`. The
        planes are then of its output.

    Raises ModelError for a "concat" where none can be.
    """
    _check_joins(blocks, planes, stem is not None)
    inputs = tf.keras.Input(input_shape)
    tensor, pooling = FakeQuant(*INPUT_RANGE, fixed=True)(inputs), None
    if stem is not None:
        tensor = batch_norm()(Int8Conv2D(*stem, padding="same", use_bias=False)(tensor))
        tensor = CalibratedThermometer(4 if planes is None else planes)(FakeQuant()(_keras.ReLU()(tensor)))
    elif planes is None:
        (filters, strides), *blocks = blocks
        tensor = Int8Conv2D(filters, 3, stride_of(strides), padding="same", use_bias=False)(tensor)
        tensor, pooling = FakeQuant()(batch_norm()(tensor)), _pooling(strides)
    else:
        tensor = ThermometerEncoding(planes)(tensor)
    for filters, strides in blocks:
        if pooling is not None:
            tensor = pooling(tensor)
        added, pooling = batch_norm()(BinaryConv2D(filters, 3, stride_of(strides))(tensor)), _pooling(strides)
        # What it read comes last, because its channels, those of a thermometer, may not fill their last word.
        tensor = _keras.Concatenate()([added, tensor]) if strides == CONCAT else added
    tensor = global_average(tensor, FakeQuant(), pooling)  # no sign is taken behind the last one: it pools integers
    logits = FakeQuant()(Int8Dense(classes)(tensor))
    return tf.keras.Model(inputs, logits, name="binary_cnn")


def _check_joins(blocks, planes, shared_stem):
    integers = {len(blocks) - 1} if shared_stem or planes is not None else {0, len(blocks) - 1}
    if any(blocks[number][1] == CONCAT for number in integers if blocks):
        raise ModelError(
            f"binary blocks {blocks_text(blocks, planes)!r}: {CONCAT!r} joins bits; the last convolution gives "
            f"integers, and so does the first one where there are no planes. Write 1 in place of {CONCAT!r} there."
        )


def stride_of(strides: int | str) -> int:
    """The stride of a convolution of `binary_cnn` itself: 1 or 2."""
    return 1 if strides in (POOL, CONCAT) else int(strides)


def _pooling(strides):
    return _keras.MaxPooling2D() if strides == POOL else None


def parse_blocks(text: str) -> tuple[Blocks, int | None]:
    """(blocks, planes) of `binary_cnn` from text.

    "64/pool, 128/2, 128/1" is ((64, "pool"), (128, 2), (128, 1)), None; with "10 planes, " in front, the planes are 10.

    Raises ValueError for any other text.
    """
    first, _, rest = text.partition(",")
    planes = re.fullmatch(r"\s*([1-9]\d{0,2}) planes\s*", first)
    block = re.compile(rf"\s*([1-9]\d*)/(1|2|{POOL}|{CONCAT})\s*")
    parts = [block.fullmatch(part) for part in (rest if planes else text).split(",")]
    if not all(parts):
        raise ModelError(
            f"binary blocks are filters/strides, with 1, 2, {POOL} or {CONCAT} for strides, such as "
            f"'10 planes, 64/{POOL}, 128/2'; got {text!r}."
        )
    blocks = tuple((int(part[1]), part[2] if part[2] in (POOL, CONCAT) else int(part[2])) for part in parts if part)
    return blocks, planes and int(planes[1])


@dataclasses.dataclass(frozen=True)
class Nets:
    """A float net and the binary net beside it.

    Attributes:
      family: "resnet8" or "ds_cnn", the float net.
      filters: of its first convolution.
      stem: kernel size (a number, or height and width) and strides of that convolution.
      strides: those of ResNet-8's stages.
      blocks, planes: the binary net's, see `binary_cnn`.
      shared_stem: whether both begin with the float net's first convolution, see `twins.share_stem`.
    """

    family: str
    filters: int
    stem: tuple
    blocks: tuple
    planes: int | None
    shared_stem: bool
    strides: tuple = (1, 2, 2)

    def __post_init__(self) -> None:
        _check_joins(self.blocks, self.planes, self.shared_stem)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Nets:
        """The `Nets` of what `record` gave, also after a way through JSON. Raises ValueError for anything else."""
        try:
            nets = cls(**{name: _tuples(value) for name, value in record.items()})
            known = nets.family in _FAMILIES and all(len(block) == 2 for block in nets.blocks)
        except (AttributeError, TypeError, IndexError):
            known = False
        if not known:
            raise ModelError(f"nets of another version: {record!r}.")
        return nets

    def record(self) -> dict[str, Any]:
        """The description as a dict that JSON can hold."""
        return dataclasses.asdict(self)

    def build(self, input_shape: Sequence[int], classes: int) -> tuple[tf.keras.Model, tf.keras.Model]:
        """(float net, binary net): untrained Keras models of images [h, w, c]."""
        more = {"stem": self.stem, "strides": self.strides} if self.family == "resnet8" else {}
        float_net = _FAMILIES[self.family](input_shape, classes, self.filters, **more)
        stem = (self.filters, *self.stem) if self.shared_stem else None
        return float_net, binary_cnn(input_shape, classes, self.blocks, self.planes, stem)

    def maps(self, input_shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Height and width of the last map of the float and of the binary net, before its mean: [(h, w), (h, w)]."""
        float_strides = [self.stem[1], *(self.strides if self.family == "resnet8" else ())]
        binary = [self.stem[1]] if self.shared_stem else []
        binary += [strides for _, strides in self.blocks]
        return [tuple(_strided(side, each) for side in input_shape[:2]) for each in (float_strides, binary)]

    def texts(self) -> tuple[str, str]:
        """(float net, binary net) in a few words each."""
        kernel, strides = self.stem
        kernel = "x".join(map(str, kernel if isinstance(kernel, tuple) else (kernel, kernel)))
        first = f"{kernel} convolution" + (f" of stride {strides}" if strides > 1 else "")
        stages = f", stages of strides {', '.join(map(str, self.strides))}" if self.family == "resnet8" else ""
        begin = f"the float net's {first}, " if self.shared_stem else ""
        return f"{self.family}, {self.filters} filters, {first}{stages}", begin + blocks_text(self.blocks, self.planes)


_FAMILIES = {"resnet8": resnet8, "ds_cnn": ds_cnn}


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _strided(side, strides):
    """The side of a map behind padded convolutions of these strides, or pooling."""
    for each in strides:
        side = side // 2 if each == POOL else math.ceil(side / stride_of(each))
    return side


def blocks_text(blocks: Blocks, planes: int | None = None) -> str:
    """The text of which `parse_blocks` makes these blocks and planes."""
    first = [] if planes is None else [f"{planes} planes"]
    return ", ".join(first + [f"{filters}/{strides}" for filters, strides in blocks])


def widened(blocks: Sequence[tuple[int, int | str]], width: float) -> Blocks:
    """Blocks with `width` times as many filters, in whole words of 32."""
    return tuple((32 * max(1, round(filters * width / 32)), strides) for filters, strides in blocks)


@dataclasses.dataclass(frozen=True)
class _Named:
    """The nets of a data set: `separate` with a stem for each net, `shared` with one stem for both."""

    separate: Nets
    shared: Nets

    def nets(self, shared_stem=False, binary_width=1.0, binary_blocks=None):
        """The `Nets`: `binary_width` multiplies the filters of the binary net's convolutions, `binary_blocks` puts
        others in their place, with the first layer that goes with them, see `parse_blocks`."""
        nets = self.shared if shared_stem else self.separate
        blocks, planes = (nets.blocks, nets.planes) if binary_blocks is None else parse_blocks(binary_blocks)
        return dataclasses.replace(nets, blocks=widened(blocks, binary_width), planes=planes)

    def __call__(self, input_shape: Sequence[int], classes: int, *arguments, **options):
        """(float net, binary net) of `nets(*arguments, **options)`."""
        return self.nets(*arguments, **options).build(input_shape, classes)


def _pair(float_net, blocks, planes=None, shared_blocks=None, shared_planes=4):
    separate = Nets(**float_net, blocks=blocks, planes=planes, shared_stem=False)
    shared = dataclasses.replace(separate, blocks=shared_blocks or blocks, planes=shared_planes, shared_stem=True)
    return _Named(separate, shared)


_RESNET8 = {"family": "resnet8", "filters": 16, "stem": (3, 1)}
_DS_CNN = {"family": "ds_cnn", "filters": 64, "stem": ((10, 4), 2)}
_BEHIND_DS_CNN = ((64, 1), (128, 2), (128, 1))
FIVE_CONVOLUTIONS = ((64, 2), (64, 1), (128, 2), (128, 1), (256, 2))
# Name of a data set -> its nets: a function (input_shape, classes, shared_stem=False, binary_width=1.0,
# binary_blocks=None) that gives (float net, binary net), and whose `nets` describes them.
NETWORKS = {
    "digits": _pair(_RESNET8, ((32, 1), (64, 2), (96, 2), (96, 2)), planes=10, shared_planes=2),
    "fashion_mnist": _pair(_RESNET8, ((64, 2), (128, 2), (256, 2)), shared_blocks=FIVE_CONVOLUTIONS),
    "speech_commands": _pair(_DS_CNN, ((64, 2), *_BEHIND_DS_CNN), shared_blocks=_BEHIND_DS_CNN, shared_planes=1),
    "mnist_5k": _pair(_RESNET8, ((64, 2), (64, 1), (128, 2)), planes=10),
    "images": _pair(_RESNET8, FIVE_CONVOLUTIONS, planes=10),
}
