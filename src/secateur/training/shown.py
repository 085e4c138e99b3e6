"""How `sc.prune` shows itself elsewhere: what services are told of a pruning, `log_with=`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import distributed

from secateur.methods import ChannelPruning
from secateur.tracking.pruning import ShownPruning


def in_words(pruning: ChannelPruning) -> str:
    """Say what pruning stops at."""
    if pruning.removals is not None:
        return f"{pruning.removals} channels fewer"
    return ", ".join(map(str, filter(None, (pruning.goal.wanted, pruning.bounds.text))))


def shown_in(
    services: Sequence[str],
    folder: str | Path,
    pruning: ChannelPruning,
    settings: Mapping[str, Any],
    note: Callable[[str], None],
) -> ShownPruning:
    """Begin to show a pruning in services; of several processes the first tells.

    Args:
        settings: what was asked for besides the method's own.
        note: is told where a service cannot be reached.
    """
    if distributed.is_available() and distributed.is_initialized() and distributed.get_rank():
        services = ()
    asked = {**pruning.identity(), "goal": in_words(pruning), **settings}
    return ShownPruning(services, Path(folder), f"{pruning.name} to {in_words(pruning)}", asked, note)


def came_to(pruning: ChannelPruning, judged: Mapping[str, float]) -> dict[str, float]:
    """What a pruning came to, in numbers.

    Args:
        judged: what was measured of it.
    """
    sizes = {name: pruning.anatomy.costs.now[name] for name in ("params", "macs", "nonzeros")}
    return {**sizes, "removed": len(pruning.removed), **judged}
