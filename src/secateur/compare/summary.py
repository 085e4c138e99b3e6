"""From points to means with intervals: one row for each arm and budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from secateur.records.measure import ACCURACY, Measure, wilson
from secateur.records.point import Point
from secateur.records.results import SummaryRow

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of `n` values and how sure it is.

    Attributes:
        std: standard deviation of the sample; None of one value, as are the other three.
        half: half the width of the 95% interval; where it is not symmetric, of its longer side twice.
        low, high: its bounds; of shares cut to [0, 1] where it reaches past them.
    """

    n: int
    mean: float
    std: float | None = None
    half: float | None = None
    low: float | None = None
    high: float | None = None


def interval(values: Sequence[float], examples: int | None = None, share: bool = True) -> Interval:
    """n, mean, sample standard deviation, and the 95% interval of a mean over seeds.

    It is Student's t over the seeds. Of shares of `examples` each, Wilson's interval of the share is added,
    side by side in squares: other examples would have given others, and 100% of 30 is not all there is.

    Args:
        share: the values are fractions, and so are the bounds.

    Example:
        >>> interval([0.5, 0.75]).mean
        0.625
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(1, mean)
    from scipy.special import stdtrit  # Student's t quantile; scipy.stats takes a second to import

    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(n)
    down = up = half
    if examples and share and 0 <= mean <= 1:
        low, high = wilson(mean, examples)
        down, up = math.hypot(half, mean - low), math.hypot(half, high - mean)
    bounds = (0.0, 1.0) if share else (-math.inf, math.inf)
    return Interval(n, mean, std, max(down, up), max(bounds[0], mean - down), min(bounds[1], mean + up))


def summarise(
    points: Sequence[Point],
    limits: Mapping[str, int],
    *,
    test: int | None = None,
    measure: Measure = ACCURACY,
) -> tuple[SummaryRow, ...]:
    """One row for each arm and budget, in the points' order of first appearance.

    `val_mean`, sizes and compute are means over the seeds. What not every point of a cell has (`nonzeros`,
    `weights`, `accuracy_before`, `accuracy_after_cut`, `bytes`) is left out of its row.

    Args:
        limits: budget -> units.
        test: examples in the test split; None: intervals are of the seeds alone.
        measure: what the points' accuracies are.
    """
    cells: dict[tuple[str, str | None], list[Point]] = {}
    for point in points:
        cells.setdefault((point.arm, point.budget), []).append(point)
    return tuple(
        _row(cell, limits.get(budget) if budget else None, test, measure)
        for (_, budget), cell in cells.items()
    )


def _row(cell: Sequence[Point], limit: int | None, test: int | None, measure: Measure) -> SummaryRow:
    return SummaryRow(
        arm=cell[0].arm,
        budget=cell[0].budget,
        limit=limit,
        **asdict(interval([point.accuracy for point in cell], test, measure.fraction)),
        seeds=tuple(point.seed for point in cell),
        values=tuple(point.accuracy for point in cell),
        val_mean=_mean([point.val_accuracy for point in cell]),
        params=_mean([point.params for point in cell]),
        macs=_mean([point.macs for point in cell]),
        train_compute=_mean([point.train_compute for point in cell]),
        discovery_compute=_mean([point.discovery_compute for point in cell]),
        wall_s=_mean([point.wall_s for point in cell]),
        nonzeros=_mean_of_all([point.nonzeros for point in cell]),
        weights=_mean_of_all([point.weights for point in cell]),
        accuracy_before=_mean_of_all([point.accuracy_before for point in cell]),
        accuracy_after_cut=_mean_of_all([point.accuracy_after_cut for point in cell]),
        bytes=_mean_of_all([point.bytes for point in cell]),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    """The mean where every value is there."""
    found = [value for value in values if value is not None]
    return _mean(found) if len(found) == len(values) else None
