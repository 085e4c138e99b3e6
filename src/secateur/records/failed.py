"""What is kept of a run that failed: why, and what of a comparison is missing for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from secateur.records.stored import Stored, optional

FAILED_FILE = "failed.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Stored):
    """A run that failed, as its folder's `failed.json` holds it; gone when the run is begun again.

    Attributes:
        run_id: None where the run could not even be told.
        label: for people.
        error: in a line.
        refused: it was bad input, which the command alone mends.
        date: when, UTC, to the second; empty where that is not known.
        environment: that it failed in, as JSON.
    """

    SCHEMA: ClassVar[int | None] = 1
    AGAIN: ClassVar[str] = "remove the file, and the run is made again"

    run_id: str | None = None
    label: str
    error: str
    refused: bool = False
    date: str = ""
    environment: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRun(Stored):
    """The same as a comparison's results have it."""

    run_id: str | None = optional()
    label: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing(Stored):
    """A network of a comparison that is not there.

    Attributes:
        arm, budget, seed: which; the arm is "dense" and the budget None for the unpruned network.
        failed: the label of the run that failed: its own, or one that it waits for.
    """

    arm: str
    budget: str | None
    seed: int
    failed: str
