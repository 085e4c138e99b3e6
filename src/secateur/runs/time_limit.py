"""How long a command may take: it stops behind an epoch, with everything kept, and goes on the next time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from secateur.errors import InputError, UnfinishedError


class TimeLimit:
    """A number of minutes from now on, told of every epoch.

    The epoch that would go beyond it is not begun: the next one is taken to last as long as the one before
    it. The first one is always made, so that a command which is repeated comes to its end.

    Args:
        clock: seconds.

    Raises:
        InputError: where there is no time at all.

    Example:
        >>> limit = TimeLimit(10)
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic):
        if not 0 < minutes < math.inf:
            raise InputError(f"minutes must be above 0, got {minutes:g}")
        self.minutes, self.clock = minutes, clock
        self.end = clock() + 60 * minutes
        self._began = clock()
        self._took: float | None = None

    def before_run(self) -> None:
        """Begin a run.

        Raises:
            UnfinishedError: where it would take too long.
        """
        self._began = self.clock()
        self._check()

    def after_epoch(self) -> None:
        """Count an epoch that is finished and saved.

        Raises:
            UnfinishedError: where the next one would take too long.
        """
        now = self.clock()
        self._took, self._began = now - self._began, now
        self._check()

    def _check(self) -> None:
        if self._took is not None and self._began + self._took > self.end:
            raise UnfinishedError(f"the {self.minutes:g} minutes are over")
