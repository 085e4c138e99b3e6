"""Zip and tar files: unpacked beside the cache while they are read, and removed again."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from secateur.atomic import scratch_folder
from secateur.errors import InputError, first_line
from secateur.process import has_ended, this_process
from secateur.records.found import plain

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_FILES = 5_000_000
MOST_BYTES = 2**38  # 256 GiB, and never more than the disk has
_CHUNK = 2**20
_PREFIX = "unpacked-"
_STALE_S = 86_400.0  # where it cannot be seen: a folder that nobody wrote to for a day is of a dead process
_ZIPPED_LINK = 0o12  # the kind of file in a member's mode
_BROKEN = (
    *(OSError, EOFError, RuntimeError, ValueError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
)


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


@dataclass
class Unpacked:
    """An archive's files.

    Args:
        folder: where they are.
        left: members that were not unpacked: links, devices, and names that lead out of the folder.
    """

    folder: Path
    left: int = 0


@contextmanager
def unpacked(path: Path, beside: Path) -> Iterator[Unpacked]:
    """The archive's files in a folder, until the block ends; messages name the archive instead of it.

    Nothing is written outside the folder.

    Args:
        path: the archive.
        beside: where the folder is made, if that can be written.

    Raises:
        InputError: the archive is broken, encrypted, or larger than the room there is.
    """
    folder = _new_folder(beside)
    try:
        room = _Room(path, bytes=min(MOST_BYTES, shutil.disk_usage(folder).free * 9 // 10))
        yield Unpacked(folder, _unpack(path, folder, room))
    except InputError as error:
        raise InputError(str(error).replace(str(folder), plain(str(path)))) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder(beside: Path) -> Path:
    """A folder of our own; those that were left by processes that died are removed."""
    try:
        beside.mkdir(parents=True, exist_ok=True)
        for old in beside.glob(f"{_PREFIX}*"):
            ended = has_ended(old.name)
            if ended or (ended is None and time.time() - old.stat().st_mtime > _STALE_S):
                shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{this_process()}-", dir=beside))
    except OSError:
        return scratch_folder()


def _unpack(path: Path, folder: Path, room: _Room) -> int:
    """Write the members; how many were not written."""
    zipped = path.name.lower().endswith(".zip")
    try:
        return _unpack_zip(path, folder, room) if zipped else _unpack_tar(path, folder, room)
    except InputError:
        raise
    except _BROKEN as error:
        raise InputError(
            f"{plain(str(path))} cannot be unpacked ({plain(first_line(error)) or type(error).__name__}): "
            "fetch it again, or unpack it and pass the folder"
        ) from error


def _unpack_zip(path: Path, folder: Path, room: _Room) -> int:
    left = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            target = _target(member.filename, folder)
            if target is None or member.external_attr >> 28 == _ZIPPED_LINK:
                left += 1
            elif not member.is_dir():
                with archive.open(member) as content:
                    _write(content, target, room)
    return left


def _unpack_tar(path: Path, folder: Path, room: _Room) -> int:
    left = 0
    with tarfile.open(path) as archive:
        for member in archive:
            target = _target(member.name, folder)
            if target is None or not (member.isreg() or member.isdir()):
                left += 1
            elif content := archive.extractfile(member):
                with content:
                    _write(content, target, room)
    return left


def _target(name: str, folder: Path) -> Path | None:
    """Where a member goes; None where its name leads out of the folder."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    drive = bool(parts) and len(parts[0]) == 2 and parts[0][1] == ":"
    if drive or ".." in parts or parts[:1] == ("/",) or "\0" in name:
        return None
    return folder.joinpath(*parts)


def _write(content: IO[bytes], target: Path, room: _Room) -> None:
    room.take_file()
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as file:
        while chunk := content.read(_CHUNK):
            room.take(len(chunk))
            file.write(chunk)
