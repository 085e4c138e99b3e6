"""Tables 1 to 3 of Dupont et al. 2021, the paper's numbers beside ours: Markdown, CSV and a page.

Rendering only: what goes in are the finished runs, `cells`, and what they were made with, `about`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.atomic import write_bytes
from secateur.compare.arms import ARMS, WEIGHT_ARMS
from secateur.compare.summary import interval
from secateur.errors import InputError, unknown
from secateur.papers.cells import About, DupontCells, DupontRun
from secateur.papers.dupont2021.claim_pages import write_claims
from secateur.papers.published import load_highest, published
from secateur.papers.text import MISSING, conditions, markdown, shown
from secateur.records.written import field
from secateur.report.templates import environment

Cells = Sequence[DupontRun]

RATES = ("90%", "95%", "97%", "99%")
_THEIRS = {
    "dense": "the unpruned network, the same at every rate",
    "magnitude": "the paper's Mag",
    "magnitude-tuned": "the paper's Mag+FT, fine-tuned after the cut",
    "reparametrization-faithful": "the paper's Ours",
    "reparametrization": "ours, with an exact budget (not in the paper)",
}
METHODS = {
    **_THEIRS,
    **{name: f"{ARMS[name].meaning} (not in the paper)" for name in WEIGHT_ARMS if name not in _THEIRS},
}
"""Every row that a table can have, in order, and what it is: the paper's, then all arms that zero weights."""
_DATASETS = ("cifar10", "tiny-imagenet")
_NETWORKS = ("conv4", "vgg19", "resnet18")
_GATED = ("reparametrization-faithful", "reparametrization")
_COLUMNS = (
    *("table", "dataset", "network", "method", "rate"),
    *("published", "ours_mean", "ours_std", "n", "scale", "device", "commit"),
)


@dataclass(frozen=True)
class Layout:
    """What one table shows.

    Attributes:
        place: the table in the paper.
        title: what its numbers are.
        number: that of a run, None where it has none.
        methods: its rows, for each dataset and network; others follow where a run has the number.
        factor: from a cell's number to the table's unit.
        digits: decimals of the paper's numbers and of ours.
    """

    place: str
    title: str
    number: Callable[[DupontRun], float | None]
    methods: tuple[str, ...]
    factor: int
    digits: tuple[int, int]


TABLES = {
    "table1": Layout(
        "Table 1", "test accuracy (%) after the cut", lambda run: run.accuracy, tuple(_THEIRS), 100, (1, 1)
    ),
    "table2": Layout("Table 2", "C / C_initial before the cut", lambda run: run.remaining, _GATED, 1, (2, 3)),
    "table3": Layout(
        "Table 3", "test accuracy (%) before the cut", lambda run: run.accuracy_before, _GATED, 100, (1, 1)
    ),
}


@dataclass(frozen=True)
class Entry:
    """One place in a table, in its unit: percent points of accuracy, or fractions in Table 2.

    `rate` is None for the unpruned network, `mean` without a run, `std` with fewer than two runs.
    """

    rate: str | None
    published: float | None
    mean: float | None
    std: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """One method on one network: an entry for each of `RATES`, or a single one where nothing is pruned."""

    dataset: str
    network: str
    method: str
    entries: tuple[Entry, ...]


def table_rows(table: str, cells: Cells) -> list[Row]:
    """The rows of one table: its methods and others that have runs, for each dataset and network of a cell.

    Raises:
        InputError: an unknown table, method or rate, or two cells of one run.
    """
    layout = _layout(table)
    _check(cells)
    return [
        Row(dataset, network, method, _entries(layout, cells, dataset, network, method))
        for dataset, network in _pairs(cells)
        for method in _methods(layout, cells)
    ]


def _methods(layout: Layout, cells: Cells) -> list[str]:
    """The table's own rows, and those of other arms that were run and have the number."""
    besides = {c.method for c in cells if c.method not in _THEIRS and layout.number(c) is not None}
    return [*layout.methods, *(method for method in METHODS if method in besides)]


