"""What pages say in HTML: pictures in two colours; and comments, which no reader of the site needs."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx

_PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">\s*'
    r'<img alt="(?P<alt>[^"]*)" src="(?P<light>[^"]+)">\s*</picture>'
)
_COMMENTS = re.compile(r"(?:\s*<!--.*?-->\s*)+", re.S)


def in_two_colours(text: str) -> str:
    """Give a page with each `<picture>` as two images of furo's classes, of which a reader sees one."""
    return _PICTURE.sub(_images, text)


def _images(found: re.Match[str]) -> str:
    return "".join(
        f"\n```{{image}} {found[colour]}\n:alt: {found['alt']}\n:class: only-{colour}\n```\n"
        for colour in ("light", "dark")
    )


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = in_two_colours(source[0])


def _drop_comments(app: Sphinx, tree: nodes.document) -> None:
    for comment in [*tree.findall(nodes.comment), *tree.findall(nodes.raw)]:
        if isinstance(comment, nodes.comment) or _COMMENTS.fullmatch(comment.astext()):
            comment.parent.remove(comment)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _read)
    app.connect("doctree-read", _drop_comments)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
