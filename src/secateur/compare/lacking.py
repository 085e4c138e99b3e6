"""What a comparison has not got yet: networks that wait, runs that failed and what is missing for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass

from secateur.compare.gaps import cause_of
from secateur.compare.replicate import Replicate
from secateur.compare.wanted import Wanted
from secateur.records.failed import Failed
from secateur.runs.graph import Made, Node, NotMadeError

_LONGEST = 300
"""Characters of an error that are told; its folder has all of it."""


@dataclass(frozen=True)
class Lacking:
    """What is not there, in words.

    Attributes:
        waiting: arms at budgets that are not there with every seed, but for what failed.
        failed: runs that failed, each with why, and how many networks are missing for it.
    """

    waiting: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def lacking(
    wanted: Wanted, replicates: Sequence[Replicate], made: Made, since: str, there: Set[str]
) -> Lacking:
    """Say what is not there.

    Args:
        since: runs that failed before are made again: UTC as ISO 8601; empty: they are not.
        there: the names of the nodes that are finished.
    """
    failed = {
        node.name: failure
        for node in made.graph
        if node.name not in there and (failure := _failure(node, made)) and failure.date >= since
    }
    waiting, lost = [], Counter[str]()
    for budget in wanted.question.budgets:
        for arm in wanted.arms:
            missing = [node for each in replicates if (node := arm.node(each, budget)).name not in there]
            causes = [cause_of(node, made.graph, failed) for node in missing]
            lost.update(cause for cause in causes if cause is not None)
            if None in causes:
                found = len(replicates) - len(missing)
                seeds = f", {found} of {len(replicates)} seeds there" if found else ""
                waiting.append(f"{arm.name} {budget}{seeds}")
    return Lacking(tuple(waiting), tuple(_told(name, each, lost[name]) for name, each in failed.items()))


def _failure(node: Node, made: Made) -> Failed | None:
    """Why a node's run failed; None where it did not, or nobody can tell yet which run it is."""
    with suppress(NotMadeError, ValueError, RuntimeError):
        return made.store.failure(made.run(node).run_id)
    return None


def _told(name: str, failed: Failed, lost: int) -> str:
    why = failed.error if len(failed.error) <= _LONGEST else f"{failed.error[:_LONGEST]}..."
    many = f" ({lost} networks are missing for it)" if lost > 1 else ""
    return f"{name}: {why}{many}"