def _layout(table: str) -> Layout:
    if table not in TABLES:
        raise unknown("table", table, TABLES)
    return TABLES[table]


def _check(cells: Cells) -> None:
    """A cell that no table has a place for would be left out unseen; one counted twice narrows the spread."""
    for cell in cells:
        if cell.method not in METHODS:
            raise unknown("method of a run", cell.method, METHODS)
        valid = (None,) if cell.method == "dense" else RATES
        if cell.rate not in valid:
            raise InputError(f"a run of {cell.method} must have a rate of {valid}, received {cell.rate!r}")
    keys = [(cell.dataset, cell.network, cell.method, cell.rate, cell.seed) for cell in cells]
    for run, times in Counter(keys).items():
        if times > 1:
            raise InputError(f"each run must be given once, received {run} {times} times")


def _pairs(cells: Cells) -> list[tuple[str, str]]:
    """Datasets and networks in the paper's order, then any others by name."""

    def place(pair: tuple[str, str]) -> tuple[Any, ...]:
        dataset, network = pair
        return dataset not in _DATASETS, dataset, _rank(network), network

    return sorted({(cell.dataset, cell.network) for cell in cells}, key=place)


def _rank(network: str) -> int:
    return _NETWORKS.index(network) if network in _NETWORKS else len(_NETWORKS)


def _entries(layout: Layout, cells: Cells, dataset: str, network: str, method: str) -> tuple[Entry, ...]:
    wanted = (dataset, network, method)
    mine = [cell for cell in cells if (cell.dataset, cell.network, cell.method) == wanted]
    rates = (None,) if method == "dense" else RATES
    return tuple(_entry(layout, [c for c in mine if c.rate == rate], *wanted, rate) for rate in rates)


def _entry(layout: Layout, cells: Cells, dataset: str, network: str, method: str, rate: str | None) -> Entry:
    """The mean is taken over the runs that have the number: a run without a gate has no cost."""
    paper = published(layout.place, dataset, network, method, rate) if rate else None
    numbers = [layout.number(cell) for cell in cells]
    values = [number * layout.factor for number in numbers if number is not None]
    if not values:
        return Entry(rate, paper, None, None, 0)
    found = interval(values)
    return Entry(rate, paper, found.mean, found.std, len(values))


def _texts(layout: Layout, entry: Entry) -> tuple[str, str]:
    """The paper's number and ours, as they are shown.

    Example:
        >>> _texts(TABLES["table1"], Entry("95%", 84.59, 59.31, 0.42, 3))
        ('84.6', '59.3 ± 0.4 (3)')
    """
    of_paper, of_ours = layout.digits
    paper = MISSING if entry.published is None else f"{entry.published:.{of_paper}f}"
    return paper, shown(entry.mean, entry.std, entry.n, of_ours)


def _excess(layout: Layout, entry: Entry) -> tuple[bool, bool]:
    """Whether the paper's number and ours are above the target, at the decimals shown: Table 2's italics."""
    if layout.place != "Table 2" or entry.rate is None:
        return False, False
    target = (100 - int(entry.rate[:-1])) / 100
    return tuple(  # type: ignore[return-value]
        value is not None and round(value, digits) > target
        for value, digits in zip((entry.published, entry.mean), layout.digits, strict=True)
    )


def _title(layout: Layout) -> str:
    return f"{layout.place} of Dupont et al. 2021: {layout.title}, by share of weights pruned"


def caption(table: str, cells: Cells, about: About) -> str:
    """Under what conditions our numbers were made, and whether they may be held against the paper's.

    Raises:
        InputError: an unknown table or scale.
    """
    counts = [entry.n for row in table_rows(table, cells) for entry in row.entries]
    text = f"{_epochs(cells)}{conditions(about, counts)}"
    return f"{text} Italics: above the target." if _layout(table).place == "Table 2" else text


