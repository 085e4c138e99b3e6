"""The forest plot: every arm at every budget on a row of its own, with its interval, seeds and difference.

Rows stand in groups, one for each budget, the largest first; within a group the best is first. A line, and a
band for its interval, go through all of them: the unpruned network. Beside it is how far each arm is from the
one that leads, as the verdict judged it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secateur.records.results import BudgetVerdict, Gap, Results, SummaryRow

from . import series, svg
from .charts import SMALL, Chart, View, canvas, gutter, number_axis, panel, plain, words
from .costs import costs
from .drawing import page_figure
from .marks import Mark, accuracy_extent, marks
from .palette import CARD, DENSE, GRID, MUTED, PALE
from .quantity import Quantity, quantity_of
from .style import ArmStyle, styles
from .table import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 960, 380
"""Widths that are drawn, in pixels."""


@dataclass(frozen=True)
class Row:
    """One line: a heading (`mark` is None), or an arm at a budget."""

    text: str
    mark: Mark | None = None
    gap: Gap | None = None
    leads: bool = False
    behind: bool = False


@dataclass(frozen=True)
class Forest:
    """What is drawn, and what the drawings' tips say."""

    rows: list[Row]
    quantity: Quantity
    looks: Mapping[str, ArmStyle]
    dense: SummaryRow | None
    span: tuple[float, float]
    tips: dict[int, str] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether there are differences to draw."""
        return any(row.gap for row in self.rows)

    @property
    def before(self) -> bool:
        """Whether some networks were worth something before they were cut."""
        return any(row.mark and row.mark.before is not None for row in self.rows)

    def tip(self, text: str) -> str:
        """The id of what says this when it is pointed at."""
        self.tips[len(self.tips)] = plain(text)
        return svg.tip(len(self.tips) - 1)

    def difference(self, gap: Gap) -> tuple[float, float, float]:
        """An arm minus the leader, with its interval, as it is drawn."""
        sign = -1 if self.quantity.measure.higher_is_better else 1
        low, high = sorted((sign * gap.low, sign * gap.high))
        drawn = self.quantity.drawn
        return drawn(sign * gap.gap), drawn(low), drawn(high)


def forest_of(results: Results) -> Forest:
    """The rows of a comparison."""
    quantity, by_arm = quantity_of(results), marks(results, costs(results)[0])
    rows: list[Row] = []
    judged = {entry.budget: entry for entry in results.verdict.per_budget}
    name = series.resource_of(results).name
    for budget in reversed(series.budgets(results)):
        rows.append(Row(f"{plain(budget.text, 60)}: at most {count(budget.limit)} {name}"))
        found = [mark for curve in by_arm.values() for mark in curve if mark.budget == budget.text]
        found.sort(key=lambda mark: -quantity.measure.rank(mark.mean))
        rows += [_row(mark, judged.get(budget.text)) for mark in found]
    low, high = accuracy_extent(by_arm, results.dense_summary, quantity)
    return Forest(rows, quantity, styles(by_arm), results.dense_summary, (low, high))


def _row(mark: Mark, entry: BudgetVerdict | None) -> Row:
    gap = next((gap for gap in entry.gaps if gap.arm == mark.arm), None) if entry else None
    return Row(
        mark.arm,
        mark,
        gap,
        leads=bool(entry and entry.gaps and entry.leader == mark.arm),
        behind=bool(entry and mark.arm in entry.behind),
    )


def forest_chart(results: Results) -> Chart:
    """The chart, drawn for wide pages, and for narrow ones."""
    quantity = quantity_of(results)
    alt = (
        f"{quantity.title} on the test split: every arm at every budget with its 95% interval and its seeds"
        f"{', beside the unpruned network' if results.dense_summary else ''}; the table has the numbers."
    )
    forest = forest_of(results)
    drawings = [svg.markup(wide_figure(forest), "forest", alt, tips=forest.tips, css="wide")]
    forest = forest_of(results)
    drawings.append(svg.markup(narrow_figure(forest), "forest-n", alt, tips=forest.tips, css="narrow"))
    if forest.judged:
        forest = forest_of(results)
        alt = "How far each arm is from the one that leads, with 95% intervals."
        narrow = narrow_figure(forest, differences=True)
        drawings.append(svg.markup(narrow, "forest-d", alt, tips=forest.tips, css="narrow"))
    return Chart("forest", alt, [View("forest", "".join(drawings))])


@dataclass(frozen=True)
class Places:
    """Where rows stand: their middles from the top, in pixels, and where the last ends."""

    middles: list[float]
    end: float


def places(rows: list[Row], top: float, height: float, heading: float) -> Places:
    """Rows one under the other."""
    found: list[float] = []
    for row in rows:
        step = height if row.mark else heading
        found.append(top + step / 2 if row.mark else top + step - 12)
        top += step
    return Places(found, top)


def wide_figure(forest: Forest, width: float = WIDE, title: tuple[str, ...] = ()) -> Figure:
    """Names, intervals, numbers and differences side by side."""
    names = [plain(row.text, 34) for row in forest.rows if row.mark]
    left = gutter([*names, "unpruned"])
    numbers = 172.0 if forest.quantity.in_percent else 200.0
    beside = 0.24 * width if forest.judged else 0.0
    top = 34.0 + 20 * len(title)
    found = places(forest.rows, top + (30 if forest.dense else 6), 27, 34)
    figure = page_figure(width, found.end + 46)
    page = canvas(figure)
    for index, line in enumerate(title):
        words(page, 8, 20 + 20 * index, line, fontsize=12 if index else 14, weight=400 if index else 700)
    axes = _intervals(figure, forest, (left, top, width - left - numbers - beside - 16), found.end)
    words(page, width - beside - 8, top - 10, "mean (95% interval)", ha="right", fontsize=SMALL, color=MUTED)
    if forest.dense:
        y = top + 15
        words(page, left - 10, y + 4, "unpruned", ha="right")
        _unpruned_row(axes, forest, y)
        words(
            page,
            width - beside - 8,
            y + 4,
            _numbers(forest.quantity, forest.dense),
            ha="right",
            fontsize=SMALL,
        )
    for row, y in zip(forest.rows, found.middles, strict=True):
        if row.mark is None:
            _heading(page, row, y, width)
            continue
        words(page, left - 10, y + 4, plain(row.text, 34), ha="right")
        _draw(axes, forest, row.mark, y)
        text = _numbers(forest.quantity, row.mark)
        words(page, width - beside - 8, y + 4, text, ha="right", fontsize=SMALL)
    axes.set_xlabel(f"{_axis_name(forest.quantity)}{_key(forest)}", fontsize=SMALL, color=MUTED)
    if forest.judged:
        _differences(figure, forest, (width - beside + 14, top, beside - 26), found)
        words(page, width - beside + 14, top - 10, "from the leader", fontsize=SMALL, color=MUTED)
    return figure


def narrow_figure(forest: Forest, differences: bool = False) -> Figure:
    """Names above their intervals: for a page of a phone's width."""
    dense = forest.dense if not differences else None
    rows = [row for row in forest.rows if not differences or row.mark is None or row.gap]
    found = places(rows, 30.0 + (42 if dense else 0), 42, 36)
    figure = page_figure(NARROW, found.end + 58)
    page = canvas(figure)
    place = (10.0, 22.0, NARROW - 20.0)
    if differences:
        axes = _difference_axes(figure, forest, place, found.end)
    else:
        middles = [y for row, y in zip(rows, found.middles, strict=True) if row.mark]
        strips = [(y - 2, y + 20) for y in middles]
        axes = _intervals(figure, forest, place, found.end, [(44, 64), *strips])
    page.set_zorder(2)
    if dense:
        words(page, 10, 40, "unpruned")
        words(page, NARROW - 10, 40, _numbers(forest.quantity, dense), ha="right", fontsize=SMALL)
        _unpruned_row(axes, forest, 54)
    for row, y in zip(rows, found.middles, strict=True):
        if row.mark is None:
            _heading(page, row, y, NARROW)
            continue
        words(page, 10, y - 5, plain(row.text, 30))
        if differences:
            assert row.gap
            _draw_gap(axes, forest, row, row.gap, y + 8)
            text = _gap_text(forest, row.gap)
        else:
            _draw(axes, forest, row.mark, y + 8)
            text = _numbers(forest.quantity, row.mark)
        words(page, NARROW - 10, y - 5, text, ha="right", fontsize=SMALL)
    what = _difference_name(forest.quantity) if differences else _axis_name(forest.quantity)
    axes.set_xlabel(what, fontsize=SMALL, color=MUTED)
    if not differences and (key := _key(forest)):
        words(page, NARROW / 2, found.end + 50, key.strip(" ·;"), ha="center", fontsize=SMALL, color=MUTED)
    return figure


