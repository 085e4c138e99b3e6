"""How long one run may take: one that hangs is a failed run, and the others go on."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from secateur.errors import InputError, TrainingError
from secateur.progress import duration

AGAIN_S = 5.0
"""After so many seconds it is said again to whoever took the first time for an error of theirs."""


def seconds_of(minutes: float | None) -> float | None:
    """Read `--run-limit`.

    Raises:
        InputError: unless it is above 0.
    """
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError(f"--run-limit must be minutes above 0, got {minutes:g}")
    return None if minutes is None else 60 * minutes


def overdue(seconds: float) -> TrainingError:
    """What is said of a run that takes too long."""
    return TrainingError(f"it was ended, as it took longer than --run-limit allows ({duration(seconds)})")


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """End what is in it after so many seconds; by an alarm, which the main thread alone can be given.

    What hangs within a library written in C is not ended by it: so runs with a limit are made in workers,
    even one after the other, and a worker is killed then (`Sharing`).

    Raises:
        TrainingError: when the time is over.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_signal: int, _frame: Any) -> None:
        raise overdue(seconds)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
