"""Decoded images on disk, so that a data set is decoded once: one safetensors file for each source."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from secateur.data.decode import Decoded

FORMAT = 2  # raise it when decoding or the file changes: older files are then not found

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """`$SECATEUR_CACHE`, or `~/.cache/secateur`."""
    return Path(os.environ.get("SECATEUR_CACHE") or os.path.expanduser("~/.cache/secateur"))


def cached(files: Sequence[Path], image_size: int | None, make: Callable[[], Decoded]) -> Decoded:
    """`make()`, or what it returned the last time these files had these sizes and modification times.

    A cache file that cannot be read is made again; a folder that cannot be written costs time, not the run.

    Args:
        files: what the result depends on; if empty, nothing is cached.
        image_size: the option it depends on.
    """
    if not files:
        return make()
    path = cache_folder() / f"data-{_key(files, image_size)}.safetensors"
    decoded = _load(path)
    if decoded is None:
        decoded = make()
        _save(decoded, path)
    return decoded


def _key(files: Sequence[Path], image_size: int | None) -> str:
    states = [(path, os.stat(path)) for path in files]
    listed = [(os.path.abspath(path), state.st_size, state.st_mtime_ns) for path, state in states]
    return hashlib.sha256(json.dumps([FORMAT, image_size, listed]).encode()).hexdigest()[:32]


def _load(path: Path) -> Decoded | None:
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["secateur"])
            images, labels = file.get_tensor("images"), file.get_tensor("labels")
        return Decoded(
            images,
            labels,
            facts["sizes"],
            tuple(facts["classes"]),
            facts["codec"],
            tuple(facts["smallest"]),
            tuple(facts["largest"]),
            facts["left_out"],
            tuple(facts["remarks"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        _log.info("decoding again: %s is not readable (%s)", path, error)
        return None


def _save(decoded: Decoded, path: Path) -> None:
    """Write beside `path`, then rename: a reader meets a whole file or none."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(decoded, temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        _log.warning("decoded images are not cached (%s): set SECATEUR_CACHE to a writable folder", error)


def _write(decoded: Decoded, path: Path) -> None:
    kept = ("classes", "codec", "smallest", "largest", "remarks")
    facts = {name: getattr(decoded, name) for name in kept}
    facts |= {"sizes": dict(decoded.sizes), "left_out": dict(decoded.left_out)}
    tensors = {"images": decoded.images, "labels": decoded.labels}
    save_file(tensors, path, {"secateur": json.dumps(facts)})
