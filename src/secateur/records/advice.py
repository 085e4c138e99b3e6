"""What a comparison advises: which network to keep, what nobody can tell, and what would decide it."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.records.shown import Shown
from secateur.records.stored import Stored, optional

WINS, EQUALS, LEADS, ONE_SEED, ALONE = "wins", "equals", "leads", "one seed", "alone"
"""Why an arm is to be kept: see `BudgetAdvice.why`."""
TRAINING, SIZE, MACS, MEAN = "training", "size", "macs", "mean"
"""What a choice among equals was made by: see `BudgetAdvice.by`."""
WORSE, ALIKE, BETTER = "worse", "alike", "better"
"""How a network stands to the unpruned one: see `Unpruned.stands`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Untold(Stored):
    """An arm of which nobody can tell whether it is worse than the leader.

    Attributes:
        gap: how much better the leader is on the test split, in the metric's unit.
        told_from: the smallest gap to this arm that the verdict's rule would tell; None: it would tell none.
        seeds, examples: how many, each alone, would tell this gap in four of five cases; None: none would.
    """

    arm: str
    gap: float
    told_from: float | None
    seeds: int | None
    examples: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpruned(Stored):
    """The unpruned network beside the one to keep, on the test split.

    Attributes:
        gap: how much better the unpruned network is, in the metric's unit, with its 95% interval.
        told_from: the smallest gap that the verdict's rule of two arms would tell; None: it would tell none.
        stands: of the network to keep: "worse", "better", each beyond doubt, or "alike", not told apart.
        seeds: how many would tell this gap in four of five cases; None: none would.
    """

    gap: float
    low: float
    high: float
    told_from: float | None
    stands: str
    seeds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAdvice(Stored):
    """What to keep at one budget.

    Attributes:
        limit: the budget in units of its resource.
        arm: to keep.
        why: it "wins"; it is chosen among "equals"; it "leads", and no other is near enough to be chosen;
            it is ahead by "one seed"; it is "alone".
        by: what it was chosen by among equals: "training", "size", "macs", or "mean" where they cost the
            same; left out of everything else.
        equals: the leader and the arms that cannot be told apart from it; empty where there is none.
        near: those of them that are near enough to the best to be chosen among; itself one of them.
        untold: the arms that are not clearly behind the leader.
        told_from: the smallest gap to any arm that the verdict's rule would tell; None where there is none.
        unpruned: None where the unpruned network was not trained, or one seed tells nothing.
        missing: arms that are not finished here.
        text: all of it in a line, without the budget.
    """

    budget: str
    limit: int
    arm: str
    why: str
    by: str | None = optional()
    equals: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    untold: tuple[Untold, ...] = ()
    told_from: float | None = None
    unpruned: Unpruned | None = None
    missing: tuple[str, ...] = ()
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Advice(Stored):
    """What to do with a comparison.

    Attributes:
        text: the headline, one sentence.
        budget, arm: of the network to keep, which lies in `best/`.
        lines: beneath it: why this one, what could not be told apart, what would decide it.
        seeds, command: how many seeds would decide it, and the command that adds them to those that are
            there; None where seeds would not, or where the comparison was no command.
        per_budget: the largest budget first.
    """

    text: str
    budget: str
    arm: str
    lines: tuple[str, ...] = ()
    seeds: int | None = None
    command: str | None = None
    per_budget: tuple[BudgetAdvice, ...]

    def __repr__(self) -> str:
        return self.shown().text()

    def _repr_html_(self) -> str:
        return self.shown().html()

    def shown(self) -> Shown:
        """The headline, and what stands beneath it."""
        budgets = [f"{each.budget}: {each.text}." for each in self.per_budget if len(self.per_budget) > 1]
        return Shown(self.text, notes=[*self.lines, *filter(None, [self.command]), *budgets])
