"""The site as it was built: nothing in it is fetched, its scripts work from disk, its search finds.

`make docs` has it look at the site that it built; by itself it builds one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from tests.browser import open_page

ROOT = Path(__file__).parents[1]
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object|input)\b[^>]*?\b(?:src|srcset|data)=["']?(?:https?:)?//[^"'\s>]+
    |<link\b[^>]*?\bhref=["']?(?:https?:)?//[^"'\s>]+
    |<(?:image|use)\b[^>]*?\bhref=["']?(?:https?:)?//[^"'\s>]+
    |url\(["']?(?:https?:)?//[^)]+
    |@import\s+["'](?:https?:)?//[^"']+
    |\bfetch\(\s*["'`](?:https?:)?//[^"'`]+
    |\bimport\(?\s*["'](?:https?:)?//[^"']+""",
    re.X | re.I,
)
"""What a browser would fetch from elsewhere; what a reader may click on is none of it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    if given := os.environ.get("SECATEUR_SITE"):
        return (ROOT / given).resolve()
    pytest.importorskip("sphinx", reason="pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", folder / "doctrees"]
    command += [ROOT / "docs", folder / "html"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site):
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css", ".js", ".svg")]
    assert len([path for path in files if path.suffix == ".html"]) > 50
    found = {
        str(path.relative_to(site)): FETCHED.findall(path.read_text("utf-8", "replace")) for path in files
    }
    assert {str(path): what for path, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "text",
    [
        '<script defer src="https://cdn.example/x.js">',
        "<img alt=x src=//cdn.example/x.png>",
        '<link rel="preconnect" href="https://fonts.example">',
        "@font-face { src: url(https://fonts.example/x.woff2) }",
        '@import "https://fonts.example/x.css";',
        'fetch("https://example.org/x.json")',
    ],
)
def test_what_would_be_fetched_is_seen(text):
    assert FETCHED.search(text)


@pytest.mark.parametrize(
    "text", ['<a href="https://arxiv.org/x">', '<img src="_images/x.png">', "see https://x.org"]
)
def test_what_is_only_named_is_not(text):
    assert not FETCHED.search(text)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["index.html", "methods/fisher.html", "api/compare.html"])
def test_a_page_opens_from_disk_without_complaint(site, page):
    opened = open_page(site / page, width=390)
    assert opened.console_errors == opened.fetched == []
    assert 'class="sidebar-tree"' in opened.dom


def test_a_page_that_asks_for_something_is_seen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<p>here</p><script src="https://cdn.example.org/x.js"></script>')
    opened = open_page(page)
    assert "here" in opened.dom
    assert opened.fetched == ["https://cdn.example.org/x.js"]


@pytest.mark.slow
def test_equations_are_drawn_by_the_browser_alone(site):
    text = (site / "methods/fisher.html").read_text("utf-8")
    assert '<math display="block">' in text
    assert not re.search(r"<script[^>]*(mathjax|katex)", text, re.I)
    assert (site / "_static/fonts/stix-two-math.woff2").stat().st_size > 100_000


@pytest.mark.slow
def test_comments_that_say_how_blocks_are_tested_are_left_out(site):
    for page in ("controls.html", "own-loop.html"):
        assert re.findall(r"<!-- *(?:block|setup|results|end)", (site / page).read_text("utf-8")) == []


@pytest.mark.slow
def test_search_finds_from_disk(site):
    opened = open_page(site / "search.html", query="q=latency")
    assert opened.console_errors == opened.fetched == []
    results = re.search(r'<ul [^>]*class="search">.*?</ul>', opened.dom, re.S)
    assert results
    assert 'href="device.html' in results[0]
    shown = re.findall(r'<p class="context">(.*?)</p>', results[0], re.S)
    assert len(shown) > 3
    assert all("latency" in re.sub(r"<[^>]+>", "", text).lower() for text in shown)


@pytest.mark.slow
def test_the_reference_says_types_and_what_is_given(site):
    text = unescape(re.sub(r"<[^>]+>", "", (site / "api/using.html").read_text("utf-8")))
    assert re.search(r"predict\(\s*network,\s*images,\s*\*,[^)]*\) → list\[Prediction\]", text)
    assert re.search(r"trusted\s+\(bool\) – whether", text)
