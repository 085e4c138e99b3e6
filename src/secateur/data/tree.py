"""A folder as it lies on the disk, looked through once: what is an image, what is something else."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from secateur.data.formats import hint, left_out_because
from secateur.data.names import is_left_behind
from secateur.errors import InputError
from secateur.records.found import plain
from secateur.records.ours import is_ours

TABLES = frozenset([".parquet", ".arrow"])
LISTS = frozenset([".csv", ".tsv", ".jsonl"])
# Files that are no images whatever they begin with; they need not be opened to know that.
_OTHERS = (
    TABLES
    | LISTS
    | frozenset(
        (
            *(
                ".txt",
                ".md",
                ".rst",
                ".html",
                ".htm",
                ".json",
                ".xml",
                ".yaml",
                ".yml",
                ".ini",
                ".cfg",
                ".log",
            ),
            *(".py", ".ipynb", ".pdf", ".doc", ".docx", ".xlsx", ".xls", ".db", ".sqlite", ".lock"),
            *(".npz", ".npy", ".h5", ".hdf5", ".mat", ".pkl", ".pickle", ".pt", ".pth", ".bin", ".tfrecord"),
            *(
                ".zip",
                ".tar",
                ".gz",
                ".tgz",
                ".bz2",
                ".xz",
                ".7z",
                ".rar",
                ".safetensors",
                ".mp4",
                ".avi",
                ".mov",
            ),
        )
    )
)

LEFT_BEHIND = "hidden or system files"
LOOPS = "links to a folder above"
OURS = "of Secateur's own folders"
BROKEN = "broken links"


@dataclass
class Folder:
    """A folder and what is below it; nothing of it was opened but files of unknown kinds.

    Args:
        path: where it lies.
        folders: those in it, by name.
        images: files that are images, or are called like images.
        tables, lists: parquet and arrow files; CSV, TSV and JSON lines.
        others: (file, why it is no image).
    """

    path: Path
    folders: list[Folder] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    lists: list[Path] = field(default_factory=list)
    others: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    def walk(self) -> Iterator[Folder]:
        """This folder and all below it."""
        yield self
        for folder in self.folders:
            yield from folder.walk()

    @cached_property
    def count(self) -> int:
        """Images in it and below it."""
        return len(self.images) + sum(folder.count for folder in self.folders)

    @cached_property
    def filled(self) -> list[Folder]:
        """The folders in it that have images."""
        return [folder for folder in self.folders if folder.count]

    @property
    def flat(self) -> bool:
        """It holds images, and no folder of images."""
        return bool(self.images) and not self.filled

    def all_images(self) -> list[Path]:
        """Every image in it and below it, sorted."""
        return sorted(path for folder in self.walk() for path in folder.images)

    def reasons(self) -> Counter[str]:
        """Why files in it and below it are no images -> how many."""
        return Counter(reason for folder in self.walk() for _, reason in folder.others)

    @cached_property
    def documents(self) -> bool:
        """It has files, and none that are, or could be made, images: notes, annotations."""
        if self.count:
            return False
        kinds = self.reasons()
        files = sum(kinds.values()) + sum(len(each.lists) + len(each.tables) for each in self.walk())
        return files > 0 and not any(hint([kind]) for kind in kinds)


@dataclass
class Scan:
    """What was found below a folder, and what was not looked into -> how many."""

    root: Folder
    passed_over: Counter[str]

    def left_out(self) -> Counter[str]:
        """What is no image, by reason; lists and tables are not counted here."""
        return self.passed_over + self.root.reasons()


def scan(path: Path) -> Scan:
    """Look through a folder.

    Links are followed, but not to where one comes from. Hidden files, what archivers and file servers leave
    behind, and folders that Secateur left its results in are passed over, and counted.

    Raises:
        InputError: a folder cannot be listed.
    """
    passed_over: Counter[str] = Counter()
    root = _scan(path, (os.path.realpath(path),), passed_over)
    return Scan(root, passed_over)


def _scan(path: Path, above: tuple[str, ...], passed_over: Counter[str]) -> Folder:
    """`above`: the true paths of the folders that led here, this one last."""
    folder = Folder(path)
    for entry in _entries(path):
        if is_left_behind(entry.name):
            passed_over[LEFT_BEHIND] += 1
        elif _is_folder(entry) and is_ours(Path(entry.path)):
            passed_over[OURS] += 1
        elif _is_folder(entry):
            true = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
            if any(f"{one}/".startswith(f"{true.rstrip('/')}/") for one in above):
                passed_over[LOOPS] += 1
            else:
                folder.folders.append(_scan(Path(entry.path), (*above, true), passed_over))
        elif not os.path.isfile(entry.path):
            passed_over[BROKEN if entry.is_symlink() else "special files"] += 1
        else:
            _sort_in(folder, Path(entry.path))
    return folder


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(
            f"every folder must be readable, but {plain(str(path))} is not ({error.strerror}): change its "
            f"permissions, or move it away"
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _sort_in(folder: Folder, path: Path) -> None:
    """Put a file where it belongs."""
    extension = path.suffix.lower()
    if extension in TABLES:
        folder.tables.append(path)
    elif extension in LISTS:
        folder.lists.append(path)
    elif extension in _OTHERS:
        folder.others.append((path, extension))
    else:
        reason = left_out_because(path)
        if reason is None:
            folder.images.append(path)
        else:
            folder.others.append((path, plain(reason)))
