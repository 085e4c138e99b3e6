"""Decoded images on disk, so that a data set is decoded once: one safetensors file for each source.

The key is everything that the pixels were made of: every file's path, size, times and inode, the options of
reading, Pillow's version. Files that only a table names are known after it was read: their states lie in the
file, and are compared when it is found. Files that change while they are read are read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from secateur.atomic import part_path, sync_folder
from secateur.data.cache_files import cache_folder, cache_limit, tidy, use
from secateur.data.decode import Decoded
from secateur.data.formats import READING, decodable
from secateur.data.pixels import PixelFormat
from secateur.data.reading import Reading
from secateur.data.store import Place, read
from secateur.data.survey import FileState, state_of
from secateur.errors import InputError, require_packages

FORMAT = 6  # raise it when decoding or the file changes: older files are then not found
_ATTEMPTS = 2  # to read files that change meanwhile
_FACTS = ("classes", "codec", "smallest", "largest", "remarks")

_log = logging.getLogger(__name__)


def cached(files: Sequence[Path], reading: Reading, make: Callable[[Place], Decoded]) -> Decoded:
    """`make(place)`, or what it returned the last time these files were what they are now.

    A cache file that cannot be read is made again; a folder that cannot be written costs time, not the run.

    Args:
        files: what the result depends on; if empty, nothing is cached.
        reading: the options it depends on.
        make: reads and decodes, with the pixels where the place says.

    Raises:
        InputError: the files change while they are read, again and again.
    """
    if not files:
        return make(Place(None))
    for _ in range(_ATTEMPTS):
        before = _states(files)
        path = cache_folder() / f"data-{_key(before, reading)}.safetensors"
        decoded = _load(path) or _made(path, files, before, make)
        if decoded is not None:
            return decoded
        _log.warning("files changed while they were read: reading them again")
    raise InputError("files must not change while they are read, but some do: wait until they are complete")


def _made(
    path: Path,
    files: Sequence[Path],
    before: dict[str, FileState],
    make: Callable[[Place], Decoded],
) -> Decoded | None:
    """Decode, and keep the result; None where files changed meanwhile."""
    part = part_path(path)
    place = Place(part)
    try:
        decoded = _somewhere(make, place)
        named = {name: state for name, state in decoded.files.items() if name not in before}
        if _states(files) != before or not _unchanged(named):
            return None
        _keep(place, decoded, named, path)
        return decoded
    finally:
        if place.file:
            place.file.abandon()
        with contextlib.suppress(OSError):
            part.unlink()


def _somewhere(make: Callable[[Place], Decoded], place: Place) -> Decoded:
    """In the place, or in memory if the disk fills up meanwhile; what cannot be read is no `OSError`."""
    try:
        return make(place)
    except OSError as error:
        _log.warning("decoded images do not go to %s (%s): trying in memory", place.path, error)
        if place.file:
            place.file.abandon()
            place.file = None
        return make(Place(None))


def _keep(place: Place, decoded: Decoded, named: dict[str, FileState], path: Path) -> None:
    """Complete the file and name it, so that a reader meets a whole file or none; remove what is too much."""
    if place.file is None:
        _log.warning("decoded images are not cached: set SECATEUR_CACHE to a writable folder with space")
        return
    try:
        place.file.complete(decoded.labels, _facts(decoded, named))
        if decoded.images.nbytes <= cache_limit():
            os.replace(place.file.path, path)
            sync_folder(path.parent)
            use(path)
            tidy(path.parent)
    except OSError as error:
        _log.warning("decoded images are not cached (%s): set SECATEUR_CACHE to a writable folder", error)


def _states(files: Sequence[Path]) -> dict[str, FileState]:
    """Each file's state; zeros for one that cannot be looked at, which decoding will refuse by name."""
    states = {}
    for path in files:
        try:
            states[str(path)] = state_of(path)
        except OSError:
            states[str(path)] = (0, 0, 0, 0)
    return states


def _unchanged(states: dict[str, FileState]) -> bool:
    return _states([Path(name) for name in states]) == {name: tuple(state) for name, state in states.items()}


def _key(states: dict[str, FileState], reading: Reading) -> str:
    require_packages("PIL", what=READING)
    from PIL import __version__ as pillow

    listed = [(os.path.abspath(name), *state) for name, state in states.items()]
    content = [FORMAT, pillow, decodable(), asdict(reading), listed]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _load(path: Path) -> Decoded | None:
    try:
        images, labels, facts = read(path)
        if not _unchanged(facts["named"]):
            _log.info("decoding again: images that a table names have changed")
            return None
        kept: dict[str, Any] = {name: _tuple(facts[name]) for name in _FACTS}
        _check_labels(labels, kept["classes"], facts["sizes"])
        wanted = PixelFormat(**facts["format"]) if facts["format"] else None
        if wanted and tuple(images.shape[1:]) != (wanted.channels, wanted.height, wanted.width):
            raise ValueError("the images must have their format's shape")
        use(path)
        return Decoded(images, labels, facts["sizes"], left_out=facts["left_out"], format=wanted, **kept)
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        _log.warning("decoding again: %s was damaged (%s)", path, error)
        return None


def _check_labels(labels: Tensor, classes: Sequence[str], sizes: Mapping[str, int]) -> None:
    """Raise ValueError where a file's labels are of no class, or its splits have not all examples."""
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < max(1, len(classes)):
        raise ValueError(f"labels must lie in 0..{len(classes) - 1}")
    if sum(sizes.values()) != len(labels) or any(
        type(size) is not int or size < 0 for size in sizes.values()
    ):
        raise ValueError("its splits must have all examples")


def _facts(decoded: Decoded, named: dict[str, FileState]) -> dict[str, Any]:
    return {
        **{name: getattr(decoded, name) for name in _FACTS},
        "sizes": dict(decoded.sizes),
        "left_out": dict(decoded.left_out),
        "format": asdict(decoded.format) if decoded.format else None,
        "named": named,
    }


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
