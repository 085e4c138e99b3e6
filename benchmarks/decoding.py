"""A JPEG decoded at a reduced scale, over the same JPEG decoded as a whole.

A smooth photograph of 12 megapixels (4000x3000, quality 90) with noise, to a square of 64 and of 224 pixels:
`PixelFormat.read`, which has libjpeg decode 1/8 or 1/4 of each side, over `PixelFormat.pixels` of the image
opened in the same way and decoded as a whole. Both from memory, in one thread, and both to the same pixels:
the mean difference in levels is noted. A file is read in full in both cases, and the bytes have to be
decompressed, so that less is won of a noisy photograph (of 3 MB) than of a smooth one (of 1 MB).
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from benchmarks.records import Found, Settings
from benchmarks.timing import measure
from secateur.data.pixels import PixelFormat

CASES = {"1 MB to 64": (1.0, 64), "1 MB to 224": (1.0, 224), "3 MB to 224": (6.0, 224)}  # noise, side
REDUCED, WHOLE = "at a reduced scale", "as a whole"


def run(settings: Settings) -> Found:
    """Each case."""
    if settings.device != "cpu":
        return Found(notes=["measured on a CPU only: no device is touched"])
    found = Found()
    for name, (noise, side) in list(CASES.items())[: 1 if settings.quick else None]:
        size = (400, 300) if settings.quick else (4000, 3000)
        _add(found, name, photograph(*size, noise), PixelFormat(3, side, side), settings)
    return found


def _add(found: Found, name: str, content: bytes, wanted: PixelFormat, settings: Settings) -> None:
    times = measure(
        {REDUCED: lambda: wanted.read(content), WHOLE: lambda: decoded_whole(content, wanted)},
        rounds=settings.rounds,
    )
    levels = np.abs(wanted.read(content).astype(int) - decoded_whole(content, wanted)).mean()
    more = {"megabytes": round(len(content) / 1e6, 1), "levels": round(float(levels), 2)}
    found.add(name, times, REDUCED, WHOLE, **more)
    faster = 1 / times.ratio(REDUCED, WHOLE).middle
    found.notes.append(f"{name} px: {faster:.1f} times as fast, {more['levels']} levels apart")


def decoded_whole(content: bytes, wanted: PixelFormat) -> np.ndarray:
    """The pixels without a reduced scale."""
    with Image.open(io.BytesIO(content)) as image:
        return wanted.pixels(image)


def photograph(width: int, height: int, noise: float) -> bytes:
    """JPEG."""
    rng = np.random.default_rng(0)
    low = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    smooth = np.asarray(low.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = (
        (smooth + rng.normal(0, noise, smooth.shape).round().astype(np.int16)).clip(0, 255).astype(np.uint8)
    )
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
