"""The report: what the page says, what it draws in a real browser, and the figures."""

from __future__ import annotations

import math
import random
import re
import statistics
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import secateur as sc
from browser import Page, open_page, screenshot
from secateur.compare.arms import ARMS as REGISTRY
from secateur.compare.summary import summarise
from secateur.records.record import Epoch
from secateur.records.results import Results
from secateur.report import Beside, write_report
from secateur.report.html import page_charts, render
from secateur.report.series import marks as marks_of
from secateur.report.series import resource_of, size_axis
from secateur.report.style import ARMS as LOOKS
from secateur.report.style import order, styles
from secateur.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("drawn")

ARMS = ["fisher-tuned", "fisher-scratch", "copycat", "width", "bottleneck"]
FIGURES = ["accuracy_vs_params", "channel_profile", "training_curves"]
T95 = {2: 12.706, 3: 4.303}  # Student's t, 97.5%, n - 1 degrees of freedom


def synthetic_json(
    arms: list[str] = ARMS,
    budgets: tuple[tuple[str, int], ...] = (("params=50%", 39048), ("params=25%", 19524)),
    seeds: int = 3,
    blocks: tuple[int, ...] = (16, 16, 32, 32, 64, 64),
    epochs: int = 30,
    dense_params: int = 78096,
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Results and histories with the shape and the size of a real comparison; deterministic."""
    rng = random.Random(0)
    skill = {"fisher-tuned": 0.0, "fisher-scratch": 1.6, "copycat": 1.9, "width": 0.8, "bottleneck": 0.5}
    histories: dict[str, list[dict[str, Any]]] = {}

    def history(run_id: str, top: float, params: int) -> None:
        histories[run_id] = [
            {
                "epoch": e,
                "loss": 2.3 * math.exp(-4 * e / epochs) + 0.02 + 0.02 * rng.random(),
                "train_accuracy": min(1.0, top + 0.02),
                "val_accuracy": top * (1 - 0.88 * math.exp(-6 * e / epochs))
                - 0.02 * rng.random() * (e < epochs * 0.9),
                "lr": 0.1,
                "params": params,
            }
            for e in range(1, epochs + 1)
        ]

    def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
        values = [r["accuracy"] for r in rows]
        n, mean = len(values), statistics.fmean(values)
        std = statistics.stdev(values) if n > 1 else None
        half = None if std is None else T95[n] * std / math.sqrt(n)
        means = {
            k: statistics.fmean(r[k] for r in rows)
            for k in ("params", "macs", "train_compute", "discovery_compute", "wall_s")
        }
        return {
            "n": n,
            "mean": mean,
            "std": std,
            "half": half,
            "low": None if half is None else mean - half,
            "high": None if half is None else mean + half,
            "val_mean": statistics.fmean(r["val_accuracy"] for r in rows),
            **means,
        }

    def row(run_id: str, seed: int, params: int, top: float, discovery: int) -> dict[str, Any]:
        return {
            "seed": seed,
            "params": params,
            "macs": params * 51,
            "accuracy": top,
            "val_accuracy": top + 0.004 * rng.random(),
            "train_compute": 3 * params * 51 * 1149 * epochs,
            "discovery_compute": discovery,
            "wall_s": 12.5 + rng.random(),
            "run_id": run_id,
        }

    dense = []
    for seed in range(seeds):
        top = 0.982 + 0.004 * rng.random()
        history(f"dense-{seed}", top, dense_params)
        own = row(f"dense-{seed}", seed, dense_params, top, 0)
        dense.append({"arm": "dense", "budget": None, **own, "epochs": epochs, "widths": {"blocks.0": 16}})
    points, groups = [], []
    for budget, limit in budgets:
        for arm in arms:
            rows = []
            for seed in range(seeds):
                shared = arm == "fisher-tuned"
                run_id = f"{arm}-{seed}" if shared else f"{arm}-{budget}-{seed}"
                small = 1 - limit / dense_params
                top = 0.974 - 0.05 * small**2 + skill.get(arm, 1.0) / 100 * small + rng.gauss(0, 0.003)
                params = limit - rng.randrange(limit // 60)
                history(run_id, top, params)
                discovery = 0 if arm in ("width", "bottleneck") else dense[0]["train_compute"] * 7 // 5
                rows.append(row(run_id, seed, params, top, discovery))
                points.append(
                    {"arm": arm, "budget": budget, **rows[-1], "epochs": epochs, "widths": {"blocks.0": 16}}
                )
            groups.append({"arm": arm, "budget": budget, "limit": limit, **summary(rows)})
    kept = [
        [max(1, round(of * (0.95 - 0.6 * i / len(blocks)) - rng.randrange(2))) for i, of in enumerate(blocks)]
        for _ in range(seeds)
    ]
    results = {
        "schema": 1,
        "command": "secateur compare --model wrn-16-1 --budget params=50% --budget params=25% --seeds 3",
        "model": "wrn-16-1",
        "data": {
            "name": "digits",
            "label": "digits (1797 images of handwritten digits, 8 × 8)",
            "train": 1149,
            "val": 288,
            "test": 360,
            "classes": 10,
            "shape": [1, 8, 8],
            "fingerprint": "0123456789abcdef",
        },
        "settings": {
            "epochs": epochs,
            "match": "epochs",
            "seeds": seeds,
            "prune_every": 10,
            "milestones": [0.3, 0.6, 0.9],
            "beta": 0.0,
            "limit_train": None,
        },
        "dense": dense,
        "points": points,
        "summary": groups,
        "dense_summary": {"arm": "dense", "budget": None, "limit": None, **summary(dense)},
        "profiles": [
            {
                "seed": seed,
                "removed": sum(blocks) - sum(kept[seed]),
                "groups": [
                    {"name": f"blocks.{i}", "kept": k, "of": of}
                    for i, (k, of) in enumerate(zip(kept[seed], blocks, strict=True))
                ],
            }
            for seed in range(seeds)
        ],
        "trajectory": [
            {
                "seed": seed,
                "removed": list(range(0, 150, 2)),
                "params": [dense_params - dense_params * k // 195 for k in range(0, 150, 2)],
                "val_accuracy": [
                    0.985 - 0.00002 * (k / 8) ** 2.9 - 0.004 * rng.random() for k in range(0, 150, 2)
                ],
            }
            for seed in range(seeds)
        ],
        "verdict": {
            "text": (
                "At 25% of the parameters copycat is best: 97.1% on the test split, 1.4 points "
                "above fisher-tuned; at 50% there is no clear winner."
            ),
            "per_budget": [
                {
                    "budget": "params=50%",
                    "limit": 39048,
                    "leader": "copycat",
                    "winner": None,
                    "text": (
                        "No clear winner: the 95% intervals of copycat, fisher-scratch and width overlap."
                    ),
                },
                {
                    "budget": "params=25%",
                    "limit": 19524,
                    "leader": "copycat",
                    "winner": "copycat",
                    "text": ("copycat, 97.10% ± 0.21 over 3 seeds; next is fisher-scratch at 96.43%."),
                },
            ],
        },
        "environment": {
            "secateur": "0.1.0",
            "torch": "2.9.0",
            "python": "3.11.2",
            "device": "cpu",
            "commit": "0123456789abcdef",
            "precision": "fp32",
            "threads": 2,
            "date": "2026-01-01",
        },
    }
    return results, histories


Shown = tuple[Results, dict[str, tuple[Epoch, ...]]]


def read(results: dict[str, Any], histories: dict[str, list[dict[str, Any]]]) -> Shown:
    """What a report is drawn of."""
    found = {run_id: tuple(map(Epoch.from_json, rows)) for run_id, rows in histories.items()}
    return Results.from_json(results), found


def synthetic(**changes: Any) -> Shown:
    return read(*synthetic_json(**changes))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a full comparison: five arms, two budgets, three seeds."""
    return write_report(*synthetic(), tmp_path_factory.mktemp("report"))


class Elements(HTMLParser):
    """Every element with its attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data


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
    before, _, rest = page.partition("<script>/**")  # plotly.js begins so
    own = before + rest.partition("</script>")[2]
    assert len(own) < 500_000
    assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", own)
    assert "default-src &#39;none&#39;" in page  # the browser enforces it, too
    assert not re.search(r"""["'`]https?://(?!www\.w3\.org/)""", page)  # nor does plotly.js name a server


def test_the_verdict_comes_before_the_first_chart(written: Path) -> None:
    page = written.read_text()
    assert 0 < page.index("copycat is best: 97.1% on the test split") < page.index('id="accuracy"')


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
    charts = {a["id"] for _, a in page.found if (a.get("class") or "").startswith("chart")}
    left_out = {"profiles": "profile", "trajectory": "trajectory", "histories": "curves"}.get(missing)
    assert charts == {"accuracy", "profile", "curves", "trajectory"} - {left_out}
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
    assert 'data-charts="drawn"' in opened.dom
    assert ('class="main-svg"' in opened.dom) == ("summary" not in missing)


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


def test_the_svg_is_xml_and_names_the_arms(written: Path) -> None:
    for name in FIGURES:
        ET.parse(written.parent / "figures" / f"{name}.svg")
    svg = (written.parent / "figures/accuracy_vs_params.svg").read_text()
    for arm in ARMS:
        assert arm in svg


COLORS = [
    "rgb(179, 38, 30)",
    "rgb(31, 91, 181)",
    "rgb(223, 101, 168)",
    "rgb(191, 135, 0)",
    "rgb(74, 159, 104)",
]


def drawn(dom: str, chart: str) -> str:
    """The inside of one chart's element after the scripts ran, up to the figure's end."""
    start = dom.index(f'id="{chart}"')
    return dom[start : dom.index("</figure>", start)]


def lines(svg: str, color: str = "") -> int:
    """How many curves run from point to point (a legend's sample, `M5,0h42`, does not)."""
    return len(re.findall(rf'<path class="js-line" d="M[^"]*L[^"]*"[^>]*stroke: {re.escape(color)}', svg))


def marks(svg: str, color: str) -> int:
    """How many marks of a colour have an outline."""
    return len(re.findall(rf'<path class="point"[^>]* d="M[^"]+"[^>]*fill: {re.escape(color)}', svg))


@pytest.fixture(scope="module")
def opened(written: Path) -> Page:
    """The full page in the browser, once."""
    return open_page(written)


def test_a_browser_draws_every_chart_without_complaint(opened: Page) -> None:
    assert opened.console_errors == []
    assert 'data-charts="drawn"' in opened.dom
    accuracy = drawn(opened.dom, "accuracy")
    for arm in ARMS:
        assert f">{arm}<" in accuracy
    for color in COLORS:
        assert lines(accuracy, color) == 1
        assert marks(accuracy, color) >= 2 * (1 + 3)  # at each budget the mean and three seeds
    assert "NaN" not in accuracy
    assert len(re.findall(r'class="[xy]error"', accuracy)) >= len(ARMS) * 2  # an interval at each budget
    profile = drawn(opened.dom, "profile")
    bars = len(re.findall(r'class="point"[^>]*><path d="M', profile))
    assert bars == 2 * 2 * 6  # six blocks, in percent and in number, before and after
    assert (
        lines(drawn(opened.dom, "curves")) == 4 * 2 * 3 + 3 + 3
    )  # one Fisher trajectory a seed, and unpruned
    assert lines(drawn(opened.dom, "trajectory")) == 3


def test_no_button_sends_the_data_away(opened: Page) -> None:
    """plotly.js 4 offers to upload a chart unless told not to, and a logo that links to its maker."""
    buttons = {a.get("data-title") for _, a in Elements(opened.dom).found} - {None}
    assert buttons == {"Download plot as a PNG", "Zoom", "Pan", "Reset axes"}


def test_every_view_of_every_chart_can_be_drawn(written: Path, tmp_path: Path) -> None:
    visit = """<script>
      document.querySelectorAll(".segments button").forEach(function (b) { b.click(); });
      document.querySelectorAll("select").forEach(function (s) {
        Array.from(s.options).forEach(function (o) {
          s.value = o.value;
          s.dispatchEvent(new Event("change"));
        });
      });
      document.documentElement.dataset.visited = document.querySelectorAll(".segments button, option").length;
    </script></body>"""
    page = tmp_path / "visited.html"
    page.write_text(written.read_text().replace("</body>", visit))
    opened = open_page(page)
    assert opened.console_errors == []
    assert 'data-visited="21"' in opened.dom  # 3 of accuracy, 4 profiles, twice 7 of training
    assert ">copycat</text>" in drawn(opened.dom, "accuracy")  # the last view names the arms on its axis
    assert lines(drawn(opened.dom, "curves")) == 3  # the last view: loss of the unpruned, 3 seeds


def test_every_view_is_valid_plotly() -> None:
    from plotly.graph_objects import Figure

    seen = [view for chart in page_charts(*synthetic()) for view in chart.views]
    assert len(seen) == 22
    for view in seen:
        Figure(view.spec)  # raises on a name or a value that plotly does not know


def test_marks_are_spread_within_their_budget() -> None:
    results, _ = synthetic()
    for curve in marks_of(results).values():
        for point in curve:
            assert point.x <= point.size <= point.limit
            assert {seed for seed, _, _ in point.seeds} == {0, 1, 2}


def test_the_browser_test_can_fail(written: Path, tmp_path: Path) -> None:
    """A script error and a chart that is not drawn are both seen."""
    broken = tmp_path / "broken.html"
    broken.write_text(written.read_text().replace("Plotly.react(", "Plotly.reakt("))
    opened = open_page(broken)
    assert any("reakt" in line for line in opened.console_errors)
    assert 'data-charts="drawn"' not in opened.dom


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
    assert " parameters" not in text.partition("How to read")[0]
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


def test_sizes_far_apart_are_drawn_on_a_logarithmic_axis(nonzeros: sc.CompareResult) -> None:
    results = nonzeros.results
    assert size_axis(results).log
    accuracy = next(c for c in page_charts(results, {}) if c.id == "accuracy").views[0].spec
    assert accuracy["layout"]["xaxis"]["type"] == "log"
    low, high = accuracy["layout"]["xaxis"]["range"]
    assert low < math.log10(88) < math.log10(29200) < high < 6
    for trace in accuracy["data"]:
        assert all(low < math.log10(x) < high for x in trace["x"])
    for curve in marks_of(results).values():
        for point in curve:
            assert 0.7 * point.size < point.x <= point.size <= point.limit
    assert not size_axis(synthetic()[0]).log


def test_a_browser_draws_a_comparison_in_nonzeros(nonzeros: sc.CompareResult) -> None:
    opened = open_page(nonzeros.directory / "report.html")
    assert opened.console_errors == []
    assert 'data-charts="drawn"' in opened.dom
    assert 'id="trajectory"' not in opened.dom
    assert 'id="profile"' not in opened.dom
    accuracy = drawn(opened.dom, "accuracy")
    assert ">nonzero weights<" in accuracy
    assert "NaN" not in accuracy
    for arm in SPARSE:
        color = "rgb({}, {}, {})".format(*bytes.fromhex(LOOKS[arm].color[1:]))
        assert lines(accuracy, color) == 1
        assert marks(accuracy, color) >= 2 * (1 + 2)
    stand = re.findall(r'class="shape-group"[^>]*><path[^>]* d="M([\d.]+),', accuracy)
    assert stand == re.findall(r'class="annotation-text-g" transform="rotate\(0,([\d.]+),', accuracy)
    assert len(stand) == 2  # plotly takes a line's place as a size, its name's as a logarithm
    # two seeds of two arms at two budgets, and of the unpruned network; tuning takes one epoch: no line
    assert lines(drawn(opened.dom, "curves")) == 2 * 2 * 2 + 2


def test_every_view_in_nonzeros_is_valid_plotly(nonzeros: sc.CompareResult) -> None:
    from plotly.graph_objects import Figure

    row = Epoch(epoch=1, loss=1.0, train_accuracy=0.5, val_accuracy=0.5, lr=0.1, params=1)
    histories = {point.run_id: (row,) for point in nonzeros.points}
    seen = [view for chart in page_charts(nonzeros.results, histories) for view in chart.views]
    assert len(seen) == 3 + 2 * 4  # accuracy; validation accuracy and loss, of all arms and of each
    for view in seen:
        Figure(view.spec)


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
    trajectory = next(c for c in page_charts(results, epochs) if c.id == "trajectory").views[0].spec
    assert trajectory["layout"]["shapes"] == []  # its axis is in parameters


def test_a_dense_network_without_nonzeros_is_left_out(nonzeros: sc.CompareResult) -> None:
    """As its run is found in a folder of an earlier version."""
    (dense,) = summarise([replace(nonzeros.points[0], budget=None)], {})
    known = replace(nonzeros.results, dense_summary=replace(dense, nonzeros=457792.0))
    old = replace(nonzeros.results, dense_summary=replace(dense, nonzeros=None))
    for results, expected in ((known, True), (old, False)):
        spec = next(c for c in page_charts(results, {}) if c.id == "accuracy").views[0].spec
        assert any(trace["name"] == "unpruned" for trace in spec["data"]) == expected
        assert "no budget" in render(results, {})


def test_every_arm_has_a_look_of_its_own() -> None:
    assert set(LOOKS) <= set(REGISTRY)  # the others have one that follows from their name
    for part in ("color", "symbol", "marker", "dash", "line"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(LOOKS)
    assert len({look.color for look in styles(REGISTRY).values()}) == len(REGISTRY)
    assert len({arm.meaning for arm in REGISTRY.values()}) == len(REGISTRY)


def test_an_arm_that_the_report_has_never_heard_of_has_a_look_of_its_own() -> None:
    """Of a dozen, together with all known ones; the same whoever else is there, unless two would be alike."""
    unheard = [f"arm-{i}" for i in range(12)]
    looks = styles([*unheard, *LOOKS])
    assert {arm: looks[arm] for arm in LOOKS} == LOOKS
    assert len({(look.color, look.symbol) for look in looks.values()}) == len(looks)
    first = styles(unheard[:8])
    for part in ("color", "symbol", "marker", "dash", "line"):
        known = {getattr(look, part) for look in LOOKS.values()}
        assert len({getattr(look, part) for look in first.values()} | known) == 8 + len(LOOKS)
    assert styles(["grasp"])["grasp"] == styles(["grasp", "width", "copycat"])["grasp"]
    assert order(["grasp", "width", "evolved"]) == ["width", "grasp", "evolved"]
    assert styles(["grasp", "evolved"]) == styles(["evolved", "grasp"])


def test_an_arm_that_the_report_has_never_heard_of_is_drawn_and_explained(tmp_path: Path) -> None:
    from plotly.graph_objects import Figure

    results, histories = synthetic(arms=["width", "grasp"])
    page = write_report(
        results, histories, tmp_path, Beside({"grasp": "gradients kept alive", "width": "narrower"})
    )
    text = Elements(page.read_text()).text
    assert "gradients kept alive" in text
    assert "narrower" in text
    for view in page_charts(*synthetic(arms=[f"arm-{i}" for i in range(8)]))[0].views:
        Figure(view.spec)  # raises on a mark that plotly does not know
    svg = (tmp_path / "figures/accuracy_vs_params.svg").read_text()
    assert styles(["grasp"])["grasp"].color in svg
