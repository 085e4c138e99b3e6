"""Fig. 2(c) of Crowley et al. 2018, made again: `secateur reproduce crowley2018 figure2`.

The profile of the pruned network after 500 removals, at other sizes after the same share of all channels; and
the footnote's claim, that the profiles after further pruning are consistent with it, as a rank correlation.
In a folder that has Fig. 1 nothing more is trained: it is a point on the red curve.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from secateur.errors import InputError
from secateur.papers.cells import FamilyCells, Pruned
from secateur.papers.crowley2018.claims import write_claims
from secateur.papers.crowley2018.families import COPYCAT, TUNED, FamilyCell, FamilyReproduction
from secateur.papers.crowley2018.figure2_drawing import figure2
from secateur.papers.crowley2018.figure_files import write_figure
from secateur.papers.crowley2018.profiles import Profile, later, profile_after, reached, spearman
from secateur.papers.sheet import Sheet, Table
from secateur.papers.text import MISSING, conditions
from secateur.records.written import field
from secateur.runs.graph import Graph, Node

_SHOWN = "Percent of each block's channels that remain, and their number below; the table has the numbers."


class Figure2(FamilyReproduction):
    """The profile at one scale, in one folder."""

    place = "figure2"
    file = "figure2.json"
    content = FamilyCells
    arms = (TUNED, COPYCAT)

    def cells_at(self, sizes: Sequence[str]) -> list[FamilyCell]:
        if self.given_seeds is not None and not self.asked.each_prunes:
            raise InputError(
                f"figure2 has one trajectory, of seed 0, got --seeds {self.given_seeds}: leave it out, or "
                "add --each-prunes"
            )
        return [self.cell(TUNED, size) for size in reversed(sizes)]

    def nodes(self, cell: FamilyCell, graph: Graph, seed: int) -> list[Node]:
        """Add the trajectory as far as the cell's size, and as far as the profile."""
        found = super().nodes(cell, graph, seed)
        if found:
            self._leader(cell.beta, graph, seed).profile()
        return found

    def write_tables(self, content: FamilyCells) -> None:
        write_figure2(content, self.out)
        write_claims(self.out)


def write_figure2(content: FamilyCells, out: Path) -> None:
    """Leave the profile as PNG and SVG, and its numbers as markdown, CSV and HTML."""
    write_figure(
        out, "figure2", partial(figure2, content), _SHOWN, partial(to_sheet, content), to_csv(content)
    )


def to_sheet(content: FamilyCells, figure: str = "") -> Sheet:
    """The page of the figure."""
    tables = [table for each in content.trajectories if reached(each) for table in _tables(each)]
    notes = {"*": "a strided block, which lowers the resolution (7 and 13 of the paper's WRN-40-2)"}
    title = "Fig. 2(c) of Crowley et al. 2018: channels retained in every block"
    return Sheet(title, tables, notes, caption(content), content.about.command, figure)


def caption(content: FamilyCells) -> str:
    """After how many removals, of which network."""
    made_of = ", ".join(sorted({run.made_of for run in content.cells}))
    after = sorted({(each.profile_after, sum(each.widths)) for each in content.trajectories})
    removals = ", ".join(f"{some:,} of {whole:,} channels" for some, whole in after)
    seeds = ", ".join(str(each.seed) for each in content.trajectories if reached(each)) or "none yet"
    said = f"Pruned network: {made_of}; the profile after {removals} (in the paper 500 of 1,344)."
    return f"{said} Seeds: {seeds}. {conditions(content.about, [])}".replace(" No finished runs yet.", "")


def _tables(pruned: Pruned) -> tuple[Table, Table]:
    """The profile block by block, and the later ones beside it."""
    first = profile_after(pruned, pruned.profile_after)
    rows = zip(first.labels, pruned.groups, first.whole, first.left, first.percent, strict=True)
    blocks = tuple(
        (label, name, str(whole), str(left), f"{share:.0f}%") for label, name, whole, left, share in rows
    )
    heads = ("block", "name", "channels", "remaining", "percent")
    follow = tuple(_later(pruned, first, removals) for removals in later(pruned))
    also = ("removals", "of all channels", "parameters", "Spearman's rank correlation")
    return (
        Table(heads, blocks, left=(0, 1), title=f"Seed {pruned.seed}, after {first.removals:,} removals"),
        Table(also, follow, title=f"Seed {pruned.seed}, later profiles (percent left by block) and this one"),
    )


def _later(pruned: Pruned, first: Profile, removals: int) -> tuple[str, ...]:
    found = spearman(first.percent, profile_after(pruned, removals).percent)
    last = removals >= len(pruned.removed)
    return (
        f"{removals:,}",
        f"{removals / sum(pruned.widths):.0%}",
        MISSING if last else f"{pruned.params[removals]:,}",
        MISSING if found is None else f"{found:.2f}",
    )


_COLUMNS = ("seed", "removals", "block", "name", "strided", "channels", "remaining", "percent", "spearman")


def to_csv(content: FamilyCells) -> str:
    """One line for each block of every profile; the correlation with the first one stands in each."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for each in filter(reached, content.trajectories):
        first = profile_after(each, each.profile_after)
        for removals in (each.profile_after, *later(each)):
            profile = profile_after(each, removals)
            alike = spearman(first.percent, profile.percent)
            for index, name in enumerate(each.groups):
                block = (index + 1, name, index in profile.strided, profile.whole[index], profile.left[index])
                writer.writerow(map(field, (each.seed, removals, *block, profile.percent[index], alike)))
    return out.getvalue()
