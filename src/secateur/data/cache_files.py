"""The folder of decoded data sets: where it is, how large it may be, and what is removed from it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from pathlib import Path

from secateur.errors import InputError
from secateur.process import has_ended

DEFAULT_LIMIT = "20GB"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", re.IGNORECASE)
_ABANDONED = 24 * 3600.0  # seconds after which nobody writes a part any more, where that cannot be seen

_in_use: set[Path] = set()

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """`$SECATEUR_CACHE`, or `~/.cache/secateur`."""
    return Path(os.environ.get("SECATEUR_CACHE") or "~/.cache/secateur").expanduser()


def cache_limit() -> int:
    """`$SECATEUR_CACHE_LIMIT` ("20GB", "500 MB", or a number of bytes), or 20 GB; 0 keeps nothing.

    Raises:
        InputError: it is no size.
    """
    text = os.environ.get("SECATEUR_CACHE_LIMIT") or DEFAULT_LIMIT
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise InputError(f"SECATEUR_CACHE_LIMIT is a size like 20GB or 500MB, got '{text}'")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def use(path: Path) -> None:
    """Note that this process reads the file: it was used now, and is not removed by this process."""
    _in_use.add(path)
    with contextlib.suppress(OSError):  # another's folder, read only
        os.utime(path)


def tidy(folder: Path) -> None:
    """Remove abandoned parts, and the least recently used data sets until the rest is within the limit.

    Where another process reads a file that is removed, it goes on reading it: only the name goes.
    """
    for part in folder.glob(".data-*.part"):
        if (ended := has_ended(part.name)) or (ended is None and _age(part) > _ABANDONED):
            _remove(part)
    kept = sorted(folder.glob("data-*.safetensors"), key=_age)
    total, limit = 0, cache_limit()
    for path in kept:
        total += _size(path)
        if total > limit and path not in _in_use:
            total -= _size(path)
            _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
        _log.info("removed from the cache: %s", path)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # another process was faster
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
