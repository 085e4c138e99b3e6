"""The section on where the network in `best/` is wrong: its matrix, and what it is most wrong about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from secateur.records.measure import number
from secateur.records.winner import Miss, Winner

SHADES = 5
"""How many shades the cells of the matrix have, by their share of the class."""


@dataclass(frozen=True)
class Cell:
    """A count, and the classes of its shade: "right s3" on the diagonal, else "wrong s1"."""

    text: str
    look: str


@dataclass(frozen=True)
class Row:
    """A class's row of the matrix."""

    name: str
    cells: list[Cell]


def parts(found: Winner, examples: str = "images") -> dict[str, Any]:
    """What the section shows, every number already text.

    Args:
        examples: what the data are of.
    """
    heads, table = _table(found)
    return {
        "title": _title(found, examples),
        "examples": examples,
        "example": examples[:-1],
        "classes": found.classes,
        "matrix": matrix(found),
        "pairs": () if found.confusion else found.pairs,
        "heads": heads,
        "table": table,
        "worst": [_miss(each) for each in found.worst],
        "worst_title": _worst_title(found, examples),
        "called": "said to be" if found.task == "regression" else "called",
        "pictured": any(each.image for each in found.worst),
        "no_images": found.no_images,
    }


def _title(found: Winner, examples: str) -> str:
    who = f"{found.arm} at {found.budget}, seed {found.seed}"
    if found.wrong is None:
        return f"{who}, on the {found.n:,} {examples} of the test split."
    what = "some label of " if found.task == "multilabel" else ""
    return f"{who}, is wrong about {what}{found.wrong:,} of the {found.n:,} {examples} of the test split."


def _worst_title(found: Winner, examples: str) -> str:
    if found.task == "regression":
        return "The largest errors"
    how = "surest and wrong" if found.task == "classification" else "most wrong"
    count = f"{len(found.worst)} of {found.wrong:,}"
    return f"Where it is {how}: {count} {examples if (found.wrong or 0) != 1 else examples[:-1]}"


def _miss(found: Miss) -> dict[str, Any]:
    sure = "" if found.confidence is None else f", {found.confidence:.0%} sure"
    return {
        "index": f"{found.index:,}",
        "true": found.true,
        "said": found.said,
        "sure": sure,
        "image": found.image,
    }


def matrix(found: Winner) -> list[Row]:
    """The rows of the matrix: shaded by the share of the row's class."""
    rows = []
    for i, counts in enumerate(found.confusion):
        whole = sum(counts)
        cells = [_cell(count, whole, right=i == j) for j, count in enumerate(counts)]
        rows.append(Row(found.classes[i], cells))
    return rows


def _cell(count: int, whole: int, *, right: bool) -> Cell:
    if count <= 0 or whole <= 0:
        return Cell("", "right" if right else "")
    shade = (
        min(SHADES, 1 + int(SHADES * count / whole)) if right else min(SHADES, 1 + int(10 * count / whole))
    )
    return Cell(f"{count:,}", f"{'right' if right else 'wrong'} s{shade}")


def _table(found: Winner) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Of several labels, and of regression: one row each."""
    if found.labels:
        rows = [(row.name, *(f"{n:,}" for n in (row.n, row.missed, row.invented))) for row in found.labels]
        return ("label", "holds of", "missed in", "invented in"), rows
    rows = [(row.name, number(row.mean), number(row.largest)) for row in found.outputs]
    return ("output", "mean error", "largest error") if rows else (), rows
