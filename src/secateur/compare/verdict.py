"""From means to a verdict: who leads at a budget, whether it wins, who is behind, what was too small to see.

The leader has the best mean on validation and test split together, over all seeds. It *wins* where it is
better than every other arm on the test split: each difference at the 5% level, which needs no correction, as
all of them must hold (Berger 1982), and the nearest arm by the two arms' own seeds besides. Otherwise arms
may still be *behind* it: there one would do, so that these are corrected for their number, and each must hold
by the two arms' own seeds. Where runs of the leader failed, all of that must hold twice: by the seeds that
are there, and with the others counted as the worst. `docs/verdict.md` has the reasons, and the error rates as
they were measured.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from secateur.compare.differences import Difference, conclude, difference
from secateur.compare.lost_seeds import counted_as_worst
from secateur.compare.sampling import TestError, bounded, paired
from secateur.compare.spreads import Sample, samples, spreads
from secateur.compare.wording import clause, sentence
from secateur.records.measure import ACCURACY, Measure
from secateur.records.results import BOUNDED, PAIRED, SEEDS, BudgetVerdict, Gap, SummaryRow, Verdict


@dataclass(frozen=True)
class Evidence:
    """What is known of the splits.

    Attributes:
        test, val: examples in each; None where that is not known.
        scores: (arm, budget, seed) -> the score of every test example, such as 1 where it was right.
        things: what examples are called.
        lost: (arm, budget) -> the seeds whose runs failed.
    """

    test: int | None = None
    val: int | None = None
    scores: Mapping[tuple[str, str | None, int], NDArray[np.float64]] = field(default_factory=dict)
    things: str = "images"
    lost: Mapping[tuple[str, str | None], tuple[int, ...]] = field(default_factory=dict)

    def scores_of(self, row: SummaryRow, seeds: Sequence[int] | None = None) -> NDArray[np.float64] | None:
        """Of an arm at a budget, (seeds, examples); None unless all seeds', or these `seeds`', are there."""
        asked = row.seeds if seeds is None else seeds
        found = [self.scores.get((row.arm, row.budget, seed)) for seed in asked]
        there = [each for each in found if each is not None]
        whole = len(there) == (row.n if seeds is None else len(seeds))
        alike = len({len(each) for each in there}) == 1
        return np.stack(there).astype(np.float64) if whole and alike else None

    def seeds_of(self, row: SummaryRow) -> tuple[int, ...]:
        """Those of an arm at a budget that are there."""
        lost = self.lost.get((row.arm, row.budget), ())
        return tuple(seed for seed in row.seeds if seed not in lost)

    def pooled(self, row: SummaryRow) -> float:
        """The mean over all examples of validation and test split; unknown, the splits count alike."""
        if self.test is None or self.val is None or self.test + self.val <= 0:
            return (row.mean + row.val_mean) / 2
        return (self.test * row.mean + self.val * row.val_mean) / (self.test + self.val)


def verdict(
    summary: Sequence[SummaryRow],
    evidence: Evidence | None = None,
    measure: Measure = ACCURACY,
    decided: Mapping[str | None, Decision] | None = None,
) -> Verdict:
    """One sentence on the whole, and one for each budget, largest budget first.

    Args:
        summary: one row for each arm and budget (`secateur.compare.summary.summarise`).
        evidence: of the splits; None: only the seeds count.
        measure: what the rows' means are.
        decided: what `decisions` found of the same, where that is known.
    """
    evidence = evidence or Evidence()
    decided = decisions(summary, evidence, measure) if decided is None else decided
    at = rows_at(summary)
    budgets = sorted({(row.limit or 0, row.budget or "") for row in summary}, reverse=True)
    per_budget = tuple(
        _judge(budget, limit, at[budget], decided[budget], evidence, measure) for limit, budget in budgets
    )
    return Verdict(text=sentence(per_budget), per_budget=per_budget)


@dataclass(frozen=True)
class Decision:
    """What holds at one budget, before it is told.

    Attributes:
        leader: the arm with the best mean on both splits.
        others: the other arms.
        differences: of the leader to each of them, by the seeds that are there; empty with one seed, which
            has no spread.
        corrected: their p values as one family.
        wins: whether the leader wins.
        behind: whether the leader is clearly better than each of the others.
    """

    leader: SummaryRow
    others: tuple[SummaryRow, ...]
    differences: tuple[Difference, ...]
    corrected: tuple[float, ...]
    wins: bool
    behind: tuple[bool, ...]


def decide(rows: Sequence[SummaryRow], evidence: Evidence, measure: Measure = ACCURACY) -> Decision:
    """Decide between the arms of one budget."""
    leader = max(rows, key=lambda row: (measure.rank(evidence.pooled(row)), measure.rank(row.mean)))
    others = tuple(row for row in rows if row is not leader)
    found = tuple(differences_from(leader, rows, evidence, measure))
    said = conclude(found)
    wins, behind = said.wins, said.behind if found else (False,) * len(others)
    if found and (lost := evidence.lost.get((leader.arm, leader.budget))):
        doubted = counted_as_worst(leader, lost, rows, measure)
        again = [doubted if row is leader else row for row in rows]
        held = conclude(differences_from(doubted, again, evidence, measure))
        wins = wins and held.wins
        behind = tuple(map(operator.and_, behind, held.behind))
    return Decision(leader, others, found, said.corrected, wins, behind)


def rows_at(summary: Sequence[SummaryRow]) -> dict[str | None, list[SummaryRow]]:
    """Budget -> its rows."""
    found: dict[str | None, list[SummaryRow]] = {}
    for row in summary:
        found.setdefault(row.budget, []).append(row)
    return found


def decisions(
    summary: Sequence[SummaryRow], evidence: Evidence, measure: Measure = ACCURACY
) -> dict[str | None, Decision]:
    """Budget -> what holds there; verdict and advice are both told from it."""
    return {budget: decide(rows, evidence, measure) for budget, rows in rows_at(summary).items()}


def _judge(
    budget: str,
    limit: int,
    rows: Sequence[SummaryRow],
    found: Decision,
    evidence: Evidence,
    measure: Measure,
) -> BudgetVerdict:
    told = zip(found.others, found.differences, found.corrected, strict=bool(found.differences))
    judged = BudgetVerdict(
        budget=budget,
        limit=limit,
        leader=found.leader.arm,
        winner=found.leader.arm if found.wins else None,
        not_separated=tuple(
            row.arm for row, behind in zip(found.others, found.behind, strict=True) if not behind
        ),
        behind=tuple(row.arm for row, behind in zip(found.others, found.behind, strict=True) if behind),
        text="",
        gaps=tuple(_gap(row, each, p, evidence.test) for row, each, p in told),
        basis=_basis(rows, evidence, measure) if found.differences else None,
    )
    test = f"{evidence.test:,} test {evidence.things}" if evidence.test else ""
    return replace(judged, text=clause(judged, found.leader, found.others, test, measure))


def differences_from(
    leader: SummaryRow, rows: Sequence[SummaryRow], evidence: Evidence, measure: Measure
) -> list[Difference]:
    """Of one row to every other, in their order; none with one seed, which has no spread."""
    if len(rows) < 2 or min(row.n for row in rows) < 2:
        return []
    grain = 1 / evidence.test if evidence.test and measure.fraction else 0.0
    found = _samples(rows, grain)
    known = spreads(found, measure.fraction, floor=max(grain, 1e-3) if grain < 0.25 else 0.25)
    one = next(index for index, row in enumerate(rows) if row is leader)
    better = 1.0 if measure.higher_is_better else -1.0
    return [
        difference(found, known, one, other, better=better, test=_test_error(leader, row, evidence, measure))
        for other, row in enumerate(rows)
        if other != one
    ]


def _samples(rows: Sequence[SummaryRow], grain: float) -> list[Sample]:
    """From every seed's value; of older rows, that have none, from mean and standard deviation."""
    if all(len(row.values) == row.n for row in rows):
        alike = len({row.seeds for row in rows}) == 1
        if alike:
            return samples([row.values for row in rows], grain)[0]
        return [samples([row.values], grain)[0][0] for row in rows]
    return [
        Sample(row.mean, max((row.std or 0.0) ** 2 + grain**2 / 12, 1e-24), row.n - 1, row.n) for row in rows
    ]


