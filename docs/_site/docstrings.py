"""The house's docstrings, which are plain text with `code` in them, made ready for Sphinx.

What reStructuredText would take for markup is escaped; what a function gives stands in its signature.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.util.inspect import signature as signature_of
from sphinx.util.typing import stringify_annotation

_CODE = re.compile(r"(``.+?``|`[^`]+`)")
_SPECIAL = re.compile(r"[*|@]|(?<=\w)_(?=\W|$)")
_PAGE = re.compile(r"\bdocs/[\w/-]+\.md\b")
_LONG = re.compile(r"~(?:[A-Za-z_]\w*\.)+(\w+)")
_COLON = "\ue000"  # in place of one that napoleon would take for the end of a type
_SECTIONS = ("Args:", "Attributes:", "Returns:", "Yields:", "Raises:", "Example:", "Reference:")
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
        example, section = False, ""
        for place, line in enumerate(lines):
            section = line if line in _SECTIONS else section
            example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
            if not example:
                lines[place] = line_of(line)
            if section in ("Returns:", "Yields:") and line != section:
                lines[place] = lines[place].replace(":", _COLON)
        if dataclasses.is_dataclass(found) and "Attributes:" in lines and "Args:" not in lines:
            lines[lines.index("Attributes:")] = "Args:"
        if what in _NO_SECTIONS:
            self.whole[name] = list(lines)

    def after_sections(
        self, app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]
    ) -> None:
        """Give texts back: napoleon takes "None: there is none" for a type and its text."""
        lines[:] = self.whole.get(name, [line.replace(_COLON, ":") for line in lines])

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
        """Say what a function gives; defaults that are made anew have no text of their own."""
        if not inspect.isroutine(found) or given:
            return (arguments or "").replace("<factory>", "...") or None, given
        annotation = signature_of(found).return_annotation
        if annotation is inspect.Signature.empty:
            return None
        return arguments, stringify_annotation(annotation, mode="smart", short_literals=True)


def _shorten(app: Sphinx, tree: nodes.document) -> None:
    """Sphinx 9.0 reads no more of a type once it has met a Literal, and leaves its marks of short names."""
    for text in list(tree.findall(nodes.Text)):
        if _LONG.search(text):
            text.parent.replace(text, nodes.Text(_LONG.sub(r"\1", text)))


def _drop_types(app: Sphinx, domain: str, kind: str, content: nodes.Element) -> None:
    """Leave out what a function gives, as a type, where it stands in the signature."""
    for field in list(content.findall(nodes.field)):
        if field[0].astext() == "rtype":
            field.parent.remove(field)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx, before and after napoleon reads the sections."""
    docstrings = Docstrings()
    app.connect("autodoc-process-docstring", docstrings.before_sections, priority=100)
    app.connect("autodoc-process-docstring", docstrings.after_sections, priority=900)
    app.connect("autodoc-process-signature", docstrings.signature)
    app.connect("object-description-transform", _drop_types, priority=900)
    app.connect("doctree-read", _shorten)
    next(field for field in PyObject.doc_field_types if field.name == "variable").label = "Attributes"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
