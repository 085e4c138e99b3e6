"""What a record says of the software and the machine it was made with."""

from __future__ import annotations

import datetime
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from secateur.device import Runtime, describe_device
from secateur.records.ours import VERSION

PACKAGES = ("torch", "accelerate", "numpy", "safetensors")


def describe_environment(runtime: Runtime, precision: str) -> dict[str, Any]:
    """Versions, device, precision of the forward passes (`Recipe.precision`), commit, date: JSON-able."""
    return {
        "secateur": VERSION,
        **{package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": describe_device(runtime.device),
        "precision": precision,
        "processes": runtime.world,
        "threads": torch.get_num_threads(),
        "commit": source_commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def source_commit() -> str | None:
    """The commit of the checkout this code runs from, "+changes" where it was edited; None if installed."""
    root = Path(__file__).resolve().parents[3]  # src/secateur/runs
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    return f"{head}+changes" if head and _git(root, "status", "--porcelain", "--", "src") else head


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
