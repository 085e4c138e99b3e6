"""How the metric that judges networks is written and drawn: accuracies in percent, others as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

from secateur.records.measure import Measure, number
from secateur.records.results import Results


@dataclass(frozen=True)
class Quantity:
    """The metric of a comparison.

    Example:
        >>> Quantity(ACCURACY).of(0.5), Quantity(ACCURACY).axis("test")
        (50.0, 'accuracy on the test split (%)')
    """

    measure: Measure

    @property
    def name(self) -> str:
        """For headings: "accuracy", "dice"."""
        return self.measure.name

    @property
    def title(self) -> str:
        """The name, as a heading begins."""
        return self.name[:1].upper() + self.name[1:]

    @property
    def in_percent(self) -> bool:
        """Whether it is a share of examples, whose rest is the error."""
        return self.measure.fraction

    @property
    def unit(self) -> str:
        """Behind a number."""
        return " %" if self.in_percent else ""

    @property
    def heading(self) -> str:
        """Of a column or an axis."""
        return f"{self.name} (%)" if self.in_percent else self.name

    @property
    def room(self) -> float:
        """Pixels that an axis of its values takes, with its name."""
        return 58.0 if self.in_percent else 82.0

    def axis(self, split: str) -> str:
        """The title of an axis of values on a split."""
        return f"{self.name} on the {split} split{' (%)' if self.in_percent else ''}"

    def of(self, value: float | None) -> float | None:
        """A value as it is drawn; None where there is no finite number."""
        if value is None or not math.isfinite(value):
            return None
        return 100.0 * value if self.in_percent else value

    def drawn(self, value: float) -> float:
        """The same of a value that is there."""
        return 100.0 * value if self.in_percent else value

    def text(self, mean: float | None, std: float | None) -> str:
        """Mean and sample standard deviation.

        Example:
            >>> Quantity(ACCURACY).text(0.9612, 0.0042), Quantity(ACCURACY).text(0.5, None)
            ('96.12 ± 0.42', '50.00')
        """
        center, spread = self.of(mean), self.of(std)
        if center is None:
            return "–"
        text = self._written(center)
        return text if spread is None else f"{text} ± {self._written(spread)}"

    def span(self, low: float | None, high: float | None) -> str | None:
        """An interval; None where there is none."""
        one, other = self.of(low), self.of(high)
        return None if one is None or other is None else f"{self._written(one)} to {self._written(other)}"

    def written(self, mean: float, low: float | None, high: float | None, signed: bool = False) -> str:
        """A value that is drawn, and its interval.

        Example:
            >>> Quantity(ACCURACY).written(96.5, 95.0, 97.25)
            '96.50 (95.00 to 97.25)'
            >>> Quantity(ACCURACY).written(1.5, None, None, signed=True)
            '+1.50'
        """
        sign = "+" if signed and mean > 0 else ""
        span = "" if low is None or high is None else f" ({self._written(low)} to {self._written(high)})"
        return f"{sign}{self._written(mean)}{span}"

    def _written(self, value: float) -> str:
        return f"{value:.2f}" if self.in_percent else number(value)

    @property
    def limits(self) -> tuple[float, float]:
        """Between which its values lie."""
        return (0.0, 100.0) if self.in_percent else (-math.inf, math.inf)


def quantity_of(results: Results) -> Quantity:
    """The metric of a comparison."""
    return Quantity(results.measure)
