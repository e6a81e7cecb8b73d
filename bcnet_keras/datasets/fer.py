"""FER2013: faces by expression, as a table or as folders."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bcnet_keras.datasets.arrays import Dataset, Split, missing
from bcnet_keras.datasets.folders import class_folders, read_folders
from bcnet_keras.datasets.public import PIXELS, with_public_test
from bcnet_keras.errors import DataError


def fer2013(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """FER2013 (Goodfellow et al., arXiv 1307.0414): uint8 [48, 48, 1].

    `fer2013.csv`, Kaggle's `icml_face_data.csv`, or folders `train`, `test` and, where there is one, `validation`.
    """
    for directory in (data_dir, data_dir / "fer2013"):
        for table in ("fer2013.csv", "icml_face_data.csv"):
            if (directory / table).is_file():
                return _fer2013_table(directory / table)
        if (directory / "train").is_dir() and (directory / "test").is_dir():
            names = class_folders(directory / "train")
            parts = ["train", "test", *(["validation"] if (directory / "validation").is_dir() else [])]
            splits: list[Any] = []
            files: dict[str, str] = {}
            for part in parts:
                images, labels, found = read_folders(directory / part, names)
                splits.append((images, labels))
                files |= {f"{part}/{path}": content for path, content in found.items()}
            dataset = with_public_test(
                "fer2013",
                splits[0],
                splits[1],
                names,
                seed,
                validation_fraction,
                splits[2] if len(splits) > 2 else None,
            )
            return replace(dataset, files=files)
    raise missing(
        "fer2013",
        [
            "fer2013.csv or icml_face_data.csv, or the folders train and test",
            f"in {data_dir}",
            f"in {data_dir / 'fer2013'}",
        ],
        "https://www.kaggle.com/datasets/msambare/fer2013",
    )


def _fer2013_table(path):
    """FER2013 as one table: a row has the class, 48 x 48 grey values and the part of the competition."""
    parts = {"Training": ([], []), "PublicTest": ([], []), "PrivateTest": ([], [])}
    with open(path, newline="") as file:
        rows = csv.DictReader(file)
        columns = {"emotion", "pixels", "Usage"}
        rows.fieldnames = rows.fieldnames and [name.strip() for name in rows.fieldnames]  # Kaggle's has " pixels"
        if not columns <= set(rows.fieldnames or ()):
            raise DataError(f"{path} has the columns {rows.fieldnames}, expected {sorted(columns)}")
        for row in rows:
            try:
                images, labels = parts[row["Usage"].strip()]
                pixels = np.frombuffer(bytes(map(int, row["pixels"].split())), np.uint8).reshape(48, 48, 1)
                label = int(row["emotion"])
            except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
                raise DataError(f"{path}, line {rows.line_num}: truncated or foreign row: {error}") from error
            images.append(pixels)
            labels.append(label)
    for part, (images, _) in parts.items():
        if not images:
            raise DataError(f"{path} has no row with Usage {part}: truncated")
    splits = [Split(np.stack(images), np.array(labels, np.int64)) for images, labels in parts.values()]
    return Dataset(
        name="fer2013",
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        class_names=("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
        raw_range=PIXELS,
        source="fer2013, its splits Training, PublicTest for validation and PrivateTest for test",
        augmentation="photo",
    )
