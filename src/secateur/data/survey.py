"""What is known of images from their headers, before any is decoded: sizes, colours, what cannot be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from secateur.data.flatten import (
    depth_for,
    is_colour,
    is_transparent,
    is_wide,
    orientation,
    upright_size,
    wide_values,
)
from secateur.data.formats import HEIC, open_image
from secateur.data.memory import TURNS
from secateur.data.wide_colour import is_wide_colour, taken_by, wide_colour_values

if TYPE_CHECKING:
    from PIL import Image

SIZES = (32, 64, 96, 128, 224)  # sides that are proposed
_REDUCED = ("JPEG", "MPO")  # never decoded here
_MOVING = ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "HEIF", "DCX")  # not of layers, sizes or views
FileState = tuple[int, int, int, int]


@dataclass(frozen=True)
class Header:
    """What one image says of itself.

    Args:
        colour: whether it needs three channels.
        size: (width, height), upright.
        maximum: the largest value of 16-bit pixels; None where pixels have 8.
        turned, transparent, floating, moving: whether it is turned upright, put on a background, scaled from
            floats, or only the first of several pictures is taken.
        renamed: the format inside, of a file that is called .heic and is something else.
    """

    colour: bool
    size: tuple[int, int]
    maximum: int | None = None
    turned: bool = False
    transparent: bool = False
    floating: bool = False
    moving: bool = False
    renamed: str = ""


def read_header(source: Path | bytes, background: str) -> Header:
    """Open an image; one of 16 bits is decoded, for the range that it uses, and a PNG, to look for EXIF.

    Raises:
        OSError, ValueError, SyntaxError: as `PixelFormat.read`.
    """
    with open_image(source) as image, TURNS.taking(0 if image.format in _REDUCED else taken_by(image)):
        in_colour = is_wide_colour(image)  # first: EXIF's answer decodes a PNG, whose depth is then forgotten
        named_heic = isinstance(source, Path) and source.suffix.lower() in HEIC
        facts = {
            "colour": is_colour(image, background),
            "size": upright_size(image),
            "turned": orientation(image) != 1,
            "transparent": is_transparent(image),
            "floating": image.mode == "F",
            "moving": _frames(image) > 1,
            "renamed": str(image.format) if named_heic and image.format != "HEIF" else "",
        }
        return Header(**facts, maximum=_maximum(image, source, in_colour))  # type: ignore[arg-type]


def state_of(path: Path) -> FileState:
    """What changes when a file does: its size, times of content and of inode, and inode."""
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def depth_of(headers: Sequence[Header]) -> int:
    """Bits, 8..16, that the brightest of all 16-bit pixels needs; 16 where there are none."""
    maxima = [header.maximum for header in headers if header.maximum is not None]
    return depth_for(max(maxima)) if maxima else 16


def extremes(headers: Sequence[Header]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The least and the greatest (width, height)."""
    widths, heights = zip(*(header.size for header in headers), strict=True)
    return (min(widths), min(heights)), (max(widths), max(heights))


def proposed_side(headers: Sequence[Header]) -> int:
    """The largest usual side that half of the images have without being enlarged; else the median itself."""
    median = int(np.median([min(header.size) for header in headers]))
    return max((side for side in SIZES if side <= median), default=max(1, median))


def remarks(headers: Sequence[Header], background: str) -> tuple[str, ...]:
    """What a user should know of what is done to the pixels, a sentence each."""
    wide = sum(header.maximum is not None for header in headers)
    depth = depth_of(headers)
    counted = {
        "turned upright as EXIF says": sum(header.turned for header in headers),
        f"transparent, put on {background}": sum(header.transparent for header in headers),
        "with several frames or pages: the first is taken": sum(header.moving for header in headers),
        "of floats in [0, 1], scaled to 255": sum(header.floating for header in headers),
        f"of 16 bits, of which {depth} are used: the upper 8 of these are kept": wide,
    }
    for kind in sorted({header.renamed for header in headers} - {""}):
        counted[f"named .heic, but {kind} inside"] = sum(header.renamed == kind for header in headers)
    return tuple(
        f"{count} {'image' if count == 1 else 'images'} {what}" for what, count in counted.items() if count
    )


def _frames(image: Image.Image) -> int:
    """Pictures in the file; 1 where those after the first cannot be counted."""
    try:
        return getattr(image, "n_frames", 1) if image.format in _MOVING else 1
    except Exception:  # only the first is read, and that it is broken is found then
        return 1


def _maximum(image: Image.Image, source: Path | bytes, in_colour: bool) -> int | None:
    if is_wide(image):
        return int(wide_values(image).max())
    return int(wide_colour_values(source)[..., :3].max()) if in_colour else None
