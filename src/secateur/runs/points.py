"""Points: one network's line in `results.json`."""

from __future__ import annotations

from secateur.architecture.architecture import Architecture
from secateur.records.point import Point
from secateur.records.record import Record


def point_of(
    record: Record,
    arm: str,
    budget: str | None,
    *,
    before: Record | None = None,
    discovery_compute: int = 0,
    epochs: int | None = None,
) -> Point:
    """`Point.of` with the names of the groups, which a built-in family's record leaves to the family."""
    names = record.group_names
    if names is None:
        names = tuple(Architecture.from_identity(dict(record.architecture)).group_names())
    return Point.of(
        record, arm, budget, names, before=before, discovery_compute=discovery_compute, epochs=epochs
    )
