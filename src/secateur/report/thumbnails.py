"""Small pictures that lie in a page: PNG, as `data:` URIs, all of them together within a number of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np

SIDES = (64, 48, 32, 24, 16)
"""The longer side in pixels, at most: the first at which all pictures fit."""
MOST_BYTES = 60_000
"""Of all pictures of a page, as they are written in it."""


def thumbnails(images: Sequence[np.ndarray], most: int = MOST_BYTES) -> list[str]:
    """Make pictures, the first at the largest of `SIDES` at which all fit into `most` bytes.

    Args:
        images: uint8 (C, H, W), one channel or three; smaller ones keep their own pixels.

    Returns:
        as many URIs; fewer, the first ones, where even the smallest are too many.
    """
    found: list[str] = []
    for side in SIDES:
        found = [_uri(pixels, side) for pixels in images]
        if sum(map(len, found)) <= most:
            return found
    while sum(map(len, found)) > most:
        found.pop()
    return found


def _uri(pixels: np.ndarray, side: int) -> str:
    from PIL import Image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    image.thumbnail((side, side))  # never enlarges
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
