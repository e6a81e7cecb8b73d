"""What a Keras tensor stands for before it is written: a value that can be asked for its 8-bit codes or its signs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bcnet_keras.convert.emit.arithmetic import NONE, RELU, RELU6, words
from bcnet_keras.errors import ModelError
from bcnet_keras.tflite.flatbuffer import schema
from bcnet_keras.utils.types import Array

if TYPE_CHECKING:
    from bcnet_keras.convert.emit.layers import Emitter

Shape = tuple[int, ...]
Quantization = tuple[float, int]  # scale and zero point
Layer: TypeAlias = Any  # a `tf.keras.layers.Layer`, of a package without types
_SAME = 1e-6  # of a scale: two `FakeQuant` in a row can differ by a rounding of float32, which moves no code
INT8, INT32, FLOAT32 = schema.TensorType.INT8, schema.TensorType.INT32, schema.TensorType.FLOAT32


class NotEmitted(ModelError):
    """A layer, or an order of layers, that this package does not write. The message names the layer."""


@dataclasses.dataclass(frozen=True)
class Bits:
    """A tensor of signs: its index, the channels in its words, and its shape."""

    index: int
    channels: int
    form: Shape


@dataclasses.dataclass(eq=False, repr=False)
class Value:
    """A tensor [1, ...] of the Keras net; `layer` made it."""

    emitter: Emitter
    layer: Layer
    shape: Shape

    def __post_init__(self) -> None:
        self._written: dict[Any, Any] = {}  # what was asked for before, so that several readers share one operator

    def codes(self, quantization: Quantization) -> Codes:
        """The value in 8-bit codes of (scale, zero point), as `Codes`."""
        if quantization not in self._written:
            self._written[quantization] = self._codes(quantization)
        return self._written[quantization]

    def bits(self) -> Bits:
        """The signs, as `Bits`."""
        if "bits" not in self._written:
            self._written["bits"] = self._bits()
        return self._written["bits"]

    def known(self) -> Codes | None:
        """The value as `Codes` where a `FakeQuant` has rounded it already; else None."""
        return None

    def rounded(self) -> Codes:
        """The value as `Codes`, as `known` has it; raises `NotEmitted` where nothing has rounded it."""
        known = self.known()
        if known is None:
            raise self.problem("FakeQuant is missing behind it")
        return known

    def _codes(self, quantization):
        raise self.problem("its result cannot be rounded")

    def _bits(self):
        return self.rounded().bits()

    def normalised(self, layer: Layer, multiplier: Array, bias: Array) -> Value:
        """The value times float32 `multiplier` [c] plus `bias` [c], by `layer`."""
        known = self.known()
        if known is None:
            raise NotEmitted(
                f"layer {layer.name!r} ({type(layer).__name__}) cannot become a part of a convolution behind "
                f"{self.layer.name!r} ({type(self.layer).__name__}); put it straight behind a convolution, or put "
                "FakeQuant in front of it"
            )
        return self.emitter.identity(known, layer, self.shape).normalised(layer, multiplier, bias)

    def activated(self, layer: Layer, shape: Shape, highest: float | None) -> Value:
        """The value cut off below 0 and above `highest` (None: not above), by `layer`."""
        exact = {None: RELU, 6.0: RELU6}
        fused = self.fused(exact.get(highest, RELU))
        if fused is not None and highest in exact:
            return fused
        return Rectified(self.emitter, layer, shape, self if fused is None else fused, highest)

    def fused(self, activation: int) -> Value | None:
        """The value with an activation that its operator applies; None where it cannot."""
        return None

    def problem(self, reason: str) -> NotEmitted:
        return NotEmitted(f"layer {self.layer.name!r} ({type(self.layer).__name__}): {reason}")


@dataclasses.dataclass(eq=False, repr=False)
class Image(Value):
    def _codes(self, quantization):
        index = self.emitter.tensor("image", self.shape, quantization)
        self.emitter.graph.inputs = np.array([index], np.int32)
        return Codes(self.emitter, self.layer, self.shape, index, quantization, self.shape)


@dataclasses.dataclass(eq=False, repr=False)
class Codes(Value):
    """8-bit codes: `index` of the tensor, whose own shape `form` may have 1s more or fewer than `shape`."""

    index: int
    quantization: Quantization
    form: Shape

    def _codes(self, quantization):
        (scale, zero_point), (own_scale, own_zero_point) = quantization, self.quantization
        if zero_point == own_zero_point and abs(scale - own_scale) < _SAME * own_scale:
            return self
        options = schema.QuantizeOptionsT()
        index = self.emitter.operator("QUANTIZE", [self.index], self.layer, self.form, quantization, options)
        return Codes(self.emitter, self.layer, self.shape, index, quantization, self.form)

    def known(self) -> Codes | None:
        return self

    def _bits(self):
        *size, channels = self.form if len(self.form) == 4 else as_map(self.shape)
        index = self.emitter.reshaped(self, (*size, channels)).index
        form = (*size, words(channels))
        return Bits(self.emitter.custom("LceQuantize", [index], self.layer, form), channels, form)


@dataclasses.dataclass(eq=False, repr=False)
class Rectified(Value):
    """A value cut off below 0 and above `highest`, where no operator before does it along the way."""

    source: Value
    highest: float | None

    def _codes(self, quantization):
        # Cut off before or after rounding is the same, since 0 has a code.
        scale, zero_point = quantization
        image = self.source.known() or self.source.codes(quantization)
        if image.quantization != quantization or zero_point > -128:
            image = self._write("RELU", image, [], quantization, None)
        top = np.inf if self.highest is None else zero_point + np.round(self.highest / scale)
        if top < 127:
            code = self.emitter.tensor(f"{self.layer.name}/highest", (1,), quantization, INT8, np.array([top], np.int8))
            image = self._write("MINIMUM", image, [code], quantization, schema.MaximumMinimumOptionsT())
        return image

    def _write(self, name, image, constants, quantization, options):
        inputs = [image.index, *constants]
        index = self.emitter.operator(name, inputs, self.layer, image.form, quantization, options, 2)
        return Codes(self.emitter, self.layer, self.shape, index, quantization, image.form)


@dataclasses.dataclass(eq=False, repr=False)
class _Passing(Value):
    """What gives its source's numbers on, in their step: a subclass writes it in `_passed`."""

    source: Value

    def _codes(self, quantization):
        known = self.known()
        return self._passed(self.source.codes(quantization)) if known is None else known.codes(quantization)

    @functools.cached_property
    def _known(self):
        known = self.source.known()
        return None if known is None else self._passed(known)

    def known(self) -> Codes | None:
        return self._known

    def rounded(self) -> Codes:
        return self.known() or self.source.rounded()  # whose message names the layer to round behind


