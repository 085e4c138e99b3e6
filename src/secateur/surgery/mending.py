"""Groups that fail their proof, mended: what has to change with a cut so that it is right."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.surgery.graph import ChannelGraph
from secateur.surgery.trial import Trial


def mended(
    trial: Trial, graph: ChannelGraph, name: str, proven: Sequence[str], reason: str
) -> ChannelGraph | None:
    """Find the graph in which cuts of a group are right that fail in this one; None where there is none.

    Args:
        proven: groups that passed before; the mended one must pass together with them.
        reason: why cuts of the group are wrong, by `Trial.failure`.
    """
    return _balanced(trial, graph, name, proven)


def _balanced(trial: Trial, graph: ChannelGraph, name: str, proven: Sequence[str]) -> ChannelGraph | None:
    """Tie the group's channels in sets, where that passes: a shuffle wants equal shares."""
    group = graph.groups[name]
    for size in (size for size in range(2, 17) if group.width % size == 0 and group.width > size):
        for kind in ("parts", "runs"):
            tied = graph.with_group(group.tied(f"{size} {kind}"))
            if not (trial.failure(tied, [name]) or trial.failure(tied, [*proven, name])):
                return tied
    return None
