"""What a forest plot shows: every arm at every budget on a row of its own, beside the unpruned network.

Rows stand in groups, one for each budget, the largest first; within a group the best is first. How far each
arm is from the one that leads is as the verdict judged it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from secateur.records.results import BudgetVerdict, Gap, Results, SummaryRow

from . import series, svg
from .charts import plain
from .costs import costs
from .marks import Mark, accuracy_extent, marks
from .quantity import Quantity, quantity_of
from .style import ArmStyle, styles
from .table import count

MOST_ROWS = 30
"""Of one drawing, so that a printed page can end between two."""
MOST_DRAWN = 120
"""Rows of all drawings; of more, some of the budgets are drawn, and the table has them all."""
FAR = 3.0
"""How many times as wide all of it must be as what is near the best, for a view of that."""


@dataclass(frozen=True)
class Row:
    """One line: a heading (`mark` is None), or an arm at a budget."""

    text: str
    mark: Mark | None = None
    gap: Gap | None = None
    leads: bool = False
    behind: bool = False


@dataclass(frozen=True)
class Forest:
    """What is drawn, and what the drawings' tips say.

    Attributes:
        shown: how many of the budgets, where that is not all.
    """

    rows: list[Row]
    quantity: Quantity
    looks: Mapping[str, ArmStyle]
    dense: SummaryRow | None
    span: tuple[float, float]
    shown: str = ""
    tips: dict[int, str] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether there are differences to draw."""
        return any(row.gap for row in self.rows)

    @property
    def before(self) -> bool:
        """Whether some networks were worth something before they were cut."""
        return any(row.mark and row.mark.before is not None for row in self.rows)

    @property
    def clipped(self) -> bool:
        """Whether a mean lies beyond the edge."""
        low, high = self.span
        return any(row.mark and not low <= row.mark.mean <= high for row in self.rows)

    def parts(self) -> list[Forest]:
        """Itself, or one of each budget where there are too many rows for a page."""
        if len(self.rows) <= MOST_ROWS:
            return [self]
        return [replace(self, rows=rows, tips={}) for rows in self._by_budget()]

    def near(self) -> Forest | None:
        """The values around the best third of each budget, where all of them are several times as wide."""
        values = [self.quantity.drawn(self.dense.mean)] if self.dense else []
        for part in self._by_budget():
            means = [row.mark.mean for row in part if row.mark]
            values += means[: max(2, len(means) // 3)]
        if not values:
            return None
        air = max(0.35 * (max(values) - min(values)), 0.02 * (self.span[1] - self.span[0]))
        low = max(min(values) - air, self.span[0])
        high = min(max(values) + air, self.span[1])
        if self.span[1] - self.span[0] <= FAR * (high - low):
            return None
        rows = [replace(row, gap=None, leads=False) for row in self.rows]
        return replace(self, rows=rows, span=(low, high))

    def _by_budget(self) -> list[list[Row]]:
        found: list[list[Row]] = []
        for row in self.rows:
            found += [[]] if row.mark is None else []
            found[-1].append(row)
        return found

    def tip(self, text: str) -> str:
        """The id of what says this when it is pointed at."""
        self.tips[len(self.tips)] = plain(text)
        return svg.tip(len(self.tips) - 1)

    def difference(self, gap: Gap) -> tuple[float, float, float]:
        """An arm minus the leader, with its interval, as it is drawn."""
        sign = -1 if self.quantity.measure.higher_is_better else 1
        low, high = sorted((sign * gap.low, sign * gap.high))
        drawn = self.quantity.drawn
        return drawn(sign * gap.gap), drawn(low), drawn(high)


def forest_of(results: Results) -> Forest:
    """The rows of a comparison."""
    quantity, by_arm = quantity_of(results), marks(results, costs(results)[0])
    rows: list[Row] = []
    judged = {entry.budget: entry for entry in results.verdict.per_budget}
    name = series.resource_of(results).name
    budgets = series.budgets(results)
    drawn = series.sample(budgets, max(2, MOST_DRAWN // max(1, len(by_arm))))
    for budget in reversed(drawn):
        rows.append(Row(f"{plain(budget.text, 60)}: at most {count(budget.limit)} {name}"))
        found = [mark for curve in by_arm.values() for mark in curve if mark.budget == budget.text]
        found.sort(key=lambda mark: -quantity.measure.rank(mark.mean))
        rows += [_row(mark, judged.get(budget.text)) for mark in found]
    low, high = accuracy_extent(by_arm, results.dense_summary, quantity)
    shown = "" if drawn == budgets else f"{len(drawn)} of {len(budgets)} budgets, the table has all"
    return Forest(rows, quantity, styles(by_arm), results.dense_summary, (low, high), shown)


def _row(mark: Mark, entry: BudgetVerdict | None) -> Row:
    gap = next((gap for gap in entry.gaps if gap.arm == mark.arm), None) if entry else None
    return Row(
        mark.arm,
        mark,
        gap,
        leads=bool(entry and entry.gaps and entry.leader == mark.arm),
        behind=bool(entry and mark.arm in entry.behind),
    )
