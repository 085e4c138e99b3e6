"""The digest in a JSON file of ours: whether what we wrote is what is read.

    {"schema": 1, "accuracy": 0.91, ..., "digest": {"keys": ["accuracy", ..., "schema"], "sha256": "c06a..."}}

It is of the keys that it names, whatever their order and however they are spaced, so that people may add
notes and names of their own, and later versions keys. Files of older versions have none, and are believed. It
finds damage, no deceit: who changes a file on purpose can take its digest away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping
from typing import Any

from secateur.errors import InputError

DIGEST = "digest"


def sealed(content: Mapping[str, Any], free: Container[str] = ()) -> dict[str, Any]:
    """Add the digest, last.

    Args:
        content: JSON-able.
        free: keys that people may change.
    """
    plain = {key: value for key, value in content.items() if key != DIGEST}
    keys = sorted(key for key in plain if key not in free)
    return {**plain, DIGEST: {"keys": keys, "sha256": _digest(plain, keys)}}


def sealed_again(content: Any, before: Any) -> Any:
    """Seal over the same keys what was made of a file's content; one without a digest gets none."""
    if not isinstance(content, dict) or not isinstance(before, dict) or DIGEST not in before:
        return content
    return sealed(content, free=set(content) - set(_keys_of(before[DIGEST])))


def check_seal(content: Any, source: str, again: str) -> None:
    """Raise InputError where a file's content is not what its digest is of.

    Args:
        source: the file.
        again: how a user gets a sound one.
    """
    if not isinstance(content, dict) or DIGEST not in content:
        return
    digest = content[DIGEST]
    keys = _keys_of(digest)
    if not keys or not content.keys() >= set(keys) or digest.get("sha256") != _digest(content, keys):
        raise InputError(
            f"{source}: must hold what its '{DIGEST}' is of, and does not: it was damaged or edited since; "
            f"{again}, or delete '{DIGEST}' if you changed it yourself"
        )


def _keys_of(digest: Any) -> list[str]:
    keys = digest.get("keys") if isinstance(digest, dict) else None
    return keys if isinstance(keys, list) and all(isinstance(key, str) for key in keys) else []


def _digest(content: Mapping[str, Any], keys: list[str]) -> str:
    """SHA-256 of the keys with their values, in hex digits."""
    spelled = json.dumps({key: content[key] for key in keys}, allow_nan=False)
    again = json.dumps(json.loads(spelled), sort_keys=True, separators=(",", ":"))  # keys are text by now
    return hashlib.sha256(again.encode()).hexdigest()
