"""The same image twice: in two splits, where it tells nothing of what was learned, or under two classes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch

from secateur.data.dataset import Split
from secateur.data.mapped import pieces
from secateur.records.found import plain

_PAIRS = (("test", ("train", "val")), ("val", ("train",)))
_NAMES = {"train": "training", "val": "validation", "test": "test"}


def duplicates(splits: Mapping[str, Split], classes: Sequence[str]) -> tuple[str, ...]:
    """Sentences on images whose pixels are those of another one, with their number.

    Args:
        splits: "train", "val", "test", as they are used: images as they are trained on, so that a photo
            saved twice in two ways counts as two unless its pixels are the same.
    """
    hashes = {name: _hashes(split) for name, split in splits.items()}
    said = []
    for one, others in _PAIRS:
        known = {digest for other in others for digest in hashes[other]}
        if twice := sum(digest in known for digest in hashes[one]):
            where = " or ".join(_NAMES[other] for other in others)
            said.append(f"{twice} of {len(hashes[one])} {_NAMES[one]} images are in {where} too")
    return (*said, *_in_two_classes(hashes, splits, classes))


def _in_two_classes(
    hashes: Mapping[str, Sequence[bytes]], splits: Mapping[str, Split], classes: Sequence[str]
) -> tuple[str, ...]:
    """Images that are of two classes, and of which two first."""
    classes_of: dict[bytes, set[int]] = {}
    for name, split in splits.items():
        for digest, label in zip(hashes[name], split.labels.tolist(), strict=True):
            classes_of.setdefault(digest, set()).add(label)
    torn = [sorted(labels) for labels in classes_of.values() if len(labels) > 1]
    if not torn:
        return ()
    one, other = (plain(classes[label]) for label in min(torn)[:2])
    subject = "1 image is" if len(torn) == 1 else f"{len(torn)} images are"
    return (f"{subject} in two classes ({one} and {other})",)


def _hashes(split: Split) -> list[bytes]:
    """16 bytes of each image's pixels."""
    return [_digest(image) for piece in pieces(split.images) for image in piece]


def _digest(image: torch.Tensor) -> bytes:
    return hashlib.sha256(image.contiguous().numpy().data.cast("B")).digest()[:16]
