"""What the numbers of a record mean that say how good a network is, where they are no accuracies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from secateur.records.stored import Stored

_Z = 1.959963984540054  # the standard normal's 97.5% quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(Stored):
    """The metric that a network is judged by.

    Attributes:
        name: for people: "accuracy", "dice".
        higher_is_better: the direction.
        fraction: it is the share of examples that are right, in [0, 1], shown in percent.
    """

    name: str
    higher_is_better: bool
    fraction: bool

    def shown(self, value: float) -> str:
        """A value for people: "83.0%" where it is a share of examples, "dice 0.83" of others."""
        return f"{value:.1%}" if self.fraction else f"{self.name} {number(value)}"

    def plain(self, value: float) -> str:
        """The same without the name, for columns that are headed by it."""
        return f"{value * 100:.1f}%" if self.fraction else number(value)

    def better(self, one: float, other: float) -> bool:
        """Whether one value is better than another."""
        return one > other if self.higher_is_better else one < other

    def rank(self, value: float) -> float:
        """A number that is the higher, the better the value."""
        return value if self.higher_is_better else -value

    def best(self, values: Iterable[float]) -> float:
        """The best of some values, at least one."""
        return max(values, key=self.rank)


def number(value: float) -> str:
    """Four digits, as many as seeds ever tell apart.

    Example:
        >>> number(0.8312345), number(12345.6), number(0.5)
        ('0.8312', '12,346', '0.5')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def wilson(share: float, n: int) -> tuple[float, float]:
    """Find the 95% interval of a share of `n` examples, n at least 1, which holds at 0 and 1 too.

    (p + z^2/2n -+ z sqrt(p (1 - p) / n + z^2/4n^2)) / (1 + z^2/n), with z = 1.96.

    Example:
        >>> low, high = wilson(1.0, 30)
        >>> round(low, 3), high
        (0.886, 1.0)

    Reference: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    p, extra = min(max(share, 0.0), 1.0), _Z**2 / n
    middle, half = p + extra / 2, _Z * math.sqrt(p * (1 - p) / n + extra / (4 * n))
    return max(0.0, min(p, (middle - half) / (1 + extra))), min(1.0, max(p, (middle + half) / (1 + extra)))


ACCURACY = Measure(name="accuracy", higher_is_better=True, fraction=True)
"""What is meant where a file says nothing."""