@dataclasses.dataclass(eq=False, repr=False)
class Pooled(_Passing):
    """A maximum or a mean over windows, with the step of what it is taken of."""

    kind: str  # "MAX_POOL_2D" or "AVERAGE_POOL_2D"
    window: Shape
    strides: Shape
    padding: int
    form: Shape  # of the pooled tensor

    def _bits(self):
        if self.kind != "MAX_POOL_2D":
            return super()._bits()
        image = self.source.bits()  # the sign of the largest is the largest of the signs
        options = {
            "filter_height": self.window[0],
            "filter_width": self.window[1],
            "padding": self.padding,
            "stride_height": self.strides[0],
            "stride_width": self.strides[1],
        }
        form = (*self.form[:3], words(image.channels))
        index = self.emitter.custom("LceBMaxPool2d", [image.index], self.layer, form, options=options)
        return Bits(index, image.channels, form)

    def normalised(self, layer: Layer, multiplier: Array, bias: Array) -> Value:
        # What rises keeps the order of numbers, and so the largest.
        if self.known() is not None or self.kind != "MAX_POOL_2D" or (multiplier < 0).any():
            return super().normalised(layer, multiplier, bias)
        return dataclasses.replace(self, source=self.source.normalised(layer, multiplier, bias))

    def fused(self, activation: int) -> Value | None:
        source = self.source.fused(activation) if self.kind == "MAX_POOL_2D" else None
        return None if source is None else dataclasses.replace(self, source=source)

    def _passed(self, image):
        options = schema.Pool2DOptionsT()
        options.padding = self.padding
        options.filterHeight, options.filterWidth = self.window
        options.strideH, options.strideW = self.strides
        image = self.emitter.reshaped(image)
        index = self.emitter.operator(self.kind, [image.index], self.layer, self.form, image.quantization, options, 2)
        return Codes(self.emitter, self.layer, self.shape, index, image.quantization, self.form)


