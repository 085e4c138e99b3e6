"""Where decoded pixels go: into memory, or piece by piece into the cache's file, which is then mapped.

The file is a safetensors file: a header of fixed length, the images, the labels, and what else is known as
JSON, each of the two last appended once all is decoded. The header has a checksum of the images and a digest
of the rest, compared whenever the file is opened. CRC-32 notices damage, which is all that is asked of it, at
half of SHA-256's cost: 0.5 CPU seconds for TinyImageNet's 1.35 GB.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from secateur.atomic import make_folder
from secateur.data.cache_files import cache_folder
from secateur.data.mapped import mapped, pieces
from secateur.data.memory import address_space, available_disk, available_memory, in_words
from secateur.errors import InputError
from secateur.records.reading import parse_json

_HEADER = 1024  # bytes before the images, the length of the header included

Shape = tuple[int, int, int, int]


class Store(Protocol):
    """Takes images in any order, from any thread; then gives those that were kept."""

    def write(self, i: int, pixels: np.ndarray) -> None:
        """Put image i, uint8 (C, H, W)."""

    def finished(self, kept: Sequence[int]) -> Tensor:
        """Give the images `kept`, which are ascending, uint8 (M, C, H, W)."""


class InMemory:
    """Images in memory."""

    def __init__(self, shape: Shape) -> None:
        self._images = np.empty(shape, np.uint8)

    def write(self, i: int, pixels: np.ndarray) -> None:
        """Put image i."""
        self._images[i] = pixels

    def finished(self, kept: Sequence[int]) -> Tensor:
        """Give the images kept."""
        return torch.from_numpy(self._images if len(kept) == len(self._images) else self._images[list(kept)])


class InFile:
    """Images in a file of safetensors, which `complete` makes whole.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, shape: Shape) -> None:
        self.path = path
        self._shape = shape
        self._lock = threading.Lock()
        self._file = open(path, "w+b")  # noqa: SIM115  it stays open while images are decoded
        self._file.truncate(_HEADER + int(np.prod(shape)))

    def write(self, i: int, pixels: np.ndarray) -> None:
        """Put image i."""
        with self._lock:
            _write_at(self._file, np.ascontiguousarray(pixels).data.cast("B"), self._place(i))

    def finished(self, kept: Sequence[int]) -> Tensor:
        """Close the gaps that images left which are not kept, and map the rest."""
        for place, i in enumerate(kept):
            if place != i:
                self._file.seek(self._place(i))
                _write_at(self._file, memoryview(self._file.read(self._size)), self._place(place))
        self._file.flush()
        self._file.truncate(self._place(len(kept)))
        return mapped(self._file, _HEADER, (len(kept), *self._shape[1:]))

    def complete(self, labels: Tensor, facts: Mapping[str, Any]) -> None:
        """Append labels and facts, and write the header."""
        images = self._file.seek(0, os.SEEK_END) - _HEADER
        checksum = _checksum(mapped(self._file, _HEADER, (len(labels), *self._shape[1:])))
        numbers = labels.numpy().tobytes()
        told = json.dumps(facts).encode()
        shape = [len(labels), *self._shape[1:]]
        ends = [images, images + len(numbers), images + len(numbers) + len(told)]
        header = {
            "__metadata__": {"sha256": hashlib.sha256(numbers + told).hexdigest(), "crc32": checksum},
            "images": {"dtype": "U8", "shape": shape, "data_offsets": [0, ends[0]]},
            "labels": {"dtype": "I64", "shape": shape[:1], "data_offsets": ends[:2]},
            "facts": {"dtype": "U8", "shape": [len(told)], "data_offsets": ends[1:]},
        }
        self._file.write(numbers + told)
        self._file.seek(0)
        self._file.write((_HEADER - 8).to_bytes(8, "little"))
        self._file.write(json.dumps(header).encode().ljust(_HEADER - 8))
        self._file.flush()
        os.fsync(self._file.fileno())  # or it has its name after a loss of power, and zeros for images
        self.close()

    def close(self) -> None:
        """Write what is left to write."""
        self._file.close()

    def abandon(self) -> None:
        """Close what nobody needs: what is left to write may not be writable either."""
        with contextlib.suppress(OSError):
            self._file.close()

    @property
    def _size(self) -> int:
        return int(np.prod(self._shape[1:]))

    def _place(self, i: int) -> int:
        return _HEADER + i * self._size


class Place:
    """Chooses where the pixels of one data set go, once their number is known.

    Args:
        path: the file that they may go to; None: only memory will do.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.file: InFile | None = None

    def reserve(self, shape: Shape) -> Store:
        """Choose the file, or memory where the file cannot be written.

        Raises:
            InputError: neither has the space.
        """
        size = int(np.prod(shape))
        if self.path and size + 2**20 <= available_disk(self.path.parent) and size < address_space():
            with contextlib.suppress(OSError):
                make_folder(self.path.parent)
                self.file = InFile(self.path, shape)
                return self.file
        if size > available_memory() * 9 // 10:
            raise InputError(_too_large(shape, size))
        return InMemory(shape)


def read(path: Path) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Images (mapped, looked through once), labels and facts of a file that `InFile` wrote.

    Raises:
        OSError, KeyError, ValueError: it is no such file, not all of one, or was damaged since.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length != _HEADER - 8:
            raise ValueError("another kind of file")
        header = parse_json(file.read(length), str(path))
        (_, begin), (_, middle), (_, end) = (
            header[name]["data_offsets"] for name in ("images", "labels", "facts")
        )
        if os.fstat(file.fileno()).st_size != _HEADER + end or not 0 <= begin <= middle <= end:
            raise ValueError("it is not complete")
        shape = header["images"]["shape"]
        if len(shape) != 4 or math.prod(shape) != begin or middle - begin != 8 * shape[0]:
            raise ValueError("its parts have other sizes than its header says")
        file.seek(_HEADER + begin)
        rest = file.read(end - begin)
        if hashlib.sha256(rest).hexdigest() != header["__metadata__"]["sha256"]:
            raise ValueError("its labels were damaged")
        labels = torch.frombuffer(bytearray(rest[: middle - begin]), dtype=torch.int64)
        facts = parse_json(rest[middle - begin :], str(path))
        images = mapped(file, _HEADER, shape)
        if _checksum(images) != header["__metadata__"]["crc32"]:
            raise ValueError("its pixels were damaged")
        return images, labels, facts


def _checksum(images: Tensor) -> str:
    """CRC-32 of all pixels, 8 hex digits; their memory is given back."""
    found = 0
    for piece in pieces(images):
        found = zlib.crc32(piece.numpy().data, found)
    return f"{found:08x}"


def _write_at(file: IO[bytes], content: memoryview, place: int) -> None:
    file.seek(place)
    file.write(content)


def _too_large(shape: Shape, size: int) -> str:
    count, channels, height, width = shape
    folder = cache_folder()
    return (
        f"{count} images of {channels}x{height}x{width} take {in_words(size)} once decoded, but "
        f"{in_words(available_memory())} of memory are available and {in_words(available_disk(folder))} of "
        f"disk in {folder}: lower --image-size, or set SECATEUR_CACHE to a folder with more space"
    )
