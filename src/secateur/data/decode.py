"""From encoded images (files or bytes) to one uint8 tensor, with Pillow, in threads."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from secateur.data.dataset import Split
from secateur.data.jpeg import describe_codec
from secateur.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

Progress = Callable[[str, int, int], None]

_CHUNK = 64  # images a thread takes at once
_GREY_MODES = ("1", "L", "LA", "La", "I")


@dataclass(frozen=True)
class Encoded:
    """Images of one split, not decoded yet.

    Args:
        images: N files, or contents of files.
        labels: N class numbers, 0..K-1.
        names: N names for error messages: a path, or a file and its row.
    """

    images: Sequence[Path | bytes]
    labels: Sequence[int]
    names: Sequence[str]

    @staticmethod
    def joined(parts: Iterable[Encoded]) -> Encoded:
        """All images of `parts`, in order."""
        parts = list(parts)
        return Encoded(
            [image for part in parts for image in part.images],
            [label for part in parts for label in part.labels],
            [name for part in parts for name in part.names],
        )


@dataclass(frozen=True)
class Decoded:
    """Decoded splits, one after the other.

    Args:
        images: uint8 (N, C, H, W) of all splits.
        labels: int64 (N,).
        sizes: examples of "train", "test" and perhaps "val", or of "all"; their sum is N.
        classes: K class names.
        codec: how the files are compressed if that loses something: "jpeg q75", "jpeg", or "".
        smallest, largest: the least and the greatest (width, height) of the images before they were resized;
            None: that of `images`.
        left_out: what was not read (".heic", "unreadable") -> how many.
        remarks: what else was found, a sentence each.
    """

    images: torch.Tensor
    labels: torch.Tensor
    sizes: Mapping[str, int]
    classes: tuple[str, ...]
    codec: str = ""
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, Split]:
        """Views of each split's part."""
        sizes = list(self.sizes.values())
        parts = zip(self.images.split(sizes), self.labels.split(sizes), strict=True)
        return {name: Split(*part) for name, part in zip(self.sizes, parts, strict=True)}


def decode(
    encoded: Mapping[str, Encoded],
    classes: tuple[str, ...],
    image_size: int | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Decode all splits to the same shape: (1, H, W) if every image is grey, else (3, H, W).

    Args:
        encoded: the images of each split.
        image_size: side in pixels of the square made of each image: its centre, resized (bilinear,
            antialiased). None takes images as they are.
        progress: called with (description, images done, images in all), in this thread.

    Raises:
        InputError: an image cannot be read, or sizes differ and no `image_size` is given.
    """
    everything = Encoded.joined(encoded.values())
    mode, (width, height), came = _common_format(everything, image_size, progress)
    pixels = _decode_all(everything, mode, (width, height), progress)
    labels = torch.tensor(everything.labels, dtype=torch.int64)
    sizes = {name: len(part.labels) for name, part in encoded.items()}
    codec = describe_codec(everything.images)
    return Decoded(torch.from_numpy(pixels), labels, sizes, classes, codec, *came)


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image at `size` (width, height): its largest centred part of that shape, resized."""
    from PIL import Image, ImageOps

    return image if image.size == size else ImageOps.fit(image, size, Image.Resampling.BILINEAR)


def _common_format(
    encoded: Encoded, image_size: int | None, progress: Progress | None
) -> tuple[str, tuple[int, int], tuple[tuple[int, int], tuple[int, int]]]:
    """Mode and size of all images, and the least and greatest sizes that they came in.

    From their headers alone, which takes a small part of decoding's time.
    """
    headers: list[tuple[bool, tuple[int, int]]] = [(False, (0, 0))] * len(encoded.images)

    def read_header(i: int) -> None:
        with _open(encoded, i) as image:
            headers[i] = (_is_colour(image), image.size)

    _for_each(read_header, len(headers), "reading headers", progress)
    mode = "RGB" if any(colour for colour, _ in headers) else "L"
    if image_size is not None:
        widths, heights = zip(*(size for _, size in headers), strict=True)
        return mode, (image_size, image_size), ((min(widths), min(heights)), (max(widths), max(heights)))
    first = headers[0][1]
    for name, (_, size) in zip(encoded.names, headers, strict=True):
        if size != first:
            raise InputError(
                f"images must have one size, but {encoded.names[0]} is {first[0]}x{first[1]} and "
                f"{name} is {size[0]}x{size[1]}: resize them all with --image-size N"
            )
    return mode, first, (first, first)


def _decode_all(encoded: Encoded, mode: str, size: tuple[int, int], progress: Progress | None) -> np.ndarray:
    """uint8 (N, C, H, W)."""
    channels = {"L": 1, "RGB": 3}[mode]
    pixels = np.empty((len(encoded.images), channels, size[1], size[0]), dtype=np.uint8)

    def decode_one(i: int) -> None:
        with _open(encoded, i) as image:
            array = np.asarray(fit(_convert(image, mode), size))
            pixels[i] = array.reshape(size[1], size[0], channels).transpose(2, 0, 1)

    _for_each(decode_one, len(pixels), "decoding images", progress)
    return pixels


def _for_each(work: Callable[[int], None], count: int, description: str, progress: Progress | None) -> None:
    """`work(i)` for i in 0..count-1 in threads (Pillow releases the lock); the first error ends it."""

    def run(first: int) -> int:
        last = min(first + _CHUNK, count)
        for i in range(first, last):
            work(i)
        return last

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(run, range(0, count, _CHUNK)):
            if progress:
                progress(description, done, count)


@contextmanager
def _open(encoded: Encoded, i: int) -> Iterator[Image.Image]:
    """Image i. Any failure to open or to decode it becomes an `InputError` that names it."""
    from PIL import Image

    source = encoded.images[i]
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            yield image
    # Pillow's decoders raise whatever they meet in a broken file: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise InputError(
            f"every image must be readable, but {encoded.names[i]} is not ({_reason(error)}): "
            f"replace or remove it"
        ) from error


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no image format that Pillow knows"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _is_colour(image: Image.Image) -> bool:
    return image.mode not in _GREY_MODES and not image.mode.startswith("I;")


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """To "L" or "RGB". Transparency is dropped, 16-bit grey keeps its upper 8 bits."""
    from PIL import Image

    if image.mode.startswith("I"):
        # Pillow clips 16 bits at 255 where a photograph should be scaled
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of a palette with transparency
    return image if image.mode == mode else image.convert(mode)
