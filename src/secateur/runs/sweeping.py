"""What killed processes left half made in a folder of runs, removed by the next command that holds it.

Whoever writes such files holds the folder, or has inherited its lock, so that none of them is being written.
Others write into such a folder without holding it (`export`, `measure`, `sc.save`): what may be theirs goes
when it is an hour old.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

WORK = ".work"
"""Where the data for workers lie, and what they tell, while runs are shared out."""

_OF_OTHERS_S = 3600.0


def sweep(directory: Path, names: Iterable[str]) -> None:
    """Remove the workers' place and all files that did not take their place.

    Args:
        directory: of runs; it is held.
        names: of files that only who holds the folder writes.
    """
    if (directory / WORK).is_symlink():
        (directory / WORK).unlink()  # where it leads is no place of ours
    shutil.rmtree(directory / WORK, ignore_errors=True)
    ours = tuple(f".{name}." for name in names)
    runs = list(_folders(directory / "runs"))
    for folder in (directory.resolve(), directory / "best", *_folders(directory / "reports"), *runs):
        mine = (*ours, ".saving-") if folder.parent.name == "runs" else ours
        for each in _entries(folder):
            if each.name.startswith(".") and each.name.endswith(".part"):
                _remove(each, anyway=each.name.startswith(mine))


def _remove(entry: os.DirEntry[str], *, anyway: bool) -> None:
    try:
        if not anyway and time.time() - entry.stat(follow_symlinks=False).st_mtime < _OF_OTHERS_S:
            return
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            os.unlink(entry.path)
    except OSError:  # it cannot be removed: it is of no harm but for its size
        return


def _folders(folder: Path) -> Iterator[Path]:
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing of one that is not there, or that a link stands for."""
    if folder.is_symlink():
        return []
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
