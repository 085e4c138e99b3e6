"""The largest widths that a budget allows, by exact search: rounded down, never up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from secateur.errors import InputError


def fit_scale(
    base: Sequence[int], cost: Callable[[list[int]], int], limit: int, what: str = "widths"
) -> tuple[Fraction, list[int]]:
    """Find the factor a up to which cost(floor(a * base)) <= limit, and the widest rounding that fits there.

    Widths are rounded down, at least 1; then, in order of the largest fraction lost, single channels are
    given back as long as the budget holds. Every width ends within one channel of a * base.

    Args:
        base: the widths that are scaled, each at least 1.
        cost: the resource used by given widths; must not fall when a width grows.
        limit: the budget in the resource's units.
        what: names the widths in an error.

    Raises:
        InputError: where even widths of 1 exceed the limit.

    Example:
        >>> fit_scale([10, 20], sum, 16)
        (Fraction(11, 20), [5, 11])
    """
    smallest = cost([1] * len(base))
    if smallest > limit:
        raise InputError(
            f"the budget of {limit:,} is below the smallest network with these {what}, {smallest:,} "
            f"(every one 1): ask for at least {smallest}"
        )
    widths = _largest_floors(base, cost, limit)
    bound = _next_breakpoint(base, widths)  # here the next channel would come, and it is one too many
    for index in sorted(range(len(base)), key=lambda i: (widths[i] - bound * base[i], i)):
        wider = [*widths[:index], widths[index] + 1, *widths[index + 1 :]]
        if widths[index] <= bound * base[index] and cost(wider) <= limit:
            widths = wider
    return bound, widths


def _largest_floors(base: Sequence[int], cost: Callable[[list[int]], int], limit: int) -> list[int]:
    """The widths just before the factor at which the limit would be passed: bisection, then exact steps."""
    low, high = Fraction(0), Fraction(1)
    while cost(_floors(base, high)) <= limit:
        low, high = high, high * 2
    while high - low > Fraction(1, max(base)):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(_floors(base, middle)) <= limit else (low, middle)
    widths = _floors(base, low)
    while cost(wider := _floors(base, _next_breakpoint(base, widths))) <= limit:
        widths = wider
    return widths


def _next_breakpoint(base: Sequence[int], widths: Sequence[int]) -> Fraction:
    """The smallest factor at which one of the rounded widths grows."""
    return min(Fraction(width + 1, full) for width, full in zip(widths, base, strict=True))


def _floors(base: Sequence[int], factor: Fraction) -> list[int]:
    return [max(1, width * factor.numerator // factor.denominator) for width in base]
