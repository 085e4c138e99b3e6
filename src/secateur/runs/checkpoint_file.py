"""A training's state as a file: safetensors, with JSON in its header, a version and a digest of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from secateur.atomic import readable
from secateur.network.tensor_files import unshared, with_metadata
from secateur.records.reading import parse_json
from secateur.training.checkpoint import Checkpoint

VERSION = "1"
"""Of what a checkpoint holds; files of older versions of Secateur do not say it."""


def checkpoint_bytes(checkpoint: Checkpoint) -> bytes:
    """Make the file."""
    tensors, state = unshared(checkpoint.tensors), json.dumps(checkpoint.state)
    return with_metadata(tensors, {"state": state, "version": VERSION, "digest": _digest(state, tensors)})


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Read the file; None where it is damaged or of another version. Older ones have no digest.

    Raises:
        OSError: where the system refuses to read it now: that says nothing of what it holds.
    """
    try:
        with readable(path), safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = file.metadata() or {}
        if about.get("version", VERSION) != VERSION:
            return None
        if "digest" in about and about["digest"] != _digest(about["state"], tensors):
            return None
        state = parse_json(about["state"], str(path), finite=False)
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None
    return Checkpoint(state, tensors) if isinstance(state, dict) else None


def _digest(state: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that a checkpoint holds, in hex digits."""
    found = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
