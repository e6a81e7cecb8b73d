"""What data sets of images share: the range of pixels, and splits with a sentence on where they come from."""

from __future__ import annotations

from bcnet_keras.datasets.arrays import Dataset, Split, check_arrays, split_off
from bcnet_keras.utils.types import Array

PIXELS = (0, 255)
Pair = tuple[Array, Array]  # images and labels


def own_splits(train: Split, validation: Split, test: Split, seed: int) -> str:
    """The sentence on splits that are made here."""
    return (
        f"stratified random splits of {len(train.labels)} training, {len(validation.labels)} validation and "
        f"{len(test.labels)} test images by seed {seed}"
    )


def with_public_test(
    name: str,
    train: Pair,
    test: Pair,
    class_names: tuple[str, ...],
    seed: int,
    validation_fraction: float,
    validation: Pair | None = None,
) -> Dataset:
    """The Dataset of public (images, labels) for training and test; from the first, validation is taken if need be."""
    check_arrays(*train, num_classes=len(class_names))
    public = validation is not None
    if validation is not None:
        training, held_out = Split(*train), Split(*validation)
    else:
        training, held_out = split_off(*train, validation_fraction, seed)
    taken = "of its own validation split" if public else f"of its training images, stratified by seed {seed},"
    return Dataset(
        name=name,
        train=training,
        validation=held_out,
        test=Split(*test),
        class_names=class_names,
        raw_range=PIXELS,
        source=(
            f"{name}, its public test split of {len(test[1])} images; {len(held_out.labels)} {taken} are for "
            f"validation and {len(training.labels)} for training"
        ),
        augmentation=None if name == "fashion_mnist" else "photo",  # its articles are all centred and face one way
    )
