"""The FLOP penalty of Crowley et al. 2018: `secateur reproduce crowley2018 penalties`.

"We experimented with several different values for the FLOP penalty hyperparameter but found this made little
difference." The paper says neither values nor numbers: ours are per MAC (`channel_choice.removal_score`),
and each has a trajectory of its own beside the one without.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from secateur.atomic import write_bytes
from secateur.papers.cells import FamilyCells, FamilyRun
from secateur.papers.crowley2018.claims import write_claims
from secateur.papers.crowley2018.families import SCRATCH, TUNED, FamilyCell, FamilyReproduction
from secateur.papers.crowley2018.figure1_tables import Mark, caption, curve
from secateur.papers.crowley2018.profiles import profile_after, spearman
from secateur.papers.sheet import Sheet, Table
from secateur.papers.text import MISSING, shown
from secateur.records.written import field


class Penalties(FamilyReproduction):
    """Pruned with each penalty, and trained from scratch, in one folder."""

    place = "penalties"
    file = "penalties.json"
    content = FamilyCells
    arms = (TUNED, SCRATCH)

    @property
    def betas(self) -> tuple[float, ...]:
        """The penalties, none first."""
        return (0.0, *(beta for beta in self.asked.betas or self.scale.penalties if beta))

    def cells_at(self, sizes: Sequence[str]) -> list[FamilyCell]:
        tuned = [self.cell(TUNED, size, beta=beta) for beta in self.betas for size in reversed(sizes)]
        scratch = [self.cell(SCRATCH, size, beta=beta) for size in sizes for beta in self.betas]
        return tuned + scratch

    def write_tables(self, content: FamilyCells) -> None:
        write_penalties(content, self.out)
        write_claims(self.out)


def write_penalties(content: FamilyCells, out: Path) -> None:
    """Leave the numbers as markdown, CSV and HTML."""
    sheet = to_sheet(content)
    texts = {"md": sheet.to_markdown(), "csv": to_csv(content), "html": sheet.to_html()}
    for kind, text in texts.items():
        write_bytes(out / f"penalties.{kind}", text.encode())


def marks(cells: Sequence[FamilyRun], beta: float, arm: str) -> dict[str, Mark]:
    """The points of one arm at one penalty, by size."""
    return {mark.size: mark for mark in curve([run for run in cells if run.beta == beta], (arm, None))}


def macs(cells: Sequence[FamilyRun], beta: float, size: str) -> float | None:
    """MACs of the pruned network, a mean over the trajectories; None where there is none."""
    found = [run.macs for run in cells if (run.arm, run.beta, run.size) == (TUNED, beta, size)]
    return math.fsum(found) / len(found) if found else None


def alike(content: FamilyCells, beta: float) -> float | None:
    """Spearman's correlation of the profile with that without a penalty, after as many removals."""
    by_beta = {each.beta: each for each in content.trajectories if each.seed == 0}
    if not {0.0, beta} <= set(by_beta):
        return None
    plain, other = by_beta[0.0], by_beta[beta]
    removals = min(plain.profile_after, len(plain.removed), len(other.removed))
    return spearman(profile_after(plain, removals).percent, profile_after(other, removals).percent)


def to_sheet(content: FamilyCells) -> Sheet:
    """One row for each penalty and size."""
    cells, rows = content.cells, []
    for beta in sorted({run.beta for run in cells}):
        tuned, scratch = (marks(cells, beta, arm) for arm in (TUNED, SCRATCH))
        found = alike(content, beta) if beta else None
        for size in dict.fromkeys([*tuned, *scratch]):
            counted = macs(cells, beta, size)
            rows.append(
                (
                    f"{beta:g}",
                    size,
                    MISSING if counted is None else f"{counted:,.0f}",
                    *(_shown(each.get(size)) for each in (tuned, scratch)),
                    MISSING if found is None else f"{found:.2f}",
                )
            )
    heads = ("penalty per MAC", "paper's size", "MACs", TUNED, SCRATCH, "profile, correlation")
    notes = {
        "penalty per MAC": "beta: the channel with the lowest Fisher score less beta times its MACs goes",
        "MACs": "of the pruned network, for one image",
        "profile, correlation": "Spearman's, of the percent left by block with those without a penalty, "
        "after as many removals",
    }
    title = "The FLOP penalty of Crowley et al. 2018: test error (%)"
    return Sheet(title, [Table(heads, tuple(rows))], notes, caption(content), content.about.command)


def _shown(mark: Mark | None) -> str:
    return MISSING if mark is None else shown(mark.found.mean, mark.found.std, mark.found.n, 1)


_COLUMNS = ("beta", "arm", "size", "budget", "params", "macs", "mean", "std", "n", "profile_spearman")


def to_csv(content: FamilyCells) -> str:
    """One line for each penalty, arm and size, to twelve digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    cells = content.cells
    for beta in sorted({run.beta for run in cells}):
        for arm in (TUNED, SCRATCH):
            for size, mark in marks(cells, beta, arm).items():
                budget = next(run.budget for run in cells if run.size == size)
                counted = (budget, mark.params, macs(cells, beta, size))
                found = mark.found
                profile = alike(content, beta) if beta else None
                row = (beta, arm, size, *counted, found.mean, found.std, found.n, profile)
                writer.writerow(map(field, row))
    return out.getvalue()
