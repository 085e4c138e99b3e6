"""The report: what the page says, and the files beside it. What it draws: `test_charts.py`."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import secateur as sc
from browser import open_page, screenshot
from secateur.compare.results import rewrite_report
from secateur.compare.taking import taken
from secateur.records.taken import NothingToTake, Taken
from secateur.report import write_report
from secateur.report.html import render
from secateur.report.series import resource_of
from secateur.training.recipe import Recipe
from synthetic import Elements, Shown, read, synthetic, synthetic_json

pytestmark = pytest.mark.usefixtures("drawn")

FIGURES = ["forest", "accuracy_vs_params", "channel_profile", "training_curves"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a full comparison: five arms, two budgets, three seeds."""
    return write_report(*synthetic(), tmp_path_factory.mktemp("report"))


def test_the_files(written: Path) -> None:
    names = {path.name for path in (written.parent / "figures").iterdir()}
    assert names == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    assert {path.name for path in written.parent.iterdir()} == {"report.html", "figures"}


def test_the_page_loads_nothing_from_anywhere(written: Path) -> None:
    page = written.read_text()
    for tag, attributes in Elements(page).found:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "poster", "data"):  # a file of values is in its link
            assert not re.match(r"\s*(https?:)?//", attributes.get(name) or "")
    assert not re.search(r"https?://", page)
    assert "default-src &#39;none&#39;" in page  # the browser enforces it, too
    assert len(page.encode()) < 400_000


def test_the_verdict_comes_before_the_first_chart(written: Path) -> None:
    page = written.read_text()
    assert 0 < page.index("copycat is best: 97.1% on the test split") < page.index('id="forest"')


def test_what_a_user_wrote_is_shown_and_never_run(written: Path) -> None:
    results, histories = synthetic_json()
    nasty = "<script>alert(1)</script> & \"quotes\" 'too'"
    results["data"]["label"] = results["model"] = results["command"] = nasty
    results["settings"]["note"] = nasty
    results["verdict"]["text"] = nasty
    page = render(*read(results, histories))
    elements = Elements(page)
    assert nasty in elements.text
    clean = Elements(written.read_text())
    assert [tag for tag, _ in elements.found if tag == "script"] == [
        tag for tag, _ in clean.found if tag == "script"
    ]


def test_one_seed_says_that_there_is_no_interval() -> None:
    text = Elements(render(*synthetic(seeds=1))).text
    assert "Where there is one seed there is no interval" in text


def test_the_table_has_every_arm_at_every_budget(written: Path) -> None:
    results, _ = synthetic()
    text = Elements(written.read_text()).text
    for row in results.summary:
        assert row.std is not None
        assert f"{100 * row.mean:.2f} ± {100 * row.std:.2f}" in text
        assert f"{math.ceil(row.params):,}" in text
    assert "training MACs = 3 × inference MACs" in text


def without(*keys: str) -> Shown:
    results, histories = synthetic_json()
    for key in keys:
        results[key] = []
    if "dense" in keys:
        results["dense_summary"] = None
    return read(results, {} if "histories" in keys else histories)


@pytest.mark.parametrize("missing", [("profiles", "dense"), ("trajectory", "histories")])
def test_what_was_not_measured_is_left_out(missing: tuple[str, ...]) -> None:
    page = render(*without(*missing))
    charts = {a["id"] for _, a in Elements(page).found if a.get("class") == "chart"}
    drawn_of = {"profiles": "profile", "trajectory": "trajectory", "histories": "curves"}
    left_out = {drawn_of.get(name) for name in missing}
    assert charts == {"forest", "accuracy", "profile", "curves", "trajectory"} - left_out
    assert ("unpruned" in [row[0] for row in table_rows(page)]) == ("dense" not in missing)


@pytest.mark.parametrize(
    "missing",
    [
        ("profiles", "trajectory", "dense"),
        ("profiles", "trajectory", "dense", "histories", "points", "summary"),
    ],
)
def test_an_empty_page_and_a_sparse_one_draw_without_complaint(
    tmp_path: Path, missing: tuple[str, ...]
) -> None:
    page = tmp_path / "page.html"
    page.write_text(render(*without(*missing)))
    opened = open_page(page)
    assert opened.console_errors == []
    assert ('id="forest"' in opened.dom) == ("summary" not in missing)


def test_some_arms_only() -> None:
    page = render(*synthetic(arms=["width", "copycat"]))
    assert "<b>width</b>" in page
    assert "bottleneck" not in page.partition("How to read")[0]


def test_writing_twice_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    again = write_report(*synthetic(), tmp_path)
    assert again.read_bytes() == written.read_bytes()
    for path in (written.parent / "figures").iterdir():
        assert (tmp_path / "figures" / path.name).read_bytes() == path.read_bytes()


