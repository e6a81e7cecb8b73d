"""Runs a flatbuffer on images."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
from absl import flags

from bcnet_keras.cli.common import positionals, read_array
from bcnet_keras.errors import BcnetError
from bcnet_keras.runtime import choice
from bcnet_keras.utils.atomic_files import replace_when_done


def define(values: flags.FlagValues) -> None:
    """Declares the flags of `bcnet run`."""
    flags.DEFINE_string(
        "input", None, "Images as the data set gives them: .npy, [n, h, w, c] or [n, h, w].", flag_values=values
    )
    flags.DEFINE_string(
        "labels", None, "Class numbers [n]: .npy. With them the accuracy is printed.", flag_values=values
    )
    flags.DEFINE_enum(
        "runtime",
        None,
        list(choice.RUNTIMES),
        "TensorFlow Lite (with Larq Compute Engine), TensorFlow Lite Micro, or NumPy, which gives the answers of the "
        "latter on any machine. By default TensorFlow Lite where Larq Compute Engine is installed, else NumPy.",
        flag_values=values,
    )
    flags.DEFINE_string("output", None, "File to write logits, predicted and escalated to: .npz.", flag_values=values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Runs images through a flatbuffer and prints how many escalated and how many were right."""
    (source,) = positionals(arguments, 1, "a .tflite file")
    if values.input is None:
        raise BcnetError("--input is missing: give the images as a .npy file.")
    images = read_array(values.input, "images")
    labels = None if values.labels is None else read_array(values.labels, "labels")
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]):
        raise BcnetError(
            f"{values.labels}: labels must be whole numbers of shape {images.shape[:1]}, "
            f"got {labels.dtype} {labels.shape}."
        )
    made_by = choice.RUNTIMES[values.runtime] if values.runtime else choice.Interpreter
    interpreter = made_by(source)
    if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < interpreter.classes:
        raise BcnetError(
            f"{values.labels}: labels must go from 0 to {interpreter.classes - 1}, "
            f"found {labels.min()} to {labels.max()}."
        )
    prediction = interpreter.predict(images, verbose=int(sys.stderr.isatty()))
    if values.output is not None:
        outputs = {"logits": prediction.logits, "predicted": prediction.predicted}
        if prediction.escalated is not None:
            outputs["escalated"] = prediction.escalated
        with replace_when_done(pathlib.Path(values.output)) as path, open(path, "wb") as file:
            np.savez(file, **outputs)
    print(f"{len(images)} images", end="")
    if prediction.escalated is not None:
        print(f", {100 * np.mean(prediction.escalated):.1f} % escalated", end="")
    if labels is not None:
        print(f", accuracy {np.mean(prediction.predicted == labels):.4f}", end="")
    print()
