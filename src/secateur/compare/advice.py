"""From a verdict to advice: which network to keep, at which budget, and what would decide what is open.

Nothing is tested here that the verdict does not test: who wins, who is behind and the smallest gap that can
be told are its own rule (`secateur.compare.differences.conclude`), asked with other gaps. The unpruned
network is one more arm, compared with one other: the rule of two arms.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from secateur.compare.advising import Told
from secateur.compare.choice import Choice, cost
from secateur.compare.differences import Difference, conclude, told_from
from secateur.compare.verdict import Decision, Evidence, decisions, differences_from, rows_at
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
    Advice,
    BudgetAdvice,
    Unpruned,
    Untold,
)
from secateur.records.measure import ACCURACY, Measure
from secateur.records.results import SummaryRow

FEW_SEEDS = 3
"""The fewest seeds that a verdict can be had from with some hope."""


@dataclass(frozen=True)
class Question:
    """What was asked, as far as advice needs it.

    Attributes:
        resource: what the budgets limit.
        command: that gives the comparison again.
        arms, seeds: that were asked for; none and 0 where that is not known.
        classes: of the data; 0 where that is not known.
    """

    resource: str = "params"
    command: str = ""
    arms: tuple[str, ...] = ()
    seeds: int = 0
    classes: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any], command: str) -> Question:
        """Read what results say of their settings."""
        arms, seeds = settings.get("arms"), settings.get("seeds")
        return cls(
            settings.get("resource", "params"),
            command,
            tuple(filter(None, arms.split(", "))) if isinstance(arms, str) else (),
            seeds if isinstance(seeds, int) else 0,
        )


def advise(
    summary: Sequence[SummaryRow],
    dense: SummaryRow | None,
    evidence: Evidence | None = None,
    measure: Measure = ACCURACY,
    question: Question | None = None,
    decided: Mapping[str | None, Decision] | None = None,
) -> Advice | None:
    """Say which network to keep; None where none is there.

    At each budget the winner is kept. Where nobody wins, it is the cheapest to train of those that might as
    well be the best; equally cheap, the smallest. Of several budgets the smallest is taken whose network is
    as near to the unpruned one as can be told; where none is, the one that loses least.

    Args:
        summary: one row for each arm and budget.
        dense: of the unpruned network, None where it was not trained.
        evidence: of the splits, the unpruned network's scores among them; None: only the seeds count.
        decided: what `decisions` found of the same, where that is known.
    """
    evidence, question = evidence or Evidence(), question or Question()
    decided = decisions(summary, evidence, measure) if decided is None else decided
    at = rows_at(summary)
    budgets = sorted({(row.limit or 0, row.budget or "") for row in summary}, reverse=True)
    choices = [
        _choice(at[budget], decided[budget], dense, evidence, measure, question) for _, budget in budgets
    ]
    if not choices:
        return None
    taken, costs = _budget(choices)
    chance = 1 / question.classes if measure == ACCURACY and question.classes > 1 else 0.0
    told = Told(measure, question.resource, _examples(evidence), dense, costs, chance)
    seeds = _seeds(taken)
    command = None if seeds is None else with_seeds(question.command, seeds)
    lines = list(told.lines(taken, choices, seeds))
    if seeds is not None and command is None:  # it was no command, but a call
        lines.append(f"The same call with seeds={seeds} adds them.")
    return Advice(
        text=told.headline(taken, choices),
        budget=taken.advice.budget,
        arm=taken.advice.arm,
        lines=tuple(lines),
        seeds=seeds,
        command=command,
        per_budget=tuple(replace(each.advice, text=told.at_budget(each)) for each in choices),
    )


def _examples(evidence: Evidence) -> str:
    return f"{evidence.test:,} test {evidence.things}" if evidence.test else ""


def _choice(
    rows: Sequence[SummaryRow],
    decision: Decision,
    dense: SummaryRow | None,
    evidence: Evidence,
    measure: Measure,
    question: Question,
) -> Choice:
    known = told_from(decision.differences)
    beside = _unpruned(rows, dense, evidence, measure)
    near = _near_enough(decision, beside)
    kept, by = _cheapest(near, decision.leader, question.resource)
    told = zip(decision.others, decision.behind, strict=False) if decision.differences else ()
    alike = [row.arm for row, behind in told if not behind]
    advice = BudgetAdvice(
        budget=kept.budget or "",
        limit=kept.limit or 0,
        arm=kept.arm,
        why=_why(decision, near),
        by=by if len(near) > 1 else None,
        equals=(decision.leader.arm, *alike) if alike else (),
        near=tuple(row.arm for row in near) if alike else (),
        untold=tuple(
            _untold(row, each, smallest, evidence.test, decision.leader.n)
            for row, each, smallest, behind in zip(
                decision.others, decision.differences, known, decision.behind, strict=False
            )
            if not behind
        ),
        told_from=_finite(min(known, default=math.inf)),
        unpruned=beside.get(kept.arm),
        missing=_missing(rows, question),
        text="",
    )
    return Choice(decision, kept, advice)


def _why(decision: Decision, near: Sequence[SummaryRow]) -> str:
    if not decision.others:
        return ALONE
    if not decision.differences:
        return ONE_SEED
    return WINS if decision.wins else EQUALS if len(near) > 1 else LEADS


def _near_enough(decision: Decision, beside: Mapping[str, Unpruned]) -> list[SummaryRow]:
    """Find the arms that may be chosen from: the leader, and of those not told apart from it the near ones.

    "Not clearly behind" is not enough for that: an arm whose seeds lie far apart is behind beyond doubt only
    where it is far behind. So an arm must be nearer to the leader than half the narrowest interval of a
    difference: no gap that would have been told of a quiet arm is passed over in a noisy one. As near it must
    be to the unpruned network, where the leader is.

    Args:
        beside: every arm's distance to the unpruned network, as far as it is known.
    """
    if decision.wins:
        return [decision.leader]
    nearest = min((each.half for each in decision.differences), default=0.0)
    good = _near(beside)
    near = [
        row
        for row, each, behind in zip(decision.others, decision.differences, decision.behind, strict=False)
        if not behind and each.gap < nearest
        if row.arm in good or decision.leader.arm not in good or each.gap <= 0
    ]
    return [decision.leader, *near]


def _near(beside: Mapping[str, Unpruned]) -> set[str]:
    """Name those that are nearer to the unpruned network than half the narrowest interval."""
    narrowest = min((each.high - each.gap for each in beside.values()), default=0.0)
    return {name for name, each in beside.items() if each.gap < narrowest}


def _cheapest(near: Sequence[SummaryRow], leader: SummaryRow, resource: str) -> tuple[SummaryRow, str]:
    """Choose by training, then size, then MACs; of what costs the same in all of them, the leader's mean."""
    left = list(near)
    for by, count in ((TRAINING, cost), (SIZE, lambda row: row.count_of(resource) or 0.0), (MACS, _macs)):
        least = min(map(count, left))
        left = [row for row in left if count(row) <= least]
        if len(left) == 1:
            return left[0], by
    return next((row for row in left if row is leader), left[0]), MEAN


