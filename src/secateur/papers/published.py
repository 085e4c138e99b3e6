"""What the papers print in their tables: read from `published_values.csv`, never typed into code.

What others have published for the same networks is in `highest_published.csv`, and never stands in a paper's
column.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Published:
    """One number of one table.

    Attributes:
        paper: "dupont2021" or "crowley2018".
        place: "Table 1"; where a text has several numbers, with the size they are at: "section 3.2, 858K".
        dataset: "cifar10" or "tiny-imagenet".
        network: "conv4", "wrn-22-8"; of copycat the one whose profile it has.
        method: in our names; Dupont et al.'s "Ours" is "reparametrization-faithful".
        rate: share of the weights that is pruned, "90%"; empty where none is set to zero.
        value: in `unit`.
        unit: "% accuracy", "% error" or "fraction of C_initial".
        note: what the paper's typography adds, else empty.
    """

    paper: str
    place: str
    dataset: str
    network: str
    method: str
    rate: str
    value: float
    unit: str
    note: str


@dataclass(frozen=True)
class Highest:
    """The best that somebody has published for a network at a rate, in % accuracy.

    Attributes:
        method: empty where the source names none.
        spread: as printed behind the ±; None where there is none.
        source: who says so.
    """

    dataset: str
    network: str
    rate: str
    method: str
    value: float
    spread: float | None
    note: str
    source: str

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.2f}"
        note = f" ({self.note})" if self.note else ""
        name = f"{self.method} " if self.method else ""
        return f"{self.network} at {self.rate}: {name}{self.value:.2f}{spread}{note}"


@cache
def load_highest() -> tuple[Highest, ...]:
    """Every such value, in order; the file is read once."""
    rows = csv.DictReader(_text("highest_published.csv").splitlines())
    return tuple(
        Highest(
            dataset=row["dataset"],
            network=row["network"],
            rate=row["rate"],
            method=row["method"],
            value=float(row["value"]),
            spread=float(row["spread"]) if row["spread"] else None,
            note=row["note"],
            source=row["source"],
        )
        for row in rows
    )


def load_published() -> list[Published]:
    """Every published value, in the papers' order; the file is read once."""
    return list(_by_key().values())


def published(
    place: str, dataset: str, network: str, method: str, rate: str, paper: str = "dupont2021"
) -> float | None:
    """The value at one place, None where the paper has none.

    Example:
        >>> published("Table 1", "cifar10", "conv4", "reparametrization-faithful", "95%")
        84.59
    """
    found = _by_key().get((paper, place, dataset, network, method, rate))
    return None if found is None else found.value


@cache
def _by_key() -> dict[tuple[str, ...], Published]:
    rows = [_parse(row) for row in csv.DictReader(_text("published_values.csv").splitlines())]
    found: dict[tuple[str, ...], Published] = {
        (r.paper, r.place, r.dataset, r.network, r.method, r.rate): r for r in rows
    }
    assert len(found) == len(rows), "published_values.csv names a place twice"
    return found


def _text(name: str) -> str:
    return resources.files("secateur.papers").joinpath(name).read_text(encoding="utf-8")


def _parse(row: dict[str, str]) -> Published:
    return Published(
        paper=row["paper"],
        place=row["place"],
        dataset=row["dataset"],
        network=row["network"],
        method=row["method"],
        rate=row["rate"],
        value=float(row["value"]),
        unit=row["unit"],
        note=row["note"],
    )
