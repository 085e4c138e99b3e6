"""What is done to an image before a network sees it: the pixels meant, normalised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from secateur.data.formats import READING
from secateur.data.pixels import PixelFormat, without_bombs
from secateur.errors import InputError, first_line, require, require_packages

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["PixelFormat", "Preprocessing", "scale_and_shift", "why_unreadable"]


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before a network sees it.

    Args:
        format: which pixels.
        mean, std: of each channel, of pixels scaled to [0, 1].

    Example:
        >>> Preprocessing(PixelFormat(1, 2, 2), (0.5,), (0.5,))(np.full((4, 4), 255, np.uint8)).tolist()
        [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    format: PixelFormat
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        channels = self.format.channels
        checks = {
            f"mean must have {channels} numbers": len(self.mean) == channels,
            f"std must have {channels} numbers above 0": len(self.std) == channels and min(self.std) > 0,
        }
        require(self, checks)

    def __call__(self, image: Image.Image | str | Path | bytes | np.ndarray) -> Tensor:
        """float32 (1, C, H, W), normalised: (pixel / 255 - mean) / std.

        Args:
            image: of Pillow; a path; the content of a file; or uint8 (H, W) or (H, W, C). A large JPEG is
                decoded at a reduced scale from a path or its content, as data sets are.

        Raises:
            InputError: it is no image that can be read.
        """
        pixels = torch.from_numpy(np.array(self.pixels(image))).unsqueeze(0)  # a copy: Pillow's is read-only
        scale, shift = scale_and_shift(self.mean, self.std)
        return pixels.float().mul_(scale).add_(shift)

    def pixels(self, image: Image.Image | str | Path | bytes | np.ndarray) -> np.ndarray:
        """uint8 (C, H, W), before they are normalised; raises as a call does."""
        try:
            with without_bombs():
                return self.raw(image)
        except Exception as error:  # Pillow's decoders raise whatever they meet in a broken file
            what = f"'{image}'" if isinstance(image, str | Path) else "this one"
            raise InputError(
                f"an image must be readable, but {what} is not ({why_unreadable(error)}): replace it"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {**asdict(self.format), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocessing:
        """What `to_json` wrote.

        Raises:
            InputError: a value is missing, not known, or of another kind.
        """
        rest = dict(values)
        try:
            mean, std = (tuple(float(number) for number in rest.pop(name)) for name in ("mean", "std"))
            return cls(PixelFormat(**rest), mean, std)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"preprocessing must be as Secateur writes it, but is {dict(values)}") from error

    def raw(self, image: Any) -> np.ndarray:
        """Do as `pixels`, for threads: raise what Pillow raises; the caller is `pixels.without_bombs`."""
        if isinstance(image, np.ndarray):
            return self.format.pixels(_image_of(image))
        if isinstance(image, str | Path | bytes):
            return self.format.read(image if isinstance(image, bytes) else Path(image))
        return self.format.pixels(image)


def scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """`(x / 255 - mean) / std` as one multiplication and one addition, each float32 (1, C, 1, 1)."""
    means, stds = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (mean, std))
    return (1 / (255 * stds)).float(), (-means / stds).float()


def why_unreadable(error: Exception) -> str:
    """Say in a few words why an image cannot be read."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no image format that Pillow knows"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels: save it smaller"
    return first_line(error)


def _image_of(array: np.ndarray) -> Image.Image:
    require_packages("PIL", what=READING)
    from PIL import Image

    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise ValueError(f"an array must be uint8 (H, W) or (H, W, C), not {array.dtype} {array.shape}")
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
