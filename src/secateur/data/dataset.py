"""What a loaded data set is: three splits of uint8 images and what training needs to know about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.data.augment import Augmentation
from secateur.data.mapped import pieces
from secateur.data.preprocessing import PixelFormat, Preprocessing
from secateur.errors import InputError
from secateur.records.found import Found
from secateur.records.shown import Shown


@dataclass(frozen=True)
class Split:
    """Images and their classes.

    Args:
        images: uint8 (N, C, H, W), C = 1 (grey) or 3 (RGB), contiguous.
        labels: int64 (N,), each in 0..K-1; of other tasks than classification float32 (N,) or (N, K).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """The examples at `indices`, int64 (M,), copied."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, repr=False)
class Data:
    """A data set, split and measured.

    Args:
        name: what the user asked for ("digits", "cifar10", a folder's basename, "hf:owner/name").
        label: the name for captions; it says when the pixels are not the original's ("cifar10 (jpeg q75)").
        train, val, test: disjoint splits; every class is in each of them.
        classes: K class names; label k means `classes[k]`.
        mean, std: per channel, of the pixels scaled to [0, 1], of `train` only. A channel without any
            variation gets std 1, so that normalising it divides by no zero.
        augmentation: what suits this data set.
        fingerprint: 16 hex digits over the content (images, labels, splits, classes), whatever its path.
        format: which pixels were made of the images; None: they were pixels of this shape already.
        found: what the data were understood to be; None where they were made by hand.

    Raises:
        InputError: where a class number is none of the classes'.
    """

    name: str
    label: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    fingerprint: str
    format: PixelFormat | None = None
    found: Found | None = None

    def __post_init__(self) -> None:
        """Refuse class numbers that no class has."""
        for name in ("train", "val", "test") if self.num_classes else ():
            labels = getattr(self, name).labels
            if labels.is_floating_point() or not labels.numel():
                continue
            if bool((wrong := (labels < 0) | (labels >= self.num_classes)).any()):
                place = int(wrong.flatten().nonzero()[0])
                raise InputError(
                    f"class numbers must lie in 0..{self.num_classes - 1}, as there are {self.num_classes} "
                    f"classes, got {int(labels.flatten()[place])} at example {place} of {name} "
                    f"({int(wrong.sum()):,} of {labels.numel():,} are outside): number the classes from 0"
                )

    def __repr__(self) -> str:
        """What was found, in one line."""
        return f"<Data {self._line()}>"

    def _repr_html_(self) -> str:
        """The same with the examples of each class, for notebooks."""
        splits = (self.train, self.val, self.test)
        counts = [torch.bincount(split.labels, minlength=self.num_classes).tolist() for split in splits]
        rows = [
            (name, *(f"{count:,}" for count in each))
            for name, *each in zip(self.classes, *counts, strict=True)
        ]
        return Shown(self._line(), ("class", "train", "val", "test"), rows).html()

    def _line(self) -> str:
        if self.found:
            return self.found.line()
        sizes = "/".join(str(len(split)) for split in (self.train, self.val, self.test))
        shape = "x".join(map(str, self.shape))
        return f"{self.label}: {self.num_classes} classes, {sizes} images of {shape}"

    @property
    def preprocessing(self) -> Preprocessing:
        """What makes of an image what the network was trained on."""
        return Preprocessing(self.format or PixelFormat(*self.shape), self.mean, self.std)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """K, at least 2."""
        return len(self.classes)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation of each channel, in [0, 1].

    From exact counts of the 256 pixel values, so the result depends on no summation order.

    Args:
        images: uint8 (N, C, H, W).
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = _pixel_counts(images, channel).double()
        mean = (counts @ levels / counts.sum()).item()
        variance = (counts @ (levels - mean) ** 2 / counts.sum()).item()
        means.append(mean)
        stds.append(variance**0.5 or 1.0)
    return tuple(means), tuple(stds)


def _pixel_counts(images: Tensor, channel: int) -> Tensor:
    """int64 (256,). In chunks: one channel of a large data set need not be copied at once."""
    counts = torch.zeros(256, dtype=torch.int64)
    for chunk in pieces(images):
        counts += torch.bincount(chunk[:, channel].flatten(), minlength=256)
    return counts


def fingerprint(splits: Sequence[Split], classes: Sequence[str]) -> str:
    """16 hex digits of the SHA-256 over shapes, pixels, labels and class names, in order."""
    shapes = [list(split.images.shape) for split in splits]
    digest = hashlib.sha256(json.dumps([shapes, list(classes)]).encode())
    for split in splits:
        for piece in pieces(split.images):
            digest.update(_bytes_of(piece))
        digest.update(_bytes_of(split.labels))
    return digest.hexdigest()[:16]


def _bytes_of(tensor: Tensor) -> memoryview:
    """The tensor's memory; no copy is made of a contiguous one."""
    return tensor.contiguous().numpy().data.cast("B")
