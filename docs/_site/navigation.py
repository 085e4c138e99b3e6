"""The site's navigation, read from the lists of links on the front page: one list for GitHub and for the site.

Each `##` heading of index.md is a caption, each list item that begins with a link to a page its entry. A folder's
`index.md` is followed by whatever else lies in the folder. A page that is in neither is a warning of Sphinx, and
so an error of `make docs`.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

_HEADING = re.compile(r"^## (.+)$")
_ENTRY = re.compile(r"^- (?:\*\*)?\[([^\]]+)\]\(([\w/.-]+)\.md\)")
_TOCTREE = """
```{{toctree}}
:hidden:
{options}

{entries}
```
"""


def toctrees(text: str) -> str:
    """Give the toctrees, in MyST, that the lists of a front page come to."""
    groups: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if heading := _HEADING.match(line):
            groups.append((heading[1], []))
        elif (entry := _ENTRY.match(line)) and groups:
            groups[-1][1].append(f"{entry[1]} <{entry[2]}>")
    return "".join(
        _TOCTREE.format(options=f":caption: {caption}", entries="\n".join(entries))
        for caption, entries in groups
        if entries
    )


def _extend(app: Sphinx, name: str, source: list[str]) -> None:
    if name == app.config.root_doc:
        source[0] += toctrees(source[0])
    elif name.endswith("/index") and len(list(Path(app.env.doc2path(name)).parent.glob("*.md"))) > 1:
        source[0] += _TOCTREE.format(options=":glob:", entries="*")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _extend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
