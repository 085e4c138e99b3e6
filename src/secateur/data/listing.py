"""What was listed and not decoded yet: encoded images by split, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from secateur.data.decode import Encoded


@dataclass(frozen=True)
class Listing:
    """Images that were found.

    Args:
        splits: those of "train", "test" and perhaps "val", or of "all".
        classes: K names; labels are 0..K-1.
        left_out: what was not listed ("images without a label", ".heic") -> how many.
        remarks: what was decided and might not have been meant, a sentence each.
    """

    splits: Mapping[str, Encoded]
    classes: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
