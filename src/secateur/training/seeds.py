"""Seeds: one for each purpose of a run, so that nothing that is drawn depends on what was drawn before."""

from __future__ import annotations

import hashlib


def derived_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose of a run (initialisation, the order of epoch 3)."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