@dataclasses.dataclass(eq=False, repr=False)
class Moved(_Passing):
    """The same numbers between zeros, or a part of them, by the operator `kind`; height and width alone change."""

    kind: str
    options: Callable[[], Any]
    numbers: Callable[[Shape], Any]  # function of the output's shape; gives (name, whole numbers) of each further input

    def _passed(self, image):
        image = self.emitter.reshaped(image)
        inputs = self._inputs(image.index, self.shape)
        index = self.emitter.operator(
            self.kind, inputs, self.layer, self.shape, image.quantization, self.options(), version=2
        )
        return Codes(self.emitter, self.layer, self.shape, index, image.quantization, self.shape)

    def _bits(self):
        image = self.source.bits()  # the bit 0 of padding stands for +1, the sign of 0
        form = (*self.shape[:3], words(image.channels))
        inputs = self._inputs(image.index, form)
        index = self.emitter.operator(self.kind, inputs, self.layer, form, None, self.options(), version=2)
        return Bits(index, image.channels, form)

    def _inputs(self, index, form):
        return [index, *(self.emitter.constant(self.layer, *each) for each in self.numbers(form))]


@dataclasses.dataclass(eq=False, repr=False)
class Reshaped(_Passing):
    """The same numbers in another shape."""

    def _passed(self, image):  # a RESHAPE follows where a reader needs it
        image = image if _squeezed(image.form) == _squeezed(self.shape) else self.emitter.reshaped(image, self.shape)
        return dataclasses.replace(image, shape=self.shape)

    def _bits(self):
        before, after = self.source.shape[-1], self.shape[-1]
        if before != after and (before % 32 or after % 32):
            return super()._bits()  # the words end elsewhere
        image, form = self.source.bits(), as_map((*self.shape[:-1], words(after)))
        return Bits(self.emitter.reshaped_words(image, self.layer, form), after, form)


@dataclasses.dataclass(eq=False, repr=False)
class Function(Value):
    """An operator of one value in 8-bit codes."""

    source: Value
    kind: str
    options: Any = None
    constants: tuple[int, ...] = ()
    version: int = 2

    def _codes(self, quantization):
        image = self.emitter.reshaped(self.source.rounded())
        inputs = [image.index, *self.constants]
        index = self.emitter.operator(
            self.kind, inputs, self.layer, self.shape, quantization, self.options, self.version
        )
        return Codes(self.emitter, self.layer, self.shape, index, quantization, self.shape)


@dataclasses.dataclass(eq=False, repr=False)
class Merged(Value):
    """An operator of several values in 8-bit codes."""

    sources: tuple[Value, ...]
    kind: str
    options: Callable[[], Any]
    version: int = 2
    activation: int = NONE

    def fused(self, activation: int) -> Value | None:
        if self.activation != NONE or self.kind not in ("ADD", "SUB", "MUL"):
            return None
        return dataclasses.replace(self, activation=activation)

    def _codes(self, quantization):
        images = [self.emitter.reshaped(source.rounded()) for source in self.sources]
        if self._keeps_numbers():
            images = [image.codes(quantization) for image in images]
        index = self._write([image.index for image in images], self.shape, quantization)
        return Codes(self.emitter, self.layer, self.shape, index, quantization, self.shape)

    def _bits(self):
        if self.kind != "CONCATENATION" or any(source.shape[-1] % 32 for source in self.sources[:-1]):
            return super()._bits()
        parts = [source.bits() for source in self.sources]
        form = (*parts[0].form[:3], sum(part.form[3] for part in parts))
        return Bits(self._write([part.index for part in parts], form, None), self.shape[-1], form)

    def _write(self, inputs, form, quantization):
        options = self.options()
        if hasattr(options, "fusedActivationFunction"):
            options.fusedActivationFunction = self.activation
        if self.kind == "CONCATENATION":
            options.axis = len(form) - 1
        return self.emitter.operator(self.kind, inputs, self.layer, form, quantization, options, self.version)

    def _keeps_numbers(self):
        return self.kind in ("CONCATENATION", "MAXIMUM", "MINIMUM")

    @functools.cached_property
    def _known(self):
        codes = [source.known() for source in self.sources]
        steps = {each and each.quantization for each in codes}
        return self.codes(codes[0].quantization) if self._keeps_numbers() and len(steps) == 1 and all(codes) else None

    def known(self) -> Codes | None:
        return self._known

    def rounded(self) -> Codes:
        for source in self.sources:
            source.rounded()  # where one is not, the message names it
        return super().rounded()


def as_map(shape: Shape) -> Shape:
    """A shape of up to four dimensions with 1s in front of what is behind the batch, so that it has four."""
    return (shape[0], *(1,) * (4 - len(shape)), *shape[1:])


def _squeezed(shape):
    return tuple(size for size in shape if size != 1)
