"""The red curve of Fig. 1 while it is being walked, on the validation split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secateur.records.results import Results

from . import series, svg
from .accuracy import draw_budgets
from .charts import SMALL, Chart, View, number_axis, panel
from .costs import Axis
from .drawing import page_figure
from .palette import MUTED
from .quantity import quantity_of
from .style import dash, styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 960, 360
MOST = 3000
"""Points that are drawn, of all seeds."""


def trajectory_chart(results: Results) -> Chart:
    """A line for each seed."""
    name = quantity_of(results).name
    alt = f"Validation {name} against parameters while channels are removed one by one."
    drawn = svg.markup(_figure(results), "t", alt, css="scrolls")
    return Chart("trajectory", alt, [View("trajectory", drawn)])


def _figure(results: Results) -> Figure:
    found, quantity = series.trajectories(results), quantity_of(results)
    limits = series.budgets(results) if series.resource_of(results).key == "params" else []
    figure = page_figure(WIDTH, HEIGHT)
    axes = panel(figure, quantity.room, 30, WIDTH - quantity.room - 20, HEIGHT - 84)
    sizes = [v for each in found for v in each.params] + [budget.limit for budget in limits]
    axes.set_xlim(*Axis(log=False).extent(sizes, pad=0.04))
    every = max(1, -(-sum(len(each.params) for each in found) // MOST))
    color = styles(["fisher-tuned"])["fisher-tuned"].color
    for index, each in enumerate(found):
        known = [(x, y) for x, y in zip(each.params, each.val_accuracy, strict=True) if y is not None]
        known = known[::-1][::every][::-1]
        line: Any = dash(index)
        axes.plot(
            [x for x, _ in known],
            [y for _, y in known],
            color=color,
            linestyle=line,
            linewidth=1.5,
            alpha=0.85,
            marker="o" if len(known) == 1 else None,
            label=f"seed {each.seed}",
        )
    number_axis(axes.xaxis)
    number_axis(axes.yaxis)
    if limits:
        draw_budgets(axes, limits)
    axes.set_xlabel("parameters (pruning walks from right to left)", fontsize=SMALL, color=MUTED)
    axes.set_ylabel(f"validation {quantity.heading}", fontsize=SMALL, color=MUTED)
    if len(found) > 1:
        axes.legend(loc="lower right", fontsize=SMALL, handlelength=3.4)
    return figure
