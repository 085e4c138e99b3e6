"""Code that names a page or something public leads there: `docs/verdict.md`, `sc.prune(model)`, `Recipe`.

On GitHub it is code as before; the pages and the docstrings need not say where the entry is.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import desc_signature, pending_xref
from sphinx.application import Sphinx

_ENTRY = re.compile(r"^\.\. auto\w+:: (secateur\.[\w.]+)$", re.M)
_PAGE = re.compile(r"(?:docs/)?([\w/-]+)\.md")
_NAME = re.compile(r"([A-Za-z_][\w.]*)(?:\(.*\))?", re.S)
_NEVER_IN = (nodes.reference, pending_xref, nodes.title, desc_signature)


def entries(folder: Path) -> dict[str, str]:
    """Give the names that have an entry on a page of the folder, as they are written: name -> path.

    A class goes by its bare name too, where no other has it.
    """
    paths = [path for page in sorted(folder.glob("*.md")) for path in _ENTRY.findall(page.read_text("utf-8"))]
    bare = [path.rpartition(".")[2] for path in paths]
    classes = {name for name, count in Counter(bare).items() if count == 1 and name[0].isupper()}
    return {
        **{name: path for name, path in zip(bare, paths, strict=True) if name in classes},
        **{path.replace("secateur.", "sc.", 1): path for path in paths},
        **{path: path for path in paths},
    }


def target_of(text: str, names: dict[str, str], pages: set[str]) -> dict[str, str] | None:
    """Say what a piece of code leads to, in the words of a reference of Sphinx; None: nothing."""
    if (page := _PAGE.fullmatch(text)) and page[1] in pages:
        return {"refdomain": "std", "reftype": "doc", "reftarget": f"/{page[1]}"}
    if (name := _NAME.fullmatch(text)) and name[1] in names:
        return {"refdomain": "py", "reftype": "obj", "reftarget": names[name[1]]}
    return None


def _link(app: Sphinx, tree: nodes.document) -> None:
    names = entries(Path(app.srcdir) / "api")
    for code in list(tree.findall(nodes.literal)):
        found = target_of(code.astext(), names, app.env.found_docs)
        if found is None or any(isinstance(above, _NEVER_IN) for above in _ancestors(code)):
            continue
        about = {"refexplicit": True, "refwarn": True, "refdoc": app.env.docname}
        code.replace_self(pending_xref("", code.deepcopy(), **found, **about))


def _ancestors(node: nodes.Node) -> list[nodes.Node]:
    found = []
    while node.parent is not None:
        node = node.parent
        found.append(node)
    return found


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-read", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
