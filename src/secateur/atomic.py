"""Files that are there whole or not at all, whenever the process dies."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


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
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
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
