"""The charts as pictures, for papers and READMEs: PNG (200 dpi) and SVG, the same bytes every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.atomic import make_folder, write_bytes
from secateur.records.results import Results

from . import drawing, series, svg
from .accuracy import AccuracyDrawing
from .charts import plain
from .costs import costs
from .curves import Panels, seen
from .drawing import house_style, new_figure
from .forest_drawing import wide_figure
from .forest_rows import forest_of
from .palette import DENSE, INK, MUTED
from .profile import draw_profile
from .quantity import quantity_of
from .series import Curve, Histories
from .style import ArmStyle, dash

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figures(results: Results, histories: Histories, directory: Path) -> list[Path]:
    """Write forest, accuracy_vs_params, channel_profile and training_curves as PNG and SVG; their paths.

    The second is accuracy_vs_macs or accuracy_vs_nonzeros where that is what the budgets limit. A figure with
    nothing to show is a picture that says so, so that what links to it does not break.
    """
    written = []
    with house_style():
        drawn = {
            **figures_of(results),
            "training_curves": curves_figure(results, series.curves(results, histories)),
        }
        for name, figure in drawn.items():
            for kind in ("png", "svg"):
                path = directory / f"{name}.{kind}"
                make_folder(directory)
                write_bytes(path, encoded(figure, kind, name))
                written.append(path)
    return written


def encoded(figure: Figure, kind: str, name: str) -> bytes:
    """A figure's file: "png", or "svg" as light as a page's drawings are."""
    if kind == "png":
        return drawing.encode(figure, "png")
    return svg.picture(figure, name.replace("_", " ")).encode()


def figures_of(results: Results) -> dict[str, Figure]:
    """Those that `results.json` alone is enough for: name -> figure."""
    return {
        "forest": forest_figure(results),
        f"accuracy_vs_{series.resource_of(results).key}": accuracy_figure(results),
        "channel_profile": profile_figure(results),
    }


def _heading(figure: Figure, results: Results, what: str) -> None:
    """What the figure shows, and of what: model, data, seeds. Broken into lines that fit."""
    import textwrap

    width = int(figure.get_figwidth() * 14.5)
    lines = [what, *textwrap.wrap(plain(caption(results), 400), width, break_long_words=True)]
    figure.suptitle("\n".join(lines), x=0.015, ha="left", fontsize=10, linespacing=1.35)


def _nothing(results: Results, what: str) -> Figure:
    figure = new_figure(6.4, 1.6)
    _heading(figure, results, what)
    figure.text(0.5, 0.3, "nothing to show for this comparison", ha="center", color=MUTED)
    return figure


def forest_figure(results: Results) -> Figure:
    """Every arm at every budget, with intervals, seeds, the unpruned network and differences."""
    quantity = quantity_of(results)
    what = f"Test {quantity.name} of every arm at every budget"
    if not results.summary:
        return _nothing(results, what)
    figure = wide_figure(forest_of(results), title=(what, plain(caption(results), 130)))
    figure.patch.set_visible(True)
    return figure


def caption(results: Results) -> str:
    """Of what: model, data, seeds."""
    return f"{results.model} · {results.data.label} · {series.seed_count(results)}"


def accuracy_figure(results: Results) -> Figure:
    """Accuracy against what is limited, with intervals, seeds and budgets, as in Fig. 1 (there as error)."""
    quantity, cost = quantity_of(results), costs(results)[0]
    what = f"Test {quantity.name} against {cost.name}"
    if not results.summary:
        return _nothing(results, what)
    figure = new_figure(8.4, 5.6)
    drawn = AccuracyDrawing(results, cost)
    drawn.draw(figure.add_subplot())
    looks = {arm: look for arm, look in drawn.looks.items() if drawn.by_arm[arm]}
    if results.dense_summary:
        looks["unpruned"] = ArmStyle(DENSE, "*", "")
    _legend_below(figure, looks)
    bars = "" if any(row.n == 1 for row in results.summary) else " (mean and 95% interval)"
    _heading(figure, results, what + bars)
    return figure


def _legend_below(figure: Figure, looks: Mapping[str, ArmStyle]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.color, linestyle=look.line, marker=look.marker, markersize=7)  # type: ignore[arg-type]
        for look in looks.values()
    ]
    labels = [plain(arm, 40) for arm in looks]
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
    above, below = figure.subplots(2, 1, sharex=True)
    draw_profile(above, below, profile, len(ticks) > 24)
    below.set_xticks(range(len(ticks)), ticks, rotation=90 if max(map(len, ticks)) > 6 else 0)
    below.set_xlabel(f"block ({shared}.*)" if shared else "block")
    _heading(figure, results, f"{what}, {profile.label}")
    return figure


def curves_figure(results: Results, everything: Sequence[Curve]) -> Figure:
    """Validation accuracy by epoch: one panel per arm, all on the same axes, dashes for budgets."""
    quantity, found = quantity_of(results), seen(everything)
    shown = "" if len(found) == len(everything) else f" ({len(found):,} of {len(everything):,} runs)"
    what = f"Validation {quantity.name} by epoch, one line per run{shown}"
    panels = Panels.of(found, "val_accuracy")
    names = list(panels.looks)
    if not names:
        return _nothing(results, what)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(7.2 if columns > 1 else 4.8, 1.1 + 2.35 * rows)
    places = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for index, (axes, name) in enumerate(zip(places, names, strict=False)):
        panels.draw(axes, [curve for curve in found if curve.arm == name])
        axes.set_title("unpruned" if name == "dense" else plain(name, 30))
        if index % columns == 0:
            axes.set_ylabel(quantity.heading)
        if index + columns >= len(names):
            axes.tick_params(labelbottom=True)
    for axes in places[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel("epoch", fontsize=9.5)
    _dashes_below(figure, panels)
    _heading(figure, results, what)
    return figure


def _dashes_below(figure: Figure, panels: Panels) -> None:
    """Which dash is which budget's."""
    from matplotlib.lines import Line2D

    if 1 < len(panels.where) <= 12:
        lines: list[Any] = [dash(index) for index in range(len(panels.where))]
        handles = [Line2D([], [], color=INK, linewidth=1.2, linestyle=line) for line in lines]
        labels = [plain(where, 60) for where in panels.where]
        figure.legend(handles, labels, loc="outside lower left", ncols=2, handlelength=3.4, fontsize=8)
