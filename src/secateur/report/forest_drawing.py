"""The forest plot as it is drawn: for wide pages with all side by side, for phones with names above.

A line, and a band for its interval, go through all rows: the unpruned network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secateur.records.results import Gap, SummaryRow

from . import series
from .charts import SMALL, canvas, gutter, number_axis, panel, plain, words
from .drawing import page_figure
from .forest_rows import Forest, Row
from .marks import Mark
from .palette import CARD, DENSE, GRID, MUTED, PALE
from .quantity import Quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 960, 380
"""Widths that are drawn, in pixels."""


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
    left = gutter([*(plain(row.text, 34) for row in forest.rows if row.mark), "unpruned"])
    numbers = 172.0 if forest.quantity.in_percent else 200.0
    beside = 0.24 * width if forest.judged else 0.0
    right = width - beside - 8
    top = 34.0 + 20 * len(title)
    found = places(forest.rows, top + (30 if forest.dense else 6), 27, 34)
    figure = page_figure(width, found.end + 46)
    page = canvas(figure)
    for index, line in enumerate(title):
        words(page, 8, 20 + 20 * index, line, fontsize=12 if index else 13, weight=400 if index else 700)
    words(page, right, top - 10, "mean (95% interval)", ha="right", fontsize=SMALL, color=MUTED)
    _texts(page, forest, found, (left - 10, right), 4, top + 19)
    for row, y in zip(forest.rows, found.middles, strict=True):
        if row.mark is None:
            _heading(page, row, y, width)
    axes = _intervals(figure, forest, (left, top, right - left - numbers - 8), found.end)
    _marks(axes, forest, forest.rows, found.middles, top + 15)
    axes.set_xlabel(f"{_axis_name(forest.quantity)}{_key(forest)}", fontsize=SMALL, color=MUTED)
    if forest.judged:
        words(page, right + 22, top - 10, "difference from the leader", fontsize=SMALL, color=MUTED)
        _differences(figure, forest, (right + 22, top, beside - 26), found)
    return figure


def _texts(
    page: Axes, forest: Forest, found: Places, across: tuple[float, float], down: float, first: float
) -> None:
    """Names, then numbers; `first` is the height of the unpruned network's."""
    left, right = across
    names, numbers = [], []
    if forest.dense:
        names.append((first, "unpruned"))
        numbers.append((first, _numbers(forest.quantity, forest.dense)))
    for row, y in zip(forest.rows, found.middles, strict=True):
        if row.mark:
            names.append((y + down, plain(row.text, 34)))
            numbers.append((y + down, _numbers(forest.quantity, row.mark)))
    for y, text in names:
        words(page, left, y, text, ha="right" if left > 20 else "left")
    for y, text in numbers:
        words(page, right, y, text, ha="right", fontsize=SMALL)


def narrow_figure(forest: Forest) -> Figure:
    """Names above their intervals: for a page of a phone's width."""
    found = places(forest.rows, 30.0 + (42 if forest.dense else 0), 42, 36)
    figure = page_figure(NARROW, found.end + 58)
    page = canvas(figure)
    middles = [y for row, y in zip(forest.rows, found.middles, strict=True) if row.mark]
    strips = [(44.0, 64.0)] * bool(forest.dense) + [(y - 2, y + 20) for y in middles]
    axes = _intervals(figure, forest, (10, 22, NARROW - 20), found.end, strips)
    page.set_zorder(2)
    _texts(page, forest, found, (10, NARROW - 10), -5, 40)
    for row, y in zip(forest.rows, found.middles, strict=True):
        if row.mark is None:
            _heading(page, row, y, NARROW)
    _marks(axes, forest, forest.rows, [y + 8 for y in found.middles], 54)
    axes.set_xlabel(_axis_name(forest.quantity), fontsize=SMALL, color=MUTED)
    if key := _key(forest):
        words(page, NARROW / 2, found.end + 50, key.strip(" ·"), ha="center", fontsize=SMALL, color=MUTED)
    return figure


def narrow_differences(forest: Forest) -> Figure:
    """How far each arm is from the one that leads, for a page of a phone's width."""
    rows = [row for row in forest.rows if row.mark is None or row.gap]
    found = places(rows, 30.0, 42, 36)
    figure = page_figure(NARROW, found.end + 40)
    page = canvas(figure)
    strips = [(y - 2, y + 20) for row, y in zip(rows, found.middles, strict=True) if row.gap]
    axes = _difference_axes(figure, forest, (10, 22, NARROW - 20), found.end, strips)
    page.set_zorder(2)
    for row, y in zip(rows, found.middles, strict=True):
        if row.gap:
            words(page, 10, y - 5, plain(row.text, 30))
        else:
            _heading(page, row, y, NARROW)
    for row, y in zip(rows, found.middles, strict=True):
        if row.gap:
            words(page, NARROW - 10, y - 5, _gap_text(forest, row.gap), ha="right", fontsize=SMALL)
            _draw_gap(axes, forest, row, row.gap, y + 8)
    name = f"difference from the leader ({_difference_unit(forest.quantity)})"
    axes.set_xlabel(name, fontsize=SMALL, color=MUTED)
    return figure