def _axis_name(quantity: Quantity) -> str:
    return quantity.axis("test")


def _difference_name(quantity: Quantity) -> str:
    return f"{quantity.name} minus the leader's{' (points)' if quantity.in_percent else ''}"


def _key(forest: Forest) -> str:
    said = ["small: single seeds"] if any(row.mark and row.mark.n > 1 for row in forest.rows) else []
    return "".join(f"  ·  {text}" for text in said + (["|: before the cut"] if forest.before else []))


def _intervals(
    figure: Figure,
    forest: Forest,
    place: tuple[float, float, float],
    end: float,
    strips: list[tuple[float, float]] | None = None,
) -> Axes:
    """The axes of values, with the unpruned network's line and band; heights are the figure's pixels.

    Args:
        place: left, top, width.
        strips: the heights between which line and band are drawn; None: from top to end.
    """
    left, top, width = place
    axes = panel(figure, left, top, width, end - top)
    axes.set_ylim(end, top)
    axes.set_yticks([])
    axes.set_xlim(*forest.span)
    number_axis(axes.xaxis, max(4, int(width / 70)))
    if forest.dense:
        _unpruned_line(axes, forest, strips or [(top, end)])
    return axes


def _unpruned_line(axes: Axes, forest: Forest, strips: list[tuple[float, float]]) -> None:
    assert forest.dense
    low, mean, high = (
        forest.quantity.of(v) for v in (forest.dense.low, forest.dense.mean, forest.dense.high)
    )
    for top, end in strips:
        if low is not None and high is not None:
            low, high = max(low, forest.span[0]), min(high, forest.span[1])
            axes.fill([low, high, high, low], [top, top, end, end], color=PALE, zorder=0, linewidth=0)
    if mean is not None:
        for top, end in strips:
            axes.plot([mean, mean], [top, end], color=DENSE, linewidth=1.4, zorder=1)


