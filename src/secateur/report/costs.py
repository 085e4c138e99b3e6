"""What accuracy is drawn against: parameters, MACs, bytes, milliseconds, compute, time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from secateur.records.point import Point
from secateur.records.results import Results, SummaryRow

from .series import NAMES, budgets, extent, points_of_rows, zeroes_weights


@dataclass(frozen=True)
class Axis:
    """The axis of sizes. What is measured on it, distances say, is measured between places.

    Example:
        >>> Axis(log=True).place(1000), Axis(log=True).value(2), Axis(log=False).place(1000)
        (3.0, 100.0, 1000)
    """

    log: bool

    def place(self, value: float) -> float:
        """Where a size lies: its decimal logarithm or itself, where a distance is one on paper."""
        return math.log10(value) if self.log else value

    def value(self, place: float) -> float:
        """The size at a place."""
        return 10.0**place if self.log else place

    def extent(self, values: Sequence[float], pad: float) -> list[float]:
        """The places between which the axis runs, with a little air."""
        return extent([self.place(v) for v in values], pad, floor=-math.inf if self.log else 0)


WIDE = 20
"""Sizes further apart than this factor would lie on top of each other on a linear axis."""


@dataclass(frozen=True)
class Cost:
    """What accuracy is drawn against: its key, its name in words, and whether single seeds say it too."""

    key: str
    name: str

    def of_point(self, point: Point) -> float | None:
        """What one network costs; None where nothing is said."""
        if self.key == "latency":
            return None if point.latency_ns is None else point.latency_ns / 1e6
        return _cost(point, self.key)

    def of_row(self, row: SummaryRow, points: Sequence[Point]) -> float | None:
        """What an arm's networks cost on average; None where one of them says nothing.

        Args:
            points: the row's.
        """
        if self.key != "latency":
            return _cost(row, self.key)
        known = [value for value in map(self.of_point, points) if value is not None]
        return sum(known) / len(known) if known and len(known) == len(points) else None

    def of_rows(self, results: Results) -> list[float | None]:
        """The same of every row of the summary."""
        of_rows = points_of_rows((*results.points, *results.dense))
        return [self.of_row(row, of_rows.get((row.arm, row.budget), [])) for row in results.summary]


def _cost(row: SummaryRow | Point, key: str) -> float | None:
    if key == "compute":
        return float(row.train_compute + row.discovery_compute)
    return row.wall_s if key == "wall_s" else row.count_of(key)


COSTS = (
    *(Cost(key, name) for key, name in NAMES.items()),
    Cost("latency", "milliseconds"),
    Cost("compute", "training compute, with discovery (MACs)"),
    Cost("wall_s", "seconds of training, as measured"),
)


def costs(results: Results) -> list[Cost]:
    """What there is to draw accuracy against: what budgets limit first, then what every arm says and that
    tells networks apart."""
    limited = next(cost for cost in COSTS if cost.key == results.resource)
    others = [cost for cost in COSTS if cost is not limited]
    return [limited, *(cost for cost in others if _tells(results, cost))]


def _tells(results: Results, cost: Cost) -> bool:
    found = cost.of_rows(results)
    if not found or any(value is None for value in found) or not any(found):
        return False
    zeros = any(zeroes_weights(row) for row in results.summary)
    return cost.key != "nonzeros" or zeros


def cost_axis(results: Results, cost: Cost) -> Axis:
    """Logarithmic where budgets, networks and the unpruned network span more than the factor `WIDE`."""
    sizes = [size for size in cost.of_rows(results) if size is not None]
    if cost.key == results.resource:
        sizes += [b.limit for b in budgets(results)]
    if (dense := dense_cost(results, cost)) is not None:
        sizes.append(dense)
    return Axis(log=bool(sizes) and min(sizes) > 0 and max(sizes) > WIDE * min(sizes))


def dense_cost(results: Results, cost: Cost) -> float | None:
    """What the unpruned network costs; None without one, or where its run says nothing."""
    row = results.dense_summary
    if row is None:
        return None
    points = points_of_rows((*results.points, *results.dense)).get((row.arm, row.budget), [])
    return cost.of_row(row, points)
