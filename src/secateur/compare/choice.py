"""What is kept at one budget, with all that it follows from."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.compare.verdict import Decision
from secateur.records.advice import ALONE, ONE_SEED, BudgetAdvice, Untold
from secateur.records.results import SummaryRow


@dataclass(frozen=True)
class Choice:
    """The row to keep at one budget.

    Attributes:
        decision: the verdict's.
        kept: the row.
        advice: the same as a record.
    """

    decision: Decision
    kept: SummaryRow
    advice: BudgetAdvice

    @property
    def of_one_seed(self) -> bool:
        """Whether nothing at all can be told, as there is no spread."""
        return self.advice.why == ONE_SEED or (self.advice.why == ALONE and self.kept.n < 2)

    @property
    def open(self) -> list[Untold]:
        """What is worth deciding, the most important first: two questions at most.

        Whether the leader is better than the arm that is kept for its cheapness, or, where the leader itself
        is kept, than another that might as well be the best. Where no number of seeds says that, or there is
        no such arm: whether it is better than those further behind, all of them, or at least one.
        """
        ahead = sorted(
            (each for each in self.advice.untold if each.gap > 0),
            key=lambda each: (each.seeds is None, each.seeds or 0, -each.gap),
        )
        near = [each for each in ahead if each.arm in self.advice.near]
        if self.kept is not self.decision.leader:
            near = [each for each in near if each.arm == self.advice.arm]
        if any(each.seeds is not None for each in near):
            return near[:1]
        far = [each for each in ahead if each.arm not in self.advice.near]
        told = [each for each in far if each.seeds is not None]
        return near[:1] + (told[-1:] if told == far else told[:1]) or ahead[:1]


def cost(row: SummaryRow) -> float:
    """Training MACs of an arm, with what finding its architecture took."""
    return row.train_compute + row.discovery_compute
