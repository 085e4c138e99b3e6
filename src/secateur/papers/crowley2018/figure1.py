"""Fig. 1 of Crowley et al. 2018, made again: `secateur reproduce crowley2018 figure1`.

Five curves of test error against parameters: a network pruned while it is tuned (red), narrower ones (yellow)
and bottlenecked ones (green) from scratch, the pruned architectures from scratch (blue), and one profile of
them rescaled (pink). With `distill` every network from scratch is there twice, the second time taught by the
unpruned one: the paper's future work.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from secateur.papers.cells import FamilyCells
from secateur.papers.crowley2018.claims import write_claims
from secateur.papers.crowley2018.families import FAMILIES, TUNED, FamilyCell, FamilyReproduction
from secateur.papers.crowley2018.figure1_drawing import figure1
from secateur.papers.crowley2018.figure1_tables import to_csv, to_sheet
from secateur.papers.crowley2018.figure_files import write_figure

_SHOWN = "Test error against parameters, a curve for each family of networks; the table has the numbers."


class Figure1(FamilyReproduction):
    """The five curves at one scale, in one folder."""

    place = "figure1"
    file = "figure1.json"
    content = FamilyCells

    def cells_at(self, sizes: Sequence[str]) -> list[FamilyCell]:
        pruned = [self.cell(TUNED, size) for size in reversed(sizes)]
        scratch = [(size, arm) for size in sizes for arm in FAMILIES if arm != TUNED]
        plain = [self.cell(arm, size) for size, arm in scratch]
        if self.asked.distill is None:
            return pruned + plain
        taught = [self.cell(arm, size, self.asked.distill) for size, arm in scratch]
        return pruned + plain + taught

    def write_tables(self, content: FamilyCells) -> None:
        write_figure1(content, self.out)
        write_claims(self.out)


def write_figure1(content: FamilyCells, out: Path) -> None:
    """Leave the curves as PNG and SVG, and their numbers as markdown, CSV and HTML."""
    write_figure(
        out, "figure1", partial(figure1, content), _SHOWN, partial(to_sheet, content), to_csv(content)
    )
