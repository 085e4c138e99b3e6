"""What the report draws: where marks stand, what is told apart, for every kind of results there is."""

from __future__ import annotations

import random
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import open_page
from secateur.compare.arms import ARMS as REGISTRY
from secateur.errors import InputError
from secateur.records.record import Epoch
from secateur.records.results import Gap, Results
from secateur.report import drawing
from secateur.report.accuracy import accuracy_chart
from secateur.report.charts import Chart
from secateur.report.curves import Panels, curves_chart
from secateur.report.figures import curves_figure, figures_of
from secateur.report.forest import forest_chart
from secateur.report.html import page_charts, render
from secateur.report.legend import sample
from secateur.report.palette import CARD, dark, variable
from secateur.report.quantity import quantity_of
from secateur.report.series import Curve, curves
from secateur.report.style import ARMS as LOOKS
from secateur.report.style import order, styles
from synthetic import Elements, read, synthetic, synthetic_json

pytestmark = pytest.mark.usefixtures("drawn")
ROOT = Path(__file__).parents[1]
TWO = (("params=50%", 39048), ("params=25%", 19524))


@pytest.fixture(autouse=True, scope="module")
def _style(drawn: None) -> Iterator[None]:
    with drawing.house_style():
        yield


@pytest.fixture(scope="module")
def shown() -> tuple[Results, dict[str, Chart]]:
    """A full comparison (five arms, two budgets, three seeds) that was judged, and its charts."""
    results, histories = synthetic()
    results = judged(results)
    return results, {chart.id: chart for chart in page_charts(results, histories)}


def judged(results: Results) -> Results:
    """With differences: copycat leads everywhere; fisher-tuned alone is clearly behind."""
    entries = []
    for entry in results.verdict.per_budget:
        rows = {row.arm: row for row in results.summary if row.budget == entry.budget}
        gaps = tuple(
            Gap(arm=arm, gap=gap, low=gap - 0.011, high=gap + 0.009, p=0.1, p_corrected=0.3, visible=0.02)
            for arm, row in rows.items()
            if arm != "copycat" and (gap := rows["copycat"].mean - row.mean) is not None
        )
        entries.append(replace(entry, leader="copycat", behind=("fisher-tuned",), gaps=gaps))
    return replace(results, verdict=replace(results.verdict, per_budget=tuple(entries)))


def drawings(view: str) -> list[ET.Element]:
    """The drawings of a view."""
    return list(ET.fromstring(f"<div>{view}</div>").iter("svg"))


def tips(drawing: ET.Element) -> dict[str, ET.Element]:
    """What is said where something is pointed at -> the group that says it."""
    found = {}
    for group in drawing.iter("g"):
        if (title := group.find("title")) is not None:
            found[title.text or ""] = group
    return found


def stand(group: ET.Element) -> tuple[float, float]:
    """Where a group's mark is."""
    mark = next(group.iter("use"))
    return float(mark.attrib["x"]), float(mark.attrib["y"])


def ends(group: ET.Element) -> list[tuple[float, float]]:
    """Where its interval begins and ends."""
    (line,) = group.iter("path")
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", line.attrib["d"])]


def off_the_line(pairs: list[tuple[float, float]], reach: float = 100) -> float:
    """How far places are, in pixels, from any linear function of their values, over so many pixels."""
    values, places = np.array(pairs).T
    assert np.ptp(places) > reach  # they are not all in one place
    return float(np.abs(np.polynomial.Polynomial.fit(values, places, 1)(values) - places).max())


def test_in_the_forest_every_mean_interval_and_seed_stands_where_its_value_is(shown: Any) -> None:
    results, charts = shown
    wide, narrow, _ = drawings(charts["forest"].views[0].svg)
    assert (wide.get("class"), narrow.get("class")) == ("wide", "narrow")
    pairs, heights = [], set()
    for text, group in tips(wide).items():
        for row in (*results.summary, results.dense_summary):
            arm = "unpruned" if row.arm == "dense" else f"{row.arm}, {row.budget}"
            if not text.startswith(f"{arm}: "):
                continue
            (low, y), (high, _) = ends(group)
            pairs += [(row.mean, stand(group)[0]), (row.low, low), (row.high, high)]
            heights.add(y)
    assert len(pairs) == 3 * 11
    assert len(heights) == 11  # a row each
    assert off_the_line(pairs) < 0.011
    dots = [
        float(x)
        for path in wide.iter("path")
        if path.get("stroke-linecap") == "round"
        for x in re.findall(r"M([\d.]+) [\d.]+h0", path.attrib["d"])
    ]
    seeds = sorted(point.accuracy for point in results.points)
    assert off_the_line([*zip(seeds, sorted(dots), strict=True), *pairs]) < 0.011


