"""Chart of accuracy against size (Fig. 1): as accuracy, as error, and with the arms side by side.

Where networks are judged by something else, it is in the place of accuracy, and there is no error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from secateur.records.results import Results

from . import series
from .charts import Chart, Spec, View, budget_lines, layout, size_axis, title
from .quantity import Quantity, quantity_of
from .series import Mark
from .style import DENSE, INK, ArmStyle, styles
from .table import count, interval


def accuracy_chart(results: Results) -> Chart:
    """Fig. 1: accuracy against what the budgets limit, error against it, and every interval side by side."""
    by_arm = series.marks(results)
    resource = series.resource_of(results)
    quantity = quantity_of(results)
    views = [View(quantity.title, _accuracy_view(results, by_arm, error=False))]
    if quantity.in_percent:
        heading = "Error, as in the paper" if resource.key == "params" else "Error"
        views.append(View(heading, _accuracy_view(results, by_arm, error=True)))
    if sum(len(curve) for curve in by_arm.values()) <= 40:
        views.append(View("Side by side", _interval_view(results, by_arm)))
    what = f"{quantity.title} on the test split against {resource.name}, one curve per arm."
    return Chart("accuracy", what, views)


def _hover(point: Mark, results: Results) -> str:
    row = next(r for r in results.summary if (r.arm, r.budget) == (point.arm, point.budget))
    seeds = "1 seed" if point.n == 1 else f"{point.n} seeds"
    name, quantity = series.resource_of(results).name, quantity_of(results)
    if series.zeroes_weights(row):
        name += f" of {count(row.weights)}"
    before = ""
    if row.accuracy_before is not None:
        before = f"before the cut {quantity.text(row.accuracy_before, None)}{quantity.unit}"
        if row.accuracy_after_cut is not None:
            before += f", right after it {quantity.text(row.accuracy_after_cut, None)}{quantity.unit}"
        before += "<br>"
    return (
        f"<b>{escape(point.arm)}</b> at {escape(point.budget)}<br>"
        f"{count(point.size)} {escape(name)} ({100 * point.size / point.limit:.1f}% of the budget)<br>"
        f"{before}{escape(quantity.name)} {quantity.text(row.mean, row.std)}{quantity.unit}, {seeds}<br>"
        f"95% interval: {interval(row, quantity)}"
    )


def _error_bars(curve: Sequence[Mark], color: str, error: bool, thin: bool = False) -> Spec:
    """Distances to the ends of the interval; error is 100 minus accuracy, so there the two change places."""
    up = [p.high - p.mean if p.high is not None else 0 for p in curve]
    down = [p.mean - p.low if p.low is not None else 0 for p in curve]
    if error:
        up, down = down, up
    return {
        "type": "data",
        "symmetric": False,
        "array": up,
        "arrayminus": down,
        "color": color,
        "thickness": 0.9 if thin else 1.6,
        "width": 2 if thin else 5,
        "visible": any(p.low is not None for p in curve),
    }


def _marker(look: ArmStyle, size: float = 10) -> Spec:
    return {"symbol": look.symbol, "size": size, "color": look.color, "line": {"color": "#fff", "width": 1}}


def _dots(
    arm: str, color: str, seeds: Sequence[tuple[int, float, float]], axis: str, quantity: Quantity
) -> Spec:
    """Single seeds, faint: (seed, x, y); `axis` is the one that measures."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(arm),
        "legendgroup": escape(arm),
        "showlegend": False,
        "x": [x for _, x, _ in seeds],
        "y": [y for _, _, y in seeds],
        "text": [f"{escape(arm)}, seed {seed}" for seed, _, _ in seeds],
        "hovertemplate": f"%{{text}}: %{{{axis}:{quantity.pattern}}}{quantity.unit}<extra></extra>",
        "marker": {"symbol": "circle", "size": 6, "color": color, "opacity": 0.35},
    }


