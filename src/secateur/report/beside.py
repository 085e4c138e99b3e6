"""What a report shows beside the results themselves: what was found elsewhere, and handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from secateur.records.advice import Advice
from secateur.records.measured import Measured
from secateur.records.taken import NothingToTake, Taken

from .checklist import Check
from .progress import Progress


@dataclass(frozen=True)
class Beside:
    """What stands on the page beside numbers and charts; every part may be missing, and is left out then.

    Attributes:
        meanings: one line on each arm; without one an arm is shown by its name only.
        measured: what the network in best/ comes to where it runs.
        taken: the network in best/; None: nobody looked.
        advice: what to do, and what could not be told apart: `partials/advice.html`.
        checklist: what the literature asks of a comparison: `partials/checklist.html`.
        winner: how the network in best/ errs: `partials/winner.html`.
        progress: while the comparison runs, how far it is: `partials/progress.html`.
    """

    meanings: Mapping[str, str] = field(default_factory=dict)
    measured: Measured | None = None
    taken: Taken | NothingToTake | None = None
    advice: Advice | None = None
    checklist: Sequence[Check] = ()
    winner: Mapping[str, Any] | None = None
    progress: Progress | None = None
