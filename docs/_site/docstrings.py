"""The house's docstrings, which are plain text with `code` in them, made ready for Sphinx.

What reStructuredText would take for markup is escaped; what a function gives stands in its signature.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import signature as signature_of
from sphinx.util.typing import stringify_annotation

_CODE = re.compile(r"(``.+?``|`[^`]+`)")
_SPECIAL = re.compile(r"[*|]|(?<=\w)_(?=\W|$)")
_PAGE = re.compile(r"\bdocs/[\w/-]+\.md\b")
_NO_SECTIONS = ("attribute", "data", "property")


def line_of(text: str) -> str:
    """Escape a line outside of code; a page that it names becomes code, which leads there (`links`)."""
    parts = _CODE.split(text)
    for place in range(0, len(parts), 2):
        parts[place] = _PAGE.sub(r"`\g<0>`", _SPECIAL.sub(r"\\\g<0>", parts[place]))
    return "".join(parts)


class Docstrings:
    """Sphinx's two chances to change what it has read."""

    def __init__(self) -> None:
        """Begin with none read."""
        self.whole: dict[str, list[str]] = {}

    def before_sections(
        self, app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]
    ) -> None:
        """Make lines safe; a dataclass's attributes are what it is made of."""
        example = False
        for place, line in enumerate(lines):
            example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
            if not example:
                lines[place] = line_of(line)
        if dataclasses.is_dataclass(found) and "Attributes:" in lines and "Args:" not in lines:
            lines[lines.index("Attributes:")] = "Args:"
        if what in _NO_SECTIONS:
            self.whole[name] = list(lines)

    def after_sections(
        self, app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]
    ) -> None:
        """Give an attribute's text back: napoleon takes "None: there is none" for a type and its text."""
        if name in self.whole:
            lines[:] = self.whole[name]

    def signature(
        self,
        app: Sphinx,
        what: str,
        name: str,
        found: Any,
        options: Any,
        arguments: str | None,
        given: str | None,
    ) -> tuple[str | None, str | None] | None:
        """Say what a function gives."""
        if not inspect.isroutine(found) or given:
            return None
        annotation = signature_of(found).return_annotation
        if annotation is inspect.Signature.empty:
            return None
        return arguments, stringify_annotation(annotation, mode="smart", short_literals=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx, before and after napoleon reads the sections."""
    docstrings = Docstrings()
    app.connect("autodoc-process-docstring", docstrings.before_sections, priority=100)
    app.connect("autodoc-process-docstring", docstrings.after_sections, priority=900)
    app.connect("autodoc-process-signature", docstrings.signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