def _accuracy_view(results: Results, by_arm: Mapping[str, list[Mark]], error: bool) -> Spec:
    looks = styles(by_arm)
    show = (lambda a: 100 - a) if error else (lambda a: a)
    quantity = quantity_of(results)
    crowded = sum(len(curve) for curve in by_arm.values()) > 20
    data: list[Spec] = []
    for arm, curve in by_arm.items():
        seeds = [(seed, x, show(a)) for p in curve if p.n > 1 for seed, x, a in p.seeds]
        data.append(_dots(arm, looks[arm].color, seeds, "y", quantity))
    for arm, curve in by_arm.items():
        look = looks[arm]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": escape(arm),
                "legendgroup": escape(arm),
                "x": [p.x for p in curve],
                "y": [show(p.mean) for p in curve],
                "text": [_hover(p, results) for p in curve],
                "hovertemplate": "%{text}<extra></extra>",
                "line": {"color": look.color, "width": 2, "dash": look.dash},
                "marker": _marker(look, 8 if crowded else 10),
                "error_y": _error_bars(curve, look.color, error, thin=crowded),
            }
        )
    data += _dense_trace(results, show, error)
    limits = series.budgets(results)
    axis = series.size_axis(results)
    span = axis.extent([v for t in data for v in t["x"]] + [b.limit for b in limits], pad=0.05)
    low, high = series.accuracy_extent(by_arm, results.dense_summary, quantity)
    resource = series.resource_of(results)
    lines = budget_lines(limits, span[1] - span[0], axis)
    if resource.key != "params" and series.dense_size(results) is None:
        lines.setdefault("margin", {"l": 56, "r": 20, "t": 56, "b": 52})  # the last label: below the buttons
    return {
        "data": data,
        "layout": layout(
            520,
            size_axis(resource.name, axis, span),
            {
                "title": title("error on the test split (%)" if error else quantity.axis("test")),
                "range": [show(high), show(low)] if error else [low, high],
            },
            **lines,
        ),
    }


def _dense_trace(results: Results, show: Any, error: bool) -> list[Spec]:
    row, size = results.dense_summary, series.dense_size(results)
    if not row or size is None:
        return []
    quantity = quantity_of(results)
    low, high = quantity.of(row.low), quantity.of(row.high)
    mean = quantity.drawn(row.mean)
    point = Mark("unpruned", "", 1, size, size, row.n, mean, None, low, high, ())
    text = (
        f"<b>unpruned</b><br>{count(size)} {escape(series.resource_of(results).name)}<br>"
        f"{escape(quantity.name)} {quantity.text(row.mean, row.std)}{quantity.unit}, n = {row.n}<br>"
        f"95% interval: {interval(row, quantity)}"
    )
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "unpruned",
            "x": [size],
            "y": [show(mean)],
            "text": [text],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"symbol": "star", "size": 14, "color": DENSE, "line": {"color": "#fff", "width": 1}},
            "error_y": _error_bars([point], DENSE, error),
        }
    ]


def _interval_view(results: Results, by_arm: Mapping[str, list[Mark]]) -> Spec:
    """Every arm on its own row, one block per budget: the view in which intervals can be compared."""
    looks = styles(by_arm)
    place: dict[tuple[str, str], float] = {}
    headings: list[Spec] = []
    name, quantity = series.resource_of(results).name, quantity_of(results)
    y = 0.0
    for budget in series.budgets(results):
        headings.append(
            {
                "x": 0,
                "y": y,
                "xref": "paper",
                "yref": "y",
                "xanchor": "left",
                "yanchor": "middle",
                "showarrow": False,
                "text": f"<b>{escape(budget.text)}</b>, at most {count(budget.limit)} {escape(name)}",
                "font": {"size": 13, "color": INK},
            }
        )
        for arm, curve in by_arm.items():
            if any(p.budget == budget.text for p in curve):
                y += 1
                place[arm, budget.text] = y
        y += 1.3
    data: list[Spec] = []
    for arm, curve in by_arm.items():
        look = looks[arm]
        seeds = [(seed, a, place[arm, p.budget]) for p in curve if p.n > 1 for seed, _, a in p.seeds]
        data.append(_dots(arm, look.color, seeds, "x", quantity))
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": escape(arm),
                "x": [p.mean for p in curve],
                "y": [place[arm, p.budget] for p in curve],
                "text": [_hover(p, results) for p in curve],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": _marker(look, 11),
                "error_x": _error_bars(curve, look.color, error=False),
            }
        )
    rows = sorted(place.items(), key=lambda item: item[1])
    return {
        "data": data,
        "layout": layout(
            max(520, int(30 * (y + 1)) + 90),
            {
                "title": title(quantity.axis("test")),
                "range": series.accuracy_extent(by_arm, None, quantity),
            },
            {
                "tickvals": [row for _, row in rows],
                "ticktext": [escape(arm) for (arm, _), _ in rows],
                "range": [y - 0.3, -0.7],
                "ticks": "",
                "showgrid": False,
            },
            annotations=headings,
            showlegend=False,
        ),
    }
