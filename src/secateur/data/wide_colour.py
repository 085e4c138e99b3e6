"""Colour images of 16 bits a channel, of which Pillow gives the upper 8: the lower 8, where data use them.

Pillow unpacks such pixels by a rule, "RGB;16B", that takes the first of two bytes. Under the rule for the
other byte order it takes the second; both together are the whole value.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur.data.flatten import narrowed, upright
from secateur.data.formats import open_image

if TYPE_CHECKING:
    from PIL import Image

_BYTES, _WIDE_BYTES = 20, 32  # a pixel, measured: an image of RGBA turned upright, one of 16 bits a channel
_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in ("BL", "LB", "NB")
}  # "N" is this machine's own order, little-endian wherever torch runs


def is_wide_colour(image: Image.Image) -> bool:
    """Whether its file has 16 bits for each of three or four channels; asked before it is decoded."""
    return _rule(image) in _OTHER_BYTE


def taken_by(image: Image.Image) -> int:
    """Bytes that decoding an image and making pixels of it takes at most, by its header."""
    width, height = image.size
    return width * height * (_WIDE_BYTES if is_wide_colour(image) else _BYTES)


def wide_colour_values(source: Path | bytes) -> np.ndarray:
    """uint16 (H, W, 3 or 4), upright."""
    values = np.asarray(_unpacked(source, False)).astype(np.uint16) << 8
    return values | np.asarray(_unpacked(source, True))


def narrow_colour(source: Path | bytes, depth: int) -> Image.Image:
    """The image, upright, of the upper 8 of `depth` bits; alpha always has 16."""
    from PIL import Image

    values = wide_colour_values(source)
    colours, alpha = narrowed(values[..., :3], depth), narrowed(values[..., 3:], 16)
    return Image.fromarray(np.concatenate([colours, alpha], axis=2))


def _unpacked(source: Path | bytes, other: bool) -> Image.Image:
    with open_image(source) as image:
        if other:
            rule = _OTHER_BYTE[_rule(image)]
            file: Any = image
            file.tile = [_with_rule(tile, rule) for tile in file.tile]
        return upright(image).copy()


def _rule(image: Image.Image) -> str:
    """Pillow's name of how the pixels lie in the file; "" where it has none."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    found = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return found if isinstance(found, str) else ""


def _with_rule(tile: Any, rule: str) -> Any:
    arguments = (rule, *tile[3][1:]) if isinstance(tile[3], tuple) else rule
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)
