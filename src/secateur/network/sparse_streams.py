"""The streams of a sparse file: where nonzeros lie, as gaps; what they are, byte by byte; each a zstd frame.

Pure functions on numpy arrays. docs/sparse-file.md has the layout, and why it comes close to the entropy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from secateur.errors import InputError, first_line

ESCAPE = 255
"""In gaps: so many zeros, and no nonzero behind them."""

_LEVELS = (1, 19)
"""The first finds no repetitions, which cost more than they save in noise; the second finds all."""

_TABLE = 60
"""Bytes that a code of its own costs, about."""


def gaps_of(positions: NDArray[np.int64], before: int = -1) -> NDArray[np.uint8]:
    """Say how many zeros lie before each nonzero: a byte each, and an `ESCAPE` for every 255 of them.

    Args:
        positions: of the nonzeros, (K,), rising, from 0.
        before: the position of the one before the first; -1: there is none.

    Returns:
        Bytes below 255: that many zeros, then a nonzero; 255: as many zeros, and more to come.

    Example:
        >>> gaps_of(np.array([0, 3, 304])).tolist()
        [0, 2, 255, 45]
    """
    zeros = np.diff(positions, prepend=before) - 1
    escapes = zeros // ESCAPE
    found = np.full(len(zeros) + int(escapes.sum()), ESCAPE, np.uint8)
    found[np.arange(len(zeros)) + np.cumsum(escapes)] = zeros % ESCAPE
    return found


def positions_of(gaps: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Find the nonzeros again: what `gaps_of` was given.

    Example:
        >>> positions_of(np.array([0, 2, 255, 45], np.uint8)).tolist()
        [0, 3, 304]
    """
    ends = gaps < ESCAPE
    reached = np.cumsum(gaps.astype(np.int64) + ends)
    found: NDArray[np.int64] = reached[ends] - 1
    return found


def planes_of(bits: NDArray[Any], rotated: bool) -> list[bytes]:
    """Split numbers into their bytes, all lowest ones first: where bytes of one kind lie together, they pack.

    Args:
        bits: the numbers as unsigned integers, (K,).
        rotated: they are floats, whose sign is put behind the mantissa first: the highest byte is then
            that of the exponent alone.
    """
    size = bits.dtype.itemsize
    if rotated:
        bits = _rotated(bits, 1)
    columns = bits.astype(bits.dtype.newbyteorder("<"), copy=False).view(np.uint8).reshape(-1, size)
    return [np.ascontiguousarray(columns[:, byte]).tobytes() for byte in range(size)]


def from_planes(planes: list[bytes], rotated: bool) -> NDArray[Any]:
    """Put the numbers together again: what `planes_of` was given."""
    size = len(planes)
    columns = np.empty((len(planes[0]), size), np.uint8)
    for byte, plane in enumerate(planes):
        columns[:, byte] = np.frombuffer(plane, np.uint8)
    bits = columns.view(np.dtype(f"<u{size}")).reshape(-1).astype(f"u{size}", copy=False)
    return _rotated(bits, 8 * size - 1) if rotated else bits


def _rotated(bits: NDArray[Any], left: int) -> NDArray[Any]:
    """Rotate every number so many bits to the left."""
    kind = bits.dtype.type
    found: NDArray[Any] = (bits << kind(left)) | (bits >> kind(8 * bits.dtype.itemsize - left))
    return found


def packed(parts: Sequence[bytes]) -> bytes:
    """Compress into one zstd frame that says how much is in it, the smallest of a few.

    Args:
        parts: what is compressed, one behind the other; wherever a code of its own pays, a block begins.
    """
    together = _merged(parts)
    return min((_compressed(together, level) for level in _LEVELS), key=len)


def _compressed(parts: Sequence[bytes], level: int) -> bytes:
    compressor = zstandard.ZstdCompressor(level=level).compressobj(size=sum(map(len, parts)))
    found = []
    for part in parts[:-1]:
        found += [compressor.compress(part), compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    return b"".join([*found, *map(compressor.compress, parts[-1:]), compressor.flush()])


def _merged(parts: Sequence[bytes]) -> list[bytes]:
    """Join neighbours that one code serves as well as two, by the entropy of their bytes."""
    found: list[tuple[NDArray[np.int64], list[bytes]]] = []
    for part in filter(None, parts):
        found.append((np.bincount(np.frombuffer(part, np.uint8), minlength=256), [part]))
        while len(found) > 1:
            (counts, held), (more, added) = found[-2:]
            if _entropy(counts + more) > _entropy(counts) + _entropy(more) + _TABLE:
                break
            found[-2:] = [(counts + more, held + added)]
    return [b"".join(held) for _, held in found]


def _entropy(counts: NDArray[np.int64]) -> float:
    """Bytes that so many of each symbol take at least, whatever code they have."""
    some = counts[counts > 0]
    whole = some.sum()
    return float(whole * np.log2(whole) - (some * np.log2(some)).sum()) / 8


def packed_size(frame: bytes, what: str) -> int:
    """Read how many bytes a frame holds, by its own account; InputError where it does not say."""
    try:
        found = zstandard.frame_content_size(frame)
    except zstandard.ZstdError as error:
        raise InputError(f"{what} is no zstd frame ({first_line(error)})") from None
    if found < 0:
        raise InputError(f"{what} is a zstd frame that does not say its size")
    return int(found)


def unpacked(frame: bytes, size: int, what: str) -> bytes:
    """Decompress a frame of exactly `size` bytes; no more than that is allocated, whatever it says."""
    if (said := packed_size(frame, what)) != size:
        raise InputError(f"{what} must hold {size:,} bytes, it says {said:,}")
    try:
        found = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise InputError(f"{what} is damaged ({first_line(error)})") from None
    if len(found) != size:
        raise InputError(f"{what} must hold {size:,} bytes, it has {len(found):,}")
    return found
