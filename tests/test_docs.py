"""What the documents promise: equations lead to code and tests, the README's numbers to files."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from secateur.architecture.architecture import Architecture
from secateur.records.results import Results

ROOT = Path(__file__).parents[1]
ROWS = re.findall(
    r"^\| .*? \| .*? \| `(secateur\.[\w.]+)` \| `(test_\w+\.py)::(test_\w+)` \|$",
    (ROOT / "docs/equations.md").read_text(),
    re.M,
)


def test_every_row_is_read():
    table = [line for line in (ROOT / "docs/equations.md").read_text().splitlines() if line.startswith("| ")]
    headers = sum(line.startswith("| paper |") for line in table)
    assert len(ROWS) == len(table) - headers > 10


@pytest.mark.parametrize(("function", "file", "test"), ROWS, ids=[row[2] for row in ROWS])
def test_equations_lead_to_code_and_tests(function, file, test):
    parts = function.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
            break
        except ModuleNotFoundError:
            continue
    for name in parts[cut:]:
        found = getattr(found, name)
    assert callable(found)
    assert re.search(rf"^def {test}\(", (ROOT / "tests" / file).read_text(), re.M)


def test_a_stranger_finds_what_is_needed_first():
    """What docs/stranger.md says of the README's first screen, in this order, and of its length."""
    lines = (ROOT / "README.md").read_text().splitlines()
    first = "\n".join(lines[:20])
    places = [first.index(each) for each in ("budget", "pip install", "make demo", "make test", "<picture>")]
    assert places == sorted(places)
    assert "forest-dark.svg" in first
    assert "forest-light.svg" in first
    second = "\n".join(lines[20:50])
    assert all(each in second for each in ("sc.prune(", "sc.save(", "sc.load(", "secateur compare", "export"))
    assert len(lines) < 120


def test_the_example_of_an_architecture_is_one():
    text = (ROOT / "docs/architecture.md").read_text()
    (code,), (example,) = (re.findall(rf"```{kind}\n(.*?)```", text, re.S) for kind in ("python", "json"))
    names: dict = {}
    exec(code, names)  # our own text
    content = json.loads(example)
    read = Architecture.from_dict(content, factory=names["build"])
    assert read.to_dict() == content
    described = re.findall(r"^\| `([\w`, \[\].]+)` \|", text, re.M)
    keys = {key for row in described for key in row.split("`, `")}
    sites = {f"groups[].sites[].{key}" for key in ("axis", "entries", "read", "write")}
    groups = {f"groups[].{key}" for key in (*content["groups"][0], "sets")}
    assert keys == {*content, "numbers", "over_kept", "skipped"} | groups | sites


def test_the_readmes_tables_are_what_the_results_say(checked):
    """`python tools/readme.py` writes them; nothing is typed by hand."""
    assert checked("readme") == (0, "")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results").glob("*/results.json")), ids=lambda path: path.parent.name
)
def test_recorded_results_say_where_they_come_from(path):
    results = json.loads(path.read_text())
    assert results["command"].startswith("secateur ")
    environment = results["environment"]
    assert environment["trained_at"], "which commits the runs were made at"
    for commit in environment["trained_at"]:
        assert re.fullmatch(r"[0-9a-f]{12}", commit), "made from a clean commit"
    assert environment["device"]
    assert results["data"]["train"] > 0
    resource = results["settings"].get("resource", "params")
    assert all(point[resource] <= _limit(results, point) for point in results["points"])


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results").glob("*/cells.json")), ids=lambda path: path.parent.name
)
def test_recorded_tables_say_where_they_come_from(path):
    content = json.loads(path.read_text())
    about = content["about"]
    assert about["command"].startswith("secateur reproduce ")
    assert about["environment"]["trained_at"]
    for commit in about["environment"]["trained_at"]:
        assert re.fullmatch(r"[0-9a-f]{12}", commit), "made from a clean commit"
    assert all(about[key] for key in ("scale", "device", "data", "selection"))
    for cell in content["cells"]:
        if cell["rate"] is not None:
            assert cell["nonzeros"] == round((100 - int(cell["rate"][:-1])) / 100 * cell["weights"])


def test_recorded_graphs_say_where_they_come_from_and_the_table_says_what_they_say(monkeypatch):
    folder = ROOT / "results" / "surgery"
    results = json.loads((folder / "graphs.json").read_text())
    assert results["schema"] == 1
    assert results["command"] == "python tools/graphs.py"
    assert re.fullmatch(r"[0-9a-f]{12}", results["environment"]["commit"]), "made from a clean commit"
    for row in results["rows"]:
        assert row["found"] == row["right"] + row["wrong"] + row["error"] + row["declined"]
    ours = [row for row in results["rows"] if row["graph"] == "secateur"]
    assert len(ours) == 18
    assert not any(row["wrong"] or row["error"] or row["refused"] for row in ours)
    spec = importlib.util.spec_from_file_location("graphs", ROOT / "tools" / "graphs.py")
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "graphs", tool)
    spec.loader.exec_module(tool)
    assert tool.table(results) == (folder / "graphs.md").read_text()


def _limit(results, point):
    return next(row["limit"] for row in results["summary"] if row["budget"] == point["budget"])


def test_the_list_of_commands_is_what_the_command_line_says(checked):
    """`python tools/cli.py` writes it."""
    assert checked("cli") == (0, "")


def test_the_quick_start_quotes_its_record():
    """The advice on the page is that of the recorded comparison, made by the page's own command."""
    page = (ROOT / "docs/quick-start.md").read_text()
    results = Results.load(ROOT / "results/quick-start/results.json")
    quoted = re.search(r"```text\n(.*?)```", page, re.S)[1].split("\n")
    assert [line.strip() for line in quoted if line] == [results.advice.text, *results.advice.lines[:3]]
    assert f"\n{results.command}\n" in page
