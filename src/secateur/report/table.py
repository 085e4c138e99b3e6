"""The table of results, and how numbers are written on the page."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from secateur.progress import duration
from secateur.records.results import Results, SummaryRow
from secateur.records.written import field, written

from .quantity import Quantity, quantity_of
from .series import Resource, arms, budgets, resource_of, zeroes_weights

COMPUTE_CONVENTION = (
    "training compute = training examples seen × training MACs per example; "
    "training MACs = 3 × inference MACs (forward + two backward products)"
)


@dataclass(frozen=True)
class Cell:
    """A text, and the number that rows are sorted by; "" where it is not known."""

    text: str
    value: str = ""
    words: bool = False


@dataclass(frozen=True)
class Column:
    """A column: its heading, the heading above that it shares with its neighbours, and its cells."""

    heading: str
    group: str
    cell: Callable[[SummaryRow], Cell]


@dataclass(frozen=True)
class Row:
    """One arm at one budget. `arm` is the name of its look, `name` what is written."""

    arm: str
    name: str
    winner: bool
    cells: list[Cell]


@dataclass(frozen=True)
class Table:
    """All arms at all budgets, the unpruned network first, then the largest budget."""

    columns: list[Column]
    rows: list[Row]

    @property
    def groups(self) -> list[tuple[str, list[Column]]]:
        """The headings above, with their columns."""
        return [(name, list(found)) for name, found in groupby(self.columns, key=lambda each: each.group)]

    @property
    def starts(self) -> set[int]:
        """The indices of the columns that begin a group."""
        return {
            index
            for index, column in enumerate(self.columns)
            if column.group and column.group != self.columns[index - 1].group
        }


def count(value: float | None) -> str:
    """A whole number with thousands separators; of what is in between, the one above, as more is worse.

    Example:
        >>> count(22345.0), count(22344.2), count(None)
        ('22,345', '22,345', '–')
    """
    return "–" if value is None or not math.isfinite(value) else f"{math.ceil(value):,}"


def number(value: float, digits: int = 1) -> str:
    """A whole number as such, anything else with so many digits.

    Example:
        >>> number(15.0), number(13.67), number(13.67, 0)
        ('15', '13.7', '14')
    """
    return f"{value:.0f}" if value == int(value) else f"{value:.{digits}f}"


def si(value: float | None) -> str:
    """Three significant digits with an SI suffix.

    Example:
        >>> si(1234567), si(999999), si(0), si(None)
        ('1.23 M', '1.00 M', '0', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    power = min(max(math.floor(math.log10(abs(float(f"{value:.2e}"))) / 3), 0), 6)
    scaled = value / 1000**power
    digits = max(0, 2 - math.floor(math.log10(abs(float(f"{scaled:.2e}"))))) if power else 0
    return f"{scaled:.{digits}f} {' kMGTPE'[power]}".strip()


def interval(row: SummaryRow, quantity: Quantity) -> str:
    """The 95% interval, of accuracies in percent, or why there is none."""
    return quantity.span(row.low, row.high) or ("none (one seed)" if row.n == 1 else "none")


def share(nonzeros: float | None, weights: float | None) -> str:
    """How many of the network's own weights are not zero, in percent of three digits; 100 without zeros.

    Example:
        >>> share(1373, 457792), share(6, 6), share(None, None)
        ('0.300%', '100%', '–')
    """
    if not weights or nonzeros is None:
        return "–"
    part = 100 * nonzeros / weights
    return "100%" if part == 100 else f"{part:#.3g}%"


def used(value: float, limit: float | None) -> str:
    """How much of a budget is used, to a tenth of a percent, rounded up.

    Example:
        >>> used(19998, 20000), used(19932.3, 20000), used(5, 0), used(5, None)
        ('100.0%', '99.7%', '–', '–')
    """
    return f"{math.ceil(round(1000 * value / limit, 6)) / 10:.1f}%" if limit else "–"


def before(row: SummaryRow, quantity: Quantity) -> str:
    """What the network was worth before weights were set to zero; a dash for arms that set none.

    Where training went on from there, also what it was worth right after.
    """
    found = quantity.text(row.accuracy_before, None)
    if row.accuracy_after_cut is None:
        return found
    return f"{found}, then {quantity.text(row.accuracy_after_cut, None)}"


def total(row: SummaryRow) -> float:
    """Training plus discovery."""
    return row.train_compute + row.discovery_compute


def table(results: Results) -> Table:
    """The table of a comparison: columns that something is known for, arms in the order of `style.ARMS`."""
    columns = list(_columns(results))
    winners = {(entry.budget, entry.winner) for entry in results.verdict.per_budget}
    rows = list(_ordered(results))
    return Table(
        columns,
        [
            Row(
                "dense" if row.budget is None else row.arm,
                "unpruned" if row.budget is None else row.arm,
                (row.budget, row.arm) in winners,
                [column.cell(row) for column in columns],
            )
            for row in rows
        ],
    )


def _ordered(results: Results) -> Iterator[SummaryRow]:
    if results.dense_summary:
        yield results.dense_summary
    places = {arm: index for index, arm in enumerate(arms(results))}
    for budget in reversed(budgets(results)):
        yield from sorted(
            (row for row in results.summary if row.budget == budget.text), key=lambda row: places[row.arm]
        )


def _columns(results: Results) -> Iterator[Column]:
    quantity, resource = quantity_of(results), resource_of(results)
    all_rows = list(_ordered(results))
    yield Column("budget", "", lambda row: Cell(row.budget or "none", _value(row.limit), words=True))
    worth = quantity.axis("test")
    yield Column("seeds", worth, lambda row: Cell(str(row.n), str(row.n)))
    if any(row.accuracy_before is not None for row in all_rows):
        yield Column(
            "before the cut", worth, lambda row: Cell(before(row, quantity), _value(row.accuracy_before))
        )
    yield Column("mean ± std", worth, lambda row: Cell(quantity.text(row.mean, row.std), _value(row.mean)))
    yield Column("95% interval", worth, lambda row: Cell(interval(row, quantity), _value(row.low)))
    yield from _sizes(all_rows, resource)
    yield from _costs()


def _sizes(rows: Sequence[SummaryRow], resource: Resource) -> Iterator[Column]:
    group = "size"
    if resource.key == "nonzeros" or any(zeroes_weights(row) for row in rows):
        yield Column("nonzero weights", group, lambda row: Cell(count(row.nonzeros), _value(row.nonzeros)))
        yield Column("of all weights", group, lambda row: Cell(share(row.nonzeros, row.weights), _part(row)))
    yield Column("params", group, lambda row: Cell(count(row.params), _value(row.params)))
    yield Column("MACs", group, lambda row: Cell(si(row.macs), _value(row.macs)))
    if any(row.bytes is not None for row in rows):
        yield Column("bytes on disk", group, lambda row: Cell(count(row.bytes), _value(row.bytes)))
    yield Column("of budget", group, lambda row: _of_budget(row, resource))


def _of_budget(row: SummaryRow, resource: Resource) -> Cell:
    part = _value(_known(row, resource) / row.limit) if row.limit else ""
    return Cell(used(_known(row, resource), row.limit), part)


def _known(row: SummaryRow, resource: Resource) -> float:
    return row.count_of(resource.key) or 0.0


def _part(row: SummaryRow) -> str:
    return _value(row.nonzeros / row.weights) if row.weights and row.nonzeros is not None else ""


def _costs() -> Iterator[Column]:
    group = "what it cost (MACs, wall time)"
    yield Column("training", group, lambda row: Cell(si(row.train_compute), _value(row.train_compute)))
    yield Column("discovery", group, lambda row: Cell(_discovery(row), _value(row.discovery_compute)))
    yield Column("total", group, lambda row: Cell(si(total(row)), _value(total(row))))
    yield Column("wall time", group, lambda row: Cell(_wall(row.wall_s), _value(row.wall_s)))


def _discovery(row: SummaryRow) -> str:
    return "–" if row.budget is None else si(row.discovery_compute)


def _wall(seconds: float) -> str:
    return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"


def _value(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else written(value)


CSV_COLUMNS = (
    *("arm", "budget", "limit", "n", "mean", "std", "low", "high", "val_mean", "accuracy_before"),
    *("params", "macs", "nonzeros", "weights", "bytes", "train_compute", "discovery_compute", "wall_s"),
)
"""Of the table as a file; the names are those of `summary` in `results.json`."""


def as_csv(results: Results) -> str:
    """The table as comma-separated values: numbers as they are, in the metric's own unit.

    What a spreadsheet would take for a formula is a text: it has an apostrophe before it.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in _ordered(results):
        writer.writerow([_field(getattr(row, name)) for name in CSV_COLUMNS])
    return file.getvalue()


def _field(value: float | str | None) -> str:
    if isinstance(value, str):
        return str(field(value))
    return "" if value is None or not math.isfinite(value) else str(field(value))
