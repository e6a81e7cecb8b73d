"""Finds images that stand in two splits of a data set, as they are or a little changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bcnet_keras.datasets import Dataset

_SIDE = 8  # of the small picture that is compared
_FLAT, _ALIKE = 0.03, 0.02  # of the range: least deviation within such a picture, most mean difference of two


def copies(data: Dataset) -> dict[str, Any]:
    """{split: (exact, near)} of a `Dataset`: how many validation and test images stand in another split before them.

    An exact one has the same bytes. A near one, mirrored or not, has the same average hash, which tells where a picture
    of 8x8 is brighter than its mean, and hardly differs there. Of small and of flat images only exact ones are found.
    """
    found: dict[str, Any] = {}
    pictures: dict[bytes, list[np.ndarray]] = {}
    seen = set()
    for name in ("train", "validation", "test"):
        images = getattr(data, name).images
        hashes = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]
        small = _small(images, data.raw_range)
        exact = near = 0
        for index, image_hash in enumerate(hashes):
            if image_hash in seen:
                exact += 1
            elif small is not None:
                near += any(_known(picture, pictures) for picture in (small[index], small[index, :, ::-1]))
        if name != "train":
            found[name] = exact, near
        seen.update(hashes)
        for picture in () if small is None else small:
            pictures.setdefault(_hash(picture), []).append(picture)
    return found


def _small(images, raw_range):
    """Pictures [n, 8, 8] of the images' brightness, 0 to 1; None where the images are hardly larger."""
    height, width = images.shape[1:3]
    if min(height, width) < 2 * _SIDE or images.shape[-1] not in (1, 3):
        return None
    rows, columns = (np.linspace(0, size, _SIDE + 1).astype(int)[:-1] for size in (height, width))
    low, high = raw_range
    parts = [
        np.add.reduceat(np.add.reduceat(part.mean(-1, dtype=np.float32), rows, 1), columns, 2)
        for part in np.array_split(images, -(-len(images) // 1000))
    ]
    areas = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    return (np.concatenate(parts) / areas - low) / (high - low)


def _hash(picture):
    return np.packbits(picture > picture.mean()).tobytes()


def _known(picture, pictures):
    if picture.std() < _FLAT:
        return False
    centred = picture - picture.mean()
    return any(np.abs(centred - (other - other.mean())).mean() < _ALIKE for other in pictures.get(_hash(picture), ()))


def warning(data: Dataset) -> str | None:
    """One line on `copies`; None where there are none."""
    parts = []
    for name, (exact, near) in copies(data).items():
        kinds = [f"{count} {kind}" for count, kind in ((exact, "exact"), (near, "near")) if count]
        if kinds:
            parts.append(f"{' and '.join(kinds)} of {len(getattr(data, name).labels)} {name} images")
    if not parts:
        return None
    return (
        f"copies of other splits' images: {', '.join(parts)}; accuracy on them flatters the net, keep all copies of an "
        "image in one split"
    )