def test_the_page_can_be_pictured(written: Path, tmp_path: Path) -> None:
    picture = screenshot(written, tmp_path / "page.png", 500, 1000)
    colours = Image.open(picture).convert("RGB").getcolors(maxcolors=1 << 24)
    assert len(colours) > 50  # not a blank page


SPARSE = ("magnitude-tuned", "reparametrization", "width")


@pytest.fixture(scope="module")
def nonzeros(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> sc.CompareResult:
    """A real comparison in nonzeros, a factor of 33 apart, without a trajectory or a dense network."""
    return sc.compare(
        sc.models.conv4(width=0.25, in_channels=1, image_size=8),  # 29,200 weights
        digits,
        ["nonzeros=10%", "nonzeros=0.3%"],
        arms=SPARSE,
        seeds=2,
        recipe=Recipe(epochs=2, batch_size=64, lr=0.05),
        device="cpu",
        out=tmp_path_factory.mktemp("there") / "the answer's",  # a name that must be quoted
    )


def test_a_comparison_in_nonzeros_speaks_of_nonzero_weights(nonzeros: sc.CompareResult) -> None:
    text = " ".join(Elements((nonzeros.directory / "report.html").read_text()).text.split())
    assert "Accuracy against nonzero weights" in text
    assert "nonzeros=10%: at most 2,920 nonzero weights" in text
    assert "Zeros alone make nothing faster" in text
    assert "at most 2,920 parameters" not in text
    assert "Retained channel profile" not in text
    assert "fisher-tuned" not in text.partition("How to read")[0]
    svg = (nonzeros.directory / "figures/accuracy_vs_nonzeros.svg").read_text()
    assert "Test accuracy against nonzero weights" in svg
    assert "≤ 0.3%" in svg
    assert not (nonzeros.directory / "figures/accuracy_vs_params.svg").exists()


def table_rows(page: str) -> list[list[str]]:
    """The cells of the table of results, row by row, headings left out; the first is the arm."""
    body = (
        page[page.index('<table class="compute sortable">') :]
        .partition("</table>")[0]
        .partition("<tbody>")[2]
    )
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    cells = [re.findall(r"<t[hd][ >].*?</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<svg.*?</svg>|<[^>]*>", "", cell, flags=re.DOTALL) for cell in row] for row in cells]


def headings(page: str) -> list[str]:
    return re.findall(r'class="sort"[^>]*>([^<]*)<', page)


def test_the_table_of_a_comparison_in_nonzeros(nonzeros: sc.CompareResult) -> None:
    page = (nonzeros.directory / "report.html").read_text()
    heads = headings(page)
    unpruned, *shown = (dict(zip(heads, row, strict=True)) for row in table_rows(page))
    assert (unpruned["arm"], unpruned["nonzero weights"], unpruned["of all weights"]) == (
        *("unpruned", "29,200", "100%"),
    )
    by_arm = {(row.arm, row.budget): row for row in nonzeros.results.summary}
    order = ("width", "magnitude-tuned", "reparametrization")
    expected = [by_arm[arm, budget] for budget in ("nonzeros=10%", "nonzeros=0.3%") for arm in order]
    assert len(shown) == len(expected) == 6
    for cells, row in zip(shown, expected, strict=True):
        assert (cells["arm"].removesuffix("winner"), cells["budget"]) == (row.arm, row.budget)
        before, used, of_all = cells["before the cut"], cells["of budget"], cells["of all weights"]
        assert cells["nonzero weights"] == f"{row.nonzeros:,.0f}"
        if row.arm == "width":
            assert (before, of_all) == ("–", "100%")
            assert used == f"{math.ceil(1000 * row.nonzeros / row.limit) / 10:.1f}%"
        else:
            points = [p for p in nonzeros.points if (p.arm, p.budget) == (row.arm, row.budget)]
            early = row.arm == "reparametrization"  # which goes on after its cut
            measured = [p.accuracy_before for p in points]
            after = [p.accuracy_after_cut for p in points if p.accuracy_after_cut is not None]
            assert len(after) == (len(points) if early else 0)
            means = [f"{100 * statistics.fmean(part):.2f}" for part in (measured, after) if part]
            assert before == ", then ".join(means)
            assert of_all == {2920: "10.0%", 88: "0.301%"}[row.limit]
            assert used == "100.0%"


