"""A chart of a page: its views, each a drawing that stands in the page, and what all drawings share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .palette import GRID, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL = 11.0
"""Of the numbers at axes, in pixels."""


@dataclass(frozen=True)
class View:
    """One way to look at a chart: its name in the menu, its markup; `group` gathers views in the menu."""

    label: str
    svg: str
    group: str = ""


@dataclass(frozen=True)
class Chart:
    """A figure of the page: its id, what it shows in words, and its views (the first is shown)."""

    id: str
    alt: str
    views: list[View]

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(view.group for view in self.views))


def plain(text: str, most: int = 1000) -> str:
    """A name from outside as it can be drawn: in one line, nothing in it that is no letter, cut where long.

    Example:
        >>> plain("a\\n\\x00b", 10), plain("magnitude-tuned-layerwise", 12)
        ('a \\ufffdb', 'magnitude-t…')
    """
    kept = "".join(_letter(letter) for letter in text)
    return kept if len(kept) <= most else f"{kept[: most - 1]}…"


def _letter(letter: str) -> str:
    if letter.isspace():
        return " "
    code = ord(letter)
    unheard = code < 32 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code in (0xFFFE, 0xFFFF)
    return "\ufffd" if unheard else letter


def tick(value: float) -> str:
    """A number at an axis: as few digits as tell it, with a suffix where it is large.

    Example:
        >>> tick(0.8000000000000003), tick(20000), tick(2.5e6), tick(-0.0), tick(0.0004), tick(1e-9)
        ('0.8', '20k', '2.5M', '0', '0.0004', '1e-09')
    """
    for power, suffix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 0.99999 * 10**power:
            return f"{value / 10**power:.6g}{suffix}"
    return f"{value + 0.0:.6g}" if abs(value) > 1e-12 else "0"


def pixels(figure: Figure) -> tuple[float, float]:
    """A page figure's width and height."""
    return figure.get_figwidth() * 72, figure.get_figheight() * 72


def canvas(figure: Figure) -> Axes:
    """Axes over a whole page figure, in its pixels from the upper left: for texts and rules."""
    width, height = pixels(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return axes


def panel(figure: Figure, left: float, top: float, width: float, height: float, **more: Any) -> Axes:
    """Axes at a place of a page figure, in its pixels from the upper left; grid, no ticks, small numbers."""
    across, down = pixels(figure)
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down), **more)
    axes.patch.set_visible(False)
    axes.tick_params(length=0, pad=6, labelsize=SMALL, labelcolor=MUTED)
    axes.grid(color=GRID, linewidth=1)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.spines["bottom"].set(visible=True, color=MUTED, linewidth=1)
    return axes


def number_axis(axis: Any, most: int = 7) -> None:
    """Numbers as `tick` writes them, at round places."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def log_axis(axis: Any) -> None:
    """The same on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    low, high = axis.get_view_interval()
    near = math.log10(high / low) < 2.5
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if near else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def words(axes: Axes, x: float, y: float, text: str, **look: Any) -> None:
    """A text on a `canvas`, its baseline at y."""
    axes.text(x, y, text, **{"fontsize": 12, "color": INK, "va": "baseline", **look})


def gutter(names: Iterable[str]) -> float:
    """How wide a column of names is, about, in pixels: 60 to 264."""
    return min(max([60.0, *(7.2 * len(name) + 16 for name in names)]), 264.0)
