"""Names in C."""

from __future__ import annotations

import re


def identifier(text: str, other: str = "net") -> str:
    """Make a name that C takes, and that is nobody else's: letters, digits and _, beginning with a letter.

    Example:
        >>> identifier("my-model.v2"), identifier("42")
        ('my_model_v2', 'net_42')
    """
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or other
    return name if name[0].isalpha() else f"{other}_{name}"