def _heading(page: Axes, row: Row, y: float, width: float) -> None:
    page.plot([8, width - 8], [y - 18, y - 18], color=GRID, linewidth=1)
    words(page, 8, y, row.text, weight=700)


def _numbers(quantity: Quantity, row: Mark | SummaryRow) -> str:
    mean, low, high = row.mean, row.low, row.high
    if isinstance(row, Mark):
        return quantity.written(mean, low, high)
    return quantity.written(quantity.drawn(mean), quantity.of(low), quantity.of(high))


def _unpruned_row(axes: Axes, forest: Forest, y: float) -> None:
    assert forest.dense
    drawn = forest.quantity
    low, mean, high = (drawn.of(v) for v in (forest.dense.low, forest.dense.mean, forest.dense.high))
    text = f"unpruned: {_numbers(drawn, forest.dense)}, {_seeds(forest.dense.n)}"
    _bar(axes, (low, mean, high), y, DENSE, "*", forest.tip(text), size=14)


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"


def _bar(
    axes: Axes,
    values: tuple[float | None, float | None, float | None],
    y: float,
    color: str,
    marker: object,
    name: str,
    size: float = 9,
    hollow: bool = False,
) -> None:
    """A mean on its interval, as one thing to point at."""
    low, mean, high = values
    if mean is None:
        return
    spans = [mean if low is None or high is None else v for v in (low, mean, high)]
    axes.plot(
        [v for v in spans if v is not None],
        [y, y, y],
        color=color,
        linewidth=2,
        solid_capstyle="butt",
        marker=marker,  # type: ignore[arg-type]
        markevery=[1],
        markersize=size,
        markerfacecolor=CARD if hollow else color,
        markeredgecolor=color if hollow else CARD,
        markeredgewidth=1.4 if hollow else 1,
        clip_on=False,
        zorder=4,
        gid=name,
    )