def _axis_name(quantity: Quantity) -> str:
    return quantity.axis("test")


def _difference_unit(quantity: Quantity) -> str:
    return "points" if quantity.in_percent else quantity.name


def _key(forest: Forest) -> str:
    said = [forest.shown] if forest.shown else []
    said += ["arrow: beyond the edge"] if forest.clipped else []
    said += ["small: single seeds"] if any(row.mark and row.mark.n > 1 for row in forest.rows) else []
    said += ["|: before the cut"] if forest.before else []
    return "".join(f" · {text}" for text in said)


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
            left, right = max(low, forest.span[0]), min(high, forest.span[1])
            axes.fill([left, right, right, left], [top, top, end, end], color=PALE, zorder=0, linewidth=0)
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
    least, most = axes.get_xlim()
    if not least <= mean <= most:
        color, marker, hollow, size = MUTED, "<" if mean < least else ">", True, 7
        low, mean, high = None, min(max(mean, least), most), None
    spans = [mean, mean, mean] if low is None or high is None else [max(low, least), mean, min(high, most)]
    axes.plot(
        spans,
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


def _marks(axes: Axes, forest: Forest, rows: list[Row], heights: list[float], first: float) -> None:
    """Single seeds, what networks were before they were cut, then means on their intervals."""
    drawn, (least, most) = forest.quantity, axes.get_xlim()
    found = [(row.mark, y) for row, y in zip(rows, heights, strict=True) if row.mark]
    for mark, y in found:
        seen = [value for _, _, value in mark.seeds if least <= value <= most and mark.n > 1]
        color = forest.looks[mark.arm].color
        _points(axes, seen, [y + 7] * len(seen), marker="o", markersize=4.5, color=color, alpha=0.55)
    cut = [(mark.before, y) for mark, y in found if mark.before is not None and least <= mark.before <= most]
    values, places = [value for value, _ in cut], [y for _, y in cut]
    _points(axes, values, places, marker="|", markersize=11, color=MUTED, markeredgewidth=1.6)
    if forest.dense:
        low, mean, high = (drawn.of(v) for v in (forest.dense.low, forest.dense.mean, forest.dense.high))
        text = f"unpruned: {_numbers(drawn, forest.dense)}, {_seeds(forest.dense.n)}"
        _bar(axes, (low, mean, high), first, DENSE, "*", forest.tip(text), size=14)
    for mark, y in found:
        look = forest.looks[mark.arm]
        _bar(
            axes, (mark.low, mark.mean, mark.high), y, look.color, look.marker, forest.tip(_said(mark, drawn))
        )


def _said(mark: Mark, quantity: Quantity) -> str:
    """All of a mark in words."""
    text = f"{mark.arm}, {mark.budget}: {_numbers(quantity, mark)}"
    each = ", ".join(quantity.written(value, None, None) for _, _, value in mark.seeds)
    text += f"; seeds {each}" if mark.n > 1 and each else f"; {_seeds(mark.n)}"
    return (
        text if mark.before is None else f"{text}; before the cut {quantity.written(mark.before, None, None)}"
    )


def _points(axes: Axes, across: list[float], up: list[float], **look: Any) -> None:
    axes.plot(
        across, up, **{"linestyle": "none", "markeredgewidth": 0, "clip_on": False, "zorder": 3, **look}
    )


def _difference_axes(
    figure: Figure,
    forest: Forest,
    place: tuple[float, float, float],
    end: float,
    strips: list[tuple[float, float]] | None = None,
) -> Axes:
    left, top, width = place
    axes = panel(figure, left, top, width, end - top)
    axes.set_ylim(end, top)
    axes.set_yticks([])
    found = [v for row in forest.rows if row.gap for v in forest.difference(row.gap)]
    axes.set_xlim(*series.extent([*found, 0.0], pad=0.05))
    number_axis(axes.xaxis, max(3, int(width / 60)))
    for low, high in strips or [(top, end)]:
        axes.plot([0, 0], [low, high], color=DENSE, linewidth=1.4, zorder=1)
    return axes


def _differences(figure: Figure, forest: Forest, place: tuple[float, float, float], found: Places) -> None:
    axes = _difference_axes(figure, forest, place, found.end)
    axes.set_xlabel(_difference_unit(forest.quantity), fontsize=SMALL, color=MUTED)
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
