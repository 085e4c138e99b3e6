"""Measure the verdict where runs failed: a best arm that lost seeds, at random or the worst of them.

    python tools/verdict_gaps.py            all cases (about 5 minutes on one core); leaves the file
    python tools/verdict_gaps.py --quick    fewer repetitions, in seconds; nothing is written

Comparisons are made up as `tools/verdict_power.py` does, and one arm loses seeds. An arm's true value is that
of all its seeds, those that failed too: so an arm that loses its worst ones looks better than it is. Counted
is how often somebody wins, by the rule and by the same rule without its care (the seeds that are there).
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from verdict_power import Array, Case, Rng, made, row, write_measured

from secateur.compare.verdict import Decision, decide
from secateur.records.results import SummaryRow

OUT = Path(__file__).parents[1] / "results" / "verdict-power" / "gaps.json"
LOSES = ("at random", "its worst")
"""Which seed an arm loses; "its worst": the lowest on the test split."""

Lost = dict[tuple[str, str | None], tuple[int, ...]]


@dataclass(frozen=True)
class Gap:
    """One kind of comparison in which runs failed.

    Attributes:
        case: without them.
        which: seed is lost, one of `LOSES`.
        arm: that loses it, by its index: 0 is tied for the best, or is the best.
        lost: how many seeds it loses.
    """

    case: Case
    which: str
    arm: int = 0
    lost: int = 1


@dataclass(frozen=True)
class Found:
    """Shares of `n` comparisons.

    Attributes:
        wins: the winner that is declared is none (of ties), or is the one that is (where one is ahead).
        careless: the same by the seeds that are there alone.
        wrong: where one is ahead, another is declared the winner; careless_wrong: by those alone.
        whole: wins by all seeds, those that failed too.
    """

    n: int
    wins: float
    careless: float
    wrong: float
    careless_wrong: float
    whole: float


def measure(gap: Gap, n: int, rng: Rng) -> Found:
    """Make `n` comparisons of a kind, with and without their gaps, and count."""
    counts = np.zeros(5)
    for _ in range(n):
        truth, rows, evidence, measured = made(gap.case, rng)
        there, lost = with_gap(gap, rows, rng)
        careful = _won(decide(there, replace(evidence, lost=lost), measured), there, truth)
        careless = _won(decide(there, evidence, measured), there, truth)
        whole = _won(decide(rows, evidence, measured), rows, truth)
        counts += [careful[0], careless[0], careful[1], careless[1], whole[0]]
    return Found(n, *(round(float(count) / n, 5) for count in counts))


def _won(found: Decision, rows: list[SummaryRow], truth: Array) -> tuple[bool, bool]:
    """Whether somebody wins: of a tie or rightly, and wrongly."""
    best = np.flatnonzero(truth == truth.max())
    right = len(best) > 1 or rows.index(found.leader) == best[0]
    return found.wins and right, found.wins and not right


def with_gap(gap: Gap, rows: list[SummaryRow], rng: Rng) -> tuple[list[SummaryRow], Lost]:
    """The rows without what an arm lost, and which seeds that were."""
    ours = rows[gap.arm]
    order = rng.permutation(ours.n) if gap.which == "at random" else np.argsort(ours.values)
    gone = tuple(sorted(int(each) for each in order[: gap.lost]))
    kept = [seed for seed in range(ours.n) if seed not in gone]
    values = np.array([ours.values[seed] for seed in kept])
    left = replace(row(gap.arm, values, np.array([ours.val_mean] * len(kept))), seeds=tuple(kept))
    there = [left if each is ours else each for each in rows]
    return there, {(ours.arm, ours.budget): gone}


def gaps() -> list[Gap]:
    """Everything that is measured."""
    found = []
    for which in LOSES:
        for seeds in (3, 5, 10):
            for arms in (2, 6):
                tied = Case(arms, seeds, truth="all tied")
                ahead = Case(arms, seeds, truth="one ahead", gap=3.0)
                found += [Gap(tied, which), Gap(ahead, which), Gap(ahead, which, arm=1)]
            found.append(Gap(Case(6, seeds, truth="two tied ahead"), which))
        found += [Gap(Case(6, seeds), which, lost=2) for seeds in (5, 10)]
        found += [Gap(Case(6, seeds, truth="one ahead", gap=3.0), which, lost=2) for seeds in (5, 10)]
        for seeds in (3, 5):
            found.append(Gap(Case(6, seeds, images=500), which))
            found.append(Gap(Case(6, seeds, truth="one ahead", gap=3.0, images=500), which))
    return found


def run(n: int, seed: int = 1) -> list[dict[str, Any]]:
    """Measure every kind, each with random numbers of its own."""
    found, wanted = [], gaps()
    for index, gap in enumerate(wanted):
        repetitions = max(20, n // 5) if gap.case.images else n  # they take several times as long
        measured = measure(gap, repetitions, np.random.default_rng([seed, index]))
        found.append({**asdict(gap), **asdict(measured)})
        if index % 10 == 9:
            print(f"{index + 1}/{len(wanted)}", file=sys.stderr, flush=True)
    return found


def main() -> int:
    """Measure, and write."""
    return write_measured(__doc__ or "", OUT, "gaps", 1, run)


if __name__ == "__main__":
    sys.exit(main())
