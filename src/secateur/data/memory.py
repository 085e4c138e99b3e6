"""How much memory and disk there is, and a file's bytes as a tensor without reading them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor

from secateur.data.cache_files import cache_folder
from secateur.errors import InputError

_CGROUPS = Path("/sys/fs/cgroup")
_KEPT_FREE = 256 * 2**20  # bytes of a disk that are not filled
_PIECE = 64 * 2**20  # bytes gathered at once


def available_memory() -> int:
    """Bytes that this process may still take: of the machine, of its control group, of its own limit."""
    return max(0, min(psutil.virtual_memory().available, *_of_group(), *_of_limit()))


def available_disk(folder: Path) -> int:
    """Bytes that may be written to the folder, which need not exist yet; 0 where it cannot be written to."""
    there = next((place for place in (folder, *folder.parents) if place.is_dir()), None)
    if there is None or not os.access(there, os.W_OK):
        return 0
    try:
        return max(0, shutil.disk_usage(there).free - _KEPT_FREE)
    except OSError:
        return 0


def in_words(size: int) -> str:
    """Bytes for people.

    Example:
        >>> in_words(7_549_747_200), in_words(12_345)
        ('7.5 GB', '12.3 kB')
    """
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{size} bytes"


def gathered(images: Tensor, indices: Tensor) -> Tensor:
    """`images[indices]`: a view where they are a range; in memory where that fits; else mapped from a file.

    Args:
        images: uint8 (N, C, H, W), contiguous.
        indices: int64 (M,).

    Raises:
        InputError: neither memory nor disk has the space.
    """
    if len(indices) and torch.equal(indices, torch.arange(int(indices[0]), int(indices[0]) + len(indices))):
        return images[int(indices[0]) : int(indices[0]) + len(indices)]
    size = len(indices) * images[0].nbytes
    if size <= available_memory() // 2:
        return images[indices]
    check_space(size, "a split")
    return _mapped_copy(images, indices)


def check_space(size: int, what: str) -> None:
    """InputError where the cache's disk has no space for so many bytes that memory does not hold either."""
    folder = cache_folder()
    free = available_disk(folder)
    if size > free:
        raise InputError(
            f"{what} takes {in_words(size)} once decoded, but {in_words(available_memory())} of memory are "
            f"available and {in_words(free)} of disk in {folder}: lower --image-size or --limit-train, or "
            "set SECATEUR_CACHE to a folder with more space"
        )


def _mapped_copy(images: Tensor, indices: Tensor) -> Tensor:
    """The images in a file without a name, which goes when the tensor does."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        for piece in indices.split(max(1, _PIECE // images[0].nbytes)):
            file.write(images[piece].numpy().data)
        file.flush()
        shape = (len(indices), *images.shape[1:])
        return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=shape))  # type: ignore[call-overload]


def _of_group() -> Iterator[int]:
    """What a container's or a service's memory limit leaves; pages of files are given back when needed."""
    for limit, used, reclaimable in _group_files():
        with contextlib.suppress(OSError, ValueError):  # no limit reads "max"; version 1 writes a huge one
            held = int(used.read_text()) - _inactive_file(reclaimable)
            yield int(limit.read_text()) - held


def _group_files() -> Iterator[tuple[Path, Path, Path]]:
    """Limit, use and statistics of this process's control groups, versions 2 and 1, parents included."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                root, limit, used = _CGROUPS, "memory.max", "memory.current"
            elif "memory" in controllers.split(","):
                root, limit, used = _CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            else:
                continue
            group = root / path.lstrip("/")
            for place in (group, *group.parents):
                if place == root.parent:
                    break
                yield place / limit, place / used, place / "memory.stat"


def _inactive_file(statistics: Path) -> int:
    lines = (line.split() for line in statistics.read_text().splitlines())
    values = {name: int(value) for name, value in lines}
    return values.get("total_inactive_file", values.get("inactive_file", 0)) + values.get("active_file", 0)


def _of_limit() -> Iterator[int]:
    """What `ulimit -v` leaves; where there is none (Windows), nothing."""
    try:
        import resource
    except ImportError:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield limit - psutil.Process().memory_info().vms
