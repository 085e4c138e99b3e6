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
from secateur.records.measure import Measure
from secateur.records.results import SummaryRow

UNITS = {
    "params": "parameters",
    "macs": "MACs",
    "nonzeros": "nonzero weights",
    "bytes": "bytes",
}
"""What a network's size is said in, by what its budget limits."""
_NAMED, _SHORT = 2, 50
"""More arms than these are counted, not named; longer words on an arm are left out of the headline."""
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
        keep = (
            f"{_explained(advice.arm)}{self._of_equals(taken)}: {self._numbers(taken)}{self._beside(taken)}"
        )
        if advice.why == ONE_SEED:
            where = f"at {advice.budget} " if several else ""
            return f"One seed decides nothing; {where}ahead for now is {keep}."
        if self.costs and several:
            return f"No budget is free: at {advice.budget}, which loses least, keep {keep}."
        if worse:
            return f"Only where {advice.budget} must hold, keep {keep}."
        return f"Take {advice.budget} and keep {keep}." if several else f"Keep {keep}."

    def _of_equals(self, taken: Choice) -> str:
        """What keeps a choice among equals from being taken for a win."""
        advice = taken.advice
        count = len(advice.equals)
        if advice.why == EQUALS:
            what = {
                TRAINING: "the cheapest to train of",
                SIZE: "the smallest of",
                MACS: "the one with the fewest MACs of",
                MEAN: "one of",
            }[advice.by or MEAN]
            return f", {what} {count} that cannot be told apart"
        return {LEADS: ", which leads but does not win", ALONE: ", the only arm"}.get(advice.why, "")

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
        yield from self._why_this_budget(taken, choices)
        yield from self._why_this_arm(taken)
        yield from self._smallest_told(taken)
        yield from self._passed_over(taken)
        yield from self._to_the_unpruned(taken)
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

    def _why_this_budget(self, taken: Choice, choices: Sequence[Choice]) -> Iterator[str]:
        known, budget = taken.advice.unpruned, taken.advice.budget
        if len(choices) == 1 or self.costs:
            return
        if known is not None:
            yield (
                f"{budget} is the smallest budget whose network cannot be told apart from the unpruned one"
                f"{f'; it may still be {self._gap(known.high)} worse' if known.high > 0 else ''}."
            )
        elif self.dense is None:
            yield (
                f"{budget} is the smallest budget; the unpruned network was not trained, so that nothing "
                "here says what a budget costs."
            )
        else:
            yield f"{budget} is the smallest budget; one seed does not say what a budget costs."

    def _why_this_arm(self, taken: Choice) -> Iterator[str]:
        advice, leader = taken.advice, taken.decision.leader
        if advice.why == WINS:
            found = zip(taken.decision.others, taken.decision.differences, strict=True)
            row, nearest = min(found, key=lambda pair: pair[1].gap)
            ahead = between(nearest.gap - nearest.half, nearest.gap + nearest.half, self.measure)
            yield f"It wins: {self._gap(nearest.gap)} {ahead} ahead of {row.arm}, the nearest."
        elif advice.why == EQUALS:
            yield (
                f"A choice among equals, not a win: {listed(advice.equals)} cannot be told apart, and "
                f"{self._chosen(taken)}."
            )
        elif advice.why == LEADS:
            yield (
                f"{leader.arm} has the best mean on validation and test together; no other is near enough to "
                "be chosen in its place, but not all of them are clearly behind."
            )
        elif advice.why == ONE_SEED:
            yield (
                f"{leader.arm} has the best {self.measure.name} on validation and test together; another "
                "seed may turn that round."
            )

    def _chosen(self, taken: Choice) -> str:
        """What spoke for one of the equals."""
        advice, leader, kept = taken.advice, taken.decision.leader, taken.kept
        if advice.by == MEAN:
            return f"they cost the same: {advice.arm} has the best mean on validation and test together"
        why = {
            TRAINING: "takes the least training",
            SIZE: f"takes as little training as any, with the fewest {UNITS[self.resource]}",
            MACS: "takes as little training as any, with the fewest MACs",
        }[advice.by or MEAN]
        if kept is leader:
            return f"{advice.arm}, which leads, {why}"
        times = _times(leader, kept) if advice.by == TRAINING else ""
        (found,) = [each for each in advice.untold if each.arm == advice.arm]
        stands = f"{self._gap(abs(found.gap))} {'behind' if found.gap > 0 else 'ahead of'} it"
        level = "level with it" if found.gap == 0 else stands
        return f"{advice.arm} {why}{times}; {leader.arm} leads, {advice.arm} is {level} on the test split"

    def _smallest_told(self, taken: Choice) -> Iterator[str]:
        """The resolution of the comparison, and who is beyond it."""
        advice, decision = taken.advice, taken.decision
        if not decision.differences:
            return
        seeds = f"{taken.kept.n} seeds{f' and {self.examples}' if self._counts_examples else ''}"
        if advice.told_from is None or (self.measure.fraction and advice.told_from > 1):
            yield f"{seeds} cannot tell any gap here."
            return
        found = zip(decision.others, decision.differences, decision.behind, strict=True)
        behind = [(row.arm, each.gap) for row, each, is_behind in found if is_behind]
        if len(behind) <= _NAMED:
            who = listed([f"{arm} is behind by {self._gap(gap)}" for arm, gap in behind]) if behind else ""
        else:
            who = f"{len(behind)} arms are behind by {self._gap(min(gap for _, gap in behind))} or more"
        yield f"{seeds} cannot tell gaps under {self._gap(advice.told_from)}{f'; {who}' if who else ''}."

    @property
    def _counts_examples(self) -> bool:
        return bool(self.examples) and self.measure.fraction

    def _passed_over(self, taken: Choice) -> Iterator[str]:
        """Say which arms are neither clearly behind nor near enough to be chosen."""
        advice = taken.advice
        left = [each for each in advice.untold if each.arm not in advice.equals]
        if left:
            yield f"Behind, but not beyond doubt: {'; '.join(map(self._doubtful, left))}."

    def _doubtful(self, found: Untold) -> str:
        told = "no gap is" if found.told_from is None else f"{self._gap(found.told_from)} would be"
        return f"{found.arm} by {self._gap(found.gap)}, where {told} told"

    def _to_the_unpruned(self, taken: Choice) -> Iterator[str]:
        found = taken.advice.unpruned
        if found is not None:
            yield f"{taken.advice.arm} is {self._against(found)}."

    def _against(self, found: Unpruned) -> str:
        """How a network stands to the unpruned one."""
        less = -found.gap if found.gap < 0 else found.gap
        low, high = (-found.high, -found.low) if found.gap < 0 else (found.low, found.high)
        side = "better" if found.gap < 0 else "worse"
        gap = f"{self._gap(less)} {between(low, high, self.measure)} {side} than the unpruned network"
        if found.gap == 0:
            gap = f"as good as the unpruned network {between(low, high, self.measure)}"
        if found.stands != ALIKE:
            return f"{gap}, beyond doubt"
        return f"{gap}, {'not told apart from it' if found.low <= 0 <= found.high else 'not beyond doubt'}"

    def _what_would_decide(self, taken: Choice, seeds: int | None) -> Iterator[str]:
        if taken.of_one_seed:
            yield f"{seeds} seeds give intervals and a verdict; what is trained already is kept."
        for found in taken.open:
            pair = f"the {self._gap(found.gap)} between {taken.decision.leader.arm} and {found.arm}"
            yield self._ways(found, pair, taken.kept.n)

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
    meaning = ARMS[arm].meaning if arm in ARMS else ""
    return f"{arm} ({meaning})" if 0 < len(meaning) <= _SHORT else arm


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
