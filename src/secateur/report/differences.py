"""The table of differences: the leader of each budget against every other arm."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.records.results import BudgetVerdict, Gap, Results

from .quantity import Quantity, quantity_of
from .series import budgets, resource_of
from .table import count


@dataclass(frozen=True)
class Line:
    """One arm against the leader, every cell already text."""

    arm: str
    gap: str
    interval: str
    p: str
    told: str
    visible: str
    seeds: str
    examples: str


@dataclass(frozen=True)
class Lines:
    """The arms of one budget under their heading."""

    heading: str
    leader: str
    lines: list[Line]


def lines(results: Results) -> list[Lines]:
    """For every budget where differences were judged, smallest first, the nearest arm first."""
    quantity, resource = quantity_of(results), resource_of(results)
    found = {entry.budget: entry for entry in results.verdict.per_budget if entry.gaps}
    return [
        Lines(
            f"{budget.text}: at most {count(budget.limit)} {resource.name}",
            found[budget.text].leader,
            [
                _line(gap, found[budget.text], quantity)
                for gap in sorted(found[budget.text].gaps, key=lambda gap: gap.gap)
            ],
        )
        for budget in budgets(results)
        if budget.text in found
    ]


def _line(gap: Gap, entry: BudgetVerdict, quantity: Quantity) -> Line:
    return Line(
        arm=gap.arm,
        gap=quantity.text(gap.gap, None),
        interval=quantity.span(gap.low, gap.high) or "–",
        p="under 0.001" if gap.p_corrected < 0.001 else f"{gap.p_corrected:.3f}",
        told="clearly behind" if gap.arm in entry.behind else "not told apart",
        visible=quantity.text(gap.visible, None),
        seeds=_needed(gap.seeds_needed, gap),
        examples=_needed(gap.examples_needed, gap),
    )


def _needed(number: int | None, gap: Gap) -> str:
    """A dash where the leader is not ahead: nothing would show that it is."""
    if gap.gap <= 0:
        return "–"
    return "not alone" if number is None else count(number)
