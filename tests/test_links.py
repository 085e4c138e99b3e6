"""Links of the pages that are read on GitHub: every file is there, every anchor is a heading of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")) if "build" not in path.parts
)
LISTED = re.compile(r"^- (?:\*\*)?\[[^\]]+\]\(([\w/.-]+\.md)\)", re.M)


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))


def slug(heading: str) -> str:
    """A heading's anchor on GitHub.

    Source: github/html-pipeline, toc_filter.rb: lower case, without punctuation, spaces as hyphens.
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings; the second of the same name ends in -1."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    everything = tokens(page)
    for place, token in enumerate(everything):
        if token.type == "heading_open":
            children = everything[place + 1].children or []
            name = slug("".join(child.content for child in children if child.type in ("text", "code_inline")))
            found.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
    return found


def links(page: Path) -> Iterator[str]:
    """Where a page's links and pictures lead, those in HTML too."""
    for token in tokens(page):
        for child in token.children or []:
            target = child.attrGet("href") or child.attrGet("src")
            if target:
                yield str(target)
        texts = [token, *(token.children or [])]
        html = "".join(one.content for one in texts if one.type in ("html_block", "html_inline"))
        yield from re.findall(r"""(?:href|src|srcset)=["']([^"']+)["']""", html)


def leads_nowhere(page: Path, target: str) -> bool:
    """Whether a link within the repository has no file, or no heading, at its end."""
    if re.match(r"[a-z]+:", target):
        return False
    path, _, anchor = unquote(target).partition("#")
    end = (page.parent / path).resolve() if path else page
    if not end.exists() or (ROOT not in end.parents and end != ROOT):
        return True
    return bool(anchor) and (end.suffix != ".md" or anchor not in anchors(end))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    assert [target for target in links(page) if leads_nowhere(page, target)] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = ROOT / "docs" / "verdict.md"
    assert leads_nowhere(page, "no-such-page.md")
    assert leads_nowhere(page, "surgery.md#no-such-heading")
    assert leads_nowhere(page, "#no-such-heading")
    assert leads_nowhere(page, "../../outside.md")
    assert not leads_nowhere(page, "training.md#recalibration")
    written = tmp_path / "page.md"
    written.write_text("# Is `sc.prune` it? Yes!\n\n## A\n\n## A\n\n[x](y.md) `[a](b)` <img src='n'>\n")
    assert anchors(written) == {"is-scprune-it-yes", "a", "a-1"}
    assert list(links(written)) == ["y.md", "n"]


def test_every_page_is_in_the_navigation():
    """The menu of the site is made of these lists (docs/_site/navigation.py)."""
    docs = ROOT / "docs"
    listed = [(docs / target).resolve() for target in LISTED.findall((docs / "index.md").read_text("utf-8"))]
    assert len(listed) == len(set(listed))
    folders = {page.parent for page in listed if page.name == "index.md"}
    pages = {page for page in PAGES if docs in page.parents and page.parent not in folders}
    assert pages - set(listed) == {docs / "index.md"}
