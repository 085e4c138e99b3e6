"""From an image as people have it to the tensor a network takes: the one home of which pixels are meant.

Used alike by decoding, by `model.preprocess` of a saved network, and as the model of exported operators.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from secateur.data.formats import open_image
from secateur.errors import InputError, require

if TYPE_CHECKING:
    from PIL import Image

FITS = ("crop", "pad", "squash")
_BACKGROUNDS = re.compile(r"white|black|#[0-9a-fA-F]{6}")
_GREY_MODES = ("1", "L", "LA", "La", "I", "F")
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_SWAPPING = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_ORIENTATION = 0x0112
_REDUCING_GAP = 2  # as Pillow's `thumbnail`: a JPEG is decoded at no less than twice the size wanted


@dataclass(frozen=True)
class PixelFormat:
    """Which pixels are made of an image.

    Args:
        channels: 1 (grey) or 3 (RGB).
        height, width: of the result, in pixels.
        fit: how another shape becomes this one. "crop": the largest centred part of this shape, resized;
            "pad": resized as a whole and centred on the background; "squash": resized, its shape changed.
            Resizing is bilinear and antialiased. An image that has the size already stays as it is.
        background: what shows through transparent pixels and beside padded images: "white", "black" or
            "#rrggbb".
        depth: bits used of 16-bit pixels, 8..16: the upper 8 of these are kept.

    Raises:
        InputError: a value that is none of these.
    """

    channels: int
    height: int
    width: int
    fit: str = "crop"
    background: str = "white"
    depth: int = 16

    def __post_init__(self) -> None:
        checks = {
            "channels must be 1 or 3": self.channels in (1, 3),
            "height must be at least 1": self.height >= 1,
            "width must be at least 1": self.width >= 1,
            f"fit must be one of {', '.join(FITS)}": self.fit in FITS,
            "background must be white, black or #rrggbb": bool(_BACKGROUNDS.fullmatch(self.background)),
            "depth must lie in 8..16": 8 <= self.depth <= 16,
        }
        require(self, checks)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """uint8 (channels, height, width): upright, on the background, in 8 bits, at the size.

        Raises:
            ValueError: pixels without a known range (floats outside [0, 1], integers beyond 16 bits).
        """
        flat = flattened(upright(image), self.background, self.depth)
        fitted = fit(_in_mode(flat, "L" if self.channels == 1 else "RGB"), self)
        return np.asarray(fitted).reshape(self.height, self.width, self.channels).transpose(2, 0, 1)

    def read(self, source: Path | bytes) -> np.ndarray:
        """The same of a file or its content. A large JPEG is decoded at a reduced scale.

        Raises:
            OSError, ValueError, SyntaxError: what is no readable image; see `formats.open_image`.
        """
        with open_image(source) as image:
            reduce(image, self)
            return self.pixels(image)


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
            image: of Pillow; a path; the content of a file; or uint8 (H, W) or (H, W, C).

        Raises:
            InputError: it is no image that can be read.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(self._pixels(image))).unsqueeze(0)
        scale, shift = scale_and_shift(self.mean, self.std)
        return pixels.float().mul_(scale).add_(shift)

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

    def _pixels(self, image: Image.Image | str | Path | bytes | np.ndarray) -> np.ndarray:
        from PIL import Image

        try:
            if isinstance(image, np.ndarray):
                return self.format.pixels(_image_of(image))
            if isinstance(image, Image.Image):
                return self.format.pixels(image)
            return self.format.read(image if isinstance(image, bytes) else Path(image))
        except InputError:
            raise
        except Exception as error:  # Pillow's decoders raise whatever they meet in a broken file
            what = f"'{image}'" if isinstance(image, str | Path) else "this"
            raise InputError(f"an image must be readable, but {what} is not ({reason(error)})") from error


def scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """`(x / 255 - mean) / std` as one multiplication and one addition, each float32 (1, C, 1, 1)."""
    means, stds = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (mean, std))
    return (1 / (255 * stds)).float(), (-means / stds).float()


def reason(error: Exception) -> str:
    """Say in a few words why an image cannot be read."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no image format that Pillow knows"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def upright(image: Image.Image) -> Image.Image:
    """The image turned and mirrored as its EXIF orientation says."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if orientation(image) != 1 else image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) once it is upright; nothing is decoded."""
    width, height = image.size
    return (height, width) if orientation(image) in _SWAPPING else (width, height)


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1..8; 1 where there is none, or none that can be read."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF is written by anybody: without it the image is still an image
        return 1
    return found if found in range(1, 9) else 1


