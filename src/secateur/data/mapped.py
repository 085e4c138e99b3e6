"""Images that stay in a file until they are looked at: a memory map as a tensor, and what is made of one.

Pages of a file that were looked at count as this process's memory, though the system takes them back when it
needs to; whoever goes through all images gives them back at once (`forget`).
"""

from __future__ import annotations

import mmap
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import IO
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from secateur.data.cache_files import cache_folder
from secateur.data.memory import address_space, available_disk, available_memory, in_words
from secateur.errors import InputError

_PIECE = 2**25  # bytes looked at before they are given back

_maps: WeakKeyDictionary[mmap.mmap, int] = WeakKeyDictionary()  # each map's address


def mapped(file: IO[bytes], start: int, shape: Sequence[int]) -> Tensor:
    """uint8 of this shape from byte `start` of the file; not to be written to."""
    size = prod(shape)
    if not size:
        return torch.empty(tuple(shape), dtype=torch.uint8)
    try:
        pages = mmap.mmap(file.fileno(), start + size, access=mmap.ACCESS_COPY)
    except OSError:  # a private map counts as memory, and may be larger than all there is
        pages = mmap.mmap(file.fileno(), start + size, access=mmap.ACCESS_READ)
    _maps[pages] = np.frombuffer(pages, np.uint8).ctypes.data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is not writable
        return torch.frombuffer(pages, dtype=torch.uint8, offset=start, count=size).view(tuple(shape))


def pieces(images: Tensor) -> Iterator[Tensor]:
    """All images in order, some at a time; each piece's memory is given back when the next is asked for."""
    if not len(images):
        return
    for piece in images.split(max(1, _PIECE // images[0].nbytes)):
        yield piece
        forget(piece)


def forget(images: Tensor) -> None:
    """Give back the memory of images that lie in a map; their file has them still."""
    first, size = images.data_ptr(), images.nbytes
    for pages, address in list(_maps.items()):
        if address <= first and first + size <= address + len(pages):
            begin = -(-(first - address) // mmap.PAGESIZE) * mmap.PAGESIZE  # whole pages within
            length = (first - address + size - begin) // mmap.PAGESIZE * mmap.PAGESIZE
            if length > 0 and hasattr(pages, "madvise"):
                pages.madvise(mmap.MADV_DONTNEED, begin, length)


def gathered(images: Tensor, indices: Tensor) -> Tensor:
    """`images[indices]`: a view where they are a range; in memory if that is small; else in a file, mapped.

    Args:
        images: uint8 (N, C, H, W), contiguous; all of them, not the indices, decide what is small.
        indices: int64 (M,).

    Raises:
        InputError: neither memory nor the cache's disk has the space.
    """
    if _is_range(indices):
        return images[int(indices[0]) : int(indices[0]) + len(indices)]
    size, memory, disk = len(indices) * images[0].nbytes, available_memory(), available_disk(cache_folder())
    if images.nbytes > memory // 4 and size <= disk and size < address_space():
        return _copied_to_file(images, indices)
    if size > memory * 9 // 10:
        raise InputError(
            f"a split of {len(indices)} images takes {in_words(size)}, but {in_words(memory)} of memory are "
            f"available and {in_words(disk)} of disk in {cache_folder()}: lower --image-size or "
            "--limit-train, or set SECATEUR_CACHE to a folder with more space"
        )
    return images[indices]


def _is_range(indices: Tensor) -> bool:
    return bool(len(indices)) and torch.equal(indices, torch.arange(len(indices)) + indices[0])


def _copied_to_file(images: Tensor, indices: Tensor) -> Tensor:
    """The images in a file without a name, which goes when the tensor does."""
    folder: Path = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        for some in indices.split(max(1, _PIECE // images[0].nbytes)):
            file.write(images[some].numpy().data)
            for i in some:
                forget(images[i])
        file.flush()
        return mapped(file, 0, (len(indices), *images.shape[1:]))