def _macs(row: SummaryRow) -> float:
    return row.macs


def _untold(row: SummaryRow, found: Difference, smallest: float, examples: int | None, seeds: int) -> Untold:
    needed = more = None
    if found.gap > 0:
        needed = found.seeds_needed
        if needed is not None and needed <= seeds:  # enough for two arms, but not for the rule as a whole
            needed = found.seeds_to_tell(smallest) if math.isfinite(smallest) else None
        more = found.examples_needed(examples) if examples else None
    return Untold(
        arm=row.arm,
        gap=found.gap,
        told_from=_finite(smallest),
        seeds=None if needed is None else max(needed, seeds + 1),
        examples=more if more and examples and more > examples else None,
    )


def _finite(gap: float) -> float | None:
    return gap if math.isfinite(gap) else None


def _unpruned(
    rows: Sequence[SummaryRow], dense: SummaryRow | None, evidence: Evidence, measure: Measure
) -> dict[str, Unpruned]:
    """Compare the unpruned network with each of a budget's arms, as the verdict compares two arms."""
    found = [] if dense is None else differences_from(dense, [*rows, dense], evidence, measure)
    return {row.arm: _stands(each, row.n) for row, each in zip(rows, found, strict=False)}


def _stands(found: Difference, seeds: int) -> Unpruned:
    stands = WORSE if conclude([found]).wins else ALIKE
    if conclude([replace(found, gap=-found.gap)]).wins:
        stands = BETTER
    needed = found.seeds_needed if found.gap > 0 and stands == ALIKE else None
    return Unpruned(
        gap=found.gap,
        low=found.gap - found.half,
        high=found.gap + found.half,
        told_from=_finite(told_from([found])[0]),
        stands=stands,
        seeds=None if needed is None else max(needed, seeds + 1),
    )


def _missing(rows: Sequence[SummaryRow], question: Question) -> tuple[str, ...]:
    """Name the arms that are not there, or not with all seeds."""
    found = {row.arm: row.n for row in rows}
    wanted = question.arms or tuple(found)
    return tuple(arm for arm in wanted if found.get(arm, 0) < max(question.seeds, 1))


def _budget(choices: Sequence[Choice]) -> tuple[Choice, bool]:
    """Choose among budgets, the largest of which comes first, and say whether it costs what can be told.

    The smallest whose network is as near to the unpruned one as `_near` says; else what loses least.
    """
    beside = {each.advice.budget: each.advice.unpruned for each in choices if each.advice.unpruned}
    if not beside:
        return choices[-1], False
    good = _near(beside)
    known = [each for each in choices if each.advice.budget in beside]
    if good:
        return [each for each in known if each.advice.budget in good][-1], False
    return min(reversed(known), key=lambda each: beside[each.advice.budget].gap), True


def _seeds(taken: Choice) -> int | None:
    """Say how many seeds would decide what is open where the network is taken; None: they would not."""
    if taken.of_one_seed:
        return FEW_SEEDS
    return next((each.seeds for each in taken.open if each.seeds is not None), None)


def with_seeds(command: str, seeds: int) -> str | None:
    """Write a comparison's command for so many seeds; None where it is no command of ours.

    Example:
        >>> with_seeds("secateur compare --seeds 3 --out 'my folder'", 8)
        "secateur compare --out 'my folder' --seeds 8"
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if words[:1] != ["secateur"] or "compare" not in words:
        return None
    kept, skip = [], False
    for word in words:
        if not skip and word != "--seeds" and not word.startswith("--seeds="):
            kept.append(word)
        skip = not skip and word == "--seeds"
    return shlex.join([*kept, "--seeds", str(seeds)])
