"""Whether a finished run's files are there, and are those that it left; what is damaged is set aside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from secateur.architecture.file import ARCHITECTURE_FILE, WEIGHTS_FILE
from secateur.errors import InputError, UnreadableError
from secateur.records.manifest import MANIFEST_FILE, NAMED, Manifest, check_whole, digest_of
from secateur.records.reading import read_json
from secateur.records.record import Record

SCORES_FILE = "scores.safetensors"
ASIDE = ".damaged"
"""How files are called that were set aside, after a number."""

_NEEDED = (ARCHITECTURE_FILE, WEIGHTS_FILE)


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of what a run leaves beside its record, by name; what people may add to is left out."""
    return {name: digest_of(folder / name) for name in (*NAMED, SCORES_FILE) if (folder / name).is_file()}


def faults_of(folder: Path, record: Record) -> dict[str, str]:
    """Find what is wrong with a finished run's files.

    Of runs of older versions, whose records name no hashes, the network's files must be there, and agree with
    their manifest where they have one.

    Returns:
        name -> "is missing" or "is not the one that was written"; empty where all is well.
    """
    known: Mapping[str, str | None] = _named(record) or dict.fromkeys(_NEEDED)
    found = {name: fault for name, digest in known.items() if (fault := _fault(folder / name, digest))}
    if not _named(record) and not found:
        try:
            check_whole(folder)
        except UnreadableError:  # they may be whole
            raise
        except InputError:
            return dict.fromkeys((*_NEEDED, MANIFEST_FILE), "is not of one network with the others")
    return found


def manifest_fault(folder: Path, record: Record) -> Manifest | None:
    """The manifest that a sound run should have, where its own is damaged; None where nothing is amiss."""
    path, files = folder / MANIFEST_FILE, _named(record)
    if not files or not path.is_file():
        return None
    wanted = {name: digest for name, digest in files.items() if name in NAMED}
    try:
        return None if Manifest.load(path).files == wanted else Manifest(files=wanted)
    except UnreadableError:
        raise
    except InputError:
        return Manifest(files=wanted)


def _named(record: Record) -> dict[str, str]:
    """The hashes that a record has, of files that we know: no name in it leads anywhere."""
    files = record.files or {}
    return {name: files[name] for name in (*NAMED, SCORES_FILE) if name in files}


def _fault(path: Path, digest: str | None) -> str:
    if not path.is_file():
        return "is missing"
    return "" if digest is None or digest_of(path) == digest else "is not the one that was written"


def record_at(path: Path) -> Record:
    """Read a run's record; InputError where it is damaged, or another run's."""
    found = Record.load(path)
    if found.run_id != path.parent.name:
        raise InputError(f"{path}: must be of {path.parent.name}, and is of {found.run_id}: {Record.AGAIN}")
    return found


def aside(path: Path) -> Path | None:
    """Rename a file so that it is in nobody's way; where it lies now, None where another process did it."""
    numbers = (number for number in count(1) if not os.path.lexists(f"{path}.{number}{ASIDE}"))
    there = path.with_name(f"{path.name}.{next(numbers)}{ASIDE}")
    try:
        path.rename(there)
    except FileNotFoundError:
        return None
    return there


def is_newer(path: Path) -> bool:
    """Whether a record is of a version to come, which the user may still have."""
    try:
        content = read_json(path)
    except InputError:
        return False
    schema = content.get("schema") if isinstance(content, dict) else None
    return isinstance(schema, int) and schema > (Record.SCHEMA or 0)
