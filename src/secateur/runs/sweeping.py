"""What killed processes left half made in a folder of runs, removed by the next command that holds it.

Whoever writes such files holds the folder, or has inherited its lock, so that none of them is being written.
Others write into such a folder without holding it (`export`, `measure`, `sc.save`): what may be theirs goes
when the process that made it is gone (`secateur.atomic`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from secateur.atomic import sweep_parts, sweep_scratch

WORK = ".work"
"""Where the data for workers lie, and what they tell, while runs are shared out."""


def sweep(directory: Path, names: Iterable[str]) -> None:
    """Remove the workers' place, all files that did not take their place, and temporary folders (Ray's, say).

    Args:
        directory: of runs; it is held.
        names: of files that only who holds the folder writes.
    """
    if (directory / WORK).is_symlink():
        (directory / WORK).unlink()  # where it leads is no place of ours
    shutil.rmtree(directory / WORK, ignore_errors=True)
    sweep_scratch()
    ours = tuple(f".{name}." for name in names)
    runs = list(_folders(directory / "runs"))
    for folder in (
        directory.resolve(),
        directory / "best",
        directory / "figures",
        *_folders(directory / "reports"),
        *runs,
    ):
        if not folder.is_symlink():  # where it leads is no place of ours
            sweep_parts(folder, anyway=(*ours, *_SAVING) if folder.parent.name == "runs" else ours)


_SAVING = (".saving.", ".saving-")
"""What `sc.save` makes beside its place; with a dash, as older versions called it."""


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_symlink():
        return
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for entry in entries:
        yield Path(entry.path)
