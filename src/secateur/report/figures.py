"""The same curves and profile as pictures, for papers and READMEs: PNG (200 dpi) and SVG, reproducible.

Drawn through matplotlib's object interface; pyplot and its global state are never touched.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.atomic import write_bytes
from secateur.records.ours import MARK
from secateur.records.results import Results

from . import series
from .quantity import quantity_of
from .series import Axis, Budget, Curve, Histories
from .style import DENSE, GRID, INK, MUTED, dash, looks_of, styles
from .table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.formatter.useoffset": False,
    "font.size": 9.5,
    "grid.color": GRID,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: small, searchable, editable
    "svg.hashsalt": "secateur",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}


def write_figures(results: Results, histories: Histories, directory: Path) -> list[Path]:
    """Write accuracy_vs_params, channel_profile and training_curves as PNG and SVG; return their paths.

    The first is accuracy_vs_macs or accuracy_vs_nonzeros where that is what the budgets limit.

    A figure with nothing to show is a picture that says so, so that what links to it does not break.
    """

    written = []
    with house_style():
        drawn = {
            f"accuracy_vs_{series.resource_of(results).key}": accuracy_figure(results),
            "channel_profile": profile_figure(results),
            "training_curves": curves_figure(results, series.curves(results, histories)),
        }
        for name, figure in drawn.items():
            for kind in ("png", "svg"):
                path = directory / f"{name}.{kind}"
                directory.mkdir(parents=True, exist_ok=True)
                write_bytes(path, encode(figure, kind))
                written.append(path)
    return written


@contextmanager
def house_style() -> Iterator[None]:
    """Our settings on top of matplotlib's own defaults, whatever the user's configuration; undone after."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from"
        )  # a label in a script without a font
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def encode(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata: dict[str, Any] = {"Software": MARK} if kind == "png" else {"Date": None, "Creator": MARK}
    figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _heading(figure: Figure, results: Results, what: str) -> None:
    """What the figure shows, and of what: model, data, seeds. Broken into lines that fit."""
    import textwrap

    width = int(figure.get_figwidth() * 14.5)
    caption = f"{results.model} · {results.data.label} · {series.seed_count(results)}"
    lines = [what, *textwrap.wrap(caption, width, break_long_words=True)]
    figure.suptitle("\n".join(lines), x=0.015, ha="left", fontsize=10, linespacing=1.35)


def _nothing(results: Results, what: str) -> Figure:
    figure = new_figure(6.4, 1.6)
    _heading(figure, results, what)
    figure.text(0.5, 0.3, "nothing to show for this comparison", ha="center", color=MUTED)
    return figure


def _budget_lines(axes: Axes, limits: Sequence[Budget], axis: Axis) -> None:
    left, right = (axis.place(x) for x in axes.get_xlim())
    gaps = [axis.place(b.limit) - axis.place(a.limit) for a, b in pairwise(limits)]
    tight = bool(gaps) and min(gaps) < 0.11 * (right - left)
    for budget in limits:
        axes.axvline(budget.limit, color=MUTED, linewidth=0.9, linestyle=(0, (1.2, 2)), zorder=1)
        axes.annotate(
            budget.label,
            (budget.limit, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            rotation=90 if tight else 0,
            color=MUTED,
            fontsize=8.5,
        )


def _sizes(axes: Axes, axis: Axis) -> None:
    """The scale of the axis of sizes, and its numbers: 10k, 1M."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    if axis.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def accuracy_figure(results: Results) -> Figure:
    """Accuracy against what is limited, with intervals, seeds and budgets, as in Fig. 1 (there as error)."""
    name, quantity = series.resource_of(results).name, quantity_of(results)
    what = f"Test {quantity.name} against {name}"
    by_arm = series.marks(results)
    if not any(by_arm.values()):
        return _nothing(results, what)
    figure = new_figure(7.2, 4.9)
    axes = figure.add_subplot()
    looks = styles(by_arm)
    for arm, curve in by_arm.items():
        look = looks[arm]
        seeds = [(x, a) for p in curve if p.n > 1 for _, x, a in p.seeds]
        axes.scatter(
            [x for x, _ in seeds], [a for _, a in seeds], s=13, color=look.color, alpha=0.35, linewidths=0
        )
        xs, means = [p.x for p in curve], [p.mean for p in curve]
        spans = [p for p in curve if p.low is not None and p.high is not None]
        axes.errorbar(
            [p.x for p in spans],
            [p.mean for p in spans],
            yerr=[[p.mean - (p.low or 0) for p in spans], [(p.high or 0) - p.mean for p in spans]],
            fmt="none",
            ecolor=look.color,
            elinewidth=1.2,
            capsize=2.5,
        )
        axes.plot(
            xs,
            means,
            color=look.color,
            linestyle=look.line,
            linewidth=1.6,
            marker=look.marker,
            markersize=7,
            markeredgecolor="white",
            markeredgewidth=0.8,
            label=arm,
            zorder=3,
        )
    _dense_mark(axes, results)
    axes.set_ylim(*series.accuracy_extent(by_arm, results.dense_summary, quantity))
    axes.set_xlabel(f"{name} (marks that would cover each other are moved apart, to the left)", fontsize=8)
    axes.set_ylabel(quantity.axis("test"))
    axis = series.size_axis(results)
    _sizes(axes, axis)
    _budget_lines(axes, series.budgets(results), axis)
    _legend_below(figure, axes)
    bars = "" if any(p.n == 1 for c in by_arm.values() for p in c) else " (mean and 95% interval)"
    _heading(figure, results, what + bars)
    return figure


def _dense_mark(axes: Axes, results: Results) -> None:
    row, size = results.dense_summary, series.dense_size(results)
    if not row or size is None:
        return
    quantity = quantity_of(results)
    mean = quantity.drawn(row.mean)
    low, high = quantity.of(row.low), quantity.of(row.high)
    axes.errorbar(
        [size],
        [mean],
        yerr=None if low is None or high is None else [[mean - low], [high - mean]],
        fmt="none",
        ecolor=DENSE,
        elinewidth=1.2,
        capsize=2.5,
    )
    axes.plot(
        [size],
        [mean],
        color=DENSE,
        linestyle="none",
        marker="*",
        markersize=12,
        markeredgecolor="white",
        markeredgewidth=0.8,
        label="unpruned",
        zorder=3,
    )


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels), default=1)
    columns = max(1, int(figure.get_figwidth() * 72 / (52 + 5.2 * longest)))
    columns = -(-len(labels) // -(-len(labels) // columns)) or 1  # rows of equal length
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        handlelength=3.4,
        columnspacing=1.3,
        fontsize=8.5,
    )


def profile_figure(results: Results) -> Figure:
    """Fig. 2c: percent remaining above, number remaining below."""
    what = "Channels retained per block"
    found = series.profiles(results)
    if not found:
        return _nothing(results, what)
    profile = found[0]
    shared, ticks = series.short_names(profile.names)
    figure = new_figure(7.2, 5.0)
    digits = 0 if len(ticks) > 10 else 1
    above, below = figure.subplots(2, 1, sharex=True)
    positions = range(len(ticks))
    rows = [(above, profile.percent, (100.0,) * len(ticks), "%"), (below, profile.kept, profile.of, "")]
    for axes, values, whole, unit in rows:
        axes.bar(positions, whole, width=0.76, color="#eceae4")
        bars = axes.bar(positions, values, width=0.76, color=DENSE)
        texts = [number(v, digits) + unit for v in values]
        small = len(ticks) > 10
        axes.bar_label(
            bars, texts, padding=2, fontsize=6.5 if small else 8, rotation=90 if len(ticks) > 24 else 0
        )
        axes.set_ylim(0, 1.18 * max(whole))
        axes.grid(False, axis="x")
    above.set_ylabel("remaining (%)")
    below.set_ylabel("channels remaining")
    below.set_xticks(list(positions), ticks, rotation=90 if max(map(len, ticks)) > 6 else 0)
    below.set_xlabel(f"block ({shared}.*)" if shared else "block")
    _heading(figure, results, f"{what}, {profile.label}")
    return figure


def curves_figure(results: Results, found: Sequence[Curve]) -> Figure:
    """Validation accuracy by epoch: one panel per arm, all on the same axes, dashes for budgets."""
    quantity = quantity_of(results)
    what = f"Validation {quantity.name} by epoch, one line per run"
    names = list(dict.fromkeys(c.arm for c in found))
    if not names:
        return _nothing(results, what)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(7.2 if columns > 1 else 4.8, 0.9 + 2.35 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    looks = looks_of(names)
    for axes, name in zip(panels, names, strict=False):
        mine = [c for c in found if c.arm == name]
        places = list(dict.fromkeys(c.where for c in mine))
        for c in mine:
            first = next(o for o in mine if o.where == c.where) is c
            known = [(epoch, v) for epoch, v in zip(c.epochs, c.val_accuracy, strict=True) if v is not None]
            axes.plot(
                [epoch for epoch, _ in known],
                [value for _, value in known],
                color=looks[name].color,
                linestyle=dash(places.index(c.where))[1],
                linewidth=1.1,
                alpha=0.8,
                marker="." if len(known) == 1 else None,
                label=c.where if first else None,
            )
        axes.set_title("unpruned" if name == "dense" else name)
        if 1 < len(places) <= 4:
            axes.legend(loc="lower right", fontsize=7.5, handlelength=2.6)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for i, axes in enumerate(panels[: len(names)]):
        if i % columns == 0:
            axes.set_ylabel(quantity.heading)
        if i + columns >= len(names):
            axes.tick_params(labelbottom=True)
    figure.supxlabel("epoch", fontsize=9.5)
    _heading(figure, results, what)
    return figure
