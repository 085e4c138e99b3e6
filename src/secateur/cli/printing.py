"""What commands print: tables of plans, results, groups and runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from secateur.architecture.architecture import Architecture
    from secateur.compare.arms import PlanRow
    from secateur.compare.wanted import Wanted
    from secateur.records.point import Point
    from secateur.records.results import Results
    from secateur.runs.executors.choice import Workers
    from secateur.runs.session import Session
    from secateur.surgery.constraints import Constraints


def console() -> Console:
    """Tables keep their width in a pipe, where rich would otherwise cut them to 80 columns.

    No markup: names of layers and groups come from models and files.
    """
    return Console(markup=False) if sys.stdout.isatty() else Console(width=140, markup=False)


def table(*columns: str) -> Any:
    """An unboxed table; the first two columns hold words, the others numbers."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < 2 else "right", no_wrap=True)
    return made


def show_rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of any length: its widths are measured once, where rich would take minutes for thousands.

    The first two columns hold words, the others numbers.
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        cells = [
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def or_dash(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def show_inspection(found: dict[str, Any]) -> None:
    """The groups, what is frozen, the totals and the smallest network that cutting can reach."""
    screen = console()
    rows_shown = table("group", "layers that it spans", "channels", "params each", "MACs each")
    for group in found["groups"]:
        spanned = group["layers"]
        more = f" and {len(spanned) - 4} more" if len(spanned) > 4 else ""
        tied = f" (tied: {group['sets']})" if group["sets"] else ""
        rows_shown.add_row(
            group["name"],
            ", ".join(spanned[:4]) + more + tied,
            f"{group['width']:,}",
            f"{group['params']:,}",
            f"{group['macs']:,}",
        )
    screen.print(f"{found['model']}: {found['proof']}", highlight=False)
    screen.print(rows_shown)
    for frozen in found["frozen"]:
        screen.print(f"frozen: {frozen['name']} ({frozen['width']}): {frozen['reason']}", highlight=False)
    for name, counts in (("now", found["now"]), ("at least", found["smallest"])):
        listed = ", ".join(f"{value:,} {resource}" for resource, value in counts.items())
        screen.print(f"{name}: {listed}", highlight=False)
    screen.print(found["convention"], highlight=False)


def show_constraints(
    architecture: Architecture, constraints: Constraints, session: Session, method: str
) -> None:
    """What each of the constraints was taken to mean for this network, by a method or (empty) by all arms."""
    from secateur.compare.arms import WEIGHT_ARMS
    from secateur.methods import CHANNEL_METHODS

    if method in WEIGHT_ARMS:
        words = tuple(constraints.words_of_weights(architecture.skeleton()))
    else:
        bounds = architecture.bounds(constraints, streams=method not in CHANNEL_METHODS)
        words = bounds.words if bounds else ()
    if session.runtime.is_main:
        for line in words:
            print(line)


def show_plan(wanted: Wanted, session: Session, asked: Workers) -> None:
    """The arms with their sizes, compute and an estimate of the time."""
    from secateur.compare.forecast import estimate_seconds
    from secateur.device import describe_device
    from secateur.network.counting import MACS_CONVENTION, TRAINING_CONVENTION
    from secateur.runs.executors.choice import count_for, in_words
    from secateur.runs.graph import Graph

    question, settings = wanted.question, wanted.question.settings
    rows = wanted.plan(session.runtime.world)
    seconds = estimate_seconds(session.runtime, question.data, question.architecture, settings.recipe, rows)
    counted = "nonzeros" if settings.resource == "nonzeros" else "params"
    rows_shown = table("arm", "budget", counted, "MACs", "epochs", "training MACs", "about")
    for row, taken in zip(rows, seconds, strict=True):
        size, macs = _planned_size(row, settings.resource)
        rows_shown.add_row(
            row.arm,
            row.budget and f"{row.budget} ({row.limit:,})",
            size,
            macs,
            str(row.epochs or "until met"),
            f"{'' if row.exact else '~ '}{row.compute:.3g}",
            _duration(taken),
        )
    screen = console()
    screen.print(
        f"{question.name} on {question.data.label}: one seed of {settings.seeds}; nothing is trained now."
    )
    screen.print(rows_shown)
    for row in rows:
        if row.exact and row.limit and not row.zeroes:
            widths = ", ".join(map(str, row.architecture.widths))  # type: ignore[union-attr]
            screen.print(f"{row.arm} {row.budget}: widths {widths}", highlight=False)
    if any(row.zeroes for row in rows):
        screen.print(
            "=: weights are set to zero until the budget is met exactly; the MACs stay the network's."
        )
    if not all(row.exact for row in rows):
        screen.print("~ and ≤: pruning decides; the estimate takes channels evenly from all groups.")
    screen.print(f"{MACS_CONVENTION}; {TRAINING_CONVENTION}.", highlight=False)
    device = describe_device(session.runtime.device)
    whole = _duration(sum(seconds) * settings.seeds)
    screen.print(f"In all about {whole} on {device}, one run after the other.")
    graph = Graph(session.runtime.world)
    wanted.add_to(graph)
    screen.print(f"--workers: {in_words(count_for(asked, graph, session), asked.on)}.", highlight=False)


def _planned_size(row: PlanRow, resource: str) -> tuple[str, str]:
    """What a planned network will have of parameters (of nonzeros, where those are limited) and of MACs."""
    if row.zeroes:
        return f"= {row.limit:,}", f"{row.macs:,}"
    if row.architecture is None and row.limit is None:
        return "", f"~ {row.macs:,}"
    if row.architecture is None:
        if resource == "macs":
            return "", f"≤ {row.limit:,}"
        return f"≤ {row.limit:,}", f"~ {row.macs:,}"
    if resource == "nonzeros":
        return f"{row.architecture.cost('nonzeros'):,}", f"{row.macs:,}"
    return f"{row.params:,}", f"{row.macs:,}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_results(results: Results, out: Path) -> None:
    from secateur.network.counting import MACS_CONVENTION, TRAINING_CONVENTION

    counted = "nonzeros" if results.resource == "nonzeros" else "params"
    rows_shown = table("arm", "budget", counted, "accuracy", "± (95%)", "training MACs", "discovery MACs")
    for row in results.summary:
        rows_shown.add_row(
            row.arm,
            f"{row.budget} ({row.limit:,})",
            f"{row.count_of(counted):,.0f}",
            f"{row.mean * 100:.1f}%",
            "" if row.half is None else f"{row.half * 100:.1f}",
            f"{row.train_compute:.2e}",
            f"{row.discovery_compute:.2e}" if row.discovery_compute else "",
        )
    console().print(rows_shown)
    print(f"{MACS_CONVENTION}; {TRAINING_CONVENTION}.")
    print(f"\n{results.verdict.text}")
    print(f"Report: {out / 'report.html'}")


def show_point(point: Point, session: Session) -> None:
    if session.runtime.is_main:
        print(
            f"{point.arm}: {point.accuracy:.1%} on the test split with {_size_of(point)}; "
            f"written to {session.store.directory}"
        )


def _size_of(point: Point) -> str:
    """What the network has: a network with zeroed weights computes as much as before, and that is said."""
    if point.nonzeros == point.weights:
        size = f"{point.params:,} parameters, {point.macs:,} MACs (multiply-accumulates, one image"
        if point.uncounted:
            size += f"; not counted, as nobody knows their cost: {', '.join(point.uncounted)}"
        return f"{size}), {point.bytes:,} bytes" + (f", {point.latency}" if point.latency else "")
    return (
        f"exactly {point.nonzeros:,} of {point.weights:,} weights not zero ({point.macs:,} MACs, as "
        "many as before: zeros alone make nothing faster)"
    )


def show_scaled(source: Architecture, scaled: Architecture) -> None:
    """Every group's width before and after."""
    from secateur.network.counting import MACS_CONVENTION

    rows_shown = table("group", "", "width", "scaled")
    for name, old, new in zip(source.group_names(), source.widths, scaled.widths, strict=True):
        rows_shown.add_row(name, "", str(old), str(new))
    rows_shown.add_row("params", "", f"{source.params:,}", f"{scaled.params:,}")
    rows_shown.add_row("MACs", "", f"{source.macs:,}", f"{scaled.macs:,}")
    console().print(rows_shown)
    print(f"{MACS_CONVENTION}.")