def test_rows_stand_in_groups_the_largest_budget_and_the_best_arm_first(shown: Any) -> None:
    results, charts = shown
    for drawn in drawings(charts["forest"].views[0].svg)[:2]:
        names = {*LOOKS, "unpruned"}
        found = [
            (float(text.attrib["y"]), text.text)
            for text in drawn.iter("text")
            if text.text in names or str(text.text).startswith("params=")
        ]
        expected = ["unpruned"]
        for budget, limit in TWO:
            rows = sorted((r for r in results.summary if r.budget == budget), key=lambda r: -r.mean)
            expected += [f"{budget}: at most {limit:,} parameters", *(r.arm for r in rows)]
        assert [text for _, text in sorted(found)] == expected


def test_the_unpruned_network_is_a_line_with_a_band(shown: Any) -> None:
    results, charts = shown
    wide = drawings(charts["forest"].views[0].svg)[0]
    (star,) = (group for text, group in tips(wide).items() if text.startswith("unpruned: "))
    x, _ = stand(star)
    (low, _), (high, _) = ends(star)
    lines = [p.attrib["d"] for p in wide.iter("path") if p.get("stroke-width") == "1.4"]
    assert any(re.fullmatch(rf"M{x:g} \d+(\.\d+)?L{x:g} \d+(\.\d+)?", line) for line in lines)
    band = next(p.attrib["d"] for p in wide.iter("path") if p.get("fill") == variable("#eceae4"))
    assert {float(v) for v in re.findall(r"[ML]([\d.]+)", band)} == {low, high}
    none = drawings(forest_chart(replace(results, dense_summary=None)).views[0].svg)[0]
    assert not [p for p in none.iter("path") if p.get("fill") == variable("#eceae4")]


def test_differences_are_the_verdicts_and_hollow_where_nothing_is_told_apart(shown: Any) -> None:
    results, charts = shown
    wide, _, phone = drawings(charts["forest"].views[0].svg)
    groups = {text: group for text, group in tips(wide).items() if "minus the leader" in text}
    assert len(groups) == 2 * 4
    gaps = {(round(-100 * g.gap, 2)): g for entry in results.verdict.per_budget for g in entry.gaps}
    pairs = []
    for text, group in groups.items():
        gap = gaps[float(re.search(r"leader: ([-+][\d.]+)", text)[1])]  # type: ignore[index]
        (low, _), (high, _) = ends(group)
        pairs += [(-gap.gap, stand(group)[0]), (-gap.high, low), (-gap.low, high)]
        filled = next(group.iter("use")).get("fill") != variable(CARD)
        assert filled == ("clearly behind" in text) == (gap.arm == "fisher-tuned")
    assert off_the_line(pairs) < 0.011
    assert "leads" in {(text.text or "").strip() for text in wide.iter("text")}
    assert "difference from the leader (points)" in {text.text for text in phone.iter("text")}
    one = read(*synthetic_json(seeds=1))[0]
    assert len(drawings(forest_chart(one).views[0].svg)) == 2  # nothing was judged


@pytest.mark.parametrize("index", range(4))
def test_against_every_cost_no_mark_is_moved_from_its_value(shown: Any, index: int) -> None:
    results, charts = shown
    view = charts["accuracy"].views[index]
    assert [v.label.partition(",")[0] for v in charts["accuracy"].views] == [
        "parameters",
        "MACs",
        "training compute",
        "seconds of training",
    ]
    (drawn,) = drawings(view.svg)
    across, up = [], []
    for row in (*results.summary, results.dense_summary):
        arm = "unpruned" if row.arm == "dense" else f"{row.arm}, {row.budget}"
        (group,) = (group for text, group in tips(drawn).items() if text.startswith(f"{arm}: "))
        cost = (row.params, row.macs, row.train_compute + row.discovery_compute, row.wall_s)[index]
        x, y = stand(group)
        across.append((cost, x))
        (_, low), (_, high) = ends(group)
        up += [(row.mean, y), (row.low, low), (row.high, high)]
    assert off_the_line(across) < 0.011
    assert off_the_line(up) < 0.011


