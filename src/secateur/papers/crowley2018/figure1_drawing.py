"""Fig. 1 of Crowley et al. 2018 as a picture: test error against parameters, one curve for each family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.papers.cells import FamilyCells
from secateur.papers.crowley2018.families import COPYCAT, TUNED
from secateur.papers.crowley2018.figure1_tables import (
    Column,
    columns,
    curve,
    error,
    is_papers,
    named,
    published_at,
)
from secateur.report.drawing import new_figure
from secateur.report.palette import INK, MUTED
from secateur.report.style import ARMS

FEWEST = 3
"""Seeds behind an interval that is drawn: of two it would hide all else."""

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure1(content: FamilyCells) -> Figure:
    """Means with their 95% intervals and every seed; the red curve as a line, before every removal."""
    from matplotlib.ticker import EngFormatter

    figure = new_figure(7.2, 4.9)
    axes = figure.add_subplot()
    _red(axes, content)
    for column in columns(content.cells):
        _draw(axes, content, column)
    if content.about.scale == "paper" and is_papers(content):
        _published(axes)
    axes.set_ylim(*_extent(content))
    axes.set_xlabel("parameters")
    axes.set_ylabel("test error (%)")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.legend(loc="outside lower left", ncols=3, fontsize=8, handlelength=3.2)
    made_of = ", ".join(sorted({run.made_of for run in content.cells}))
    data = content.about.data.split(", ")[0]
    figure.suptitle(
        f"Test error against parameters (Crowley et al. 2018, Fig. 1)\n{made_of} · {data} · "
        f"scale {content.about.scale} · {_counts(content)}",
        x=0.015,
        ha="left",
        fontsize=10,
    )
    return figure


def _counts(content: FamilyCells) -> str:
    """How many runs stand behind the marks from scratch."""
    counts = {
        len(mark.errors)
        for column in columns(content.cells)
        for mark in curve(content.cells, column)
        if column[0] != TUNED
    }
    return f"n = {' or '.join(map(str, sorted(counts)))}" if counts else "nothing from scratch yet"


def _extent(content: FamilyCells) -> tuple[float, float]:
    """From the lowest to the highest error of any run, with a little air; intervals may reach beyond."""
    found = [error(run) for run in content.cells]
    found += [100 * (1 - value) for each in content.trajectories for value in each.accuracies]
    if content.about.scale == "paper" and is_papers(content):
        found += [value for _, value in published_at().values()]
    air = 0.06 * (max(found) - min(found)) or 1.0
    return max(0.0, min(found) - air), min(100.0, max(found) + air)


def _red(axes: Axes, content: FamilyCells) -> None:
    """The trajectory of every seed that pruned."""
    splits = {"val": "validation", "test": "test"}
    for index, each in enumerate(content.trajectories):
        axes.plot(
            each.params,
            [100 * (1 - accuracy) for accuracy in each.accuracies],
            color=ARMS[TUNED].color,
            linewidth=0.8,
            alpha=0.55,
            label=None if index else f"{TUNED}, before every removal ({splits[each.measured_on]} error)",
        )


def _draw(axes: Axes, content: FamilyCells, column: Column) -> None:
    """One curve; of networks that were taught the marks are hollow."""
    marks, look = curve(content.cells, column), ARMS[column[0]]
    if not marks:
        return
    sizes, means = [mark.params for mark in marks], [mark.found.mean for mark in marks]
    seeds = [(mark.params, value) for mark in marks if len(mark.errors) > 1 for value in mark.errors]
    across, up = [size for size, _ in seeds], [value for _, value in seeds]
    axes.scatter(across, up, s=11, color=look.color, alpha=0.35, linewidths=0)
    spans = [mark for mark in marks if len(mark.errors) >= FEWEST]
    axes.errorbar(
        [mark.params for mark in spans],
        [mark.found.mean for mark in spans],
        yerr=[mark.found.half or 0.0 for mark in spans],
        fmt="none",
        ecolor=look.color,
        elinewidth=1.1,
        capsize=2.5,
        alpha=0.6,
    )
    axes.plot(
        sizes,
        means,
        color=look.color,
        linestyle="none" if column[0] == TUNED else look.line,
        linewidth=1.2 if column[1] else 1.6,
        marker=look.marker,
        markersize=6.5,
        markerfacecolor="white" if column[1] else look.color,
        markeredgecolor=look.color if column[1] else "white",
        markeredgewidth=0.8,
        label=named(column),
        zorder=3,
    )


def _published(axes: Axes) -> None:
    """The paper's four numbers, at its own scale alone: elsewhere they are another matter."""
    for size, (whose, value) in published_at().items():
        color = ARMS[COPYCAT].color if whose == COPYCAT else INK
        axes.plot([1000 * int(size[:-1])], [value], marker="_", markersize=16, color=color, linestyle="none")
        axes.annotate(
            f"paper: {whose}",
            (1000 * int(size[:-1]), value),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=7,
            color=MUTED,
        )
