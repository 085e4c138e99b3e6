"""Results from strangers, drawn: a page or one line, and nothing of the page comes from the file but text."""

from __future__ import annotations

import json
import random
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hostile import BAD, Kind, damage, damaged
from secateur.compare.judging import judge_folder
from secateur.compare.results import agreeing, load_results, rewrite_report

REPOSITORY = Path(__file__).parents[1]
ONE = REPOSITORY / "results" / "quick-start" / "results.json"
"""Recorded results whose page says which tags and attributes a page has."""

TEXTS = [
    "<script>alert(1)</script>",
    "</script><script src=https://evil.example/a.js></script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</style><style>*{background:url(https://evil.example/b)}</style>",
    "url(https://evil.example/c)",
    "data:text/html,<script>alert(1)</script>",
    "<svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}{$",
    "<!--",
    "]]></title><a href=//evil.example>",
    "=HYPERLINK(1)",
    "\x1b[2J\u202e",
    "a" * 5000,
]


class Seen(HTMLParser):
    """What a page is made of: its tags with their attributes, where they lead, and its scripts."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.parts: set[tuple[str, str]] = set()
        self.leads: set[str] = set()
        self.scripts: list[str] = []
        self._within = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self._within = tag
        self.parts |= {(tag, "")} | {(tag, name) for name, _ in attrs}
        for name, value in attrs:
            if name in ("href", "src", "action", "data", "xlink:href", "srcset", "poster", "formaction"):
                self.leads.add(value or "")
            self.leads |= set(re.findall(r"url\(([^)]*)\)", value or "")) if name == "style" else set()
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self._within = ""

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        if self._within == "script":
            self.scripts[-1] += data
        elif self._within == "style":
            self.leads |= set(re.findall(r"url\(([^)]*)\)", data)) | set(re.findall(r"@import.*", data))


LEADS = re.compile(r"#[\w.:-]*|data:image/png;base64,[A-Za-z0-9+/=]*|data:text/csv;charset=utf-8,[^<>\"' ]*|")


def draw(folder: Path) -> Seen:
    """As `secateur report` does it; nothing stays."""
    results = load_results(folder)
    try:
        with agreeing(folder):
            judged, _ = judge_folder(folder, results)
            return Seen(rewrite_report(folder, judged).read_text(encoding="utf-8"))
    finally:
        (folder / "report.html").unlink(missing_ok=True)
        shutil.rmtree(folder / "figures", ignore_errors=True)


def with_hostile_text(content: bytes, draw: random.Random) -> bytes:
    """One to three texts replaced, so that most are accepted; else as any file is damaged."""
    if draw.random() < 0.4:
        return damaged(content, draw)
    found = json.loads(content)
    places = list(texts_in(found))
    for holder, key in draw.sample(places, draw.choice([1, 1, 3])):
        holder[key] = draw.choice(TEXTS if draw.random() < 0.9 else BAD)
    return json.dumps(found).encode()


def texts_in(found):
    """Every place of a text below: (what holds it, its key)."""
    for key, value in found.items() if isinstance(found, dict) else enumerate(found):
        if isinstance(value, str):
            yield found, key
        elif isinstance(value, (dict, list)):
            yield from texts_in(value)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Seen:
    """What a whole page is made of."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copy(ONE, folder)
    seen = draw(folder)
    assert {("script", ""), ("table", ""), ("svg", "")} <= seen.parts
    return seen


def check(seen: Seen, known: Seen) -> None:
    """Raise AssertionError where a page has what no whole page has."""
    assert seen.parts <= known.parts, seen.parts - known.parts
    assert seen.scripts == known.scripts
    assert all(LEADS.fullmatch(each) for each in seen.leads), seen.leads


def campaign(folder: Path, known: Seen, count: int, seed: int):
    shutil.copy(ONE, folder)
    kind = Kind(folder / "results.json", lambda _: check(draw(folder), known), with_hostile_text)
    return damage({"results.json, drawn": kind}, count, seed, folder)["results.json, drawn"]


def test_a_page_that_is_drawn_of_damaged_results_has_nothing_of_theirs_but_text(tmp_path, known):
    counts = campaign(tmp_path, known, 8, 0)
    assert min(counts.harmless, counts.refused) > 1, counts


def test_what_would_be_found_is_found(known):
    """The oracle itself."""
    for text in ('<img src=x onerror="x()">', "<script>y()</script>", '<a href="https://a.example">'):
        with pytest.raises(AssertionError):
            check(Seen(f"<p>{text}</p>"), known)


@pytest.mark.slow
def test_very_many_pages_are_drawn_of_damaged_results(tmp_path, known):
    campaign(tmp_path, known, 600, 1)
