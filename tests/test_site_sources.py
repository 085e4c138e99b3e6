"""What the site makes of pages that are written for GitHub, and of docstrings: docs/_site."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("sphinx", reason="pip install '.[docs]'")
DOCS = Path(__file__).parents[1] / "docs"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"site_{name}", DOCS / "_site" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_menu_is_the_lists_of_the_front_page():
    lists = "## A\n\n- [One](one.md): it.\n- [Two](d/index.md): it.\n\n## B\n\nno [Three](three.md)\n"
    text = f"# T\n\n- [no](no.md): above every heading\n\n{lists}"
    assert module("navigation").entries(text) == {"": ["no <no>"], "A": ["One <one>", "Two <d/index>"]}


def test_a_folder_has_what_it_lists_and_then_the_rest_by_name():
    tree = module("navigation").folder_toctree("- [C](c.md): first\n", {"a", "b", "c"})
    assert tree.split("\n\n")[1].splitlines() == ["C <c>", "a", "b", "```"]


def test_links_out_of_the_folder_lead_to_copies_and_folders_are_text():
    page = DOCS / "verdict.md"
    text = "[a](../README.md#more) [b](../results) [c](../no-such) [d](surgery.md) ![e](../README.md)"
    assert module("github").led_inside(text, page, DOCS) == (
        "[a](path:../README.md) b [c](../no-such) [d](surgery.md) ![e](../README.md)"
    )


def test_a_picture_in_two_colours_is_two_images():
    source = '<source media="(prefers-color-scheme: dark)" srcset="d.svg">'
    text = module("github").in_two_colours(f'<picture>\n  {source}\n  <img alt="it" src="l.svg">\n</picture>')
    assert text.split("```") == [
        "\n",
        "{image} l.svg\n:alt: it\n:class: only-light\n",
        "\n\n",
        "{image} d.svg\n:alt: it\n:class: only-dark\n",
        "\n",
    ]


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("sc.prune(model, budget='macs=40%')", "secateur.prune"),
        ("Recipe", "secateur.Recipe"),
        ("docs/verdict.md", "/verdict"),
        ("Config", None),  # several have the name
        ("docs/no-such.md", None),
        ("model", None),
    ],
)
def test_code_leads_to_what_it_names(text, end):
    links = module("links")
    found = links.target_of(text, links.entries(DOCS / "api"), {"verdict"})
    assert (found and found["reftarget"]) == end


@pytest.mark.parametrize(
    ("line", "safe"),
    [
        ("|w| * g_i in `a|b*`", r"\|w\| \* g_i in `a|b*`"),
        ("of `x_`, y_ and 2ms@c", r"of `x_`, y\_ and 2ms\@c"),
        ("see docs/c.md.", "see `docs/c.md`."),
    ],
)
def test_docstrings_are_plain_text(line, safe):
    assert module("docstrings").line_of(line) == safe


def test_an_excerpt_is_text_in_its_sections():
    heading = '<h1>A<a class="headerlink" href="#a">¶</a></h1><!-- x -> y -->'
    page = f'<article role="main"><section class="x" id="a">{heading}<p>t <b>u</b></p></section></article>'
    assert module("excerpts").excerpt(page) == '<div role="main"><section id="a">A t u</section></div>'
