"""What was found when data were read: said before anything is trained, and kept with every result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap

from secateur.records.stored import Stored, Wrong, optional

SPLITS = ("train", "val", "test")

_FITS = {"crop": "centre square", "pad": "padded", "squash": "squashed"}
_PLURAL = re.compile(r"\b(image|link|file|table|mask|list|folder)s\b")
_NAMED, _NAME_LENGTH = 6, 24  # class names shown in one line, and characters of each


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Stored):
    """What the data were understood to be.

    Attributes:
        name: what the data set is called.
        classes: their names, in order.
        counts: split ("train", "val", "test") -> images of each class.
        smallest, largest: the least and the greatest width and height of the images as they came, in pixels.
        size: width and height that they were brought to.
        fit: how: "crop", "pad" or "squash".
        left_out: what was not read (".heic", "unreadable", "hidden folders") -> how many.
        task: what labels are; where it is not classification, `classes` names labels or numbers, and `counts`
            says how many images have them.
        images: split -> images, where `counts` does not add up to them.
        remarks: what else a user should know, a sentence each: images in two splits, a wrapper seen through.
    """

    name: str
    classes: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    smallest: tuple[int, ...]
    largest: tuple[int, ...]
    size: tuple[int, ...]
    fit: str = "crop"
    left_out: Mapping[str, int]
    remarks: tuple[str, ...] = ()
    task: str = optional("classification")
    images: Mapping[str, int] | None = optional()  # a field

    def check(self) -> None:
        """Sizes are a width and a height, and every split counts every class."""
        for name in ("smallest", "largest", "size"):
            if len(getattr(self, name)) != 2:
                raise Wrong("a width and a height", list(getattr(self, name))).inside(name)
        for split, counts in self.counts.items():
            if len(counts) != len(self.classes):
                raise Wrong("a number for each class", list(counts)).inside(f"counts.{split}")

    def line(self) -> str:
        """Say it in one line.

        Example:
            >>> Found(
            ...     name="photos",
            ...     classes=("cat", "dog"),
            ...     counts={"train": (9, 9), "val": (1, 1), "test": (2, 2)},
            ...     smallest=(480, 640),
            ...     largest=(1024, 1024),
            ...     size=(64, 64),
            ...     left_out={},
            ... ).line()
            'photos: 2 classes (cat, dog), 18/2/4 images of 480 to 1024 px -> 64x64 (centre square)'
        """
        sizes = self.images or {split: sum(counts) for split, counts in self.counts.items()}
        totals = "/".join(str(sizes[split]) for split in SPLITS if split in sizes)
        parts = [f"{plain(self.name)}: {self._labels()}, {totals} {self._images()}"]
        if self.left_out:
            parts.append("left out: " + ", ".join(starmap(counted, self.left_out.items())))
        return "; ".join([*parts, *self.remarks])

    def _labels(self) -> str:
        """What images are labelled with."""
        what = {"regression": "number", "multilabel": "label"}.get(self.task)
        if what is None:
            return f"{len(self.classes)} classes ({listed(self.classes)})"
        many = f"a {what}" if len(self.classes) == 1 else f"{len(self.classes)} {what}s"
        return f"{many} for each image ({listed(self.classes)})"

    def _images(self) -> str:
        """The sizes, before and after."""
        width, height = self.size
        if self.smallest == self.largest == self.size:
            return f"images of {width}x{height} px"
        one = self.smallest == self.largest
        came = (
            f"{self.smallest[0]}x{self.smallest[1]}"
            if one
            else f"{min(self.smallest)} to {max(self.largest)}"
        )
        return f"images of {came} px -> {width}x{height} ({_FITS.get(self.fit, self.fit)})"


def counted(what: str, count: int) -> str:
    """Write a number of things, one of them without its s.

    Example:
        >>> counted("broken links", 1), counted(".heic", 20)
        ('1 broken link', '20 .heic')
    """
    if count == 1:
        what = _PLURAL.sub(r"\1", what, count=1)
    return f"{count:,} {what}"


def listed(names: Sequence[str], most: int = _NAMED) -> str:
    """Names with commas, shortened where there are many: the first ones, and how many more."""
    shown = [shortened(name) for name in names[: most if len(names) <= most else most // 2]]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(shown) < len(names) else "")


def shortened(name: str) -> str:
    """A name that fits into a line."""
    name = plain(name)
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 3]}..."


def plain(name: str) -> str:
    """A name of somebody else's, without what would end the line or could not be written."""
    if name.isprintable():
        return name
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
