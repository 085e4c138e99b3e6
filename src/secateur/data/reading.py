"""How a source is to be read: everything that decides which images are taken, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secateur.data.pixels import PixelFormat, look_checks
from secateur.errors import InputError, require

SPLIT_NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class Reading:
    """Options of reading; those of `load_data` that are not about which images train.

    Args:
        splits: "train", "test" and perhaps "val" -> the folder or file of each, below the data folder; None:
            they are recognised by their names.
        classes_in: the folder, below the data folder, whose sub-folders are the classes; None: it is found.
        label_column, image_column: of a table (parquet, CSV); None: there is only one that can be meant.
        image_size: side in pixels of the square made of each image; None takes images as they are.
        fit: how images of another shape become square: "crop", "pad" or "squash"; see `pixels.PixelFormat`.
        background: behind transparent pixels and beside padded images: "white", "black" or "#rrggbb".
        skip_unreadable: leave out images that cannot be read, and count them; else they are refused.
        task: what labels are: classes, or targets of "regression" or "multilabel".
        pixels: which are made, whatever the images are: a finished network's, in place of the four above.
    """

    splits: Mapping[str, str] | None = None
    classes_in: str | None = None
    label_column: str | None = None
    image_column: str | None = None
    image_size: int | None = None
    fit: str = "crop"
    background: str = "white"
    skip_unreadable: bool = False
    pixels: PixelFormat | None = None
    task: str = "classification"

    def __post_init__(self) -> None:
        require(self, look_checks(self.fit, self.background))
        if self.image_size is not None and self.image_size < 1:
            raise InputError(f"image_size must be at least 1 pixel, not {self.image_size}")
        if self.splits and self.classes_in is not None:
            raise InputError("splits and classes_in are two ways to read a folder, got both: leave one out")
        _check_splits(self.splits)


def _check_splits(splits: Mapping[str, str] | None) -> None:
    if splits is None:
        return
    odd = [name for name in splits if name not in SPLIT_NAMES]
    if odd or not {"train", "test"} <= set(splits):
        raise InputError(
            f"splits are train=DIR,test=DIR and perhaps val=DIR, got {', '.join(splits) or 'none'}: name both"
        )


def parse_splits(text: str | None) -> dict[str, str] | None:
    """Read `train=DIR,test=DIR,val=DIR`, as the command line has it.

    Example:
        >>> parse_splits("train=a, test=b/c")
        {'train': 'a', 'test': 'b/c'}
    """
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and equals and value.strip() for name, equals, value in pairs):
        raise InputError(f"--splits reads train=DIR,test=DIR[,val=DIR], got '{text}'")
    found = {name.strip(): value.strip() for name, _, value in pairs}
    if len(found) < len(pairs):
        raise InputError(f"--splits names each split once, got '{text}'")
    return found
