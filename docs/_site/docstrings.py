"""The house's docstrings, which are plain text with `code` in them, made safe for reStructuredText."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(``.+?``|`[^`]+`)")
_SPECIAL = re.compile(r"[*|]|(?<=\w)_(?=\W|$)")


def plain(line: str) -> str:
    """Escape, outside of code, what reStructuredText would take for markup."""
    parts = _CODE.split(line)
    return "".join(part if odd else _SPECIAL.sub(r"\\\g<0>", part) for odd, part in _numbered(parts))


def _numbered(parts: list[str]) -> list[tuple[bool, str]]:
    return [(bool(place % 2), part) for place, part in enumerate(parts)]


def _escape(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    example = False
    for place, line in enumerate(lines):
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        if not example:
            lines[place] = plain(line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx, before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", _escape, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
