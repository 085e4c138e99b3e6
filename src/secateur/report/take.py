"""What the card "Take it" says of the network in `best/`."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.records.measured import NOW, Measured
from secateur.records.point import Point
from secateur.records.results import Results
from secateur.records.taken import NothingToTake, Taken

from . import cautious
from .quantity import quantity_of
from .table import share


@dataclass(frozen=True)
class Take:
    """A network in words: `look` is the arm whose mark it has, `facts` are names and values."""

    look: str
    facts: list[tuple[str, str]]


def take(found: Taken | NothingToTake | None, results: Results, measured: Measured | None) -> Take | None:
    """The facts of a network to take; None where there is none. Counts are exact, nothing is rounded up."""
    if not isinstance(found, Taken):
        return None
    point = found.point
    chosen = ", the best of its arm on validation" if _several(point, results) else ""
    facts = [
        ("arm", point.arm),
        ("seed", f"{point.seed}{chosen}"),
        ("budget", point.budget or "none"),
        (f"{quantity_of(results).name}, test split", _score(point, results)),
        ("parameters", cautious.size(point.params)),
        *([("nonzero weights", _nonzeros(point))] if (point.nonzeros or 0) < (point.weights or 0) else []),
        ("MACs", cautious.size(point.macs)),
        ("bytes on disk", cautious.size(found.bytes)),
    ]
    return Take(point.arm, facts + _times(measured))


def _several(point: Point, results: Results) -> bool:
    return sum((each.arm, each.budget) == (point.arm, point.budget) for each in results.points) > 1


def _score(point: Point, results: Results) -> str:
    measure, n = results.measure, results.data.test
    if not measure.fraction:
        return measure.plain(point.accuracy)
    found, around = (each(measure, point.accuracy, n) for each in (cautious.score, cautious.interval))
    return f"{found}, 95% {around}"


def _nonzeros(point: Point) -> str:
    return f"{cautious.size(point.nonzeros)} ({share(point.nonzeros, point.weights)} of them)"


def _times(measured: Measured | None) -> list[tuple[str, str]]:
    """A line for each runtime, one batch."""
    if measured is None or not measured.timings:
        return [("time", "not measured yet")]
    rows = [row for row in measured.timings if row.which == NOW]
    batch = "1 example" if rows and rows[0].batch == 1 else f"{rows[0].batch} examples" if rows else ""
    return [(f"time for {batch}, {row.runtime}", cautious.milliseconds(row.median_ns)) for row in rows]