def _draw(axes: Axes, forest: Forest, mark: Mark, y: float) -> None:
    look = forest.looks[mark.arm]
    if mark.n > 1 and mark.seeds:
        said = ", ".join(
            f"seed {seed}: {forest.quantity.written(v, None, None)}" for seed, _, v in mark.seeds
        )
        axes.plot(
            [value for _, _, value in mark.seeds],
            [y + 7] * len(mark.seeds),
            linestyle="none",
            marker="o",
            markersize=4.5,
            color=look.color,
            alpha=0.55,
            markeredgewidth=0,
            clip_on=False,
            zorder=3,
            gid=forest.tip(f"{mark.arm}, {mark.budget}, {said}"),
        )
    if mark.before is not None:
        axes.plot(
            [mark.before],
            [y],
            linestyle="none",
            marker="|",
            markersize=11,
            color=MUTED,
            markeredgewidth=1.6,
            clip_on=False,
            zorder=3,
            gid=forest.tip(
                f"{mark.arm}, {mark.budget}, before the cut: "
                f"{forest.quantity.written(mark.before, None, None)}"
            ),
        )
    text = f"{mark.arm}, {mark.budget}: {_numbers(forest.quantity, mark)}, {_seeds(mark.n)}"
    _bar(axes, (mark.low, mark.mean, mark.high), y, look.color, look.marker, forest.tip(text))


def _difference_axes(figure: Figure, forest: Forest, place: tuple[float, float, float], end: float) -> Axes:
    left, top, width = place
    axes = panel(figure, left, top, width, end - top)
    axes.set_ylim(end, top)
    axes.set_yticks([])
    found = [v for row in forest.rows if row.gap for v in forest.difference(row.gap)]
    axes.set_xlim(*series.extent([*found, 0.0], pad=0.05))
    number_axis(axes.xaxis, max(3, int(width / 60)))
    axes.axvline(0, color=DENSE, linewidth=1.4, zorder=1)
    return axes


def _differences(figure: Figure, forest: Forest, place: tuple[float, float, float], found: Places) -> None:
    axes = _difference_axes(figure, forest, place, found.end)
    axes.set_xlabel(_difference_name(forest.quantity), fontsize=SMALL, color=MUTED)
    for row, y in zip(forest.rows, found.middles, strict=True):
        if row.gap:
            _draw_gap(axes, forest, row, row.gap, y)
        elif row.leads:
            axes.annotate("leads ", (0, y + 4), ha="right", fontsize=SMALL, color=MUTED)


def _gap_text(forest: Forest, gap: Gap) -> str:
    return forest.quantity.written(*forest.difference(gap), signed=True)


def _draw_gap(axes: Axes, forest: Forest, row: Row, gap: Gap, y: float) -> None:
    """Filled where the arm is clearly behind, hollow where the two were not told apart."""
    look, (middle, low, high) = forest.looks[gap.arm], forest.difference(gap)
    said = "clearly behind" if row.behind else "not told apart"
    text = f"{gap.arm} minus the leader: {_gap_text(forest, gap)}; {said}"
    _bar(axes, (low, middle, high), y, look.color, look.marker, forest.tip(text), hollow=not row.behind)
