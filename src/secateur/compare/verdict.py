"""From points to a verdict: means with intervals, and what they allow to be said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from secateur.records.point import Point
from secateur.records.results import BudgetVerdict, SummaryRow, Verdict

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of `n` values and how sure it is.

    Attributes:
        std: standard deviation of the sample; None of one value, as are the other three.
        half: half the width of the 95% interval.
        low, high: its bounds, cut to [0, 1] where it reaches past them.
    """

    n: int
    mean: float
    std: float | None = None
    half: float | None = None
    low: float | None = None
    high: float | None = None


def interval(values: Sequence[float]) -> Interval:
    """n, mean, sample standard deviation, and the 95% Student-t interval of a mean of fractions.

    Example:
        >>> interval([0.5, 0.75]).mean
        0.625
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(1, mean)
    from scipy.special import stdtrit  # Student's t quantile; scipy.stats takes a second to import

    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(n)
    low, high = max(0.0, mean - half), min(1.0, mean + half)
    return Interval(n, mean, std, half, low, high)


def summarise(points: Sequence[Point], limits: Mapping[str, int]) -> tuple[SummaryRow, ...]:
    """One row for each arm and budget, in the points' order of first appearance.

    Accuracies are fractions on the test split; `val_mean`, sizes and compute are means over the seeds. What
    not every point of a cell has (`nonzeros`, `weights`, `accuracy_before`) is left out of its row.
    """
    cells: dict[tuple[str, str | None], list[Point]] = {}
    for point in points:
        cells.setdefault((point.arm, point.budget), []).append(point)
    return tuple(
        SummaryRow(
            arm=arm,
            budget=budget,
            limit=limits.get(budget) if budget else None,
            **asdict(interval([point.accuracy for point in cell])),
            val_mean=_mean([point.val_accuracy for point in cell]),
            params=_mean([point.params for point in cell]),
            macs=_mean([point.macs for point in cell]),
            train_compute=_mean([point.train_compute for point in cell]),
            discovery_compute=_mean([point.discovery_compute for point in cell]),
            wall_s=_mean([point.wall_s for point in cell]),
            nonzeros=_mean_of_all([point.nonzeros for point in cell]),
            weights=_mean_of_all([point.weights for point in cell]),
            accuracy_before=_mean_of_all([point.accuracy_before for point in cell]),
        )
        for (arm, budget), cell in cells.items()
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    """The mean where every value is there."""
    found = [value for value in values if value is not None]
    return _mean(found) if len(found) == len(values) else None


def verdict(summary: Sequence[SummaryRow]) -> Verdict:
    """One sentence on the whole, and one for each budget, largest budget first.

    The leader at a budget is the arm with the best mean on the *validation* split. It wins if its interval on
    the test split lies above every other arm's; else there is no clear winner.
    """
    budgets = sorted({(row.limit or 0, row.budget or "") for row in summary}, reverse=True)
    per_budget = tuple(
        _judge(budget, limit, [row for row in summary if row.budget == budget]) for limit, budget in budgets
    )
    return Verdict(text=_sentence(per_budget), per_budget=per_budget)


def _judge(budget: str, limit: int, rows: Sequence[SummaryRow]) -> BudgetVerdict:
    leader = max(rows, key=lambda row: (row.val_mean, row.mean))
    others = [row for row in rows if row is not leader]
    rivals = [row.arm for row in others if not _separated(leader, row)]
    beaten = [row.arm for row in others if row.arm not in rivals]
    return BudgetVerdict(
        budget=budget,
        limit=limit,
        leader=leader.arm,
        winner=None if rivals or not others else leader.arm,
        not_separated=tuple(rivals),
        behind=tuple(beaten),
        text=_clause(leader, others, rivals, beaten),
    )


def _separated(leader: SummaryRow, other: SummaryRow) -> bool:
    """Whether the leader's interval lies above the other's; never without intervals."""
    return leader.low is not None and other.high is not None and leader.low > other.high


def _clause(
    leader: SummaryRow, others: Sequence[SummaryRow], rivals: Sequence[str], beaten: Sequence[str]
) -> str:
    """What can be said at one budget, without naming the budget."""
    if not others:
        return f"{leader.arm} is the only arm, with {_accuracy(leader)}"
    if not rivals:
        second = max(others, key=lambda row: row.mean)
        return f"{leader.arm} wins with {_accuracy(leader)} against {_accuracy(second)} of {second.arm}"
    if leader.low is None:
        return f"no clear winner, as one seed has no interval; {_leads(leader)}"
    behind = f"; {_and(beaten)} clearly behind" if beaten else ""
    return f"no clear winner: {_leads(leader)}, but its interval does not clear {_and(rivals)}{behind}"


def _leads(leader: SummaryRow) -> str:
    """Said with the split it leads on: on the test split another arm may well be ahead."""
    return f"{leader.arm} leads on validation and has {_accuracy(leader)}"


def _sentence(per_budget: Sequence[BudgetVerdict]) -> str:
    """All budgets in one sentence, short where they agree; the details are in each budget's own text."""
    winners = {entry.winner for entry in per_budget}
    if winners == {None}:
        text = f"no clear winner {_and([_at(entry) for entry in per_budget])}"
    elif len(winners) == 1:
        text = f"{winners.pop()} wins {_and([_at(entry) for entry in per_budget])}"
    else:
        text = "; ".join(
            f"{_at(entry)} {entry.winner} wins" if entry.winner else f"{_at(entry)} there is no clear winner"
            for entry in per_budget
        )
    return f"{text[0].upper()}{text[1:]}{_stragglers(per_budget)}."


def _stragglers(per_budget: Sequence[BudgetVerdict]) -> str:
    """Who is clearly behind where nobody wins: often the one thing that can be said.

    More than two are counted only; each budget's own text names them.
    """
    found = [
        f"{_few(entry.behind)} clearly behind at {entry.budget}"
        for entry in per_budget
        if entry.behind and not entry.winner
    ]
    return f"; {'; '.join(found)}" if found else ""


def _at(entry: BudgetVerdict) -> str:
    return f"at {entry.budget} ({entry.limit:,})"


def _accuracy(row: SummaryRow) -> str:
    spread = "" if row.half is None else f" ± {row.half * 100:.1f}"
    return f"{row.mean * 100:.1f}%{spread}"


def _few(names: Sequence[str]) -> str:
    return _and(names) if len(names) <= 2 else f"{len(names)} arms"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