def test_budgets_in_macs_are_held_against_macs() -> None:
    changed, histories = synthetic_json()
    for row in [*changed["summary"], *changed["points"]]:
        row["budget"] = row["budget"].replace("params", "macs")
    for row in changed["summary"]:
        row["limit"] *= 51
    changed["settings"]["resource"] = "macs"
    results, epochs = read(changed, histories)
    assert resource_of(results).name == "MACs"
    page = render(results, epochs)
    text = " ".join(Elements(page).text.split())
    assert "Accuracy against MACs" in text
    assert "macs=50%: at most 1,991,448 MACs" in text
    place = headings(page).index("of budget")
    shares = [row[place] for row in table_rows(page)]
    assert all(90 < float(share.rstrip("%")) <= 100 for share in shares if share != "–")
    assert len(shares) == 11


def test_every_line_of_the_card_works_when_it_is_pasted(
    nonzeros: sc.CompareResult, command_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = nonzeros.directory
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr("secateur.report.html.write_figures", lambda *_: [])
    page = Elements(rewrite_report(Path(folder.name), nonzeros.results).read_text())
    found = taken(Path(folder.name), nonzeros.results)
    assert isinstance(found, Taken)
    assert found.point in nonzeros.points
    lines = {line.what: line.code for line in found.lines}
    assert list(lines) == ["load", "predict", "export", "measure"]
    shown = {(a.get("id") or "").removeprefix("take-") for _, a in page.found}
    assert {"1", "2", "3", "4"} <= shown
    assert all(code in page.text for code in lines.values())

    space: dict[str, Any] = {}
    exec(lines["load"], space)
    assert sum(p.numel() for p in space["model"].parameters()) == found.point.params
    Image.new("L", (20, 20), 128).save("photo.jpg")
    told = {what: pasted(command_line, lines[what]) for what in ("predict", "export")}
    assert "photo.jpg" in told["predict"]
    assert (folder / "best/model.onnx").is_file()
    pasted(command_line, f"{lines['measure']} --runtime torch --seconds 0.02")
    pasted(command_line, f"secateur report {shlex.quote(folder.name)}")
    text = " ".join(Elements((folder / "report.html").read_text()).text.split())
    assert re.search(r"time for 1 example, torch\s*[\d.]+ ms", text)
    right = round(found.point.accuracy * nonzeros.results.data.test)
    assert f"({right} of {nonzeros.results.data.test})" in text
    for number in (found.bytes, found.point.params, found.point.macs, found.point.nonzeros):
        assert f"{number:,}" in text


def pasted(command_line: Any, line: str) -> str:
    """Run a line as it stands; what it prints."""
    program, _, rest = line.partition(" ")
    code, out, err = command_line(rest)
    assert (program, code) == ("secateur", 0), err
    return str(out)


def test_a_folder_without_its_network_says_so(nonzeros: sc.CompareResult, tmp_path: Path) -> None:
    def why() -> str:
        found = taken(tmp_path, nonzeros.results)
        assert isinstance(found, NothingToTake)
        return found.why

    assert "does not lie beside this page" in why()
    shutil.copytree(nonzeros.directory / "best", tmp_path / "best")
    assert isinstance(taken(tmp_path, nonzeros.results), Taken)
    record, architecture = tmp_path / "best/record.json", tmp_path / "best/architecture.json"
    own = record.read_text()
    record.write_text(json.dumps({**json.loads(own), "run_id": "train-000000000000-s0"}))
    assert "other results" in why()
    record.write_text(own)
    architecture.write_text("[]")
    assert "cannot be read" in why()
    architecture.unlink()
    assert "does not lie beside this page" in why()


NOISE = re.compile(r"\d\.\d{8,}")


def test_no_door_shows_a_number_that_nobody_wrote(
    nonzeros: sc.CompareResult, command_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate of tuning is 0.05 times 0.2 three times: 0.00040000000000000013 to a computer."""
    monkeypatch.chdir(nonzeros.directory.parent)
    assert NOISE.search(json.dumps(dict(nonzeros.results.settings)))
    assert not NOISE.search(Elements((nonzeros.directory / "report.html").read_text()).text)
    folder = shlex.quote(nonzeros.directory.name)
    tuned = next(point for point in nonzeros.points if point.arm == "magnitude-tuned")
    shown = pasted(command_line, f"secateur runs show {tuned.run_id} {folder}")
    assert not NOISE.search(shown)
    exact = json.loads(pasted(command_line, f"secateur runs show {tuned.run_id} {folder} --json"))
    assert json.loads(shown)["accuracy"] == pytest.approx(exact["accuracy"], rel=1e-5)
    assert NOISE.search(json.dumps(exact))
    for line in (
        f"secateur runs list {folder}",
        f"secateur push {folder}/best ann/small --dry-run",
    ):
        assert not NOISE.search(pasted(command_line, line))
    assert not NOISE.search(repr(nonzeros) + repr(tuned) + repr(Recipe(lr=0.1 + 0.2)))
