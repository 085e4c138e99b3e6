"""docs/methods: a page for each method, whose numbers, settings and equations are those of the code."""

from __future__ import annotations

import importlib
import json
import re
import statistics
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from secateur.compare.arms import ARMS
from secateur.methods import METHODS
from secateur.runs.method_settings import SETTABLE, settings_of

ROOT = Path(__file__).parents[1]
HOME = ROOT / "docs" / "methods"
sys.path.insert(0, str(ROOT / "tools"))

import method_facts  # noqa: E402
import method_pages  # noqa: E402
import method_pictures  # noqa: E402

SMALLER = {"bottleneck", "copycat", "fisher-scratch", "width"}
"""The arms that are no method's: they train a smaller network."""
OURS = {name for name, kind in METHODS.items() if kind.__module__.startswith("secateur.")}
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in HOME.glob("*.md") if path.stem != "index"}
INDEX = (HOME / "index.md").read_text(encoding="utf-8")
ROWS = set(
    re.findall(r"^\| .*? \| .*? \| `(secateur\.[\w.]+)` \|", (ROOT / "docs/equations.md").read_text(), re.M)
)


def test_every_method_has_a_page_and_every_page_a_method():
    assert set(PAGES) == OURS | SMALLER
    assert (
        set(method_pictures.PICTURES) == set(PAGES) == {path.stem for path in (HOME / "pictures").iterdir()}
    )
    listed = re.findall(r"^\| \[([\w-]+)\]\(\1\.md\) \|", INDEX, re.M)
    assert sorted(listed) == sorted(PAGES)


def test_every_arm_stands_on_one_page():
    for arm, found in ARMS.items():
        pages = [name for name, text in PAGES.items() if f"`{arm}`: {found.meaning}" in text]
        assert len(pages) == 1, (arm, pages)


def test_generated_parts_are_what_the_code_says():
    """`PYTHONPATH=src python tools/method_pages.py` writes them."""
    for name in (*PAGES, "index"):
        text = (HOME / f"{name}.md").read_text(encoding="utf-8")
        assert method_pages.written(text) == text, name


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_has_its_parts(name):
    text = PAGES[name]
    heads = re.findall(r"^#+ .*", text, re.M)
    said = ["Equations", "Picture", "When to use it", "Run it", "Settings", "Where it differs from the paper"]
    assert heads == [f"# {name}", *(f"## {each}" for each in said)]
    assert re.findall(r"<!-- method ([\w-]+) (\w+) -->", text) == [
        (name, part) for part in ("head", "results", "run", "settings")
    ]
    assert f"](pictures/{name}.svg)" in text
    assert re.search(r"\b(19|20)\d\d\b", text.split("## Equations")[0]), "who wrote it, and when"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_equation_leads_to_a_function_that_the_table_has(name):
    text = PAGES[name]
    behind = re.findall(r"^\$\$\n.+?\n\$\$\n\n(.*)$", text, re.M)
    assert len(behind) == text.count("\n$$\n") / 2 > 0
    for line in behind:
        functions = re.findall(r"`([\w.]+)`", line)
        assert line.startswith("Computed by `secateur."), line
        for function in functions:
            assert callable(_found(function))
            assert function in ROWS, f"docs/equations.md has no row of {function}"


def _found(dotted):
    """What a dotted name is: of a module, or of a class in it."""
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AssertionError(dotted)


@pytest.mark.parametrize("name", sorted(OURS))
def test_no_page_forgets_a_setting(name):
    steps = {"steps": 9} if METHODS[name].takes_steps else {}
    method = METHODS[name]("nonzeros=60%" if name in SETTABLE else "params=60%", **steps)
    wanted = set(settings_of(name)) if name in SETTABLE else set()
    wanted |= (
        {each.name for each in fields(method.config)}
        if is_dataclass(getattr(method, "config", None))
        else set()
    )
    table = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*?) \|$", PAGES[name].split("## Settings")[1], re.M))
    assert wanted | {"budget"} <= set(table)
    assert all(table.values()), "a setting without a meaning"


def test_settings_by_hand():
    found = {each.name: each for each in method_facts.settings("rigl")}
    assert (found["drop"].default, found["drop"].range) == ("`0.3`", "in (0, 1)")
    assert found["every"].meaning.startswith("Delta T, steps from one exchange to the next")
    assert found["layer_shares"].default == "`erk`"
    assert found["budget"].default == "needed"
    late = {each.name: each.range for each in method_facts.settings("reparametrization")}
    assert late["cut_at"] == "in [sharpen_until, 1]; 1 in faithful mode, which cuts when training is over"
    assert "layer_shares" not in {each.name for each in method_facts.settings("str")}, "which cannot be told"


def test_costs_and_budgets_by_hand():
    results = json.loads((ROOT / "results/digits-wrn-16-1/results.json").read_text())
    dense = statistics.fmean(point["train_compute"] for point in results["dense"])
    (row,) = (r for r in results["summary"] if (r["arm"], r["budget"]) == ("copycat", "params=25%"))
    said = f"{row['train_compute'] / dense:.2f} + {row['discovery_compute'] / dense:.2f} to find it"
    assert method_facts.cost("copycat") == said
    assert method_facts.cost("snip") == "1.00"
    assert method_facts.budgets("rigl") == ("nonzeros", "bytes")
    assert "latency" in method_facts.budgets("batch-norm-scale")
    assert method_facts.budgets("channel-reparametrization") == ("params", "nonzeros", "macs")


def test_a_result_is_the_files():
    rows = json.loads((ROOT / "results/controls/comparison.json").read_text())["rows"]
    found = [100 * row["accuracy"] for row in rows if row["arm"] == "set" and row["kept"] == 5]
    said = f"| `nonzeros=5%` | {statistics.fmean(found):.1f} ± {statistics.stdev(found):.1f} ({len(found)}) |"
    assert said in PAGES["set"]
    assert "Nothing is recorded of it" in PAGES["taylor"]


def _luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_picture_is_small_and_readable_on_white_and_on_black(name):
    text = (HOME / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert len(text) < 100_000
    assert "<script" not in text
    assert 'href="http' not in text
    colors = set(re.findall(r"(?:fill|stroke): (#\w{6})", text))
    assert colors <= {method_pictures.INK, *method_pictures.COLORS}, "a background, or ink of one scheme"
    for color in colors:
        lights = _luminance(color)
        assert 1.05 / (lights + 0.05) >= 3, f"{color} on white"
        assert (lights + 0.05) / (_luminance("#0d1117") + 0.05) >= 3, f"{color} on GitHub's dark page"


@pytest.mark.pinned
@pytest.mark.parametrize("name", ["reparametrization", "granet", "rigl", "str", "fisher"])
def test_a_picture_is_what_the_code_draws(name):
    """`PYTHONPATH=src python tools/method_pictures.py` draws them."""
    assert method_pictures.stale([name]) == []


@pytest.mark.slow
@pytest.mark.pinned
def test_all_pictures_are_what_the_code_draws():
    assert method_pictures.stale() == []
