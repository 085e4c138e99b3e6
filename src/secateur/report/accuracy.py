"""Accuracy, or what networks are judged by in its place, against what they cost: one view for each cost."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from secateur.records.results import Results

from . import series, svg
from .charts import SMALL, Chart, View, log_axis, number_axis, panel, plain, tick
from .costs import Axis, Cost, cost_axis, costs, dense_cost
from .drawing import page_figure
from .marks import Mark, accuracy_extent, marks
from .palette import CARD, DENSE, MUTED
from .quantity import Quantity, quantity_of
from .style import ArmStyle, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 960, 460
"""In pixels."""
MANY = 60
"""Marks; of more, seeds and the words of marks are in the first view alone."""
MOST_SEEDED = 200
"""Marks; of more about so many are drawn, without seeds and words, on lines through all."""


def accuracy_chart(results: Results) -> Chart:
    """Fig. 1: what networks are worth against what they cost, one curve for each arm."""
    quantity = quantity_of(results)
    alt = f"{quantity.title} on the test split against what networks cost, one curve for each arm."
    views = []
    for index, cost in enumerate(costs(results)):
        drawing = AccuracyDrawing(results, cost, brief=index > 0 and len(results.summary) > MANY)
        what = f"{quantity.title} on the test split against {cost.name}, one curve for each arm."
        name = f"a{index}"
        views.append(
            View(cost.name, svg.markup(drawing.page(), name, what, tips=drawing.tips, css="scrolls"))
        )
    return Chart("accuracy", alt, views)


class AccuracyDrawing:
    """One view: marks where their values put them, intervals, seeds, budgets, the unpruned network."""

    def __init__(self, results: Results, cost: Cost, brief: bool = False) -> None:
        self.results, self.cost = results, cost
        crowded = len(results.summary) > MOST_SEEDED
        self.brief = brief or crowded
        self.quantity: Quantity = quantity_of(results)
        self.by_arm = marks(results, cost)
        self.each = max(2, MOST_SEEDED // len(self.by_arm)) if crowded else len(results.summary)
        self.looks = styles(self.by_arm)
        self.axis: Axis = cost_axis(results, cost)
        self.tips: dict[int, str] = {}

    def page(self) -> Figure:
        """The drawing of a page."""
        figure = page_figure(WIDTH, HEIGHT)
        limited = self.cost.key == self.results.resource
        left, top = self.quantity.room, 30 if limited else 14
        axes = panel(figure, left, top, WIDTH - left - 20, HEIGHT - top - 54)
        self.draw(axes)
        return figure

    def draw(self, axes: Axes) -> None:
        """Everything but a heading and a legend."""
        axes.set_ylim(*accuracy_extent(self.by_arm, self.results.dense_summary, self.quantity))
        axes.set_xlim(*self._extent())
        if self.axis.log:
            axes.set_xscale("log")
            log_axis(axes.xaxis)
        else:
            number_axis(axes.xaxis)
        number_axis(axes.yaxis)
        some = len(self.results.summary) > MOST_SEEDED
        shown = f" · a mark on every line for {self.each} of its points, the table has all" if some else ""
        axes.set_xlabel(f"{self.cost.name}{shown}", fontsize=SMALL, color=MUTED)
        axes.set_ylabel(self.quantity.axis("test"), fontsize=SMALL, color=MUTED)
        if self.cost.key == self.results.resource:
            draw_budgets(axes, series.budgets(self.results))
        for arm, curve in self.by_arm.items():
            self._curve(axes, curve, self.looks[arm])
        self._unpruned(axes)

    def _extent(self) -> list[float]:
        """The sizes between which the axis runs."""
        found = [mark.size for curve in self.by_arm.values() for mark in curve]
        found += [size for curve in self.by_arm.values() for mark in curve for _, size, _ in mark.seeds]
        found.append(dense_cost(self.results, self.cost))
        known = [size for size in found if size is not None]
        if self.cost.key == self.results.resource:
            known += [budget.limit for budget in series.budgets(self.results)]
        return [self.axis.value(place) for place in self.axis.extent(known, pad=0.05)]

    def _curve(self, axes: Axes, curve: list[Mark], look: ArmStyle) -> None:
        known = [(mark, mark.size) for mark in curve if mark.size is not None]
        known.sort(key=lambda pair: pair[1])
        if len(known) > 1:
            sizes, means = [size for _, size in known], [mark.mean for mark, _ in known]
            axes.plot(sizes, means, color=look.color, linestyle=look.line, linewidth=1.5, alpha=0.8)
        for mark, size in series.sample(known, self.each):
            if not self.brief:
                self._seeds(axes, mark, look)
            text = (
                f"{mark.arm}, {mark.budget}: {self.quantity.written(mark.mean, mark.low, mark.high)}, "
                f"{mark.n} seed{'' if mark.n == 1 else 's'}; {tick_exact(size)} {self.cost.name}"
            )
            self._mark(axes, size, (mark.low, mark.mean, mark.high), look, text)

    def _seeds(self, axes: Axes, mark: Mark, look: ArmStyle) -> None:
        seeds = [(size, value) for _, size, value in mark.seeds if size is not None and mark.n > 1]
        axes.plot(
            [size for size, _ in seeds],
            [value for _, value in seeds],
            linestyle="none",
            marker="o",
            markersize=4.5,
            color=look.color,
            alpha=0.4,
            markeredgewidth=0,
            clip_on=False,
        )

    def _mark(
        self,
        axes: Axes,
        size: float,
        values: tuple[float | None, float | None, float | None],
        look: ArmStyle,
        text: str,
        marker_size: float = 9,
    ) -> None:
        """A mean on its interval, as one thing to point at."""
        low, mean, high = values
        if mean is None:
            return
        spans = [mean if low is None or high is None else v for v in (low, mean, high)]
        number = len(self.tips)
        if not self.brief:
            self.tips[number] = plain(text)
        axes.plot(
            [size] * 3,
            [v for v in spans if v is not None],
            color=look.color,
            linewidth=1.5,
            solid_capstyle="butt",
            marker=look.marker,  # type: ignore[arg-type]
            markevery=[1],
            markersize=marker_size,
            markeredgecolor=CARD,
            markeredgewidth=1,
            clip_on=False,
            zorder=4,
            gid=svg.tip(number),
        )

    def _unpruned(self, axes: Axes) -> None:
        row, size = self.results.dense_summary, dense_cost(self.results, self.cost)
        if not row:
            return
        low, mean, high = (self.quantity.of(v) for v in (row.low, row.mean, row.high))
        if mean is None:
            return
        axes.axhline(mean, color=DENSE, linewidth=1, linestyle=(0, (1.2, 2)), zorder=1)
        if size is not None:
            text = f"unpruned: {self.quantity.written(mean, low, high)}; {tick_exact(size)} {self.cost.name}"
            self._mark(axes, size, (low, mean, high), ArmStyle(DENSE, "*", "-"), text, marker_size=14)


def tick_exact(value: float) -> str:
    """A cost in words: whole numbers in full, others with four digits.

    Example:
        >>> tick_exact(43766.0), tick_exact(1.23456), tick_exact(2.5e12)
        ('43,766', '1.235', '2.5T')
    """
    if value >= 1e9:
        return tick(float(f"{value:.4g}"))
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:.4g}"


def draw_budgets(axes: Axes, limits: list[series.Budget]) -> None:
    """A dotted line for each budget, named above; names stand upright where they would touch."""
    from matplotlib.transforms import blended_transform_factory

    left, right = axes.get_xlim()
    scale = axes.xaxis.get_transform()
    *spots, left, right = scale.transform([*(budget.limit for budget in limits), left, right])
    gaps = [float(b - a) for a, b in pairwise(spots)]
    tight = bool(gaps) and min(gaps) < 0.09 * (right - left)
    above = blended_transform_factory(axes.transData, axes.transAxes)
    for index, budget in enumerate(limits):
        axes.axvline(budget.limit, color=MUTED, linewidth=1.2, linestyle=(0, (1.2, 2)), zorder=1)
        lifted = 1.01 + (0.045 * (index % 2) if tight else 0)
        axes.text(
            budget.limit, lifted, plain(budget.label, 16), transform=above, ha="center", va="bottom",
            color=MUTED, fontsize=SMALL,
        )  # fmt: skip
