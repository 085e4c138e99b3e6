"""The numbers of Fig. 1 of Crowley et al. 2018, the published ones beside ours."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from secateur.compare.arms import ARMS
from secateur.compare.summary import Interval, interval
from secateur.papers.cells import FamilyCells, FamilyRun
from secateur.papers.crowley2018.families import FAMILIES, TUNED
from secateur.papers.crowley2018.scales import DATASET, NETWORK, SIZES
from secateur.papers.crowley2018.snip_grid import CELLS, SNIP
from secateur.papers.sheet import Sheet, Table
from secateur.papers.text import MISSING, conditions, shown
from secateur.records.written import field

Column = tuple[str, str | None]
"""An arm, and what its networks learnt from the unpruned one."""

COLORS = {
    "fisher-tuned": "red",
    "width": "yellow",
    "bottleneck": "green",
    "fisher-scratch": "blue",
    "copycat": "pink",
}
"""Of the curves in the paper's figure."""


def error(run: FamilyRun) -> float:
    """Test error in percent."""
    return 100 * (1 - run.accuracy)


@dataclass(frozen=True)
class Mark:
    """One point of a curve: test errors in percent, parameters as a mean over the seeds."""

    size: str
    params: float
    errors: tuple[float, ...]

    @property
    def found(self) -> Interval:
        """Their mean, its standard deviation and its interval."""
        return interval(self.errors, share=False)


def columns(cells: Sequence[FamilyRun]) -> list[Column]:
    """The curves, in the paper's order; those that a teacher taught stand behind their own."""
    taught = sorted({run.distill for run in cells if run.distill is not None})
    present = {(run.arm, run.distill) for run in cells}
    wanted = [(arm, distill) for arm in FAMILIES for distill in (None, *taught)]
    return [each for each in wanted if each in present or each[1] is None]


def curve(cells: Sequence[FamilyRun], column: Column) -> list[Mark]:
    """One curve, the smallest network first."""
    found: dict[str, list[FamilyRun]] = {}
    for run in cells:
        if (run.arm, run.distill) == column:
            found.setdefault(run.size, []).append(run)
    marks = (
        Mark(size, math.fsum(run.params for run in runs) / len(runs), tuple(map(error, runs)))
        for size, runs in found.items()
    )
    return sorted(marks, key=lambda mark: SIZES.index(mark.size))


def named(column: Column) -> str:
    """A curve in words: "copycat, logits"."""
    return ", ".join(filter(None, column))


def is_papers(content: FamilyCells) -> bool:
    """Whether network and images are those of the paper, or stand in for them."""
    return all((run.network, run.dataset) == (NETWORK, DATASET) for run in content.cells)


def published_at() -> dict[str, tuple[str, float]]:
    """The paper's four numbers: size -> whose network it is, and its test error in percent."""
    return {
        cell.size: (f"SNIP, {cell.network}" if cell.method == SNIP else cell.method, cell.published)
        for cell in CELLS
        if cell.published is not None
    }


def to_table(content: FamilyCells) -> Table:
    """Sizes down, curves across; sizes that only the paper has a number at among them."""
    found = columns(content.cells)
    by_size = {(mark.size, column): mark for column in found for mark in curve(content.cells, column)}
    theirs = published_at() if is_papers(content) else {}
    sizes = sorted({size for size, _ in by_size} | set(theirs), key=lambda size: int(size[:-1]))
    budgets = {run.size: run.budget.removeprefix("params=") for run in content.cells}
    heads = ("paper's size", "at most", "parameters", *map(named, found), "paper")
    rows = []
    for size in sizes:
        marks = [by_size.get((size, column)) for column in found]
        params = [mark.params for mark in marks if mark]
        paper = theirs.get(size)
        rows.append(
            (
                size,
                budgets.get(size, MISSING),
                f"{sum(params) / len(params):,.0f}" if params else MISSING,
                *map(_shown, marks),
                f"{paper[1]:.2f} ({paper[0]})" if paper else MISSING,
            )
        )
    return Table(heads, tuple(rows), theirs=(len(heads) - 1,))


def _shown(mark: Mark | None) -> str:
    if mark is None:
        return MISSING
    return shown(mark.found.mean, mark.found.std, mark.found.n, 1)


def caption(content: FamilyCells) -> str:
    """How long every network was trained, where the red curve was measured, and what is left out."""
    epochs = " and ".join(sorted({str(run.epochs) for run in content.cells if run.arm != TUNED}, key=int))
    splits = {"val": "the validation split", "test": "the test split"}
    red = " and ".join(sorted({splits[each.measured_on] for each in content.trajectories}))
    pruned = {each.seed for each in content.trajectories}
    once = "one was pruned, and its architectures serve all seeds"
    counts = Counter((run.arm, run.distill, run.beta, run.size) for run in content.cells)
    made_of = ", ".join(sorted({run.made_of for run in content.cells}))
    texts = [
        f"Pruned network: {made_of}; {once if len(pruned) < 2 else 'every seed pruned its own'}.",
        f"Epochs from scratch: {epochs or MISSING} (in the paper 200), passes in {content.precision}.",
        f"Before every removal the red curve was measured on {red}." if red else "",
        *(f"{name} is left out: {why.rstrip('.')}." for name, why in content.left_out.items()),
        conditions(content.about, counts.values()),
    ]
    return " ".join(filter(None, texts))


def notes(content: FamilyCells) -> dict[str, str]:
    """What the curves are."""
    found = {arm: f"{ARMS[arm].meaning} ({color} in the paper)" for arm, color in COLORS.items()}
    taught = sorted({run.distill for run in content.cells if run.distill is not None})
    for distill in taught:
        found[distill] = f"the network learns from the unpruned one too, by its {distill} (not in the paper)"
    return found


def to_sheet(content: FamilyCells, figure: str = "") -> Sheet:
    """The page of the figure."""
    title = "Fig. 1 of Crowley et al. 2018: test error (%) against parameters"
    return Sheet(title, [to_table(content)], notes(content), caption(content), content.about.command, figure)


_COLUMNS = (
    *("arm", "distill", "network", "dataset", "size", "budget", "published", "made_of", "params"),
    *("mean", "std", "low", "high", "n", "scale", "device", "commit"),
)


def to_csv(content: FamilyCells) -> str:
    """One line for each point of each curve, to twelve digits; empty where there is nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    about, theirs = content.about, published_at() if is_papers(content) else {}
    for column in columns(content.cells):
        for mark in curve(content.cells, column):
            run = next(r for r in content.cells if (r.arm, r.distill, r.size) == (*column, mark.size))
            paper = theirs.get(mark.size, ("", None))
            published = paper[1] if column == (paper[0], None) else None
            found = mark.found
            writer.writerow(
                map(
                    field,
                    (
                        *(*column, run.network, run.dataset, mark.size, run.budget, published, run.made_of),
                        *(mark.params, found.mean, found.std, found.low, found.high, found.n),
                        *(about.scale, about.device, about.commit),
                    ),
                )
            )
    return out.getvalue()
