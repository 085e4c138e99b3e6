"""Zip and tar files: unpacked beside the cache while they are read, and removed again."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from secateur.data.names import is_left_behind
from secateur.errors import InputError, first_line
from secateur.records.found import plain

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_FILES = 5_000_000
MOST_BYTES = 2**38  # 256 GiB, and never more than the disk has
_CHUNK = 2**20


def is_archive(path: Path) -> bool:
    """Whether a file is called as an archive that is read."""
    return path.name.lower().endswith(ARCHIVES)


def stem_of(path: Path) -> str:
    """An archive's name without what says that it is one."""
    name = path.name
    for ending in sorted(ARCHIVES, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return path.stem


@dataclass
class _Room:
    """How much may still be unpacked: an archive of few bytes can hold very many."""

    path: Path
    files: int = MOST_FILES
    bytes: int = MOST_BYTES

    def take(self, size: int) -> None:
        """Account for bytes that are about to be written."""
        self.bytes -= size
        if self.bytes < 0:
            raise InputError(
                f"{plain(str(self.path))} holds more than this disk has room for (or than 256 GiB): unpack "
                "it elsewhere, and pass the folder"
            )

    def take_file(self) -> None:
        """Account for a file."""
        self.files -= 1
        if self.files < 0:
            raise InputError(
                f"{plain(str(self.path))} holds more than {MOST_FILES:,} files: unpack it yourself"
            )


@contextmanager
def unpacked(path: Path, beside: Path) -> Iterator[Path]:
    """A folder with the archive's files, until the block ends; messages name the archive instead of it.

    Nothing is written outside the folder: links, devices, and names that lead out of it are not unpacked.

    Args:
        path: the archive.
        beside: where the folder is made, if that can be written.

    Raises:
        InputError: the archive is broken, encrypted, or larger than the room there is.
    """
    folder = _new_folder(beside)
    try:
        room = _Room(path, bytes=min(MOST_BYTES, shutil.disk_usage(folder).free * 9 // 10))
        try:
            _unpack(path, folder, room)
        except (
            OSError,
            EOFError,
            RuntimeError,
            zipfile.BadZipFile,
            tarfile.TarError,
            zlib.error,
            ValueError,
        ) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{plain(str(path))} cannot be unpacked "
                f"({plain(first_line(error)) or type(error).__name__}): fetch it again, or unpack it and "
                "pass the folder"
            ) from error
        yield folder
    except InputError as error:
        told = str(error).replace(str(folder), plain(str(path)))
        raise InputError(told) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder(beside: Path) -> Path:
    try:
        beside.mkdir(parents=True, exist_ok=True)
        made = tempfile.mkdtemp(prefix="unpacked-", dir=beside)
    except OSError:
        made = tempfile.mkdtemp(prefix="secateur-")
    return Path(made)


def _unpack(path: Path, folder: Path, room: _Room) -> None:
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                target = _target(member.filename, folder)
                if target and not member.is_dir() and (member.external_attr >> 28) != 0o12:
                    with archive.open(member) as content:
                        _write(content, target, room)
        return
    with tarfile.open(path) as archive:
        for entry in archive:
            target = _target(entry.name, folder)
            if target and entry.isreg() and (packed := archive.extractfile(entry)):
                with packed:
                    _write(packed, target, room)


def _target(name: str, folder: Path) -> Path | None:
    """Where a member goes; None where its name leads out, or is one of those that are passed over anyway."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in (".", "")]
    if (
        not parts
        or parts[0] == "/"
        or ".." in parts
        or "\0" in name
        or (len(parts[0]) == 2 and parts[0][1] == ":")
    ):
        return None
    if any(is_left_behind(part) for part in parts):
        return None
    return folder.joinpath(*parts)


def _write(content: IO[bytes], target: Path, room: _Room) -> None:
    room.take_file()
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as file:
        while chunk := content.read(_CHUNK):
            room.take(len(chunk))
            file.write(chunk)
