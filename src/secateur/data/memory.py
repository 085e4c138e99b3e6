"""How much memory and disk there is for images, and what is refused or made to wait before it is taken."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

from secateur.errors import InputError

EACH_BYTES = 1000
"""What an image costs beside its bytes while a set is read: its name, label, header and place in lists."""

_CGROUPS = Path("/sys/fs/cgroup")
_KEPT_FREE = 256 * 2**20  # bytes of a disk that are not filled
_UNASKED = 2**24  # bytes that an image is decoded in without asking: asking takes 0.2 ms


def available_memory() -> int:
    """Bytes that this process may still take: of the machine, of its control group, of its own limit."""
    return max(0, min(psutil.virtual_memory().available, *_of_group(), *_of_limit()))


def address_space() -> float:
    """Bytes that this process may still address, mapped files included: `ulimit -v`; infinity without it."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return math.inf if limit == resource.RLIM_INFINITY else limit - psutil.Process().memory_info().vms


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


def check_memory(size: int, what: str, fix: str) -> None:
    """Raise InputError where about `size` bytes will be taken, and are not there.

    Args:
        what: will take them: "x.parquet: its 600 images".
        fix: what to do instead.
    """
    if size > (there := available_memory()):
        raise InputError(
            f"{what} would take about {in_words(size)} of memory, but {in_words(there)} are available: {fix}"
        )


class Turns:
    """Lets threads decode images side by side as long as memory lasts for all that are in hand.

    What one image takes is known from its header; a large one waits until others are done.
    """

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._in_hand = 0  # bytes
        self._most = 0

    @contextlib.contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """Hold so many bytes, when they are there.

        Raises:
            ValueError: they are not, though nothing else is in hand.
        """
        if size < _UNASKED:
            yield
            return
        with self._free:
            while self._in_hand and self._in_hand + size > self._most:
                self._free.wait()
            if not self._in_hand:
                self._most = available_memory()
                if size > self._most:
                    raise ValueError(
                        f"to decode it takes about {in_words(size)} of memory, and {in_words(self._most)} "
                        "are available: save it smaller"
                    )
            self._in_hand += size
        try:
            yield
        finally:
            with self._free:
                self._in_hand -= size
                self._free.notify_all()


TURNS = Turns()
"""Those of this process."""


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
    """What `ulimit -v` leaves; where there is none, nothing."""
    if (left := address_space()) != math.inf:
        yield int(left)
