"""Fig. 2(c) of Crowley et al. 2018 as a picture: percent of each block's channels, and their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.papers.cells import FamilyCells
from secateur.papers.crowley2018.profiles import profile_after, reached
from secateur.report.drawing import new_figure
from secateur.report.palette import DENSE, MUTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHOLE, STRIDED = "#eceae4", "#1f5bb5"
"""Channels that are gone, and the bars of strided blocks."""


def figure2(content: FamilyCells) -> Figure:
    """The first trajectory's profile; strided blocks have bars of their own colour and a star."""
    found = next(filter(reached, content.trajectories), None)
    figure = new_figure(7.2, 4.6)
    if found is None:
        figure.text(0.5, 0.5, "the profile is not reached yet", ha="center", color=MUTED)
        return figure
    profile = profile_after(found, found.profile_after)
    above, below = figure.subplots(2, 1, sharex=True)
    positions = range(1, len(profile.whole) + 1)
    colors = [STRIDED if index in profile.strided else DENSE for index in range(len(profile.whole))]
    rows = (
        (above, profile.percent, [100.0] * len(colors), "remaining (%)", "{:.0f}%"),
        (below, profile.left, profile.whole, "channels remaining", "{:.0f}"),
    )
    for axes, values, whole, label, form in rows:
        axes.bar(positions, whole, width=0.76, color=WHOLE)
        bars = axes.bar(positions, values, width=0.76, color=colors)
        axes.bar_label(bars, [form.format(value) for value in values], padding=2, fontsize=7)
        axes.set_ylim(0, 1.18 * max(whole))
        axes.set_ylabel(label)
        axes.grid(False, axis="x")
    below.set_xticks(list(positions), profile.labels, rotation=90 if len(colors) > 30 else 0)
    below.set_xlabel("block (* strided)")
    made_of = ", ".join(sorted({run.made_of for run in content.cells}))
    figure.suptitle(
        f"Channels retained after {profile.removals:,} removals (Crowley et al. 2018, Fig. 2c)\n"
        f"{made_of} · {content.about.data.split(', ')[0]} · scale {content.about.scale} · seed {found.seed}",
        x=0.015,
        ha="left",
        fontsize=10,
    )
    return figure
