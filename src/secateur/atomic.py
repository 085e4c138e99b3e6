"""Files that are there whole or not at all, whenever the process dies or the power goes.

What is half made is called `.NAME.PROCESS.xxxxxxxx.part`: whoever writes there next, or holds the folder,
sees whether that process is gone, and removes it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from secateur.process import has_ended, this_process

PART = ".part"
_OF_OTHERS_S = 3600.0
"""When what was half made by nobody knows whom is taken to be abandoned, in seconds after it last changed."""
_SCRATCH, _OWNER = "secateur-", "process"
_LONGEST = 180  # bytes of a name that there is room for beside the rest


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have what the system refuses within name the file that it is about, not a temporary one or none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise OSError with its name where the system refuses to read a file: libraries say otherwise."""
    with naming(path), open(path, "rb") as file:
        file.read(1)
        try:
            yield
        except RuntimeError as error:  # torch: "unable to open file <...>: Too many open files (24)"
            said = re.match(r"unable to .*\((\d+)\)$", str(error), re.DOTALL)
            if said is None:
                raise
            raise OSError(int(said[1]), os.strerror(int(said[1]))) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary neighbour, flush it to disk, then rename it over `path`."""
    with naming(path):
        _write_bytes(path, content)


def _write_bytes(path: Path, content: bytes) -> None:
    sweep_parts(path.parent, path.name)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=part_prefix(path.name), suffix=PART)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_all(files: Mapping[Path, bytes]) -> None:
    """Write files of which the last makes the others known as ours; new ones go again where that fails."""
    new = [path for path in files if not os.path.lexists(path)]
    try:
        for path, content in files.items():
            write_bytes(path, content)
    except OSError:
        for path in new:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk too: a rename is lost with the power until then.

    Some systems and network disks cannot; what is lost there is the newest file, never half of one.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, with those above it, each of them on disk.

    Raises:
        OSError: as `Path.mkdir`: where it cannot be made, or a file is there.
    """
    new = [each for each in (folder, *folder.parents) if not each.is_dir()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(new):
        sync_folder(each.parent)


def remove(path: Path) -> None:
    """Remove a file, if there is one, for good: its name does not come back after a loss of power."""
    with suppress(FileNotFoundError):
        path.unlink()
        sync_folder(path.parent)


def part_prefix(name: str) -> str:
    """How what is half made of a file begins; without this process where there would be no room."""
    owner = this_process()
    return f".{name}.{owner}." if owner and len(os.fsencode(name)) <= _LONGEST else f".{name}."


def part_path(path: Path) -> Path:
    """A name for what is half made of a file that is written piece by piece; the file is not made."""
    return path.with_name(f"{part_prefix(path.name)}{secrets.token_hex(4)}{PART}")


@contextmanager
def part_folder(folder: Path, name: str) -> Iterator[Path]:
    """Make a folder within another for what is half made; gone afterwards, or with the next one's making."""
    sweep_parts(folder, name)
    made = tempfile.mkdtemp(dir=folder, prefix=part_prefix(name), suffix=PART)
    try:
        yield Path(made)
    finally:  # TemporaryDirectory ends in RecursionError where nothing may be removed (Python 3.11)
        shutil.rmtree(made, ignore_errors=True)


def sweep_parts(folder: Path, name: str = "", *, anyway: tuple[str, ...] = ()) -> None:
    """Remove what was half made in a folder by processes that are gone, or an hour ago by nobody knows whom.

    Args:
        name: of the file that it was to become; "": of any.
        anyway: beginnings of names that go in any case.
    """
    begin = f".{name}." if name else "."
    for each in _entries(folder):
        is_part = each.name.startswith(begin) and each.name.endswith(PART)
        if is_part and (each.name.startswith(anyway) or _is_abandoned(each)):
            _remove(each)


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a temporary folder outside of any output, gone afterwards."""
    made = scratch_folder()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def scratch_folder(within: str | None = None, *, short: bool = False) -> Path:
    """Make a temporary folder, after those were removed that killed processes left there.

    Args:
        within: where; None: the system's place for that.
        short: whether its name must be, as for sockets: who made it stands in a file then.
    """
    place = Path(within or tempfile.gettempdir())
    sweep_scratch(place)
    owner = this_process()
    begin = f"{_SCRATCH}{owner}-" if owner and not short else _SCRATCH
    made = Path(tempfile.mkdtemp(dir=place, prefix=begin))
    if short:
        (made / _OWNER).write_text(owner, encoding="ascii")
    return made


def sweep_scratch(place: Path | None = None) -> None:
    """Remove the temporary folders of this user's processes that are gone.

    Args:
        place: where; None: everywhere that they are made, which for short names may be /tmp.
    """
    for folder in {Path(tempfile.gettempdir()), Path("/tmp")} if place is None else {place}:
        for each in _entries(folder):
            if each.name.startswith(_SCRATCH) and _is_own_folder(each) and _has_dead_owner(each):
                _remove(each)


def _has_dead_owner(entry: os.DirEntry[str]) -> bool:
    gone = has_ended(entry.name)
    if gone is None:
        with suppress(OSError, UnicodeDecodeError):
            gone = has_ended(Path(entry.path, _OWNER).read_text(encoding="ascii"))
    return bool(gone)


def _is_own_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder of this user's, not a link: others write there too."""
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    gone = has_ended(entry.name)
    if gone is not None:
        return gone
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime >= _OF_OTHERS_S
    except OSError:
        return False


def _remove(entry: os.DirEntry[str]) -> None:
    """What cannot be removed is of no harm but for its size."""
    with suppress(OSError):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            os.unlink(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def write_text(path: Path, content: str) -> None:
    """`write_bytes` in UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Indented JSON that holds no NaN, so that every reader takes it."""
    write_bytes(path, json_bytes(content))


def json_bytes(content: Any) -> bytes:
    """What `write_json` writes."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
