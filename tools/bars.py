"""What the exact mode is held to, from recorded runs: python tools/bars.py results/NAME...

For each network and budget, in percent points of test accuracy, means over the seeds: the exact mode, what
the cut took at once (right before it less right after it, the most of the seeds), what of that is missing in
the end (right before it less the end; the same number where the cut comes last), the lead over tuned
magnitude pruning, the distance from the unpruned network after as many epochs, and whether every run has
exactly its budget.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from secateur.papers.cells import DupontCells, DupontRun
from secateur.records.point import Point
from secateur.records.results import Results

EXACT, TUNED, DENSE = "reparametrization", "magnitude-tuned", "dense"


@dataclass(frozen=True)
class Run:
    """What a line of either file says of one run."""

    network: str
    budget: str | None
    method: str
    accuracy: float
    accuracy_before: float | None
    accuracy_after_cut: float | None
    nonzeros: int | None
    weights: int | None

    @property
    def right_after(self) -> float:
        """What it was worth right after the cut; in the end, where that came last."""
        return self.accuracy if self.accuracy_after_cut is None else self.accuracy_after_cut


def load(folder: Path) -> list[Run]:
    """Runs of a reproduction (cells.json) or a comparison (results.json)."""
    if (folder / "cells.json").is_file():
        cells = DupontCells.load(folder / "cells.json").cells
        return [run(cell, f"{cell.network}/{cell.dataset}", kept(cell.rate), cell.method) for cell in cells]
    results = Results.load(folder / "results.json")
    network = f"{results.model}/{results.data.name}"
    points = [*results.points, *results.dense]
    return [run(point, network, point.budget, point.arm) for point in points]


def run(line: DupontRun | Point, network: str, budget: str | None, method: str) -> Run:
    """One line in the form of both."""
    cut = line.accuracy_before, line.accuracy_after_cut
    return Run(network, budget, method, line.accuracy, *cut, line.nonzeros, line.weights)


def kept(rate: str | None) -> str | None:
    """95% pruned is nonzeros=5%."""
    return None if rate is None else f"nonzeros={100 - int(rate[:-1])}%"


def rows(runs: list[Run]) -> Iterable[str]:
    """One line for each network and budget that has the exact mode."""
    keys = dict.fromkeys((run.network, run.budget) for run in runs if run.method == EXACT)
    for network, budget in sorted(keys, key=lambda key: (key[0], -float(key[1][9:-1]))):
        exact = chosen(runs, network, budget, EXACT)
        share = float(budget[9:-1]) / 100
        after_cut = [
            run.accuracy if run.accuracy_after_cut is None else run.accuracy_after_cut for run in exact
        ]
        took = max(run.accuracy_before - now for run, now in zip(exact, after_cut, strict=True))
        missing = max(run.accuracy_before - run.accuracy for run in exact)
        tuned, dense = (chosen(runs, network, key, name) for key, name in ((budget, TUNED), (None, DENSE)))
        met = all(run.nonzeros == round(share * run.weights) for run in exact)
        after = mean(run.accuracy for run in exact)
        yield (
            f"| {network} | {budget} | {len(exact)} | {after:.1%} | {100 * took:.2f} | {100 * missing:.2f} "
            f"| {difference(after, tuned)} | {difference(after, dense)} | {'yes' if met else 'NO'} |"
        )


def chosen(runs: list[Run], network: str, budget: str | None, method: str) -> list[Run]:
    """The runs of one cell."""
    wanted = (network, budget, method)
    return [run for run in runs if (run.network, run.budget, run.method) == wanted]


def difference(after: float, others: list[Run]) -> str:
    """Points above the mean of others."""
    return f"{100 * (after - mean(run.accuracy for run in others)):+.1f}" if others else "-"


def main() -> int:
    """Print the table."""
    heads = "exact | cut took | missing in the end | over magnitude-tuned | over dense | budget met"
    print(f"| network | budget | n | {heads} |")
    print("|---|---|--:|--:|--:|--:|--:|--:|---|")
    for folder in sys.argv[1:]:
        for line in rows(load(Path(folder))):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
