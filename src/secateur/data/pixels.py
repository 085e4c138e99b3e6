"""Which pixels are made of an image: `PixelFormat`, the one home of it.

Decoding, `model.preprocess` and exported operators all go by it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from secateur.data.flatten import flattened, is_swapped, upright, upright_size
from secateur.data.formats import READING, open_image
from secateur.data.memory import TURNS
from secateur.data.wide_colour import is_wide_colour, narrow_colour, taken_by
from secateur.errors import require, require_packages
from secateur.names import Fit

if TYPE_CHECKING:
    from PIL import Image

FITS: tuple[str, ...] = get_args(Fit)
_BACKGROUNDS = re.compile(r"white|black|#[0-9a-fA-F]{6}")
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
            **look_checks(self.fit, self.background),
            "depth must lie in 8..16": 8 <= self.depth <= 16,
        }
        require(self, checks)

    @property
    def mode(self) -> str:
        """Pillow's name of the channels."""
        return "L" if self.channels == 1 else "RGB"

    def pixels(self, image: Image.Image) -> np.ndarray:
        """uint8 (channels, height, width): upright, on the background, in 8 bits, at the size.

        Raises:
            ValueError: pixels without a known range (floats outside [0, 1], integers beyond 16 bits).
        """
        flat = flattened(upright(image), self.background, self.depth)
        fitted = fit(flat if flat.mode == self.mode else flat.convert(self.mode), self)
        return np.asarray(fitted).reshape(self.height, self.width, self.channels).transpose(2, 0, 1)

    def read(self, source: Path | bytes) -> np.ndarray:
        """The same of a file or its content; a large JPEG is decoded at a reduced scale.

        Raises:
            OSError, ValueError, SyntaxError: what is no readable image, or needs more memory than there is;
                see `formats.open_image`.
        """
        with open_image(source) as image:
            reduce(image, self)
            with TURNS.taking(taken_by(image)):
                if self.depth < 16 and is_wide_colour(image):
                    return self.pixels(narrow_colour(source, self.depth))
                return self.pixels(image)


def look_checks(fit: str, background: str) -> dict[str, bool]:
    """What must hold of these two, for `errors.require`."""
    return {
        f"fit must be one of {', '.join(FITS)}": fit in FITS,
        "background must be white, black or #rrggbb": bool(_BACKGROUNDS.fullmatch(background)),
    }


def reduce(image: Image.Image, wanted: PixelFormat) -> None:
    """Have a JPEG that was not decoded yet decoded at 1/2, 1/4 or 1/8, while that is twice the size wanted.

    What is then resized has the same pixels as the whole would give, up to few levels. Images that have the
    size already, and all up to four times as large, are decoded as a whole.
    """
    if image.format not in ("JPEG", "MPO"):
        return
    width, height = content_size(upright_size(image), wanted)
    if is_swapped(image):
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
    content = image.resize(content_size(image.size, wanted), Image.Resampling.BILINEAR)
    return content if content.size == size else _centred(content, size, wanted.background)


@contextmanager
def without_bombs() -> Iterator[None]:
    """Have Pillow refuse what it warns of: images above 89 million pixels, which 20 kB can hold.

    Filters of warnings are the whole process's: not for threads.
    """
    require_packages("PIL", what=READING)
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _centred(image: Image.Image, size: tuple[int, int], background: str) -> Image.Image:
    from PIL import Image, ImageColor

    ink: Any = ImageColor.getcolor(background, image.mode)
    canvas = Image.new(image.mode, size, ink)
    canvas.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return canvas
