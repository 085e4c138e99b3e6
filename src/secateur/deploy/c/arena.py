"""Where every buffer lies in the arena: those needed at the same time lie apart, all others may overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from secateur.deploy.c.program import ALIGNMENT


@dataclass(frozen=True)
class Span:
    """When memory is needed, and how much of it.

    Attributes:
        first, last: the first and the last step in which it is needed.
        size: bytes, above 0.
    """

    first: int
    last: int
    size: int

    def meets(self, other: Span) -> bool:
        """Whether both are needed in some step."""
        return self.first <= other.last and other.first <= self.last


def planned(spans: Sequence[Span]) -> tuple[list[int], int]:
    """Find an offset for each span, and how many bytes they take together: no more than laid end to end.

    Greedy, each at the lowest free place, in several orders, of which the best is kept: to find the least
    memory is NP-hard (dynamic storage allocation, Garey & Johnson 1979, SR2), and by size first is rarely far
    from it (Pisarchyk & Lee 2020, arXiv:2001.03288).

    Example:
        >>> planned([Span(0, 1, 64), Span(1, 2, 64), Span(2, 3, 64)])
        ([0, 64, 0], 128)
    """
    orders: list[Callable[[int], tuple[int, ...]]] = [
        lambda n: (-spans[n].size, spans[n].first),
        lambda n: (-spans[n].size * (spans[n].last - spans[n].first + 1), spans[n].first),
        lambda n: (spans[n].first, -spans[n].size),
        lambda n: (spans[n].first - spans[n].last, -spans[n].size),
    ]
    plans = [_placed(spans, sorted(range(len(spans)), key=order)) for order in orders]
    return min(plans, key=lambda plan: plan[1])


def _placed(spans: Sequence[Span], order: Sequence[int]) -> tuple[list[int], int]:
    """Place each span, in an order, at the lowest place where it meets none that is placed already."""
    offsets = [0] * len(spans)
    placed: list[int] = []
    for n in order:
        offset = 0
        for begin, end in sorted(
            (offsets[m], offsets[m] + spans[m].size) for m in placed if spans[m].meets(spans[n])
        ):
            if offset + spans[n].size <= begin:
                break
            offset = max(offset, aligned(end))
        offsets[n] = offset
        placed.append(n)
    return offsets, aligned(max((offsets[n] + spans[n].size for n in placed), default=0))


def aligned(size: int) -> int:
    """Round up to whole `ALIGNMENT`s."""
    return -(-size // ALIGNMENT) * ALIGNMENT
