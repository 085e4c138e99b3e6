"""A comparison of which runs failed: which networks are missing, and what the verdict stands on then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from secateur.compare.replicate import Replicate
from secateur.compare.wanted import Wanted
from secateur.compare.wording import listed
from secateur.records.failed import Failed, FailedRun, Missing
from secateur.records.results import BudgetVerdict, SummaryRow, Verdict
from secateur.runs.graph import Graph, Made, Node


def failed_runs(told: Mapping[str, Failed]) -> tuple[FailedRun, ...]:
    """The runs that failed, as results have them."""
    return tuple(FailedRun(run_id=each.run_id, label=name, error=each.error) for name, each in told.items())


def missing_in(
    wanted: Wanted, replicates: Sequence[Replicate], made: Made, failed: Mapping[str, Failed]
) -> tuple[Missing, ...]:
    """The networks that are not there, each with the run that failed: its own, or one that it waits for."""
    return tuple(
        Missing(arm=arm, budget=budget, seed=seed, failed=cause_of(node, made.graph, failed) or node.name)
        for arm, budget, seed, node in _wanted(wanted, replicates)
        if not made.has(node)
    )


def _wanted(wanted: Wanted, replicates: Sequence[Replicate]) -> Iterator[tuple[str, str | None, int, Node]]:
    for replicate in replicates if wanted.needs_dense else ():
        yield "dense", None, replicate.seed, replicate.dense()
    for budget in wanted.question.budgets:
        for arm in wanted.arms:
            for replicate in replicates:
                yield arm.name, str(budget), replicate.seed, arm.node(replicate, budget)


def cause_of(node: Node, graph: Graph, failed: Mapping[str, Failed]) -> str | None:
    """The name of the failed run that a node stands on; None where none is among those it waits for."""
    if node.name in failed:
        return node.name
    causes = (cause_of(graph.nodes[name], graph, failed) for name in node.after)
    return next((cause for cause in causes if cause is not None), None)


def with_intervals(summary: Sequence[SummaryRow]) -> tuple[SummaryRow, ...]:
    """Without rows that lost all seeds but one, where others at the budget have more: they have no interval.

    One failed run would else take the verdict from all other arms.
    """
    several = {row.budget for row in summary if row.n > 1}
    return tuple(row for row in summary if row.n > 1 or row.budget not in several)


def lost_seeds(missing: Sequence[Missing]) -> dict[tuple[str, str | None], tuple[int, ...]]:
    """The seeds that are not there of an arm at a budget, for all of which some are not."""
    lost: dict[tuple[str, str | None], tuple[int, ...]] = {}
    for each in missing:
        lost[each.arm, each.budget] = (*lost.get((each.arm, each.budget), ()), each.seed)
    return lost


def with_gaps(
    verdict: Verdict, careless: Verdict, summary: Sequence[SummaryRow], missing: Sequence[Missing]
) -> Verdict:
    """Say on how many seeds a verdict stands where runs failed, for the whole and at each budget.

    Args:
        careless: the same by the seeds that are there alone.
    """
    judged = {(row.arm, row.budget) for row in with_intervals(summary)}
    there = {(row.arm, row.budget): row.n for row in summary}
    lost = lost_seeds(missing)
    leads: dict[tuple[str, str | None], str] = {
        (entry.leader, entry.budget): _in_its_favour(entry, before)
        for entry, before in zip(verdict.per_budget, careless.per_budget, strict=True)
    }

    def said(cell: tuple[str, str | None]) -> str:
        n, total = there.get(cell, 0), there.get(cell, 0) + len(lost[cell])
        if not n:
            return f"{cell[0]} failed"
        more = leads.get(cell, "") if cell in judged else ", too few to be judged"
        return f"{cell[0]} stands on {n} of {total} seeds{more}"

    per_budget = tuple(
        replace(
            entry, text="; ".join([entry.text, *(said(cell) for cell in lost if cell[1] == entry.budget)])
        )
        for entry in verdict.per_budget
    )
    cells = [f"{said(cell)}{f' at {cell[1]}' if cell[1] else ''}" for cell in lost if cell[0] != "dense"]
    some = cells if len(cells) <= 3 else [*cells[:2], f"{len(cells) - 2} more"]
    of_whole = f" Runs failed: {listed(some)}." if cells else ""
    return replace(verdict, text=f"{verdict.text}{of_whole}", per_budget=per_budget)


def _in_its_favour(said: BudgetVerdict, careless: BudgetVerdict) -> str:
    """What becomes of what speaks for the leader when its failed seeds count as the worst."""
    if careless.winner and not said.winner:
        return " and wins by these alone: not with those that failed counted as the worst"
    if set(careless.behind) - set(said.behind):
        return " and is ahead by these alone: not with those that failed counted as the worst"
    if said.winner or said.behind:
        return ", and what is said for it holds with those that failed counted as the worst"
    return ""
