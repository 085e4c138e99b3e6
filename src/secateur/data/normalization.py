"""Which mean and deviation images are normalised with: the data's own, or those that weights want."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from secateur.data.dataset import Data
from secateur.errors import InputError
from secateur.names import Normalization as Name

NORMALIZATIONS: tuple[str, ...] = get_args(Name)
_WRITTEN = re.compile(r"mean=([-\d.e, ]+?)[;,\s]+std=([-\d.e, ]+)")


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1]: (pixel / 255 - mean) / std.

    Args:
        mean, std: one number, or one for each channel.
        whose: for people: "ImageNet", "timm:resnet18".

    Raises:
        InputError: other than 1 or 3 numbers, or a deviation that is not above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    whose: str = "given"

    def __post_init__(self) -> None:
        if len(self.mean) not in (1, 3) or len(self.mean) != len(self.std) or not min(self.std) > 0:
            raise InputError(
                f"a normalization is 1 or 3 means and as many deviations above 0, got mean {list(self.mean)} "
                f"and std {list(self.std)}"
            )

    def of(self, channels: int) -> Normalization:
        """The same for so many channels: grey images have the average of three."""
        if len(self.mean) == channels:
            return self
        if channels == 1:
            return replace(self, mean=(sum(self.mean) / 3,), std=(sum(self.std) / 3,))
        return replace(self, mean=self.mean * channels, std=self.std * channels)

    def applied(self, data: Data) -> Data:
        """The data normalised so; another data set to whoever keeps runs, unless nothing changes."""
        own = self.of(data.shape[0])
        if (own.mean, own.std) == (data.mean, data.std):
            return data
        content = json.dumps([data.fingerprint, own.mean, own.std])
        told = hashlib.sha256(content.encode()).hexdigest()[:16]
        return replace(data, mean=own.mean, std=own.std, fingerprint=told)

    def __str__(self) -> str:
        mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"as {self.whose} has it: mean {mean}, deviation {std}"


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet")
"""Of torchvision's weights, and of most others."""


def named(normalize: str | Sequence[Sequence[float]] | None) -> Normalization | None:
    """Read "imagenet", "mean=0.5,0.5,0.5 std=0.25,0.25,0.25" or (means, deviations); None: the data's own.

    Raises:
        InputError: it is none of these, nor "data" or "model" (which only a model can tell).
    """
    if normalize is None or normalize in ("data", "model"):
        return None
    if normalize == "imagenet":
        return IMAGENET
    if isinstance(normalize, str):
        found = _WRITTEN.fullmatch(normalize.strip())
        pair = (
            [[float(word) for word in part.replace(",", " ").split()] for part in found.groups()]
            if found
            else []
        )
    else:
        pair = [[float(value) for value in values] for values in normalize]
    if len(pair) != 2:
        raise InputError(
            f"normalize is {', '.join(NORMALIZATIONS)} or mean=0.5,0.5,0.5 std=0.25,0.25,0.25, got "
            f"{normalize!r}"
        )
    return Normalization(tuple(pair[0]), tuple(pair[1]))
