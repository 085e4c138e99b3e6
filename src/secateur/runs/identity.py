"""What makes one run the same as another: a hash of everything that can change a number, then its seed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secateur.errors import InputError
from secateur.records.manifest import digest_of

PROTOCOL = 1
"""Raised whenever a change of ours alters the numbers that an unchanged configuration gives."""


def identity_hash(identity: dict[str, Any]) -> str:
    """Twelve hex digits of the SHA-256 of canonical JSON; raises ValueError on NaN or what is not JSON."""
    content = {"protocol": PROTOCOL, **identity}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def file_hash(path: Path) -> str:
    """Twelve hex digits of a file's SHA-256; InputError where there is none."""
    if not path.is_file():
        raise InputError(f"no weights at '{path}': name a folder that train, prune or sc.save left")
    return digest_of(path)[:12]


@dataclass(frozen=True)
class RunSpec:
    """A run to make: everything that can change a number (`identity`), and a seed as its replicate.

    Attributes:
        kind: "train", "given" (trained elsewhere), "prune" (by channels), "tune" (after that), "sparse" or
            "channels" (gated); the id begins with it.
        label: for people: "copycat params=25% seed 1".
    """

    kind: str
    identity: dict[str, Any] = field(hash=False)
    seed: int
    label: str = field(default="", compare=False)

    @property
    def run_id(self) -> str:
        """E.g. `train-3fa9c1e2b7d0-s0`."""
        return f"{self.kind}-{identity_hash({'kind': self.kind, **self.identity})}-s{self.seed}"
