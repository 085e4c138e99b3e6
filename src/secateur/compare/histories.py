"""The epochs of a comparison's runs: of thousands a few are drawn, and only theirs are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

from secateur.records.record import Epoch
from secateur.records.results import Results
from secateur.report.series import Histories
from secateur.runs.store import RunStore


def histories(results: Results, store: RunStore) -> Histories:
    """The epochs of every run that has a point and is finished; InputError where a record is damaged."""
    ids = {point.run_id for point in [*results.points, *results.dense]}
    return {run_id: History(store, run_id) for run_id in sorted(ids) if store.finished(run_id)}


class History(Sequence[Epoch]):
    """One run's epochs: how many there are is quickly told, they themselves are read when they are asked for.

    Raises:
        InputError: by whatever is asked of it, where the record is damaged or gone.
    """

    def __init__(self, store: RunStore, run_id: str):
        self._store, self._run_id = store, run_id

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self._epochs)

    @overload
    def __getitem__(self, index: int) -> Epoch: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Epoch, ...]: ...
    def __getitem__(self, index: int | slice) -> Epoch | tuple[Epoch, ...]:
        return self._epochs[index]

    @cached_property
    def _count(self) -> int:
        head = self._store.head(self._run_id)
        return head.epochs if head else 0

    @cached_property
    def _epochs(self) -> tuple[Epoch, ...]:
        record = self._store.record(self._run_id)
        return record.history if record else ()
