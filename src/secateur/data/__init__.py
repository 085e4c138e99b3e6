"""Data: embedded digits, image folders, parquet files and the Hub, as normalised batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from secateur.data.augment import Augmentation
from secateur.data.batches import count_batches, epoch_batches
from secateur.data.cache import cached
from secateur.data.contents import Source, lazily
from secateur.data.dataset import Data, Split, channel_statistics, fingerprint
from secateur.data.decode import Decoded, Progress, decode
from secateur.data.found import Found, found_in
from secateur.data.listing import Listing
from secateur.data.mapped import gathered
from secateur.data.normalization import named
from secateur.data.pixels import PixelFormat
from secateur.data.reading import Reading
from secateur.data.sources import DATASETS, find_source, load_digits, not_the_folder
from secateur.data.splits import hold_out_test, hold_out_val, limit
from secateur.data.store import Place
from secateur.data.targeted import find_targeted
from secateur.data.targeted_splits import found_targeted, split_targeted
from secateur.data.targets import check_task
from secateur.errors import InputError

__all__ = [
    "DATASETS",
    "Augmentation",
    "Data",
    "Found",
    "Reading",
    "Split",
    "count_batches",
    "epoch_batches",
    "load_data",
]


def load_data(
    name: str,
    *,
    limit_train: int | None = None,
    val_fraction: float = 0.1,
    split_seed: int = 0,
    image_size: int | None = None,
    splits: Mapping[str, str] | None = None,
    classes_in: str | None = None,
    label_column: str | None = None,
    image_column: str | None = None,
    fit: str = "crop",
    background: str = "white",
    skip_unreadable: bool = False,
    pixels: PixelFormat | None = None,
    task: str = "classification",
    normalize: str | Sequence[Sequence[float]] = "data",
    progress: Progress | None = None,
) -> Data:
    """Load a data set, split it and measure it.

    Args:
        name: one of `DATASETS`; `hf:owner/name`; a folder of images (`DIR/train/CLASS/*.jpg` with
            `DIR/test` or `DIR/valid`, or `DIR/CLASS/*.jpg`); or a folder of parquet files in the Hub's
            schema (`train*`, `test*`, `valid*`). `cifar10` and `tiny-imagenet` are looked for in
            `$SECATEUR_DATA` first. Without a test split the validation split is the test split; a set
            that names no splits has a fixed stratified 20% taken as the test split.
        limit_train: images for training and validation together, taken stratified from the training
            split, exactly this many: from 2 for each class to all. None takes all. A validation split
            that the source brings is neither limited nor counted.
        val_fraction: part of those images held out for validation, in (0, 0.5]; without effect if the
            source brings both a validation and a test split.
        split_seed: draws the limited part and the validation split; never the test split.
        image_size: side of the square to which images are cut and resized; needed if sizes differ.
        splits: {"train": DIR, "test": DIR, "val": DIR}, folders or files below the data folder, where their
            names do not say which is which; "val" may be left out.
        classes_in: the folder below the data folder whose sub-folders are the classes.
        fit: how images become square: "crop" (the largest centred square, resized), "pad" (the whole,
            centred on the background) or "squash".
        background: behind transparent pixels and beside padded images: "white", "black" or "#rrggbb".
        skip_unreadable: leave out images that cannot be read, and count them in `found`.
        pixels: which are made of the images, whatever these are, in place of `image_size`, `fit` and
            `background`: those that a finished network takes.
        normalize: "data": by mean and deviation of the training split; "imagenet": by ImageNet's; or a pair
            (means, deviations) of pixels scaled to [0, 1].
        label_column, image_column: of tables (parquet, CSV), where several could be meant.
        task: "classification"; or what the columns of a table say instead of classes: "regression" (numbers)
            or "multilabel" (columns of 0 and 1, or one of lists). `label_column` may then be several, with
            commas. Labels are float32 then, (N,) or (N, K), and `classes` the names of the columns.
        progress: called with (description, done, total) while images are decoded. Decoded images are
            kept in `$SECATEUR_CACHE` (or ~/.cache/secateur), so mostly it is not called.

    Returns:
        Images are grey (C = 1) only if all are, else RGB.

    Raises:
        InputError: one line with what is wrong, where, and how to mend it.

    Example:
        >>> data = load_data("digits")
        >>> len(data.train), len(data.val), len(data.test), data.shape
        (1167, 130, 500, (1, 8, 8))
    """
    _check_options(val_fraction)
    normalization = named(normalize)
    reading = Reading(
        splits, classes_in, label_column, image_column, image_size, fit, background, skip_unreadable, pixels
    )
    check_task(task)
    if task != "classification":
        told = replace(reading, task=task)
        data = _load_targeted(name, told, limit_train, val_fraction, split_seed, progress)
        return normalization.applied(data) if normalization else data
    source = _embedded(name) or find_source(name, reading)
    called, decoded = source.name, _decoded(source, reading, progress)
    chosen = _split(decoded, limit_train, val_fraction, split_seed)
    train, val, test = (Split(gathered(decoded.images, part.images), part.labels) for part in chosen)
    mean, std = channel_statistics(train.images)
    data = Data(
        name=called,
        label=_label(called, decoded.codec),
        train=train,
        val=val,
        test=test,
        classes=decoded.classes,
        mean=mean,
        std=std,
        augmentation=default_augmentation(called, train.images.shape[-2:]),
        fingerprint=fingerprint([train, val, test], decoded.classes),
        found=found_in(
            called,
            decoded,
            {"train": train, "val": val, "test": test},
            fit=decoded.format.fit if decoded.format else fit,
            left_out=source.left_out,
            remarks=source.remarks,
        ),
        format=decoded.format,
    )
    return normalization.applied(data) if normalization else data


def _load_targeted(
    name: str,
    reading: Reading,
    limit_train: int | None,
    val_fraction: float,
    split_seed: int,
    progress: Progress | None,
) -> Data:
    """Load images with targets that are no classes."""
    source = find_targeted(name, reading.task, reading)
    decoded = cached(
        source.files, reading, lambda place: decode(source.parts, ("image",), reading, progress, place)
    )
    chosen = split_targeted(decoded, source.targets, limit_train, val_fraction, split_seed)
    splits = {
        split: Split(gathered(decoded.images, part.images), part.labels) for split, part in chosen.items()
    }
    mean, std = channel_statistics(splits["train"].images)
    return Data(
        name=source.name,
        label=source.name,
        **splits,
        classes=source.targets.names,
        mean=mean,
        std=std,
        augmentation=replace(
            default_augmentation(source.name, splits["train"].images.shape[-2:]), flip=False
        ),  # a mirrored image may have other targets
        fingerprint=fingerprint([*splits.values()], source.targets.names),
        found=found_targeted(source.name, decoded, source.targets, splits, reading.task, reading.fit),
        format=decoded.format,
    )


def default_augmentation(name: str, size: torch.Size) -> Augmentation:
    """Crops that move by up to an eighth of the side (4 of 32 pixels, as Crowley et al. 2018), and mirroring.

    Digits are not mirrored: a mirrored digit is another sign.
    """
    return Augmentation(pad=max(1, min(size) // 8), flip=name != "digits")


def _check_options(val_fraction: float) -> None:
    if not 0 < val_fraction <= 0.5:
        raise InputError(f"val_fraction must be above 0 and at most 0.5, not {val_fraction}")


def _embedded(name: str) -> Source | None:
    """The digits, which are read from this package."""
    if name != "digits":
        return None
    return Source(name, (), lazily(lambda: Listing({}, ())), remarks=not_the_folder(name, "the embedded set"))


def _decoded(source: Source, reading: Reading, progress: Progress | None) -> Decoded:
    if source.name == "digits" and not source.files:
        return load_digits(reading.image_size, reading.pixels)

    def read_and_decode(place: Place) -> Decoded:
        with source.read() as listing:
            decoded = decode(listing.splits, listing.classes, reading, progress, place)
        return replace(
            decoded,
            left_out=Counter(listing.left_out) + Counter(decoded.left_out),
            remarks=(*listing.remarks, *decoded.remarks),
            files={} if source.temporary else decoded.files,
        )

    return cached(source.files, reading, read_and_decode)


def _split(
    decoded: Decoded, limit_train: int | None, val_fraction: float, split_seed: int
) -> tuple[Split, Split, Split]:
    """Train, val, test, with the images' places among those decoded for the images."""
    splits, classes = decoded.places, decoded.classes
    if "all" in splits:
        test, pool = hold_out_test(splits["all"], classes)
    else:
        test, pool = splits["test"], splits["train"]
    generator = torch.Generator().manual_seed(split_seed)
    pool = limit(pool, limit_train, generator, classes)
    if "val" in splits:
        return pool, splits["val"], test
    val, train = hold_out_val(pool, val_fraction, generator, classes)
    return train, val, test


def _label(name: str, codec: str) -> str:
    """CIFAR-10 was published without loss, so that JPEGs of it are other images: captions must say so."""
    if name == "cifar10" and codec:
        return f"{name} ({codec})"
    return name.removeprefix("hf:")
