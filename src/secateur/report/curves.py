"""Training curves: a small panel for each arm, all on the same axes, a line for each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import svg
from .charts import SMALL, Chart, View, canvas, number_axis, panel, plain, words
from .drawing import page_figure
from .palette import INK, MUTED
from .quantity import Quantity
from .series import Curve, extent, sample
from .style import ArmStyle, dash, looks_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 224, 168
"""Of a panel, in pixels."""
MOST = 2400
"""Points of a view; of longer curves every second epoch is drawn, or every third."""
MOST_LINES = 300
"""Of a view; of more runs some are drawn, evenly from each arm's."""
FEWEST = 8
"""Points of a curve that are drawn however many there are of others."""


def seen(found: Sequence[Curve]) -> list[Curve]:
    """The runs that are drawn: all, or of more than can be told apart evenly so many of each arm's."""
    arms = list(dict.fromkeys(curve.arm for curve in found))
    each = max(2, MOST_LINES // max(1, len(arms)))
    if len(found) <= MOST_LINES:
        return list(found)
    return [curve for arm in arms for curve in sample([curve for curve in found if curve.arm == arm], each)]


def curves_chart(everything: Sequence[Curve], quantity: Quantity) -> Chart:
    """Validation accuracy by epoch, and training loss."""
    found = seen(everything)
    views = [
        _view(found, "val_accuracy", f"validation {quantity.heading}", "v", len(everything)),
        _view(found, "loss", "training loss", "l", len(everything)),
    ]
    alt = f"Validation {quantity.name} by epoch: a panel for each arm, a line for each run."
    return Chart("curves", alt, views)


@dataclass(frozen=True)
class Panels:
    """What all panels of a view share."""

    measure: str
    across: tuple[float, float]
    up: tuple[float, float]
    every: int
    where: list[str]
    looks: dict[str, ArmStyle]

    @classmethod
    def of(cls, found: Sequence[Curve], measure: str) -> Panels:
        """The axes that hold every curve."""
        values = [v for curve in found for v in getattr(curve, measure) if v is not None]
        epochs = [epoch for curve in found for epoch in curve.epochs]
        low, high = extent(values or [0.0, 1.0])
        return cls(
            measure,
            tuple(extent(epochs or [0.0, 1.0], pad=0.02)),  # type: ignore[arg-type]
            (min(0.0, low) if measure == "loss" else low, high),
            max(1, -(-sum(len(curve.epochs) for curve in found) // MOST)),
            list(dict.fromkeys(curve.where for curve in found)),
            looks_of(list(dict.fromkeys(curve.arm for curve in found))),
        )

    def points(self, curve: Curve) -> tuple[list[float], list[float]]:
        """The epochs and values that are drawn: the last, and of those before every n-th."""
        known = [
            (epoch, value)
            for epoch, value in zip(curve.epochs, getattr(curve, self.measure), strict=True)
            if value is not None
        ]
        every = max(1, min(self.every, len(known) // FEWEST))
        kept = known[::-1][::every][::-1]
        return [epoch for epoch, _ in kept], [value for _, value in kept]

    def draw(self, axes: Axes, mine: Sequence[Curve]) -> None:
        """One arm's lines."""
        for curve in mine:
            epochs, values = self.points(curve)
            line: Any = dash(self.where.index(curve.where))
            axes.plot(
                epochs,
                values,
                color=self.looks[curve.arm].color,
                linestyle=line,
                linewidth=1.2,
                alpha=0.85,
                marker="o" if len(values) == 1 else None,
                markersize=3,
            )


def _view(found: Sequence[Curve], measure: str, heading: str, name: str, runs: int) -> View:
    panels = Panels.of(found, measure)
    drawn = [_key(panels, heading, name, "" if runs == len(found) else f", {len(found):,} of {runs:,} runs")]
    for index, arm in enumerate(panels.looks):
        mine = [curve for curve in found if curve.arm == arm]
        title = "unpruned" if arm == "dense" else arm
        alt = f"{heading} by epoch: {title}, {len(mine)} run{'' if len(mine) == 1 else 's'}"
        drawn.append(svg.markup(_panel(panels, mine, title), f"{name}{index}", alt))
    label = heading[:1].upper() + heading[1:]
    return View(label, f'{drawn[0]}<div class="panels">{"".join(drawn[1:])}</div>')


def _panel(panels: Panels, mine: Sequence[Curve], title: str) -> Figure:
    figure = page_figure(WIDTH, HEIGHT)
    words(canvas(figure), 4, 14, plain(title, 30), fontsize=12, weight=700)
    axes = panel(figure, 46, 24, WIDTH - 56, HEIGHT - 48)
    axes.set_xlim(*panels.across)
    axes.set_ylim(*panels.up)
    number_axis(axes.xaxis, 4)
    number_axis(axes.yaxis, 4)
    panels.draw(axes, mine)
    return figure


def _key(panels: Panels, heading: str, name: str, shown: str) -> str:
    """What the panels' axes are, and which dash is which budget's, one under the other."""
    figure = page_figure(380, 24 + 18 * len(panels.where))
    page = canvas(figure)
    every = "" if panels.every == 1 else f", about every {_ordinal(panels.every)}"
    words(page, 4, 14, f"{heading} by epoch{every}{shown}", fontsize=SMALL, color=MUTED)
    for index, where in enumerate(panels.where):
        y = 28 + 18 * index
        line: Any = dash(index)
        page.plot([4, 44], [y, y], color=INK, linestyle=line, linewidth=1.4)
        words(page, 52, y + 4, plain(where, 52), fontsize=SMALL)
    return svg.markup(figure, f"{name}-key", f"{heading} by epoch; a dash for each budget", css="key")


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
