"""The page of an evaluation: what a network is right about, and the images that it is surest and wrong about.

One file that needs nothing but a browser; the images lie in it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from secateur.atomic import make_folder, write_text
from secateur.records.evaluated import Evaluated

from .templates import environment

PAGE = "evaluation.html"
_SIDE = 128  # at least so many pixels are shown of an image


def write_evaluation(found: Evaluated, images: Sequence[np.ndarray], directory: Path) -> Path:
    """Write the page into a folder, which is made if need be; its path.

    Args:
        images: uint8 (C, H, W), those of `found.worst` in order.
    """
    make_folder(directory)
    path = directory / PAGE
    write_text(path, render(found, images))
    return path


def render(found: Evaluated, images: Sequence[np.ndarray]) -> str:
    """The page as text."""
    largest = max((count for row in found.confusion for count in row), default=0)
    return (
        environment("secateur.report")
        .get_template("evaluation.html")
        .render(found=found, shown=list(zip(found.worst, map(inlined, images), strict=True)), largest=largest)
    )


def inlined(pixels: np.ndarray) -> str:
    """An image as a URI that holds it: PNG, its pixels enlarged as squares where there are few.

    Args:
        pixels: uint8 (C, H, W), one channel or three.
    """
    from PIL import Image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    factor = max(1, _SIDE // max(image.size))
    buffer = io.BytesIO()
    enlarged = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    enlarged.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
