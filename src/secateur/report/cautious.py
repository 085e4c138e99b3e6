"""Numbers for strangers, rounded so that nothing looks better than it is."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from secateur.records.measure import Measure, wilson


def percent(share: float | Decimal, *, up: bool = False, digits: int = 1) -> str:
    """A share in percent, to a tenth, rounded down; or up, where more is worse.

    Example:
        >>> percent(0.9999), percent(0.216), percent(0.2501, up=True)
        ('99.9%', '21.6%', '25.1%')
    """
    exact = Decimal(repr(share)) if isinstance(share, float) else Decimal(share)
    step = Decimal(1).scaleb(-digits)
    return f"{(100 * exact).quantize(step, ROUND_CEILING if up else ROUND_FLOOR)}%"


def ratio(one: int, other: int, *, up: bool = True) -> str:
    """One count as a percentage of another, to a hundredth, rounded up, as more is worse; or down.

    Example:
        >>> ratio(1, 3), ratio(1, 3, up=False)
        ('33.34%', '33.33%')
    """
    return percent(Decimal(one) / Decimal(other), up=up, digits=2)


def right_of(accuracy: float, n: int) -> int | None:
    """How many of `n` are right; None where the accuracy is no share of them.

    Example:
        >>> right_of(0.216, 500), right_of(0.2161, 500)
        (108, None)
    """
    right = round(accuracy * n)
    return right if abs(accuracy - right / n) < 1e-9 else None


def score(measure: Measure, value: float, n: int | None) -> str:
    """How good a network is, as pages for strangers say it."""
    if not measure.fraction:
        return measure.plain(value)
    right = right_of(value, n) if n else None
    share = percent(value if right is None or not n else Decimal(right) / n)
    return share if right is None else f"{share} ({right:,} of {n:,})"


def interval(measure: Measure, value: float, n: int | None) -> str:
    """Wilson's 95% interval of a share of `n` examples, rounded outwards; "-" of all that is no share."""
    if not measure.fraction or not n:
        return "-"
    low, high = wilson(value, n)
    return f"{percent(low)} to {percent(high, up=True)}"


def milliseconds(nanoseconds: int) -> str:
    """A time, three digits of it, rounded up.

    Example:
        >>> milliseconds(1_234_001), milliseconds(999), milliseconds(123_456_789)
        ('1.24 ms', '0.000999 ms', '124 ms')
    """
    exact = Decimal(nanoseconds) / 1_000_000
    step = Decimal(1).scaleb(exact.adjusted() - 2) if exact else Decimal(1)
    rounded = exact.quantize(min(step, Decimal(1)), ROUND_CEILING)
    return f"{rounded:f} ms"


def size(count: int | None) -> str:
    """A count, exactly; "-" where it is not known."""
    return "-" if count is None else f"{count:,}"