def _epochs(cells: Cells) -> str:
    """Of the unpruned networks, which are those of every method in total unless a recipe says otherwise."""
    found = sorted({cell.epochs for cell in cells if cell.method == "dense"})
    return f"Epochs: {' and '.join(map(str, found))} (in the paper 300). " if found else ""


def highest(table: str, cells: Cells) -> str:
    """What others have published for the networks of the table, at 0% and the paper's rates; or nothing."""
    if _layout(table).place != "Table 1":
        return ""
    found = [row for row in load_highest() if (row.dataset, row.network) in _pairs(cells)]
    if not found:
        return ""
    return (
        f"Highest published elsewhere ({found[0].source}; in none of the paper's tables, under conditions of "
        f"their own): {'; '.join(map(str, found))}."
    )


def _legend(layout: Layout, cells: Cells) -> str:
    return "; ".join(f"{method}: {METHODS[method]}" for method in _methods(layout, cells)) + "."


def to_markdown(table: str, cells: Cells, about: About) -> str:
    """Title, table, legend, caption and command. Two columns for each rate: the paper's number and ours."""
    layout = _layout(table)
    heads = ["dataset", "network", "method"]
    heads += [f"{rate} {whose}" for rate in RATES for whose in ("paper", "ours")]
    lines = [
        f"**{markdown(_title(layout))}**",
        "",
        f"| {' | '.join(heads)} |",
        "|---|---|---|" + "--:|" * (2 * len(RATES)),
        *(_markdown_row(layout, row) for row in table_rows(table, cells)),
        "",
        markdown(_legend(layout, cells)),
        "",
        markdown(caption(table, cells, about)),
        "",
        *([markdown(highest(table, cells)), ""] if highest(table, cells) else []),
        f"    {' '.join(about.command.split())}",
    ]
    return "\n".join(lines) + "\n"


def _markdown_row(layout: Layout, row: Row) -> str:
    """The unpruned network stands at every rate: it is what each of them is compared with."""
    entries = row.entries if len(row.entries) == len(RATES) else row.entries * len(RATES)
    fields = [markdown(row.dataset), markdown(row.network), row.method]
    for entry in entries:
        shown = zip(_texts(layout, entry), _excess(layout, entry), strict=True)
        fields += [f"*{text}*" if over else text for text, over in shown]
    return f"| {' | '.join(fields)} |"


def to_csv(table: str, cells: Cells, about: About) -> str:
    """One line for each entry, to twelve digits; empty where there is nothing (the unpruned has no rate)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    made = (about.scale, about.device, about.commit)
    for row in table_rows(table, cells):
        for e in row.entries:
            numbers = (e.rate, e.published, e.mean, e.std, e.n)
            writer.writerow(map(field, (table, row.dataset, row.network, row.method, *numbers, *made)))
    return out.getvalue()


def to_html(table: str, cells: Cells, about: About) -> str:
    """One page that loads nothing and runs nothing; every text in it is escaped."""
    layout = _layout(table)
    rows = table_rows(table, cells)
    return (
        environment("secateur.papers")
        .get_template("table.html")
        .render(
            title=_title(layout),
            rates=RATES,
            groups=[(pair, [r for r in rows if (r.dataset, r.network) == pair]) for pair in _pairs(cells)],
            shown=lambda entry: list(zip(_texts(layout, entry), _excess(layout, entry), strict=True)),
            meanings={method: METHODS[method] for method in _methods(layout, cells)},
            caption=f"{caption(table, cells, about)} {highest(table, cells)}".strip(),
            command=about.command,
        )
    )


def write_tables(content: DupontCells, out: Path) -> None:
    """Leave each table, and the claims, as markdown, CSV and HTML."""
    write_claims(content, out)
    for table in TABLES:
        for suffix, render in (("md", to_markdown), ("csv", to_csv), ("html", to_html)):
            text = render(table, content.cells, content.about)
            write_bytes(out / f"{table}.{suffix}", text.encode())