def reduce(image: Image.Image, wanted: PixelFormat) -> None:
    """Have a JPEG that was not decoded yet decoded at 1/2, 1/4 or 1/8, where that still is twice the size.

    The same pixels come out as from the whole, up to a level or two; images at the size itself, and up to
    four times as long, are decoded as a whole.
    """
    width, height = content_size(upright_size(image), wanted)
    if orientation(image) in _SWAPPING:
        width, height = height, width
    image.draft(None, (_REDUCING_GAP * width, _REDUCING_GAP * height))


def content_size(size: tuple[int, int], wanted: PixelFormat) -> tuple[int, int]:
    """(width, height) that the image itself takes in the result: all of it, unless it is padded."""
    if wanted.fit != "pad":
        return wanted.width, wanted.height
    share = min(wanted.width / size[0], wanted.height / size[1])
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))


def fit(image: Image.Image, wanted: PixelFormat) -> Image.Image:
    """The image, "L" or "RGB", at the size wanted."""
    from PIL import Image, ImageOps

    size = (wanted.width, wanted.height)
    if image.size == size:
        return image
    if wanted.fit == "crop":
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    resized = image.resize(content_size(image.size, wanted), Image.Resampling.BILINEAR)
    if resized.size == size:
        return resized
    canvas = Image.new(image.mode, size, _ink(wanted.background, image.mode))
    canvas.paste(resized, ((size[0] - resized.width) // 2, (size[1] - resized.height) // 2))
    return canvas


def is_colour(image: Image.Image, background: str = "white") -> bool:
    """Whether it needs three channels; a grey image on a coloured background does."""
    from PIL import ImageColor

    if image.mode in _GREY_MODES or is_wide(image):
        return is_transparent(image) and len(set(ImageColor.getrgb(background))) > 1
    return True


def is_wide(image: Image.Image) -> bool:
    """Whether its grey pixels have 16 bits (or are integers of 32)."""
    return image.mode.startswith("I")


def is_transparent(image: Image.Image) -> bool:
    """Whether any pixel may be transparent."""
    return image.mode in _ALPHA_MODES or "transparency" in image.info


def wide_maximum(image: Image.Image) -> int:
    """The largest value of an image that `is_wide`, 0..65535.

    Raises:
        ValueError: a value lies outside.
    """
    values = np.asarray(image)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > 65535:
        raise ValueError(f"32-bit pixels from {lowest} to {highest} have no fixed range: save 8 or 16 bits")
    return highest


def flattened(image: Image.Image, background: str, depth: int = 16) -> Image.Image:
    """The image in 8 bits and without transparency: "L" if it is grey, else a mode that converts to "RGB"."""
    from PIL import Image

    if is_wide(image):
        return _narrow(image, background, depth)
    if image.mode == "F":
        return _from_floats(image)
    if not is_transparent(image):
        return image
    seen = image.convert("RGBA")
    canvas = Image.new("RGBA", image.size, background)
    canvas.alpha_composite(seen)
    return canvas.convert("RGB")


def _narrow(image: Image.Image, background: str, depth: int) -> Image.Image:
    """The upper 8 of `depth` bits; a grey level that PNG declares transparent becomes the background."""
    from PIL import Image

    wide_maximum(image)
    values = np.asarray(image).astype(np.int64)
    grey = Image.fromarray((values >> (depth - 8)).clip(0, 255).astype(np.uint8))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(grey.convert("RGB"), mask=Image.fromarray(((values != transparent) * 255).astype(np.uint8)))
    return canvas


def _from_floats(image: Image.Image) -> Image.Image:
    from PIL import Image

    values = np.asarray(image)
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0 and highest <= 1):  # a NaN is neither
        raise ValueError(
            f"floating-point pixels must lie in [0, 1], not {lowest:g}..{highest:g}: save 8 or 16 bits"
        )
    return Image.fromarray((values * 255).round().astype(np.uint8))


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "P":
        image = image.convert("RGB")  # straight to grey, Pillow rounds otherwise
    return image if image.mode == mode else image.convert(mode)


def _ink(background: str, mode: str) -> Any:
    from PIL import ImageColor

    return ImageColor.getcolor(background, mode)


def _image_of(array: np.ndarray) -> Image.Image:
    from PIL import Image

    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise ValueError(f"an array must be uint8 (H, W) or (H, W, C), not {array.dtype} {array.shape}")
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
