"""The marks of a comparison: every arm at every budget, where its values put it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secateur.records.results import Results, SummaryRow

from .costs import Cost
from .quantity import Quantity, quantity_of
from .series import Budget, arms, budgets, extent


@dataclass(frozen=True)
class Mark:
    """One arm at one budget, as it is drawn: `size` is what it costs; `before`, its worth before zeros."""

    arm: str
    budget: str
    limit: float
    size: float | None
    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None
    before: float | None
    seeds: tuple[tuple[int, float | None, float], ...]  # (seed, size, accuracy)


def marks(results: Results, cost: Cost) -> dict[str, list[Mark]]:
    """Arm -> its marks, smallest budget first; none moved from its value."""
    groups = {budget.text: budget for budget in budgets(results)}
    by_arm: dict[str, list[Mark]] = {arm: [] for arm in arms(results)}
    for row in results.summary:
        if row.budget in groups:
            by_arm[row.arm].append(_mark(results, row, groups[row.budget], cost))
    places = {text: index for index, text in enumerate(groups)}
    return {arm: sorted(found, key=lambda mark: places[mark.budget]) for arm, found in by_arm.items()}


def _mark(results: Results, row: SummaryRow, budget: Budget, cost: Cost) -> Mark:
    quantity = quantity_of(results)
    mine = [p for p in results.points if (p.arm, p.budget) == (row.arm, row.budget)]
    low, high = quantity.of(row.low), quantity.of(row.high)
    return Mark(
        arm=row.arm,
        budget=budget.text,
        limit=budget.limit,
        size=cost.of_row(results, row),
        n=row.n,
        mean=quantity.drawn(row.mean),
        std=quantity.of(row.std),
        low=low if high is not None else None,
        high=high if low is not None else None,
        before=quantity.of(row.accuracy_before),
        seeds=tuple((p.seed, cost.of_point(p), quantity.drawn(p.accuracy)) for p in mine),
    )


def accuracy_extent(
    by_arm: Mapping[str, Sequence[Mark]], dense: SummaryRow | None, quantity: Quantity
) -> list[float]:
    """The range that shows every mean, seed and interval; of accuracies within 0 to 100 percent."""
    seen = [p for curve in by_arm.values() for p in curve]
    values = [v for p in seen for v in (p.mean, p.low, p.high, *(s[2] for s in p.seeds)) if v is not None]
    if dense:
        values += [v for v in map(quantity.of, (dense.mean, dense.low, dense.high)) if v is not None]
    least, most = quantity.limits
    values = [min(max(v, least), most) for v in values if math.isfinite(v)]
    return extent(values or [0.0, 100.0], floor=least - 1.0, ceiling=most + 1.0)
