"""What networks of a budget would come to where they run, before anyone trains one: `secateur forecast`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from secateur.records.measured import (
    NotMeasured,
    Sizes,
    Speed,
    Timing,
    in_bytes,
    in_digits,
    setting_of,
    shown_speed,
)
from secateur.records.shown import Shown
from secateur.records.stored import Stored

NO_ACCURACY = (
    "accuracy is not forecast: these networks are untrained, and only training or pruning them tells it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast(Stored):
    """One network.

    Attributes:
        way: how one comes to it: "unpruned", "width", "uniform", "bottleneck" or "sparse".
        budget: as the user wrote it; None of the unpruned network.
        network: for people: "wrn-16-0.5".
        sizes: of it, untrained.
        timings: a row for each runtime; speeds: against the unpruned network, on each runtime.
    """

    way: str
    budget: str | None
    network: str
    sizes: Sizes
    timings: tuple[Timing, ...]
    speeds: tuple[Speed, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Forecasts(Stored):
    """What the networks of some budgets would come to.

    Attributes:
        model: the unpruned network's name.
        rows: the unpruned network, then for each budget the ways to it.
        not_measured: runtimes that gave no numbers; remarks: what should be known of the others.
        versions: of secateur, torch and Python; platform: of the system.
    """

    SCHEMA: ClassVar[int | None] = 1

    model: str
    rows: tuple[Forecast, ...]
    not_measured: tuple[NotMeasured, ...] = ()
    remarks: tuple[str, ...] = ()
    versions: Mapping[str, str]
    platform: str

    def tables(self) -> tuple[Shown, Shown]:
        """Sizes, and times with what is to be said."""
        return (
            Shown(f"{self.model}, untrained", SIZE_HEADS, [_size_row(row) for row in self.rows]),
            Shown(
                self._setting(),
                TIME_HEADS,
                [each for row in self.rows for each in _time_rows(row)],
                self.notes(),
            ),
        )

    def notes(self) -> list[str]:
        """What should be known."""
        missing = [f"{each.runtime} was not measured: {each.why}" for each in self.not_measured]
        return [NO_ACCURACY, *self.remarks, *missing]

    def _setting(self) -> str:
        return setting_of([timing for row in self.rows for timing in row.timings])

    def __repr__(self) -> str:
        return "\n".join(table.text() for table in self.tables())

    def _repr_html_(self) -> str:
        return "".join(table.html() for table in self.tables())


SIZE_HEADS = (
    "budget",
    "way",
    "parameters",
    "nonzeros",
    "MACs",
    "nonzero MACs",
    "on disk",
    "peak activations",
)
TIME_HEADS = ("budget", "way", "runtime", "median ms", "p95 ms", "faster (95%)")


def _named(row: Forecast) -> tuple[str, str]:
    return row.budget or "-", row.way


def _size_row(row: Forecast) -> tuple[str, ...]:
    sizes, peak = row.sizes, row.sizes.peak_activation_bytes
    counts = map(in_digits, (sizes.params, sizes.nonzeros, sizes.macs, sizes.nonzero_macs))
    return (*_named(row), *counts, in_bytes(sizes.file_bytes), "-" if peak is None else in_bytes(peak))


def _time_rows(row: Forecast) -> list[tuple[str, ...]]:
    speeds = {each.runtime: shown_speed(each) for each in row.speeds}
    return [
        (
            *_named(row),
            each.runtime,
            f"{each.median_ns / 1e6:.3g}",
            f"{each.p95_ns / 1e6:.3g}",
            speeds.get(each.runtime, "-"),
        )
        for each in row.timings
    ]
