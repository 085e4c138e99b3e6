"""The interactive charts as plain plotly specifications: `{"data": [...], "layout": {...}}`.

A chart has one or more views; the page switches between them. Text that comes from outside passes through
`html.escape`, because plotly reads markup in its labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from . import series
from .series import Budget, Curve, Point, Profile, Results
from .style import DENSE, GRID, INK, MUTED, SANS, ArmStyle, dash, styles
from .table import accuracy, count, interval

Spec = dict[str, Any]


@dataclass(frozen=True)
class View:
    """One way to look at a chart; `group` gathers views in the menu."""

    label: str
    spec: Spec
    group: str = ""


@dataclass(frozen=True)
class Chart:
    """A figure of the page: its id, the text a screen reader says, and its views (the first is shown)."""

    id: str
    alt: str
    views: list[View]

    @property
    def height(self) -> int:
        return self.views[0].spec["layout"]["height"]

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(view.group for view in self.views))


def layout(height: int, x: Spec, y: Spec, **more: Any) -> Spec:
    """The house style of every chart."""
    axis = {
        "gridcolor": GRID,
        "linecolor": MUTED,
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": MUTED,
    }
    return {
        "height": height,
        "font": {"family": SANS, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 20, "t": 34, "b": 52},
        "hoverlabel": {"font": {"family": SANS, "size": 13}, "align": "left", "bgcolor": "#fff"},
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#b4b9be", "activecolor": INK},
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "traceorder": "normal",
            "itemwidth": 42,
        },
        "xaxis": {**axis, "showline": True, **x},
        "yaxis": {**axis, **y},
        **more,
    }


def title(text: str) -> Spec:
    return {"text": escape(text), "standoff": 10}


def budget_lines(limits: Sequence[Budget], reach: float) -> Spec:
    """A dotted line per budget, named above the plot; the names stand upright where they would touch."""
    gaps = [b.limit - a.limit for a, b in pairwise(limits)]
    tight = bool(gaps) and min(gaps) < 0.11 * reach
    shapes = [
        {
            "type": "line",
            "xref": "x",
            "yref": "paper",
            "x0": b.limit,
            "x1": b.limit,
            "y0": 0,
            "y1": 1,
            "layer": "below",
            "line": {"color": MUTED, "width": 1.3, "dash": "dot"},
        }
        for b in limits
    ]
    notes = [
        {
            "x": b.limit,
            "y": 1,
            "xref": "x",
            "yref": "paper",
            "yanchor": "bottom",
            "text": escape(b.label),
            "textangle": -90 if tight else 0,
            "showarrow": False,
            "font": {"size": 12, "color": MUTED},
        }
        for b in limits
    ]
    more: Spec = {"shapes": shapes, "annotations": notes}
    if tight:
        more["margin"] = {"l": 56, "r": 20, "t": 24 + 7 * max(len(b.label) for b in limits), "b": 52}
    return more


def accuracy_chart(results: Results) -> Chart:
    """Fig. 1: accuracy against parameters, error against parameters, and every interval side by side."""
    by_arm = series.points(results)
    views = [
        View("Accuracy", _accuracy_view(results, by_arm, error=False)),
        View("Error, as in the paper", _accuracy_view(results, by_arm, error=True)),
    ]
    if sum(len(curve) for curve in by_arm.values()) <= 40:
        views.append(View("Side by side", _interval_view(results, by_arm)))
    return Chart("accuracy", "Accuracy on the test split against parameters, one curve per arm.", views)


def _hover(point: Point, results: Results) -> str:
    row = next(r for r in results["summary"] if (r["arm"], r["budget"]) == (point.arm, point.budget))
    seeds = "1 seed" if point.n == 1 else f"{point.n} seeds"
    return (
        f"<b>{escape(point.arm)}</b> at {escape(point.budget)}<br>"
        f"{count(point.params)} parameters ({100 * point.params / point.limit:.1f}% of the budget)<br>"
        f"accuracy {accuracy(row['mean'], row['std'])} %, {seeds}<br>"
        f"95% interval: {interval(row)}"
    )


def _error_bars(curve: Sequence[Point], color: str, error: bool, thin: bool = False) -> Spec:
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


def _accuracy_view(results: Results, by_arm: Mapping[str, list[Point]], error: bool) -> Spec:
    looks = styles(by_arm)
    show = (lambda a: 100 - a) if error else (lambda a: a)
    crowded = sum(len(curve) for curve in by_arm.values()) > 20
    data: list[Spec] = []
    for arm, curve in by_arm.items():
        seeds = [(s, x, a) for p in curve if p.n > 1 for s, x, a in p.seeds]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": escape(arm),
                "legendgroup": escape(arm),
                "showlegend": False,
                "x": [x for _, x, _ in seeds],
                "y": [show(a) for _, _, a in seeds],
                "text": [f"{escape(arm)}, seed {s}: {a:.2f} %" for s, _, a in seeds],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"symbol": "circle", "size": 6, "color": looks[arm].color, "opacity": 0.35},
            }
        )
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
    span = series.extent([v for t in data for v in t["x"]] + [b.limit for b in limits], pad=0.05, floor=0)
    low, high = series.accuracy_extent(by_arm, results.get("dense_summary"))
    return {
        "data": data,
        "layout": layout(
            520,
            {"title": title("parameters"), "range": span, "tickformat": "~s"},
            {
                "title": title("error on the test split (%)" if error else "accuracy on the test split (%)"),
                "range": [show(high), show(low)] if error else [low, high],
            },
            **budget_lines(limits, span[1] - span[0]),
        ),
    }


def _dense_trace(results: Results, show: Any, error: bool) -> list[Spec]:
    row = results.get("dense_summary")
    if not row or series.percent(row["mean"]) is None:
        return []
    low, high = series.percent(row["low"]), series.percent(row["high"])
    mean = 100 * row["mean"]
    point = Point("unpruned", "", 1, row["params"], row["params"], row["n"], mean, None, low, high, ())
    text = (
        f"<b>unpruned</b><br>{count(row['params'])} parameters<br>"
        f"accuracy {accuracy(row['mean'], row['std'])} %, n = {row['n']}<br>95% interval: {interval(row)}"
    )
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "unpruned",
            "x": [row["params"]],
            "y": [show(mean)],
            "text": [text],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"symbol": "star", "size": 14, "color": DENSE, "line": {"color": "#fff", "width": 1}},
            "error_y": _error_bars([point], DENSE, error),
        }
    ]


def _interval_view(results: Results, by_arm: Mapping[str, list[Point]]) -> Spec:
    """Every arm on its own row, one block per budget: the view in which intervals can be compared."""
    looks = styles(by_arm)
    place: dict[tuple[str, str], float] = {}
    headings: list[Spec] = []
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
                "text": f"<b>{escape(budget.text)}</b>, at most {count(budget.limit)} parameters",
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
        bars = _error_bars(curve, look.color, error=False)
        seeds = [(s, place[arm, p.budget], a) for p in curve if p.n > 1 for s, _, a in p.seeds]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": escape(arm),
                "x": [a for _, _, a in seeds],
                "y": [row for _, row, _ in seeds],
                "text": [f"{escape(arm)}, seed {s}: {a:.2f} %" for s, _, a in seeds],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"symbol": "circle", "size": 6, "color": look.color, "opacity": 0.35},
            }
        )
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
                "error_x": bars,
            }
        )
    rows = sorted(place.items(), key=lambda item: item[1])
    return {
        "data": data,
        "layout": layout(
            max(520, int(30 * (y + 1)) + 90),
            {
                "title": title("accuracy on the test split (%)"),
                "range": series.accuracy_extent(by_arm, None),
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


def profile_chart(results: Results) -> Chart:
    """Fig. 2c: what is left of every group, in percent above and in number below."""
    found = series.profiles(results)
    alt = "Channels retained per block: percent remaining above, number remaining below."
    return Chart("profile", alt, [View(p.label, _profile_view(p)) for p in found])


def _profile_view(profile: Profile) -> Spec:
    shared, ticks = series.short_names(profile.names)
    positions = list(range(len(ticks)))
    crowded = len(ticks) > 24
    bars = [("y", profile.percent, [100.0] * len(ticks), "%"), ("y2", profile.kept, list(profile.of), "")]
    data: list[Spec] = []
    for axis, values, whole, unit in bars:
        common = {"type": "bar", "x": positions, "yaxis": axis, "showlegend": False, "width": 0.76}
        data.append({**common, "y": whole, "marker": {"color": "#eceae4"}, "hoverinfo": "skip"})
        data.append(
            {
                **common,
                "y": list(values),
                "marker": {"color": DENSE},
                "text": [number(v, 0 if len(ticks) > 10 else 1) + unit for v in values],
                "textposition": "outside",
                "textangle": -90 if crowded else 0,
                "textfont": {"size": 12, "color": INK},
                "cliponaxis": False,
                "constraintext": "none",
                "customdata": [
                    f"<b>{escape(name)}</b><br>{number(kept)} of {number(of)} channels left"
                    for name, kept, of in zip(profile.names, profile.kept, profile.of, strict=True)
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        )
    across = {
        "tickvals": positions,
        "ticktext": [escape(t) for t in ticks],
        "range": [-0.6, len(ticks) - 0.4],
        "showgrid": False,
        "ticks": "",
        "title": title(f"block ({shared}.*)" if shared else "block"),
        "anchor": "y2",
    }
    if max(map(len, ticks)) > 60 / len(ticks):
        across["tickangle"] = -90
    spec = layout(
        520,
        across,
        {"title": title("remaining (%)"), "domain": [0.56, 1], "range": [0, 122]},
        barmode="overlay",
        showlegend=False,
    )
    spec["yaxis2"] = {
        **spec["yaxis"],
        "title": title("channels remaining"),
        "domain": [0, 0.44],
        "range": [0, 1.22 * max(profile.of)],
    }
    spec["margin"]["t"] = 24
    return {"data": data, "layout": spec}


def number(value: float, digits: int = 1) -> str:
    """A whole number as such, anything else with so many digits.

    Example:
        >>> number(15.0), number(13.67), number(13.67, 0)
        ('15', '13.7', '14')
    """
    return f"{value:.0f}" if value == int(value) else f"{value:.{digits}f}"


def curves_chart(found: Sequence[Curve]) -> Chart:
    """Training curves: every run, or the runs of one arm."""
    names = list(dict.fromkeys(c.arm for c in found))
    views = []
    for measure, heading in (("val_accuracy", "Validation accuracy"), ("loss", "Training loss")):
        label = "validation accuracy (%)" if measure == "val_accuracy" else "training loss"
        if len(names) > 1:
            views.append(View("all arms", _curves_view(found, names, measure, label), heading))
        for name in names:
            mine = [c for c in found if c.arm == name]
            views.append(View(name, _curves_view(mine, names, measure, label), heading))
    return Chart("curves", "Validation accuracy by epoch, one line per training run.", views)


def looks_of(names: Sequence[str]) -> dict[str, ArmStyle]:
    """`styles`, with the unpruned network and unassigned runs in grey."""
    looks = styles(name for name in names if name not in ("dense", "other"))
    grey = {
        "dense": ArmStyle(DENSE, "star", "*", "solid", "-"),
        "other": ArmStyle("#9aa1a8", "circle", ".", "dot", ":"),
    }
    return {**looks, **{name: grey[name] for name in names if name in grey}}


def _curves_view(found: Sequence[Curve], names: Sequence[str], measure: str, label: str) -> Spec:
    looks = looks_of(names)
    alone = len({c.arm for c in found}) == 1
    places = list(dict.fromkeys(c.where for c in found))
    data: list[Spec] = []
    listed: set[str] = set()
    for c in found:
        entry = c.where if alone else ("unpruned" if c.arm == "dense" else c.arm)
        seed = "" if c.seed is None else f", seed {c.seed}"
        data.append(
            {
                "type": "scatter",
                "mode": "lines" if len(c.epochs) > 1 else "markers",
                "name": escape(entry),
                "legendgroup": escape(entry),
                "showlegend": entry not in listed,
                "x": list(c.epochs),
                "y": [None if v is None else round(v, 4) for v in getattr(c, measure)],
                "hovertemplate": f"<b>{escape(c.arm)}</b>, {escape(c.where)}{seed}<br>"
                f"epoch %{{x}}: %{{y:.4~g}}<extra></extra>",
                "line": {
                    "color": looks[c.arm].color,
                    "width": 2 if alone else 1.5,
                    "dash": dash(places.index(c.where))[0] if alone else looks[c.arm].dash,
                },
                "marker": {"color": looks[c.arm].color, "symbol": looks[c.arm].symbol},
                "opacity": 0.8 if alone else 0.7,
            }
        )
        listed.add(entry)
    return {
        "data": data,
        "layout": layout(
            440,
            {"title": title("epoch")},
            {"title": title(label), "rangemode": "tozero" if measure == "loss" else "normal"},
            margin={"l": 56, "r": 20, "t": 30, "b": 52},
        ),
    }


def trajectory_chart(results: Results) -> Chart:
    """The red curve of Fig. 1 while it is being walked, on the validation split."""
    found = series.trajectories(results)
    color = styles(["fisher-tuned"])["fisher-tuned"].color
    data: list[Spec] = [
        {
            "type": "scatter",
            "mode": "lines" if len(t.params) > 1 else "markers",
            "name": f"seed {t.seed}",
            "x": list(t.params),
            "y": list(t.val_accuracy),
            "customdata": list(t.removed),
            "hovertemplate": f"<b>seed {t.seed}</b>, %{{customdata}} channels removed<br>"
            "%{x:,} parameters: %{y:.2f} %<extra></extra>",
            "line": {"color": color, "width": 1.8, "dash": dash(i)[0]},
            "opacity": 0.85,
        }
        for i, t in enumerate(found)
    ]
    limits = series.budgets(results)
    span = series.extent([v for t in found for v in t.params] + [b.limit for b in limits], pad=0.04, floor=0)
    spec = layout(
        420,
        {"title": title("parameters  (pruning walks from right to left)"), "range": span, "tickformat": "~s"},
        {"title": title("validation accuracy (%)")},
        **budget_lines(limits, span[1] - span[0]),
    )
    alt = "Validation accuracy against parameters while channels are removed one by one."
    return Chart("trajectory", alt, [View("trajectory", {"data": data, "layout": spec})])
