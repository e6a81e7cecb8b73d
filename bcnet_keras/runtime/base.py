"""What every interpreter has in common: images in as the data set gives them, real logits and decisions out."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bcnet_keras.errors import ArgumentTypeError, DataError
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.metadata import metadata
from bcnet_keras.utils.value_range import check_range

if TYPE_CHECKING:
    from bcnet_keras.tflite.flatbuffer import schema

_CHUNK = 256  # images between two steps of the progress bar


@dataclass(frozen=True)
class Prediction:
    """Answers to n images.

    Attributes:
      logits: float32 [n, classes].
      predicted: int64 [n], the class with the largest logit.
      escalated: bool [n], true where the int8 net was asked; None for a net alone.
    """

    logits: np.ndarray
    predicted: np.ndarray
    escalated: np.ndarray | None


class BaseInterpreter(abc.ABC):
    """Reads the interface of a flatbuffer and leaves it to `_run` to compute.

    Attributes:
      input_shape: (h, w, c).
      classes: number of classes.
      class_names: list of str, or None when the file has none.
    """

    NAME: str  # for people

    def __init__(self, model: schema.ModelT) -> None:
        """`model` is a `schema.ModelT`; raises ValueError when it is no classifier of images in int8."""
        graph = model.subgraphs[0]
        inputs = [graph.tensors[index] for index in graph.inputs]
        outputs = [graph.tensors[index] for index in graph.outputs]
        types = [flatbuffer.type_name(tensor) for tensor in outputs]
        if len(inputs) != 1 or types not in (["int8"], ["int8", "bool"]):
            found = [
                f"{what}s {', '.join(f'{name} ({kind})' for name, kind in zip(names, kinds, strict=True)) or 'none'}"
                for what, names, kinds in zip(
                    ("input", "output"),
                    flatbuffer.interface_names(model),
                    (map(flatbuffer.type_name, inputs), types),
                    strict=True,
                )
            ]
            raise DataError(
                "expected a flatbuffer with one image input and the outputs logits (int8) or logits and escalated "
                f"(bool), found the {' and the '.join(found)}"
            )
        shape, self._quantization = flatbuffer.shape(inputs[0]), flatbuffer.quantization(inputs[0])
        if flatbuffer.type_name(inputs[0]) != "int8" or self._quantization is None or len(shape) < 2 or shape[0] != 1:
            raise DataError(
                "the flatbuffer's input must be int8 [1, h, w, c] with a scale, found "
                f"{flatbuffer.type_name(inputs[0])} {list(shape)}"
            )
        quantization, logits_shape = flatbuffer.quantization(outputs[0]), flatbuffer.shape(outputs[0])
        if quantization is None or len(logits_shape) != 2 or logits_shape[0] != 1:
            raise DataError(
                f"the flatbuffer's logits must be int8 [1, classes] with a scale, found {list(logits_shape)}"
            )
        self._logits_quantization = quantization
        self.input_shape, self.classes = shape[1:], logits_shape[1]
        self._gated = len(outputs) == 2
        record = metadata(model) or {}
        self.class_names = record.get("class_names")
        # Without a record the images are taken to be in the unit of the input itself.
        self._raw_range = record.get("raw_range", (0.0, 1.0))
        self._input_range = record.get("input_range", (0.0, 1.0))

    def predict(self, images: Any, verbose: int = 0) -> Prediction:
        """Answers to images.

        Arguments:
          images: [n, h, w, c] (or [n, h, w] when c is 1). uint8, floats and wider integers are values in the range
            that the data set has, kept in the flatbuffer, and saturate outside of it; int8 are the input's codes.
          verbose: 1 shows a progress bar.

        Returns:
          `Prediction`.

        Raises:
          TypeError: `images` is no array of numbers.
          ValueError: wrong shape, no image, NaN or infinite values, or values most of which the input cannot hold.
        """
        from tqdm import tqdm

        codes = self._codes(images)
        logits = np.empty((len(codes), self.classes), np.int8)
        escalated = np.empty(len(codes), bool)
        with tqdm(total=len(codes), disable=not verbose, unit="image") as progress:
            for start in range(0, len(codes), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                outputs = self._run(codes[chunk])
                logits[chunk] = outputs[0]
                if self._gated:
                    escalated[chunk] = outputs[1]
                progress.update(len(codes[chunk]))
        scale, zero_point = self._logits_quantization
        real = np.float32(scale) * (logits.astype(np.float32) - zero_point)
        return Prediction(real, real.argmax(axis=1), escalated if self._gated else None)

    @abc.abstractmethod
    def _run(self, codes):
        """Runs int8 [n, h, w, c]; returns [logits int8 [n, classes]] or [logits, escalated bool [n]]."""

    def _codes(self, images):
        images = self._checked(images)
        if images.dtype == np.int8:
            return images
        self._check_range(images)
        if images.dtype == np.uint8:
            return self._quantize(np.arange(256))[images]
        return np.concatenate([self._quantize(part) for part in np.array_split(images, -(-len(images) // _CHUNK))])

    def _checked(self, images):
        images = np.asarray(images)
        if images.dtype.kind not in "iuf":
            raise ArgumentTypeError(f"images must be numbers (uint8, float or int8 codes), got {images.dtype}")
        shape = self.input_shape
        if len(shape) == 3 and shape[-1] == 1 and images.shape[1:] == shape[:-1]:
            images = images[..., np.newaxis]
        if len(shape) == 3 and shape[1] == 1 and images.shape[1:] == (shape[0], shape[2]):  # series [t, c]
            images = images[:, :, np.newaxis]
        if images.shape[1:] != shape or not images.ndim:
            raise DataError(f"images must have the shape {['n', *shape]}, got {list(images.shape)}")
        if not len(images):
            raise DataError("there is no image: the array of images is empty")
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            bad = int(np.flatnonzero(~np.isfinite(images.reshape(len(images), -1)).all(axis=1))[0])
            raise DataError(f"images must be finite, but image {bad} has NaN or infinite values")
        return images

    def _check_range(self, images):
        """Refuses, or warns of, images whose values are in another range than the input's."""
        (raw_low, raw_high), (low, high) = self._raw_range, self._input_range
        scale, zero_point = self._quantization
        ends = [
            raw_low + (scale * (code - zero_point) - low) * (raw_high - raw_low) / (high - low) for code in (-128, 127)
        ]
        check_range(images, min(ends), max(ends), "scale the images")

    def _quantize(self, values):
        (raw_low, raw_high), (low, high) = self._raw_range, self._input_range
        scale, zero_point = self._quantization
        real = low + (np.asarray(values, np.float64) - raw_low) * ((high - low) / (raw_high - raw_low))
        return np.clip(np.floor(real / scale + 0.5) + zero_point, -128, 127).astype(np.int8)
