"""Fig. 1 of Crowley et al. 2018, made again: `secateur reproduce crowley2018 figure1`.

Five curves of test error against parameters: a network pruned while it is tuned (red), narrower ones (yellow)
and bottlenecked ones (green) from scratch, the pruned architectures from scratch (blue), and one profile of
them rescaled (pink). With `distill` every network from scratch is there twice, the second time taught by the
unpruned one: the paper's future work.
"""

from __future__ import annotations

from collections.abc import Sequence

from secateur.papers.cells import FamilyCells
from secateur.papers.crowley2018.families import FAMILIES, TUNED, FamilyCell, FamilyReproduction


class Figure1(FamilyReproduction):
    """The five curves at one scale, in one folder."""

    place = "figure1"
    file = "figure1.json"
    content = FamilyCells

    def cells_at(self, sizes: Sequence[str]) -> list[FamilyCell]:
        pruned = [FamilyCell(TUNED, size, **self.labels) for size in reversed(sizes)]
        scratch = [(size, arm) for size in sizes for arm in FAMILIES if arm != TUNED]
        plain = [FamilyCell(arm, size, **self.labels) for size, arm in scratch]
        if self.asked.distill is None:
            return pruned + plain
        taught = [FamilyCell(arm, size, self.asked.distill, **self.labels) for size, arm in scratch]
        return pruned + plain + taught

    def write_tables(self, content: FamilyCells) -> None:
        (self.out / "figure1.md").write_text(f"{len(content.cells)} runs\n")
