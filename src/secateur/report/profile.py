"""What is left of every block (Fig. 2c), in percent above and in number below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.records.results import Results

from . import series, svg
from .charts import SMALL, Chart, View, number_axis, panel, plain
from .drawing import page_figure
from .palette import DENSE, MUTED, PALE
from .series import Profile
from .table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 960, 420


def profile_chart(results: Results) -> Chart:
    """A view for the mean over the seeds, and for each."""
    alt = "Channels retained per block: percent remaining above, number remaining below."
    views = [
        View(profile.label, svg.markup(_figure(profile), f"p{index}", alt, css="scrolls"))
        for index, profile in enumerate(series.profiles(results))
    ]
    return Chart("profile", alt, views)


def _figure(profile: Profile) -> Figure:
    shared, ticks = series.short_names([plain(name, 24) for name in profile.names])
    upright = max(map(len, ticks)) > 90 / len(ticks)
    room = 6.4 * max(map(len, ticks)) + 6 if upright else 14
    figure = page_figure(WIDTH, HEIGHT + room)
    above = panel(figure, 58, 12, WIDTH - 70, 168)
    below = panel(figure, 58, 204, WIDTH - 70, 168)
    draw_profile(above, below, profile, len(ticks) > 24)
    above.set_xticks([])
    below.set_xticks(range(len(ticks)), ticks, rotation=90 if upright else 0)
    below.set_xlabel(f"block ({shared}.*)" if shared else "block", fontsize=SMALL, color=MUTED)
    for axes in (above, below):
        axes.yaxis.label.set(fontsize=SMALL, color=MUTED)
        number_axis(axes.yaxis, 5)
    return figure


def draw_profile(above: Axes, below: Axes, profile: Profile, crowded: bool) -> None:
    """Bars with their numbers, before the pale ones of the unpruned block."""
    positions = range(len(profile.names))
    digits = 0 if len(profile.names) > 10 else 1
    rows = ((above, profile.percent, (100.0,) * len(positions), "%"), (below, profile.kept, profile.of, ""))
    for axes, values, whole, unit in rows:
        axes.bar(positions, whole, width=0.76, color=PALE)
        bars = axes.bar(positions, values, width=0.76, color=DENSE)
        texts = [number(value, digits) + unit for value in values]
        axes.bar_label(bars, texts, padding=2, fontsize=SMALL, rotation=90 if crowded else 0)
        axes.set_ylim(0, 1.2 * max(whole))
        axes.set_xlim(-0.6, len(positions) - 0.4)
        axes.grid(False, axis="x")
    above.set_ylabel("remaining (%)")
    below.set_ylabel("channels remaining")