def _test_error(ours: SummaryRow, theirs: SummaryRow, evidence: Evidence, measure: Measure) -> TestError:
    """What other test examples would have changed; by the seeds that both have."""
    theirs_too = evidence.seeds_of(theirs)
    both = [seed for seed in evidence.seeds_of(ours) if seed in theirs_too]
    one, other = evidence.scores_of(ours, both), evidence.scores_of(theirs, both)
    if one is not None and other is not None and one.shape == other.shape:
        return paired(one, other, measure.fraction)
    if measure.fraction and evidence.test:
        return bounded(ours.mean, theirs.mean, evidence.test)
    return TestError()


def _basis(rows: Sequence[SummaryRow], evidence: Evidence, measure: Measure) -> str:
    if all(evidence.scores_of(row) is not None for row in rows):
        return PAIRED
    return BOUNDED if measure.fraction and evidence.test else SEEDS


def _gap(row: SummaryRow, found: Difference, p: float, examples: int | None) -> Gap:
    return Gap(
        arm=row.arm,
        gap=found.gap,
        low=found.gap - found.half,
        high=found.gap + found.half,
        p=found.p,
        p_corrected=p,
        visible=found.visible,
        seeds_needed=found.seeds_needed,
        examples_needed=found.examples_needed(examples) if examples else None,
    )