def nonzeros(budgets: dict[str, int] | None = None) -> Results:
    """A comparison in nonzeros, a factor of 33 apart, of arms that zero weights and one that does not."""
    limits = budgets or {"nonzeros=10%": 2920, "nonzeros=0.3%": 88}
    content, _ = synthetic_json(
        arms=["width", "magnitude-tuned"], budgets=tuple(limits.items()), dense_params=29200, seeds=2
    )
    content["settings"]["resource"] = "nonzeros"
    for row in [*content["summary"], *content["points"]]:
        zeroed = row["arm"] != "width"
        row["weights"] = 29200 if zeroed else limits[row["budget"]]
        row["nonzeros"] = limits[row["budget"]]
        row["accuracy_before"] = 0.97 if zeroed else None
    content["dense_summary"].update(nonzeros=29200.0, weights=29200.0)
    return read(content, {})[0]


def test_sizes_far_apart_are_on_a_logarithmic_axis_and_what_was_before_the_cut_is_marked() -> None:
    results = nonzeros()
    view = accuracy_chart(results).views[0]
    assert view.label == "nonzero weights"
    (drawn,) = drawings(view.svg)
    where = {text: stand(group)[0] for text, group in tips(drawn).items()}
    sizes = {"10%: ": 2920, "0.3%: ": 88, "unpruned": 29200}
    pairs = [(np.log10(s), x) for text, x in where.items() for mark, s in sizes.items() if mark in text]
    assert len(pairs) == 5
    assert off_the_line(pairs) < 0.011
    wide = drawings(forest_chart(results).views[0].svg)[0]
    said = [text for text in tips(wide) if "before the cut 97.00" in text]
    assert len(said) == 2  # width cuts nothing
    assert all(text.startswith("magnitude-tuned") for text in said)
    assert "|: before the cut" in "".join(str(text.text) for text in wide.iter("text"))
    old = replace(results, dense_summary=replace(results.dense_summary, nonzeros=None))  # type: ignore[type-var]
    assert "unpruned: " not in accuracy_chart(old).views[0].svg  # how many it has is not said


def of_bytes(content: dict[str, Any]) -> None:
    content["settings"]["resource"] = "bytes"
    for row in [*content["summary"], *content["points"]]:
        row["bytes"] = 4 * row["params"]


def of_time(content: dict[str, Any]) -> None:
    for row in [*content["points"], *content["dense"]]:
        row.update(latency="latency=2ms@onnxruntime", latency_ns=row["params"] * 50)


def of_another_metric(content: dict[str, Any]) -> None:
    content["metric"] = {"name": "mse", "higher_is_better": False, "fraction": False}
    for row in [*content["summary"], content["dense_summary"], *content["points"], *content["dense"]]:
        for key in ("mean", "low", "high", "accuracy", "std", "half"):
            if row.get(key) is not None:
                row[key] *= 0.0008000000000000003


def of_one_seed(content: dict[str, Any]) -> None:
    for row in [*content["summary"], content["dense_summary"]]:
        row.update(n=1, std=None, half=None, low=None, high=None)


def without_one(content: dict[str, Any]) -> None:
    del content["summary"][-1]


