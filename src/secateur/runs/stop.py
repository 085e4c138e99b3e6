"""Where a finished pruning run stopped, so that one with a smaller target can go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secateur.budget import COUNTERS
from secateur.records.record import Record


@dataclass(frozen=True)
class Stop:
    """A finished pruning run of a trajectory, and how far it went.

    Attributes:
        removed: channels that are gone.
        costs: resource -> units of the network that was left.
    """

    run_id: str
    trajectory: str
    removed: int
    costs: Mapping[str, int]

    @classmethod
    def of(cls, record: Record) -> Stop:
        """Of a finished pruning run."""
        costs = {resource: record.count_of(resource) for resource in COUNTERS}
        return cls(record.run_id, record.trajectory or "", len(record.removed or ()), costs)
