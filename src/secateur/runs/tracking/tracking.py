"""Tells services of runs, from the process that was started: of runs in other processes by what these say.

Epochs are told as they end, several at a time where that takes long; a run's history and its record have the
last word, so what was missed (a service that could not be reached, a run that was finished before) is told
later. No service stops the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.progress import Reporter
from secateur.records.record import Record
from secateur.runs.environment import source_commit
from secateur.runs.graph import Made
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.runs.tracking.mark import Mark, Marks
from secateur.tracking.services import SERVICES, Service, without_passwords
from secateur.tracking.told import Outcome, Told, numbers, rows_of

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

EVERY_S, SHARE, GRACE_S = 2.0, 0.02, 5.0
"""The least time between two tellings of epochs, and how much of the time they may take, beside so many
seconds that they may take anyway."""

About = Callable[[str], Mapping[str, str]]
"""What a run is in the command's question, by its id: arm, budget."""


@dataclass
class _Open:
    """A run that is being told of.

    Attributes:
        rows: epochs that were not told yet.
        trackers: of the services that stay open.
    """

    told: Told
    marks: Marks
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    trackers: dict[str, GeneralTracker] = field(default_factory=dict)


class Tracking:
    """The services of one command.

    Args:
        services: where runs are shown.
        store: where the runs lie.
        note: is told where a service cannot be reached.
    """

    def __init__(self, services: Sequence[Service], store: RunStore, note: Callable[[str], None]):
        self.services, self.store, self.note = list(services), store, note
        self.about: About = lambda run_id: {}
        self._open: dict[str, _Open] = {}
        self._spent, self._last, self._started = 0.0, -EVERY_S, time.monotonic()
        self._commit = source_commit()

    def hearer(self) -> Reporter:
        """Who is told of the runs of one worker."""
        return _Hearer(self)

    def begin(self, told: Told, history: Sequence[Mapping[str, Any]]) -> None:
        """A run begins, behind these epochs."""
        self._open[told.run_id] = _Open(told, Marks.in_folder(self._folder(told)), [*history])
        self._tell(self._open[told.run_id])

    def epoch(self, run_id: str, row: Mapping[str, Any]) -> None:
        """An epoch ended."""
        self._open[run_id].rows.append(row)
        now = time.monotonic()
        if now - self._last >= EVERY_S and self._spent <= GRACE_S + SHARE * (now - self._started):
            self._tell(self._open[run_id])

    def finish(self, run_id: str) -> None:
        """A run ended: its record says what the services do not know yet."""
        found = self._open.pop(run_id, None)
        if found is not None and (record := self.store.record(run_id)) is not None:
            found.rows = [*rows_of(record)]
            self._tell(found, record)

    def catch_up(self, made: Made) -> None:
        """Tell of runs that were finished without a word, and leave those that are not finished."""
        for run_id in [*self._open]:
            self.finish(run_id) if self.store.finished(run_id) else self._leave(run_id)
        for node in made.graph:
            if made.has(node):
                self._tell_record(made.run(node).run_id)

    def _tell_record(self, run_id: str) -> None:
        marks = Marks.in_folder(self.store.path(run_id))
        if all(name in marks.services and marks.services[name].finished for name in self._names()):
            told = Told(run_id, "", 0, {}, {})
            if all(self._knows(service, marks, told) for service in self.services):
                return
        record = self.store.record(run_id)
        assert record is not None
        self._tell(_Open(Told.of_record(record, self.about(run_id)), marks, [*rows_of(record)]), record)

    def _leave(self, run_id: str) -> None:
        """Tell the rest of what is known of a run that was broken off."""
        found = self._open.pop(run_id)
        self._tell(found)
        for service in [*self.services]:
            if (tracker := found.trackers.pop(service.name, None)) is not None:
                self._guarded(service, lambda: service.close(tracker, False))  # noqa: B023  # called at once

    def _tell(self, found: _Open, record: Record | None = None) -> None:
        """Tell every service what it does not know of a run."""
        begun = time.monotonic()
        for service in [*self.services]:
            self._guarded(service, lambda: self._tell_one(service, found, record))  # noqa: B023
        found.rows.clear()
        self._last = time.monotonic()
        self._spent += self._last - begun

    def _tell_one(self, service: Service, found: _Open, record: Record | None) -> None:
        mark = self._mark(service, found)
        rows = [row for row in found.rows if row["epoch"] > mark.epoch]
        if mark.finished or not (rows or record):
            return
        settings = found.told.settings(record.commit if record else self._commit)
        tracker = found.trackers.pop(service.name, None)
        if tracker is None:
            tracker = service.open(found.told, settings, service.name not in found.marks.services)
        for row in rows:
            tracker.log(numbers(row), step=row["epoch"])
        if record is not None:
            service.tell_outcome(tracker, Outcome.of_record(record, settings))
        if record is not None or not service.stays_open:
            service.close(tracker, record is not None)
        else:
            found.trackers[service.name] = tracker
        last = max([mark.epoch, *(row["epoch"] for row in rows)])
        found.marks = found.marks.with_mark(
            service.name, replace(mark, epoch=last, finished=record is not None)
        )
        found.marks.write(self._folder(found.told))

    def _mark(self, service: Service, found: _Open) -> Mark:
        """How far a service is; at the beginning where it was told elsewhere, or what it had is gone."""
        if service.name in found.trackers or self._knows(service, found.marks, found.told):
            return found.marks.services[service.name]
        services = {name: mark for name, mark in found.marks.services.items() if name != service.name}
        found.marks = replace(found.marks, services=services)
        return Mark(place=service.place(found.told))

    @staticmethod
    def _knows(service: Service, marks: Marks, told: Told) -> bool:
        """Whether a service was told of a run, where it would be now."""
        mark = marks.services.get(service.name)
        return mark is not None and mark.place == service.place(told) and service.still_has(told)

    def _guarded(self, service: Service, work: Callable[[], None]) -> None:
        """Do it; a service that fails is left out from then on, and said."""
        try:
            work()
        except Exception as error:
            with suppress(ValueError):
                self.services.remove(service)
            why = without_passwords(error)
            self.note(
                f"{service.name} is told nothing more ({why}); the runs go on, and the same "
                "command tells it the rest later"
            )

    def _names(self) -> Iterable[str]:
        return (service.name for service in self.services)

    def _folder(self, told: Told) -> Path:
        return self.store.path(told.run_id)


