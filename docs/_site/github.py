"""What the pages say for GitHub, as the site needs it.

A picture in two colours becomes two; comments go; of links that lead out of `docs/` the file is copied into
the site, and the name of a folder stays text.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

_PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">\s*'
    r'<img alt="(?P<alt>[^"]*)" src="(?P<light>[^"]+)">\s*</picture>'
)
_OUT = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<path>(?:\.\./)+[^)#\s]+)(?:#[^)\s]*)?\)")
_COMMENTS = re.compile(r"(?:\s*<!--.*?-->\s*)+", re.S)


def in_two_colours(text: str) -> str:
    """Give a page with each `<picture>` as two images of furo's classes, of which a reader sees one."""
    return _PICTURE.sub(_images, text)


def _images(found: re.Match[str]) -> str:
    return "".join(
        f"\n```{{image}} {found[colour]}\n:alt: {found['alt']}\n:class: only-{colour}\n```\n"
        for colour in ("light", "dark")
    )


def led_inside(text: str, page: Path, docs: Path) -> str:
    """Give a page with its links out of the folder of pages as links to copies, or as text."""

    def said(found: re.Match[str]) -> str:
        end = (page.parent / found["path"]).resolve()
        if docs in end.parents or not end.exists():
            return found[0]
        return found["text"] if end.is_dir() else f"[{found['text']}](path:{found['path']})"

    return _OUT.sub(said, text)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    page = Path(app.env.doc2path(name))
    source[0] = led_inside(in_two_colours(source[0]), page, Path(app.srcdir))


def _drop_comments(app: Sphinx, tree: nodes.document) -> None:
    for comment in [*tree.findall(nodes.comment), *tree.findall(nodes.raw)]:
        if isinstance(comment, nodes.comment) or _COMMENTS.fullmatch(comment.astext()):
            comment.parent.remove(comment)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _read)
    app.connect("doctree-read", _drop_comments)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
