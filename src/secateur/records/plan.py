"""`plan.json` of an output folder: the runs that its last command wanted, and what waits for what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from secateur.records.stored import Stored, check_id


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun(Stored):
    """One run of a graph.

    Attributes:
        name: for people, unique in the plan.
        after: the names of those that it waits for.
        compute: its training MACs, about.
        run_id: None where that follows from runs that were not finished when the plan was written.
    """

    name: str
    after: tuple[str, ...]
    compute: float
    run_id: str | None

    def check(self) -> None:
        """A run's id is a name."""
        check_id("run_id", self.run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Stored):
    """The graph of runs as it was when the command began."""

    SCHEMA: ClassVar[int | None] = 1
    AGAIN: ClassVar[str] = "run the command again"

    runs: tuple[PlannedRun, ...]


PLAN = "plan.json"


def read_plan(directory: Path) -> Plan | None:
    """Read what the folder's last command wanted; None where no command said so.

    Raises:
        InputError: where the file is damaged.
    """
    path = directory / PLAN
    return Plan.load(path) if path.is_file() else None
