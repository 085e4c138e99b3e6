"""From whatever Pillow opens to an image that is upright, opaque and of 8 bits a channel: "L" or "RGB"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_GREY_MODES = ("1", "L", "LA", "La", "F")
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_SWAPPING = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_ORIENTATION = 0x0112
_WIDEST = 2**16 - 1


def upright(image: Image.Image) -> Image.Image:
    """The image turned and mirrored as its EXIF orientation says."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if orientation(image) != 1 else image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) once it is upright; nothing is decoded, but of a TIFF, which Pillow itself turns."""
    if not is_swapped(image):
        return image.size
    if image.format == "TIFF":
        image.load()
        return image.size
    return image.size[1], image.size[0]


def is_swapped(image: Image.Image) -> bool:
    """Whether its rows become columns when it is turned upright."""
    return orientation(image) in _SWAPPING


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1..8; 1 where there is none, or none that can be read."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF is written by anybody: without it the image is still an image
        return 1
    return found if found in range(1, 9) else 1


def is_colour(image: Image.Image, background: str) -> bool:
    """Whether it needs three channels; a transparent grey image on a coloured background does."""
    if image.mode not in _GREY_MODES and not is_wide(image):
        return True
    from PIL import ImageColor

    return is_transparent(image) and len(set(ImageColor.getrgb(background))) > 1


def is_transparent(image: Image.Image) -> bool:
    """Whether any pixel may be transparent."""
    return image.mode in _ALPHA_MODES or "transparency" in image.info


def is_wide(image: Image.Image) -> bool:
    """Whether its grey pixels have 16 bits (or are integers of 32)."""
    return image.mode.startswith("I")


def flattened(image: Image.Image, background: str, depth: int = 16) -> Image.Image:
    """The image without transparency and in 8 bits, in a mode that Pillow converts to "L" or "RGB".

    Args:
        background: the colour that shows through transparent pixels.
        depth: bits used of 16-bit pixels; see `narrowed`.

    Raises:
        ValueError: pixels without a known range.
    """
    if is_wide(image):
        return _narrow_grey(image, background, depth)
    if image.mode == "F":
        return _from_floats(image)
    return composited(image, background) if is_transparent(image) else image


def composited(image: Image.Image, background: str) -> Image.Image:
    """The image on a background: RGB. What colour hides under full transparency is not seen."""
    from PIL import Image

    canvas = Image.new("RGBA", image.size, background)
    seen = image.convert("LA") if image.mode == "La" else image  # Pillow's only way from there
    canvas.alpha_composite(seen.convert("RGBA"))
    return canvas.convert("RGB")


def narrowed(values: np.ndarray, depth: int) -> np.ndarray:
    """uint8: the upper 8 of `depth` bits of uint16."""
    return (values >> (depth - 8)).clip(0, 255).astype(np.uint8)


def wide_values(image: Image.Image) -> np.ndarray:
    """The pixels of an image that `is_wide`, uint16.

    Raises:
        ValueError: a value lies outside.
    """
    values = np.asarray(image)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > _WIDEST:
        raise ValueError(f"32-bit pixels of {lowest} to {highest} have no fixed range: save 8 or 16 bits")
    return values.astype(np.uint16)


def depth_for(maximum: int) -> int:
    """The least bits, 8..16, that hold it.

    Example:
        >>> depth_for(4095), depth_for(4096), depth_for(9)
        (12, 13, 8)
    """
    return max(8, int(maximum).bit_length())


def _narrow_grey(image: Image.Image, background: str, depth: int) -> Image.Image:
    """8 bits of 16; the grey level that a PNG declares transparent becomes the background."""
    from PIL import Image

    values = wide_values(image)
    grey = Image.fromarray(narrowed(values, depth))
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
            f"floating-point pixels must lie in [0, 1], not {lowest:g} to {highest:g}: save 8 or 16 bits"
        )
    return Image.fromarray((values * 255).round().astype(np.uint8))
