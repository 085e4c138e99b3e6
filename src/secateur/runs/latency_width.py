"""The widest network that is fast enough, found by measuring untrained ones."""

from __future__ import annotations

from collections.abc import Callable

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget
from secateur.errors import InputError
from secateur.progress import Reporter

TRIES = 7
NEAR = 0.95
"""A network that takes so much of what it may is wide enough: no wider one is looked for."""


def width_within(
    architecture: Architecture,
    budget: Budget,
    nanoseconds: Callable[[Architecture], int],
    reporter: Reporter,
    how: str = "by measuring",
) -> tuple[Architecture, str]:
    """Narrow every layer alike until a latency budget is met, measuring as few networks as it takes.

    Between the widest network known to be fast enough and the narrowest known to be too slow, the next one is
    where a straight line through their times, over their multiply-accumulates, meets the limit.

    Args:
        budget: a latency; a share is one of the network itself.
        nanoseconds: measures a network, or foretells it.
        how: in words.

    Returns:
        The network, and in words what was measured.

    Raises:
        InputError: where the network is fast enough as it is, or none of those tried is.
    """
    whole = nanoseconds(architecture)
    limit = budget.limit(whole)
    if whole <= limit:
        raise InputError(
            f"a budget must not exceed the network's own latency, {ms(whole)}; got '{budget}' ({ms(limit)}): "
            "ask for less"
        )
    best: tuple[Architecture, int] | None = None
    low, high = (0, 0), (architecture.macs, whole)  # (multiply-accumulates, nanoseconds)
    for _ in range(TRIES):
        narrow = _narrowed(architecture, _between(low, high, limit, known=best is not None))
        if narrow is None or narrow.macs <= low[0] or narrow.macs >= high[0]:
            break
        taken = nanoseconds(narrow)
        reporter.note(f"{budget}: {narrow.macs:,} MACs take {ms(taken)} of at most {ms(limit)}")
        if taken > limit:
            high = (narrow.macs, taken)
            continue
        best, low = (narrow, taken), (narrow.macs, taken)
        if taken >= NEAR * limit:
            break
    if best is None:
        raise InputError(
            f"'{budget}' is at most {ms(limit)}, and a network narrowed to {high[0]:,} of "
            f"{architecture.macs:,} MACs takes {ms(high[1])}: ask for more, or choose another runtime"
        )
    found, taken = best
    return found, f"{budget} is met {how}: {ms(taken)} of at most {ms(limit)}, of {ms(whole)} unpruned"


def _between(low: tuple[int, int], high: tuple[int, int], limit: int, *, known: bool) -> int:
    """The multiply-accumulates to try next; of the slowest that is fast enough little may be known yet."""
    (few, fast), (many, slow) = low, high
    share = (limit - fast) / max(1, slow - fast)
    if not known:
        share *= 0.8  # there is time that no narrowing saves
    return few + int((many - few) * min(0.95, max(0.05, share)))


def _narrowed(architecture: Architecture, macs: int) -> Architecture | None:
    """The network narrowed to so many multiply-accumulates; None where that is below one channel a layer."""
    try:
        return architecture.narrowed_to(f"macs={macs}")
    except InputError:
        return None


def ms(nanoseconds: int) -> str:
    """Milliseconds for people."""
    return f"{nanoseconds / 1e6:.3g} ms"
