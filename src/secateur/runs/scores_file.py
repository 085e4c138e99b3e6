"""The score of every test example as a file: safetensors, with the run and a digest in its header."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from secateur.atomic import readable
from secateur.errors import InputError, first_line
from secateur.network.tensor_files import with_metadata


def scores_bytes(run_id: str, scores: Tensor) -> bytes:
    """Make the file of scores, (N,)."""
    kept = scores.detach().cpu().contiguous()
    return with_metadata({"test": kept}, {"run_id": run_id, "digest": _digest(run_id, kept)})


def read_scores(path: Path, run_id: str) -> Tensor:
    """Read a run's scores, (N,); files of older versions have no digest.

    Raises:
        InputError: where they are damaged, or another run's.
        OSError: where the system refuses to read them now: a verdict without them would be another.
    """
    try:
        with readable(path), safe_open(path, framework="pt") as file:
            found: Tensor = file.get_tensor("test")
            about = file.metadata() or {}
        whose, digest = about.get("run_id", run_id), about.get("digest")
        why = f"of {ascii(whose)[:80]}" if whose != run_id else "damaged"
        if whose == run_id and digest in (None, _digest(run_id, found)):
            return found
    except SafetensorError as error:
        why = first_line(error)
    raise InputError(
        f"{path}: must be what {run_id} came to on every test example, and is not ({why}): the same command "
        "makes the run again"
    )


def _digest(run_id: str, scores: Tensor) -> str:
    """SHA-256 of a run's scores, in hex digits."""
    found = hashlib.sha256(f"{run_id} {scores.dtype} {tuple(scores.shape)}".encode())
    found.update(scores.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
