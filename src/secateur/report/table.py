"""The compute table, and how numbers are written on the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from secateur.records.results import Results, SummaryRow

from .quantity import Quantity, quantity_of
from .series import Budget, Resource, arms, budgets, resource_of

COMPUTE_CONVENTION = (
    "training compute = training examples seen × training MACs per example; "
    "training MACs = 3 × inference MACs (forward + two backward products)"
)


@dataclass(frozen=True)
class Row:
    """One arm at one budget, every cell already text."""

    arm: str
    winner: bool
    n: str
    before: str
    accuracy: str
    interval: str
    params: str
    nonzeros: str
    share: str
    on_disk: str
    used: str
    macs: str
    training: str
    discovery: str
    total: str
    training_ratio: str
    total_ratio: str


@dataclass(frozen=True)
class Section:
    """The rows of one budget under their heading."""

    heading: str
    rows: list[Row]


def count(value: float | None) -> str:
    """A whole number with thousands separators.

    Example:
        >>> count(22345.0), count(None)
        ('22,345', '–')
    """
    return "–" if value is None else f"{value:,.0f}"


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


def ratio(value: float, base: float | None) -> str:
    """How many times `base`; a dash where there is nothing to compare with."""
    return f"{value / base:.2f}×" if base else "–"


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


def before(row: SummaryRow, quantity: Quantity) -> str:
    """What the network was worth before weights were set to zero; a dash for arms that set none.

    Where training went on from there, also what it was worth right after.
    """
    found = quantity.text(row.accuracy_before, None)
    if row.accuracy_after_cut is None:
        return found
    return f"{found}, then {quantity.text(row.accuracy_after_cut, None)}"


def sections(results: Results) -> list[Section]:
    """The compute table: one section per budget, smallest first, arms in the order of `style.ARMS`."""
    resource = resource_of(results)
    winners = {entry.budget: entry.winner for entry in results.verdict.per_budget}
    found = []
    for budget in budgets(results):
        rows = {row.arm: row for row in results.summary if row.budget == budget.text}
        tuned = rows.get("fisher-tuned")
        found.append(
            Section(
                f"{budget.text}: at most {count(budget.limit)} {resource.name}",
                [
                    _row(rows[arm], tuned, winners.get(budget.text), budget, resource, quantity_of(results))
                    for arm in arms(results)
                    if arm in rows
                ],
            )
        )
    return found


def total(row: SummaryRow) -> float:
    """Training plus discovery."""
    return row.train_compute + row.discovery_compute


def _row(
    row: SummaryRow,
    tuned: SummaryRow | None,
    winner: str | None,
    budget: Budget,
    resource: Resource,
    quantity: Quantity,
) -> Row:
    return Row(
        arm=row.arm,
        winner=row.arm == winner,
        n=str(row.n),
        before=before(row, quantity),
        accuracy=quantity.text(row.mean, row.std),
        interval=interval(row, quantity),
        params=count(row.params),
        nonzeros=count(row.nonzeros),
        share=share(row.nonzeros, row.weights),
        on_disk=count(row.bytes),
        used=f"{100 * resource.of(row) / budget.limit:.1f}%",
        macs=si(row.macs),
        training=si(row.train_compute),
        discovery=si(row.discovery_compute),
        total=si(total(row)),
        training_ratio=ratio(row.train_compute, tuned.train_compute if tuned else None),
        total_ratio=ratio(total(row), total(tuned) if tuned else None),
    )


def dense_row(results: Results) -> Row | None:
    """The unpruned network, for reference."""
    row = results.dense_summary
    if not row:
        return None
    quantity = quantity_of(results)
    return Row(
        arm="unpruned",
        winner=False,
        n=str(row.n),
        before=before(row, quantity),
        accuracy=quantity.text(row.mean, row.std),
        interval=interval(row, quantity),
        params=count(row.params),
        nonzeros=count(row.nonzeros),
        share=share(row.nonzeros, row.weights),
        on_disk=count(row.bytes),
        used="–",
        macs=si(row.macs),
        training=si(row.train_compute),
        discovery="–",
        total=si(row.train_compute),
        training_ratio="–",
        total_ratio="–",
    )
