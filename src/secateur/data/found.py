"""What was found, out of what was decoded: `Found`, which is said before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping

from secateur.data.dataset import Split
from secateur.data.decode import Decoded
from secateur.data.duplicates import duplicates
from secateur.records.found import Found

__all__ = ["Found", "found_in"]


def found_in(
    name: str,
    decoded: Decoded,
    splits: Mapping[str, Split],
    *,
    fit: str = "crop",
    left_out: Mapping[str, int] | None = None,
    remarks: tuple[str, ...] = (),
) -> Found:
    """Describe a data set.

    Args:
        decoded: what was read; its own `left_out` and `remarks` are told too.
        splits: "train", "val" and "test", as they will be used.
        left_out, remarks: known before anything was decoded.
    """
    height, width = decoded.images.shape[-2:]
    counted = {**(left_out or {})}
    for what, count in decoded.left_out.items():
        counted[what] = counted.get(what, 0) + count
    return Found(
        name=name,
        classes=tuple(decoded.classes),
        counts={split: count_classes(part, len(decoded.classes)) for split, part in splits.items()},
        smallest=decoded.smallest or (width, height),
        largest=decoded.largest or (width, height),
        size=(width, height),
        fit=fit,
        left_out=counted,
        remarks=(*remarks, *decoded.remarks, *duplicates(splits, decoded.classes)),
    )


def count_classes(split: Split, classes: int) -> tuple[int, ...]:
    """Images of each class."""
    return tuple(split.labels.bincount(minlength=classes).tolist())
