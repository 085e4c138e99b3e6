"""Advice in words: the headline, what stands beneath it, and a line for each budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from secateur.compare.arms import ARMS
from secateur.compare.choice import Choice, cost
from secateur.compare.wording import between, listed, size
from secateur.records.advice import (
    ALIKE,
    ALONE,
    BETTER,
    EQUALS,
    LEADS,
    MACS,
    MEAN,
    ONE_SEED,
    SIZE,
    TRAINING,
    WINS,
    WORSE,
    Unpruned,
    Untold,
)
from secateur.records.measure import Measure, number
from secateur.records.results import SummaryRow

UNITS = {
    "params": "parameters",
    "macs": "MACs",
    "nonzeros": "nonzero weights",
    "bytes": "bytes",
}
"""What a network's size is said in, by what its budget limits."""
_NAMED = 2
"""More arms than these are counted, not named."""
_LEARNT = 0.1
"""Of the way from guessing to 100%: what has not come so far has learnt nothing to speak of."""


@dataclass(frozen=True)
class Told:
    """What all sentences have in common.

    Attributes:
        measure: what the means are.
        resource: what the budgets limit.
        examples: how many the test split has, "500 test images"; empty where that is not known.
        dense: the unpruned network; None where it was not trained.
        costs: the network to keep is further from the unpruned one than what cannot be told.
        chance: what guessing is right in, of accuracies; 0 where that is not known.
    """

    measure: Measure
    resource: str
    examples: str
    dense: SummaryRow | None
    costs: bool
    chance: float

    def headline(self, taken: Choice, choices: Sequence[Choice]) -> str:
        """What to do, in a sentence."""
        advice, several = taken.advice, len(choices) > 1
        worse = advice.unpruned is not None and advice.unpruned.stands == WORSE
        where = f" at {advice.budget}" if several else ""
        numbers = f"{self._numbers(taken)}{self._beside(taken)}"
        if advice.why == ONE_SEED:
            return f"One seed decides nothing; ahead for now is {advice.arm}{where}: {numbers}."
        if self.costs and several:
            return f"No budget is free; keep {advice.arm}{where}, which loses least: {numbers}."
        if worse:
            return f"Keep {advice.arm} only where {advice.budget} must hold: {numbers}."
        return f"Keep {advice.arm}{where}: {numbers}."

    def _numbers(self, taken: Choice) -> str:
        count = taken.kept.count_of(self.resource)
        what = UNITS[self.resource]
        return f"{count or 0:,.0f} {what}, {self.measure.shown(taken.kept.mean)}"

    def _beside(self, taken: Choice) -> str:
        """The unpruned network, and whether it is another matter."""
        if self.dense is None:
            return ""
        stands = taken.advice.unpruned.stands if taken.advice.unpruned else ALIKE
        clearly = {WORSE: ", clearly better", BETTER: ", clearly worse", ALIKE: ""}[stands]
        return f"; unpruned {self.measure.shown(self.dense.mean)}{clearly}"

    def lines(self, taken: Choice, choices: Sequence[Choice], seeds: int | None) -> Iterator[str]:
        """Say beneath the headline why, what could not be told apart, and what would decide it."""
        yield from self._no_better_than_guessing(taken)
        yield self._why_this_arm(taken)
        yield from self._untold(taken)
        yield from self._to_the_unpruned(taken, choices)
        yield from self._what_would_decide(taken, seeds)
        for each in choices:
            if each.advice.missing:
                yield f"Not finished at {each.advice.budget}: {listed(each.advice.missing)}."

    def _no_better_than_guessing(self, taken: Choice) -> Iterator[str]:
        """Warn where nothing has learnt: all of it may then be told apart by nothing but luck."""
        best = max(row.mean for row in (taken.kept, self.dense or taken.kept))
        if self.chance and best < self.chance + _LEARNT * (1 - self.chance):
            yield (
                f"Hardly better than guessing, which is right in {self.chance:.1%} of the cases: train "
                "longer before you take any of these."
            )

    def _why_this_arm(self, taken: Choice) -> str:
        advice, who = taken.advice, _explained(taken.advice.arm)
        together = "on validation and test together"
        if advice.why == WINS:
            found = zip(taken.decision.others, taken.decision.differences, strict=True)
            row, nearest = min(found, key=lambda pair: pair[1].gap)
            ahead = between(nearest.gap - nearest.half, nearest.gap + nearest.half, self.measure)
            return f"{who} wins: {self._gap(nearest.gap)} {ahead} ahead of {row.arm}, the nearest."
        if advice.why == EQUALS:
            return (
                f"A choice among equals, not a win: {len(advice.equals)} arms cannot be told apart; "
                f"{self._chosen(taken, who)}."
            )
        return {
            LEADS: f"{who} leads {together}, but does not win; no other is near enough to replace it.",
            ALONE: f"{who} is the only arm.",
            ONE_SEED: f"{who} has the best {self.measure.name} {together}; another seed may turn that round.",
        }[advice.why]

    def _chosen(self, taken: Choice, who: str) -> str:
        """What spoke for one of the equals."""
        advice, leader = taken.advice, taken.decision.leader
        enough = f"the {len(advice.near)} near enough to the best"
        if self.dense is not None:
            enough += " and to the unpruned network"
        everyone = len(advice.near) == len(advice.equals)
        if advice.by == MEAN:
            those = "they" if everyone else enough
            return f"{those} cost the same, and {who} has the best mean on validation and test together"
        why = {
            TRAINING: "takes the least training",
            SIZE: f"takes as little training as any, with the fewest {UNITS[self.resource]}",
            MACS: "takes as little training as any, with the fewest MACs",
        }[advice.by or MEAN]
        those = "of them" if everyone else f"of {enough}"
        if taken.kept is leader:
            return f"{those} {who}, which leads, {why}"
        times = _times(leader, taken.kept) if advice.by == TRAINING else ""
        return f"{those} {who} {why}{times}; {leader.arm} leads"

    def _untold(self, taken: Choice) -> Iterator[str]:
        """What could not be told apart, by what resolution, and who is beyond it."""
        advice, decision = taken.advice, taken.decision
        if not decision.differences:
            return
        seeds = f"{taken.kept.n} seeds{f' and {self.examples}' if self._counts_examples else ''}"
        smallest = advice.told_from
        none = smallest is None or (self.measure.fraction and smallest > 1)
        tells = "any gap here" if none or smallest is None else f"gaps under {self._gap(smallest)}"
        nearest_first = sorted(advice.untold, key=lambda each: each.gap)
        arms = ", ".join(self._apart(each, smallest) for each in nearest_first)
        before = f"Not told apart from {decision.leader.arm}: {arms}: " if arms else ""
        who = self._behind(taken)
        yield f"{before}{seeds} cannot tell {tells}{f'; {who}' if who else ''}."

    def _apart(self, found: Untold, smallest: float | None) -> str:
        """An arm and how far it is from the leader: below 0 where it is worse."""
        noisy = ", as its seeds differ much" if smallest is not None and found.gap > smallest else ""
        if not self.measure.fraction:
            return f"{found.arm} ({number(-found.gap)}{noisy})"
        return f"{found.arm} ({round(-100 * found.gap, 1) + 0.0:+.1f}{noisy})".replace("(+0.0", "(0.0")

    def _behind(self, taken: Choice) -> str:
        found = zip(taken.decision.others, taken.decision.differences, taken.decision.behind, strict=True)
        behind = [(row.arm, each.gap) for row, each, is_behind in found if is_behind]
        if len(behind) > _NAMED:
            return f"{len(behind)} arms are behind by {self._gap(min(gap for _, gap in behind))} or more"
        return listed([f"{arm} is behind by {self._gap(gap)}" for arm, gap in behind]) if behind else ""

    @property
    def _counts_examples(self) -> bool:
        return bool(self.examples) and self.measure.fraction

    def _to_the_unpruned(self, taken: Choice, choices: Sequence[Choice]) -> Iterator[str]:
        several = len(choices) > 1
        found, budget, arm = taken.advice.unpruned, taken.advice.budget, taken.advice.arm
        smallest = f"{budget} is the smallest budget"
        if found is not None and several and not self.costs and found.stands == ALIKE:
            alike = "whose network is near the unpruned one and cannot be told apart from it"
            yield f"{smallest} {alike}: {self._distance(found)}{self._farther(taken, choices)}."
        elif found is not None:
            yield f"{arm} is {self._against(found)}."
        elif several and self.dense is None:
            yield f"{smallest}; what a budget costs nothing says, as the unpruned network was not trained."
        elif several:
            yield f"{smallest}; one seed does not say what a budget costs."

    def _farther(self, taken: Choice, choices: Sequence[Choice]) -> str:
        """Smaller budgets that were passed over, though nothing tells their networks apart either."""
        lost = [
            f"{each.advice.budget} ({self._gap(each.advice.unpruned.gap)})"
            for each in choices[choices.index(taken) + 1 :]
            if each.advice.unpruned is not None and each.advice.unpruned.stands == ALIKE
        ]
        return f"; farther off, if not told apart either: {listed(lost)}" if lost else ""

    def _against(self, found: Unpruned) -> str:
        """How a network stands to the unpruned one."""
        gap = f"{self._distance(found)} {'than' if found.gap else 'as'} the unpruned network"
        if found.stands != ALIKE:
            return f"{gap}, beyond doubt"
        return f"{gap}, {'not told apart from it' if found.low <= 0 <= found.high else 'not beyond doubt'}"

    def _distance(self, found: Unpruned) -> str:
        low, high = (-found.high, -found.low) if found.gap < 0 else (found.low, found.high)
        interval = between(low, high, self.measure)
        if found.gap == 0:
            return f"as good {interval}"
        return f"{self._gap(abs(found.gap))} {interval} {'better' if found.gap < 0 else 'worse'}"

    def _what_would_decide(self, taken: Choice, seeds: int | None) -> Iterator[str]:
        if taken.of_one_seed:
            yield f"{seeds} seeds give intervals and a verdict; what is trained already is kept."
        elif taken.open:
            leader = taken.decision.leader.arm
            yield " ".join(
                self._ways(each, f"the {self._gap(each.gap)} between {leader} and {each.arm}", taken.kept.n)
                for each in taken.open
            )
        elif taken.advice.untold:
            yield "No number of seeds is known to decide it: nothing is behind the leader on the test split."

    def _ways(self, found: Untold, pair: str, n: int) -> str:
        of_images = self.examples.partition(" ")[2]
        more = (
            f"about {_rounded(found.examples):,} {of_images}"
            if found.examples and self._counts_examples
            else ""
        )
        if found.seeds is not None:
            images = f", and so would {more}" if more else ""
            added = found.seeds - n
            return (
                f"About {found.seeds:,} seeds would tell {pair}, in four of five cases{images}; that is "
                f"{added:,} more, as what is trained already is kept."
            )
        if more:
            return f"No number of seeds would tell {pair} on {self.examples}; {more} would, with {n} seeds."
        if self._counts_examples:
            return f"Only more seeds and more test examples together would tell {pair}."
        return f"It would take more than 1,000 seeds to tell {pair}."

    def at_budget(self, choice: Choice) -> str:
        """One budget in a line, without its name."""
        advice = choice.advice
        why = {
            WINS: "which wins",
            EQUALS: f"one of {len(advice.equals)} that cannot be told apart",
            LEADS: "which leads but does not win",
            ONE_SEED: "ahead by one seed",
            ALONE: "the only arm",
        }[advice.why]
        against = f"; {self._against(advice.unpruned)}" if advice.unpruned else ""
        return f"keep {advice.arm}, {why}: {self._numbers(choice)}{against}"

    def _gap(self, gap: float) -> str:
        return size(gap, self.measure)


def _explained(arm: str) -> str:
    """An arm's name, with what it means."""
    return f"{arm} ({ARMS[arm].meaning})" if arm in ARMS else arm


def _rounded(count: int) -> int:
    """An estimate to two digits, rounded up.

    Example:
        >>> _rounded(30592), _rounded(7)
        (31000, 7)
    """
    step = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


def _times(leader: SummaryRow, kept: SummaryRow) -> str:
    """How much less training one takes than the leader, where that is worth saying."""
    ratio = cost(leader) / cost(kept) if cost(kept) else 0.0
    return f", {ratio:.2g} times less than {leader.arm}" if 1.1 <= ratio < 99.5 else ""