KINDS = {
    "bytes": (of_bytes, ["bytes on disk", "parameters", "MACs"]),
    "milliseconds": (of_time, ["parameters", "MACs", "milliseconds"]),
    "another metric": (of_another_metric, ["parameters", "MACs"]),
    "one seed": (of_one_seed, ["parameters", "MACs"]),
    "one arm missing": (without_one, ["parameters", "MACs"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_results_is_drawn(kind: str) -> None:
    change, menu = KINDS[kind]
    content, _ = synthetic_json(arms=["width", "copycat"])
    change(content)
    results = read(content, {})[0]
    accuracy, forest = accuracy_chart(results), forest_chart(results)
    assert [view.label for view in accuracy.views][: len(menu)] == menu
    texts = [
        t.text or "" for v in (*accuracy.views, *forest.views) for d in drawings(v.svg) for t in d.iter()
    ]
    assert not [text for text in texts if re.search(r"\d\.\d{8}|nan|inf\b", text)]
    rows = [text for text in tips(drawings(forest.views[0].svg)[0]) if ", params=" in text]
    assert len(rows) == 4 - (kind == "one arm missing")
    assert all(("; 1 seed" in text) == (kind == "one seed") for text in rows)
    if kind == "another metric":
        best = min(results.summary[:2], key=lambda row: row.mean).arm
        assert rows[0].startswith(best)  # lower is better


def test_names_from_outside_are_text_wherever_they_stand() -> None:
    nasty = ["<script>alert(1)</script>", "a" * 200, '\u202eמחיר & "x"', "line\nbreak\x00\x1b $\\alpha$"]
    content, histories = synthetic_json(arms=nasty, epochs=2)
    content.update(profiles=[], trajectory=[])
    charts = page_charts(*read(content, histories))
    assert [chart.id for chart in charts] == ["forest", "accuracy", "curves"]
    for chart in charts:
        for view in chart.views:
            for drawn in drawings(view.svg):  # well-formed
                assert "script" not in {each.tag for each in drawn.iter()}
    texts = {t.text for d in drawings(charts[0].views[0].svg) for t in d.iter("text")}
    assert "<script>alert(1)</script>" in texts
    assert f"{'a' * 33}…" in texts
    assert not any("a" * 35 in (text or "") for text in texts)


def test_the_drawings_of_a_page_are_described_share_nothing_and_bring_no_colour_of_their_own(
    shown: Any,
) -> None:
    _, charts = shown
    assert list(charts) == ["forest", "accuracy", "profile", "curves", "trajectory"]
    ids: list[str] = []
    for chart in charts.values():
        for view in chart.views:
            assert len(view.svg) < 45_000
            assert not re.search(r"#[0-9a-f]{6}|url\(|http|clip-path|DejaVu", view.svg)
            for drawn in drawings(view.svg):
                assert drawn.get("role") == "img"
                assert len(drawn.get("aria-label") or "") > 10
                mine = {each.attrib["id"] for each in drawn.iter() if "id" in each.attrib}
                assert {use.attrib["href"][1:] for use in drawn.iter("use")} == mine
                ids += mine
    assert len(ids) == len(set(ids))


def test_a_panel_for_each_arm_all_on_the_same_axes(shown: Any) -> None:
    _, charts = shown
    assert [view.label for view in charts["curves"].views] == ["Validation accuracy (%)", "Training loss"]
    key, *panels = drawings(charts["curves"].views[0].svg)
    assert [panel.findtext(".//text[@font-weight]") for panel in panels] == [
        "fisher-tuned",
        "fisher-scratch",
        "copycat",
        "width",
        "bottleneck",
        "unpruned",
    ]
    numbers = {tuple(t.text for t in panel.iter("text") if not t.get("font-weight")) for panel in panels}
    assert len(numbers) == 1
    lines = [
        sum(p.attrib["d"].count("M") for p in panel.iter("path") if "l" in p.attrib["d"]) for panel in panels
    ]
    assert lines == [3, 6, 6, 6, 6, 3]  # a run each; one trajectory of a seed serves both budgets
    assert "params=25%" in {text.text for text in key.iter("text")}
    rows = synthetic()[1]["dense-0"]
    line = next(p.attrib["d"] for p in panels[-1].iter("path") if "l" in p.attrib["d"]).split("M")[1]
    start, steps = (
        [float(v) for v in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", part)] for part in line.split("l")
    )
    points = np.cumsum(np.array([*start, *steps]).reshape(-1, 2), axis=0)
    assert len(points) == len(rows) == 30
    assert off_the_line([(row.epoch, x) for row, (x, _) in zip(rows, points, strict=True)]) < 0.011
    assert off_the_line([(row.val_accuracy, y) for row, (_, y) in zip(rows, points, strict=True)]) < 0.011


def test_a_long_run_is_thinned_and_says_so() -> None:
    quantity = quantity_of(synthetic(epochs=1)[0])
    epochs = range(1, 2001)
    rows = [Epoch(epoch=n, loss=n, train_accuracy=None, val_accuracy=0.5, lr=0.1, params=9) for n in epochs]
    short = Curve("a", "width", ("params=5%",), 0, rows[:40], quantity)
    long = Curve("b", "width", ("params=5%",), 1, rows, quantity)
    assert Panels.of([short], "loss").points(short) == (list(epochs[:40]), list(epochs[:40]))
    panels = Panels.of([short, long, long], "loss")
    assert panels.points(long)[0] == [float(epoch) for epoch in range(2, 2001, 2)]
    assert panels.points(short)[0] == [float(epoch) for epoch in range(2, 41, 2)]
    chart = curves_chart([short, long, long], quantity)
    assert "training loss by epoch, about every second<" in chart.views[1].svg


def test_bars_of_the_profile_are_as_long_as_their_numbers(shown: Any) -> None:
    results, charts = shown
    profile = next(p for p in results.profiles if p.seed == 0)
    (drawn,) = drawings(charts["profile"].views[1].svg)
    bars = [p.attrib["d"] for p in drawn.iter("path") if p.get("fill") == variable("#3a3f45")]
    assert len(bars) == 2 * 6
    tops = [max(ys) - min(ys) for d in bars for ys in [[float(y) for y in re.findall(r" ([\d.]+)", d)]]]
    percent = [
        (100 * group.kept / group.of, top) for group, top in zip(profile.groups, tops[:6], strict=True)
    ]
    number = [(group.kept, top) for group, top in zip(profile.groups, tops[6:], strict=True)]
    for pairs in (percent, number):
        assert off_the_line([(0.0, 0.0), *pairs], reach=50) < 0.03


def test_of_many_rows_each_budget_has_a_drawing() -> None:
    results, _ = synthetic(arms=[f"arm-{i}" for i in range(15)], epochs=1)
    (view,) = forest_chart(results).views
    assert [d.get("class") for d in drawings(view.svg)] == ["wide"] * 2 + ["narrow"] * 2


def test_near_the_best_has_a_view_where_all_is_several_times_as_wide() -> None:
    results, _ = synthetic(arms=["width", "copycat", "bottleneck"], epochs=1)
    assert [view.label for view in forest_chart(results).views] == ["everything"]
    first, *others = results.summary
    first = replace(first, mean=0.1, low=0.05, high=0.15)
    everything, near = forest_chart(replace(results, summary=(first, *others))).views
    assert (everything.label, near.label) == ("everything", "near the best")
    arrow = next(g for t, g in tips(drawings(near.svg)[0]).items() if t.startswith(f"{first.arm}, "))
    assert next(arrow.iter("use")).get("fill") == variable(CARD)  # hollow: it stands beyond the edge
    assert "arrow: beyond the edge" in near.svg


RECORDED = sorted(path.parent.name for path in (ROOT / "results").glob("*/results.json"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_comparison_is_a_light_page(name: str) -> None:
    """With curves as ragged as can be, which are not recorded."""
    results = Results.load(ROOT / "results" / name / "results.json")
    rng = random.Random(0)
    ragged = {
        point.run_id: tuple(
            Epoch(
                epoch=epoch,
                loss=rng.random(),
                train_accuracy=0.5,
                val_accuracy=rng.random(),
                lr=0.1,
                params=1,
            )
            for epoch in range(1, 41)
        )
        for point in (*results.points, *results.dense)
    }
    page = render(results, ragged)
    assert len(page.encode()) < 400_000
    assert not re.search(r"\d\.\d{13}", re.sub(r"<script.*?</script>|data:[^\"]*", "", page, flags=re.DOTALL))


def channel(value: int) -> float:
    return value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4


def contrast(one: str, other: str) -> float:
    """WCAG's."""
    lights = []
    for color in (one, other):
        red, green, blue = (channel(value) for value in bytes.fromhex(color[1:]))
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)
    return max(lights) / min(lights)


def test_every_arm_can_be_seen_on_dark_paper_and_is_told_from_the_others() -> None:
    looks = styles(REGISTRY)
    assert min(contrast(dark(look.color), dark(CARD)) for look in looks.values()) > 4.5
    assert len({dark(look.color) for look in looks.values()}) == len(looks)
    assert contrast(dark("#20252b"), dark(CARD)) > 7
    assert dark("#ff0000") != dark("#cc0000")


def test_every_arm_has_a_look_of_its_own() -> None:
    assert set(LOOKS) <= set(REGISTRY)  # the others have one that follows from their name
    for part in ("color", "marker", "line"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(LOOKS)
    assert len({look.color for look in styles(REGISTRY).values()}) == len(REGISTRY)
    assert len({arm.meaning for arm in REGISTRY.values()}) == len(REGISTRY)
    samples = {arm: ET.fromstring(sample(look)) for arm, look in styles(REGISTRY).items()}
    assert len({drawn[-1].get("d") for drawn in samples.values()}) == len(REGISTRY)


def test_an_arm_that_the_report_has_never_heard_of_has_a_look_of_its_own() -> None:
    """Of a dozen, together with all known ones; the same whoever else is there, unless two would be alike."""
    unheard = [f"arm-{i}" for i in range(12)]
    looks = styles([*unheard, *LOOKS])
    assert {arm: looks[arm] for arm in LOOKS} == LOOKS
    assert len({(look.color, look.marker) for look in looks.values()}) == len(looks)
    first = styles(unheard[:8])
    for part in ("color", "marker", "line"):
        known = {getattr(look, part) for look in LOOKS.values()}
        assert len({getattr(look, part) for look in first.values()} | known) == 8 + len(LOOKS)
    assert styles(["grasp"])["grasp"] == styles(["grasp", "width", "copycat"])["grasp"]
    assert order(["grasp", "width", "evolved"]) == ["width", "grasp", "evolved"]
    assert styles(["grasp", "evolved"]) == styles(["evolved", "grasp"])


def test_the_files_are_svg_and_name_arms_that_nobody_has_heard_of() -> None:
    results, histories = synthetic(arms=["width", "grasp"])
    figures = {**figures_of(results), "curves": curves_figure(results, curves(results, histories))}
    assert list(figures) == ["forest", "accuracy_vs_params", "channel_profile", "curves"]
    drawn = {name: drawing.encode(figure, "svg").decode() for name, figure in figures.items()}
    for text in drawn.values():
        ET.fromstring(text)
    for name in ("forest", "accuracy_vs_params", "curves"):
        assert styles(["grasp"])["grasp"].color in drawn[name]
        assert ">grasp<" in drawn[name]
    assert "≤ 25%" in drawn["accuracy_vs_params"]
    empty = figures_of(replace(results, summary=(), profiles=()))
    assert all(b"nothing to show" in drawing.encode(figure, "svg") for figure in empty.values())


def test_where_nothing_can_be_drawn_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"matplotlib.*not installed: pip install 'secateur\[compare\]'"):
        render(*synthetic(arms=["width"]))


def test_the_readmes_picture_is_what_the_file_says(checked: Callable[[str], tuple[Any, str]]) -> None:
    assert checked("picture") == (0, "")
    for name in ("light", "dark"):
        picture = (ROOT / f"docs/pictures/forest-{name}.svg").read_text("utf-8")
        assert (
            "3 seeds each · 4,500 training images, 40 epochs · 10,000 test images · cpu (AMD EPYC)" in picture
        )
        assert "var(" not in picture
        ET.fromstring(picture)


MEASURE = """<script>
  document.querySelectorAll("select[data-chart]").forEach(function (select) {
    Array.from(select.options).forEach(function (option) {
      select.value = option.value;
      select.dispatchEvent(new Event("change"));
    });
  });
  document.querySelectorAll(".segments button").forEach(function (button) { button.click(); });
  var least = 99, seen = 0;
  document.querySelectorAll(".chart svg").forEach(function (svg) {
    if (!svg.getBoundingClientRect().width) return;
    seen += 1;
    var scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    svg.querySelectorAll("text").forEach(function (text) {
      least = Math.min(least, scale * parseFloat(getComputedStyle(text).fontSize));
    });
  });
  document.documentElement.dataset.least = least.toFixed(1);
  document.documentElement.dataset.seen = seen;
  document.documentElement.dataset.wide = document.documentElement.scrollWidth - window.innerWidth;
</script></body>"""


@pytest.mark.parametrize(
    ("width", "least", "seen"), [pytest.param(1200, 10.0, 11, marks=pytest.mark.slow), (390, 8.0, 12)]
)
def test_in_a_browser_views_are_switched_and_no_text_is_too_small(
    tmp_path: Path, width: int, least: float, seen: int
) -> None:
    results, histories = synthetic()
    page = render(judged(results), histories)
    policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    (tmp_path / "page.html").write_text(policy.replace("</body>", MEASURE))
    opened = open_page(tmp_path / "page.html", width=width)
    assert opened.console_errors == []
    (root,) = (attributes for tag, attributes in Elements(opened.dom).found if tag == "html")
    assert float(root["data-least"] or 0) >= least
    assert int(root["data-seen"] or 0) == seen  # forest, one cost, a profile, seven of curves, the trajectory
    assert int(root["data-wide"] or 1) <= 0  # nothing is wider than the page
