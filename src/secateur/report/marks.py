"""The marks of a comparison: every arm at every budget, where its values put it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secateur.records.point import Point
from secateur.records.results import Results, SummaryRow

from .costs import Cost
from .quantity import Quantity, quantity_of
from .series import Budget, arms, budgets, extent, points_of_rows


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
    of_rows, quantity = points_of_rows(results.points), quantity_of(results)
    for row, size in zip(results.summary, cost.of_rows(results), strict=True):
        if row.budget in groups:
            mine = of_rows.get((row.arm, row.budget), [])
            by_arm[row.arm].append(_mark(row, size, mine, groups[row.budget], cost, quantity))
    places = {text: index for index, text in enumerate(groups)}
    return {arm: sorted(found, key=lambda mark: places[mark.budget]) for arm, found in by_arm.items()}


def _mark(
    row: SummaryRow, size: float | None, mine: Sequence[Point], budget: Budget, cost: Cost, quantity: Quantity
) -> Mark:
    low, high = quantity.of(row.low), quantity.of(row.high)
    return Mark(
        arm=row.arm,
        budget=budget.text,
        limit=budget.limit,
        size=size,
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
