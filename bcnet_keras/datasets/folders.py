"""Images in folders, one per class: a user's own, and sign digits as an example of such."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bcnet_keras.datasets.arrays import TEST_FRACTION, Dataset, missing, split_off
from bcnet_keras.datasets.public import PIXELS, own_splits
from bcnet_keras.errors import DataError
from bcnet_keras.utils.types import Array

log = logging.getLogger(__name__)

_IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_RESIZED_BY = "mean over the area, bilinear where an image is smaller"
_GREY_MODES = {"1", "L", "LA"}
_COLOUR_MODES = {"RGB", "RGBA", "P", "CMYK", "YCbCr"}


def sign_digits(
    data_dir: Path, seed: int, validation_fraction: float, resize: tuple[int, int] | None = None
) -> Dataset:
    """Sign Language Digits (Mavi, Apache-2.0): 2,062 colour photos of hands, 100x100, here 32x32 by default."""
    folder = data_dir / "sign-digits"
    if not folder.is_dir():
        origin = "https://github.com/ardamavi/Sign-Language-Digits-Dataset"
        raise missing("sign_digits", [f"{folder} with a folder for each of the digits 0 to 9"], origin)
    dataset = image_folder(folder, seed, validation_fraction, resize or (32, 32))
    source = dataset.source.replace(f"images in {folder}", "Sign Language Digits")
    return replace(dataset, name="sign_digits", source=source)


def image_folder(path: Path, seed: int, validation_fraction: float, resize: tuple[int, int] | None = None) -> Dataset:
    """A user's own images: `path` has one folder per class with images, grey or in colour.

    They must be of one size, or are scaled to `resize` (height, width), nothing being cut off: each pixel is the mean
    of those that it covers, and interpolated bilinearly where an image is smaller. Folders within those of the classes
    are left out, with a warning. Transparency is left out, too, as by Keras' `image_dataset_from_directory`: a
    transparent pixel has the colour that its file hides, and a warning says so. All that is wrong with a folder is in
    one error.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"there is no directory {path}; it must have one folder of images per class")
    names = class_folders(path)
    images, labels, files = read_folders(path, names, resize, least=3)
    rest, test = split_off(images, labels, TEST_FRACTION, seed)
    train, validation = split_off(*rest, validation_fraction, seed)
    scaled = f" scaled to {resize[0]}x{resize[1]}" if resize else ""
    return Dataset(
        name=f"folder:{path}",
        train=train,
        validation=validation,
        test=test,
        class_names=names,
        raw_range=PIXELS,
        source=f"images in {path}{scaled}; {own_splits(train, validation, test, seed)}",
        augmentation="probe",
        front_end=resize and {"resize": {"height": resize[0], "width": resize[1], "by": _RESIZED_BY}},
        files=files,
    )


def class_folders(path: Path) -> tuple[str, ...]:
    """Names of the classes in a folder that has a folder for each."""
    names = tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")))
    if len(names) < 2:
        raise DataError(f"{path} has {len(names)} folders; one folder per class and at least two classes are needed")
    return names


def read_folders(
    path: Path, class_names: tuple[str, ...], resize: tuple[int, int] | None = None, least: int = 1
) -> tuple[Array, Array, dict[str, str]]:
    """(images uint8 [n, h, w, 1 or 3], labels, {file: hash}) of path/<class name>/<image>; in colour when any image is.

    `resize`: (height, width) to scale them to, or None where all have one size. `least`: images that a class needs.
    """
    images: list[Any] = []
    labels: list[int] = []
    files: dict[str, str] = {}
    sizes: dict[tuple[int, int], str] = {}
    problems: list[str] = []
    unread: list[str] = []
    nested: list[str] = []
    transparent: list[str] = []
    colour = False
    for label, name in enumerate(class_names):
        folder, count, inner = path / name, 0, []
        for file in sorted(folder.iterdir()) if folder.is_dir() else []:
            if file.is_dir() and not file.name.startswith("."):
                inner.append(f"{name}/{file.name}")
            if file.suffix.lower() not in _IMAGE_SUFFIXES or file.is_dir():
                continue
            count += 1
            try:
                image, size, in_colour, see_through = _read_image(file, resize)
            except DataError as error:
                unread.append(str(error))
                continue
            if size not in sizes:
                sizes[size] = f"{file} is {size[0]} x {size[1]}"
            transparent += [f"{name}/{file.name}"] * see_through
            colour = colour or in_colour
            images.append(image)
            labels.append(label)
            files[f"{name}/{file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        nested += inner
        if count == 0 and inner:
            problems.append(
                f"{folder} has no images but folders ({_some(inner)}); give the folder of which each folder is a class"
                f", such as {folder}"
            )
        elif count == 0:
            problems.append(f"{folder} has no images ({' '.join(sorted(_IMAGE_SUFFIXES))})")
        elif count < least:
            problems.append(f"{folder} has {count} images; training, validation and test need one each")
    if len(sizes) > 1 and resize is None:
        problems.append(f"images differ in size: {_some(list(sizes.values()))}; --resize=32x32 scales them to one")
    if problems or unread:
        raise DataError("; ".join([*([_some(unread)] if unread else []), *problems[:3], *_more(problems[3:])]))
    if nested:
        log.warning("%s: folders within those of the classes are left out: %s.", path, _some(nested))
    if transparent:
        log.warning(
            "%s: %d of %d images have transparent pixels (%s), of which the hidden colour is taken, as Keras does; "
            "draw them on the background that the camera will see.",
            *(path, len(transparent), len(images), _some(transparent)),
        )
    mode = "RGB" if colour else "L"
    pixels = np.stack([np.asarray(image.convert(mode)) for image in images])
    return pixels.reshape(*pixels.shape[:3], 3 if colour else 1), np.array(labels, np.int64), files


def _some(texts, most=3):
    return ", ".join([*texts[:most], *_more(texts[most:])])


def _more(texts):
    return [f"and {len(texts)} more"] if texts else []


def _read_image(file, resize):
    """(PIL image, its own size, whether it is in colour, and transparent anywhere) of a file.

    Raises DataError that names it.
    """
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(file) as opened:
            opened.load()
            image = PIL.ImageOps.exif_transpose(opened)  # a camera held upright stores its photos lying
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).replace(repr(str(file)), "it").replace(str(file), "it").split())
        raise DataError(f"{file} is truncated or not an image ({reason[:80]})") from error
    if image.mode not in _GREY_MODES | _COLOUR_MODES:
        raise DataError(f"{file} has pixels of mode {image.mode}; 8-bit grey or RGB is needed")
    size, in_colour = image.size, image.mode in _COLOUR_MODES
    transparent = image.mode in ("LA", "RGBA") or "transparency" in image.info
    transparent = transparent and image.convert("RGBA").getchannel("A").getextrema()[0] < 255
    image = image.convert("RGB" if in_colour else "L")
    if resize is not None:
        smaller = image.width >= resize[1] and image.height >= resize[0]
        filtering = PIL.Image.Resampling.BOX if smaller else PIL.Image.Resampling.BILINEAR
        image = image.resize((resize[1], resize[0]), filtering)
    return image, size, in_colour, transparent
