"""The pages' text as a script, `_static/pages.js`: what search shows of what it found, read from disk.

`static/offline-search.js` says why.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from sphinx.application import Sphinx

_MAIN = re.compile(r'<article[^>]*role="main"[^>]*>(.*?)</article>', re.S)
_GONE = re.compile(r'<a class="headerlink".*?</a>|<!--.*?-->|<(script|style)\b.*?</\1>', re.S)
_SECTION = re.compile(r'<(section)\b[^>]*?\bid="([^"]+)"[^>]*>|</section>|<[^>]+>', re.S)


def excerpt(page: str) -> str:
    """Give a page's text, as HTML that has nothing but its sections."""
    main = _MAIN.search(page)
    if main is None:
        return ""
    text = " ".join(_SECTION.sub(_kept, _GONE.sub("", main[1])).split())
    return f'<div role="main">{text}</div>'


def _kept(tag: re.Match[str]) -> str:
    if tag[1]:
        return f'<section id="{tag[2]}">'
    return tag[0] if tag[0] == "</section>" else " " if tag[0].startswith(("<p", "<li", "<d", "<t")) else ""


def _write(app: Sphinx, error: Exception | None) -> None:
    if error or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    pages = {
        name: excerpt((folder / app.builder.get_target_uri(name)).read_text("utf-8"))
        for name in sorted(app.env.found_docs)
    }
    script = f"window.SECATEUR_PAGES = {json.dumps(pages, ensure_ascii=False)};\n"
    (folder / "_static" / "pages.js").write_text(script, "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", _write)
    app.add_js_file("offline-search.js")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
