"""One pruning told as it goes: no run of a store, so that nothing is gone on with, and nothing told later."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.progress import Reporter
from secateur.tracking.services import SERVICES, Service, without_passwords
from secateur.tracking.told import Outcome, Told, Value

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

EVERY_S = 2.0
"""The least time between two tellings; the last step is told in any case."""


class ShownPruning(Reporter):
    """Tells services of a pruning, step by step, and what it came to; one that fails is left out, and said.

    Args:
        names: of the services, as `check_services` gives them.
        folder: where those write that write to this machine.
        label: what it is called there.
        settings: what it was asked for, nested, as JSON.
        note: is told where a service cannot be reached.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        label: str,
        settings: Mapping[str, Any],
        note: Callable[[str], None],
    ):
        self.note_failure = note
        self._told = Told(f"prune-{secrets.token_hex(6)}", label, 0, settings, {})
        self._settings: dict[str, Value] = {
            name: value for name, value in self._told.settings(None).items() if name != "seed"
        }
        self._open: dict[str, tuple[Service, GeneralTracker]] = {}
        self._steps, self._last = 0, -math.inf
        self._untold: dict[str, float] = {}
        for name in names:
            self._guarded(name, partial(self._begin, SERVICES[name](folder)))

    def step(self, *, done: float, loss: float, accuracy: float | None = None, **more: float) -> None:
        """Tell of a step, unless it is soon behind the one that was told last."""
        self._steps += 1
        self._untold = {"loss": loss, **more}
        if time.monotonic() - self._last >= EVERY_S:
            self._tell()

    def finish(self, found: Mapping[str, float]) -> None:
        """Tell the last step, and what the pruning came to, under `final/`."""
        self._tell()
        final = {f"final/{name}": value for name, value in found.items()}
        outcome = Outcome(final, self._steps, self._settings)
        for name, (service, tracker) in [*self._open.items()]:
            self._guarded(name, partial(service.tell_outcome, tracker, outcome))
        self._leave(finished=True)

    def close(self) -> None:
        """Leave the services that were not told the end: it was broken off, behind the last step."""
        self._tell()
        self._leave(finished=False)

    def _begin(self, service: Service) -> None:
        self._open[service.name] = service, service.open(self._told, self._settings, True)

    def _tell(self) -> None:
        untold, self._untold = self._untold, {}
        for name, (_, tracker) in [*self._open.items()] if untold else ():
            self._guarded(name, partial(tracker.log, untold, step=self._steps))
        self._last = time.monotonic()

    def _leave(self, finished: bool) -> None:
        for name, (service, tracker) in [*self._open.items()]:
            self._guarded(name, partial(service.close, tracker, finished))
        self._open.clear()

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._open.pop(name, None)
            self.note_failure(
                f"{name} is told nothing more ({without_passwords(error)}); the pruning goes on"
            )