@contextmanager
def tracked(made: Made, session: Session, about: About | None = None) -> Iterator[None]:
    """Tell the session's services of the runs that are made meanwhile, then of all that they do not know."""
    if not session.trackers:
        yield
        return
    store, note = session.store, session.reporter.note
    tracking = Tracking([SERVICES[name](store.directory) for name in session.trackers], store, note)
    tracking.about = about or tracking.about
    try:
        with session.telling(tracking.hearer()):
            yield
    finally:
        tracking.catch_up(made)


class _Hearer(Reporter):
    """Hears of the runs of one worker."""

    def __init__(self, tracking: Tracking):
        self.tracking, self.run_id = tracking, ""

    def beside(self) -> Reporter:
        return self.tracking.hearer()

    def run_begun(
        self, run_id: str, label: str, seed: int, identity: Mapping[str, Any], history: Sequence[Any]
    ) -> None:
        self.run_id = run_id
        self.tracking.begin(Told(run_id, label, seed, identity, self.tracking.about(run_id)), history)

    def epoch(self, row: dict[str, Any]) -> None:
        if self.run_id:
            self.tracking.epoch(self.run_id, row)

    def run_finished(self, text: str) -> None:
        if self.run_id:
            self.tracking.finish(self.run_id)
        self.run_id = ""
