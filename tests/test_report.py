"""The report: what the page says, and the files beside it. What it draws: `test_charts.py`."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

import pytest

import secateur as sc
from browser import open_page, screenshot
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
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert not re.match(r"\s*(https?:)?//", attributes.get(name) or "")
    assert not re.search(r"https?://", page)
    assert "default-src &#39;none&#39;" in page  # the browser enforces it, too
    assert len(page.encode()) < 400_000


def test_the_verdict_comes_before_the_first_chart(written: Path) -> None:
    page = written.read_text()
    assert 0 < page.index("copycat is best: 97.1% on the test split") < page.index('id="forest"')


def test_what_a_user_wrote_is_shown_and_never_run(written: Path, tmp_path: Path) -> None:
    results, histories = synthetic_json()
    nasty = "<script>alert(1)</script> & \"quotes\" 'too'"
    results["data"]["label"] = results["model"] = results["command"] = nasty
    results["settings"]["note"] = nasty
    results["verdict"]["text"] = nasty
    page = write_report(*read(results, histories), tmp_path).read_text()
    elements = Elements(page)
    assert nasty in elements.text
    clean = Elements(written.read_text())
    assert [tag for tag, _ in elements.found if tag == "script"] == [
        tag for tag, _ in clean.found if tag == "script"
    ]


def test_one_seed_says_that_there_is_no_interval(tmp_path: Path) -> None:
    text = Elements(write_report(*synthetic(seeds=1), tmp_path).read_text()).text
    assert "Where there is one seed there is no interval" in text


def test_the_table_has_every_arm_at_every_budget(written: Path) -> None:
    results, _ = synthetic()
    text = Elements(written.read_text()).text
    for row in results.summary:
        assert row.std is not None
        assert f"{100 * row.mean:.2f} ± {100 * row.std:.2f}" in text
        assert f"{round(row.params):,}" in text
    assert "training MACs = 3 × inference MACs" in text


def without(*keys: str) -> Shown:
    results, histories = synthetic_json()
    for key in keys:
        results[key] = []
    if "dense" in keys:
        results["dense_summary"] = None
    return read(results, {} if "histories" in keys else histories)


@pytest.mark.parametrize("missing", ["profiles", "trajectory", "dense", "histories"])
def test_what_was_not_measured_is_left_out(missing: str) -> None:
    page = Elements(render(*without(missing)))
    charts = {a["id"] for _, a in page.found if a.get("class") == "chart"}
    left_out = {"profiles": "profile", "trajectory": "trajectory", "histories": "curves"}.get(missing)
    assert charts == {"forest", "accuracy", "profile", "curves", "trajectory"} - {left_out}
    assert ("no budget" in page.text) == (missing != "dense")  # the table's heading of the unpruned network


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
    opened = open_page(write_report(*without(*missing), tmp_path))
    assert opened.console_errors == []
    assert ('id="forest"' in opened.dom) == ("summary" not in missing)


def test_some_arms_only(tmp_path: Path) -> None:
    page = write_report(*synthetic(arms=["width", "copycat"]), tmp_path)
    assert "<b>width</b>" in page.read_text()
    assert "<b>bottleneck</b>" not in page.read_text()
    assert "bottleneck" not in (tmp_path / "figures/accuracy_vs_params.svg").read_text()


def test_writing_twice_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    again = write_report(*synthetic(), tmp_path)
    assert again.read_bytes() == written.read_bytes()
    for path in (written.parent / "figures").iterdir():
        assert (tmp_path / "figures" / path.name).read_bytes() == path.read_bytes()


def test_the_page_can_be_pictured(written: Path, tmp_path: Path) -> None:
    picture = screenshot(written, tmp_path / "page.png", 500, 1000)
    from PIL import Image

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
        out=tmp_path_factory.mktemp("nonzeros"),
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
    """The cells of the table of compute, row by row, headings left out."""
    body = page[page.index('<table class="compute">') :].partition("</table>")[0].partition("</thead>")[2]
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    return [[re.sub(r"<[^>]*>", "", c).strip() for c in re.findall(r"<td.*?</td>", row)] for row in rows]


def test_the_table_of_a_comparison_in_nonzeros(nonzeros: sc.CompareResult) -> None:
    page = (nonzeros.directory / "report.html").read_text()
    assert ">before<br>the cut<" in page
    unpruned, *shown = [row for row in table_rows(page) if row]
    assert unpruned[4:6] == ["29,200", "100%"]
    by_arm = {(row.arm, row.budget): row for row in nonzeros.results.summary}
    order = ("width", "magnitude-tuned", "reparametrization")
    expected = [by_arm[arm, budget] for budget in ("nonzeros=10%", "nonzeros=0.3%") for arm in order]
    assert len(shown) == len(expected) == 6
    for cells, row in zip(shown, expected, strict=True):
        before, used = cells[1], cells[6]
        assert cells[4] == f"{row.nonzeros:,.0f}"
        if row.arm == "width":
            assert (before, cells[5]) == ("–", "100%")
            assert used == f"{100 * row.nonzeros / row.limit:.1f}%"
        else:
            points = [p for p in nonzeros.points if (p.arm, p.budget) == (row.arm, row.budget)]
            early = row.arm == "reparametrization"  # which goes on after its cut
            measured = [p.accuracy_before for p in points]
            after = [p.accuracy_after_cut for p in points if p.accuracy_after_cut is not None]
            assert len(after) == (len(points) if early else 0)
            means = [f"{100 * statistics.fmean(part):.2f}" for part in (measured, after) if part]
            assert before == ", then ".join(means)
            assert cells[5] == {2920: "10.0%", 88: "0.301%"}[row.limit]
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
    assert all(90 < float(row[4].rstrip("%")) <= 100 for row in table_rows(page) if row and row[4] != "–")
