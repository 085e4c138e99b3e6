"""The interactive charts as plain plotly specifications: `{"data": [...], "layout": {...}}`.

A chart has one or more views; the page switches between them. Text that comes from outside passes through
`html.escape`, because plotly reads markup in its labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from secateur.records.results import Results

from . import series
from .quantity import Quantity, quantity_of
from .series import Axis, Budget, Curve, Profile
from .style import DENSE, GRID, INK, MUTED, SANS, dash, looks_of, styles
from .table import number

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


def size_axis(name: str, axis: Axis, span: Sequence[float]) -> Spec:
    """The axis of sizes as plotly has it."""
    log = {"type": "log", "dtick": "D2" if span[1] - span[0] < 2.5 else 1} if axis.log else {}
    return {"title": title(name), "range": list(span), "tickformat": "~s", **log}


def budget_lines(limits: Sequence[Budget], reach: float, axis: Axis) -> Spec:
    """A dotted line per budget, named above the plot; the names stand upright where they would touch.

    Plotly takes a shape's x in units of the axis, but an annotation's, like a range, as the logarithm.
    """
    gaps = [axis.place(b.limit) - axis.place(a.limit) for a, b in pairwise(limits)]
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
            "x": axis.place(b.limit),
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
                    f"<b>{escape(name)}</b><br>{number(kept)} of {number(whole)} channels left"
                    for name, kept, whole in zip(profile.names, profile.kept, profile.of, strict=True)
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


def curves_chart(found: Sequence[Curve], quantity: Quantity) -> Chart:
    """Training curves: every run, or the runs of one arm."""
    names = list(dict.fromkeys(c.arm for c in found))
    views = []
    for measure, heading in (("val_accuracy", f"Validation {quantity.name}"), ("loss", "Training loss")):
        label = f"validation {quantity.heading}" if measure == "val_accuracy" else "training loss"
        if len(names) > 1:
            views.append(View("all arms", _curves_view(found, names, measure, label), heading))
        for name in names:
            mine = [c for c in found if c.arm == name]
            views.append(View(name, _curves_view(mine, names, measure, label), heading))
    return Chart("curves", f"Validation {quantity.name} by epoch, one line per training run.", views)


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
                "connectgaps": True,  # not every epoch is validated
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
    found, quantity = series.trajectories(results), quantity_of(results)
    color = styles(["fisher-tuned"])["fisher-tuned"].color
    data: list[Spec] = [
        {
            "type": "scatter",
            "mode": "lines" if len(t.params) > 1 else "markers",
            "connectgaps": True,
            "name": f"seed {t.seed}",
            "x": list(t.params),
            "y": list(t.val_accuracy),
            "customdata": list(t.removed),
            "hovertemplate": f"<b>seed {t.seed}</b>, %{{customdata}} channels removed<br>"
            f"%{{x:,}} parameters: %{{y:{quantity.pattern}}}{quantity.unit}<extra></extra>",
            "line": {"color": color, "width": 1.8, "dash": dash(i)[0]},
            "opacity": 0.85,
        }
        for i, t in enumerate(found)
    ]
    counted = series.resource_of(results).key == "params"  # a budget in anything else is no place here
    limits = series.budgets(results) if counted else []
    axis = Axis(log=False)
    span = axis.extent([v for t in found for v in t.params] + [b.limit for b in limits], pad=0.04)
    spec = layout(
        420,
        size_axis("parameters  (pruning walks from right to left)", axis, span),
        {"title": title(f"validation {quantity.heading}")},
        **budget_lines(limits, span[1] - span[0], axis),
    )
    alt = f"Validation {quantity.name} against parameters while channels are removed one by one."
    return Chart("trajectory", alt, [View("trajectory", {"data": data, "layout": spec})])
