"""The site's navigation, read from the lists of links on index pages: one list for GitHub and for the site.

On the front page each `##` heading is a caption, each list item that begins with a link to a page an entry.
A folder's `index.md` has the pages it lists, in that order, and then whatever else lies in the folder. A page
that is in neither is a warning of Sphinx, and so an error of `make docs`.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

_HEADING = re.compile(r"^## (.+)$")
_ENTRY = re.compile(r"^- (?:\*\*)?\[([^\]]+)\]\(([\w/.-]+)\.md\)")
_TOCTREE = "\n```{{toctree}}\n:hidden:\n{options}\n\n{entries}\n```\n"


def entries(text: str) -> dict[str, list[str]]:
    """Give the entries of an index page, in the toctree's words, by the heading above them."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if match := _HEADING.match(line):
            heading = match[1]
        elif match := _ENTRY.match(line):
            found.setdefault(heading, []).append(f"{match[1]} <{match[2]}>")
    return found


def front_toctrees(text: str) -> str:
    """Give the front page's toctrees, in MyST: one for each heading."""
    return "".join(
        _TOCTREE.format(options=f":caption: {heading}", entries="\n".join(listed))
        for heading, listed in entries(text).items()
    )


def folder_toctree(text: str, pages: set[str]) -> str:
    """Give that of a folder, in MyST: the pages it lists, then the others by name."""
    listed = [entry for group in entries(text).values() for entry in group if "/" not in entry]
    named = {entry.rpartition("<")[2].rstrip(">") for entry in listed}
    return _TOCTREE.format(options=":maxdepth: 1", entries="\n".join([*listed, *sorted(pages - named)]))


def _extend(app: Sphinx, name: str, source: list[str]) -> None:
    if name == app.config.root_doc:
        source[0] += front_toctrees(source[0])
    elif name.endswith("/index"):
        folder = Path(app.env.doc2path(name)).parent
        source[0] += folder_toctree(source[0], {page.stem for page in folder.glob("*.md")} - {"index"})


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _extend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
