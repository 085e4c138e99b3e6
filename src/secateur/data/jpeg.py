"""Which JPEG quality images were saved with: an accuracy on re-encoded images is not the original's."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from secateur.data.formats import open_image

_SAMPLE = 32


def describe_codec(images: Sequence[Path | bytes]) -> str:
    """ "jpeg q75" if (a sample of) the images are JPEGs of Pillow's quality 75, "jpeg" if of no one known
    quality, "" if any is something else.

    Args:
        images: files or contents of files, at least 1.
    """
    step = max(1, len(images) // _SAMPLE)
    tables = [_quantization(image) for image in images[::step]]
    if any(table is None for table in tables):
        return ""
    same = all(table == tables[0] for table in tables)
    quality = _quality(tables[0]) if same else None
    return "jpeg" if quality is None else f"jpeg q{quality}"


def _quantization(source: Path | bytes) -> dict[int, list[int]] | None:
    """The tables by number (0 luminance, 1 colour), each 64 steps; None if the image is no JPEG."""
    with open_image(source) as image:  # of our formats alone: EPS would start another program
        tables = getattr(image, "quantization", None) if image.format == "JPEG" else None
        return None if tables is None else {number: list(table) for number, table in tables.items()}


def _quality(tables: dict[int, list[int]] | None) -> int | None:
    """The highest quality, 1..100, at which Pillow writes exactly these tables (grey images have only 0)."""
    for quality in range(100, 0, -1):
        written = _tables_of_pillow(quality) or {}
        if tables and all(written.get(number) == table for number, table in tables.items()):
            return quality
    return None


def _tables_of_pillow(quality: int) -> dict[int, list[int]] | None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality)
    return _quantization(buffer.getvalue())
