"""The table of Crowley et al. 2018, section 3.2, the paper's numbers beside ours."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secateur.atomic import write_bytes
from secateur.compare.summary import interval
from secateur.papers.cells import About, CrowleyCells, CrowleyRun
from secateur.papers.crowley2018.snip_grid import CELLS, COPYCAT, SNIP, Cell
from secateur.papers.text import MISSING, conditions, markdown, shown
from secateur.records.written import field
from secateur.report.templates import environment


@dataclass(frozen=True)
class Entry:
    """A row's numbers: test error in percent points, parameters as a mean; None without a run."""

    cell: Cell
    made_of: str | None
    not_zero: float | None
    mean: float | None
    std: float | None
    n: int


def entries(runs: Sequence[CrowleyRun]) -> list[Entry]:
    """Every row of the paper, whether it has runs or not."""
    return [_entry(cell, [run for run in runs if _cell_of(run) == cell]) for cell in CELLS]


def _cell_of(run: CrowleyRun) -> Cell:
    return Cell(run.method, run.network, run.rate, run.size, run.dataset)


def _entry(cell: Cell, runs: Sequence[CrowleyRun]) -> Entry:
    if not runs:
        return Entry(cell, None, None, None, None, 0)
    found = interval([100 * (1 - run.accuracy) for run in runs])
    size = interval([run.not_zero for run in runs]).mean
    return Entry(cell, runs[0].made_of, size, found.mean, found.std, len(runs))


_TITLE = "Crowley et al. 2018, section 3.2: test error (%) of SNIP's networks and of copycat's"
_HEADS = ("network", "parameters", "error (%)", "network", "not zero", "error (%) (n)")
_COLUMNS = (
    *("method", "dataset", "network", "rate", "size", "published", "ours_network", "ours_not_zero"),
    *("ours_mean", "ours_std", "n", "scale", "device", "commit"),
)
_MEANINGS = {
    SNIP: "weights set to zero before training (Lee et al. 2018, quoted); not zero are the weights that "
    "stay and all biases and normalisation, where the paper's sizes are 5% of all parameters",
    COPYCAT: "the profile that Fisher pruning finds in the network named, every middle width times alpha, "
    "from scratch",
}


def _texts(entry: Entry) -> tuple[str, ...]:
    """A row as it is shown: the method, the paper's network, size and error, and ours."""
    cell, pruned = entry.cell, f", {entry.cell.rate} pruned" if entry.cell.rate else ""
    return (
        cell.method,
        f"{cell.network}{pruned}",
        cell.size,
        MISSING if cell.published is None else f"{cell.published:.2f}",
        MISSING if entry.made_of is None else f"{entry.made_of}{pruned}",
        MISSING if entry.not_zero is None else f"{entry.not_zero:,.0f}",
        shown(entry.mean, entry.std, entry.n, 2),
    )


def caption(runs: Sequence[CrowleyRun], about: About) -> str:
    """How long every network was trained, and what else stands under each paper's tables."""
    epochs = " and ".join(str(count) for count in sorted({run.epochs for run in runs}))
    return f"Epochs: {epochs} (in the paper 200). {conditions(about, [row.n for row in entries(runs)])}"


def to_markdown(runs: Sequence[CrowleyRun], about: About) -> str:
    """Title, table, legend, conditions and command."""
    heads = [*(f"paper: {head}" for head in _HEADS[:3]), *(f"ours: {head}" for head in _HEADS[3:])]
    lines = [
        f"**{markdown(_TITLE)}**",
        "",
        f"| method | {' | '.join(heads)} |",
        "|---|---|--:|--:|---|--:|--:|",
        *(f"| {' | '.join(map(markdown, _texts(entry)))} |" for entry in entries(runs)),
        "",
        *(f"- {method}: {markdown(meaning)}" for method, meaning in _MEANINGS.items()),
        "",
        markdown(caption(runs, about)),
        "",
        f"    {' '.join(about.command.split())}",
    ]
    return "\n".join(lines) + "\n"


def to_csv(runs: Sequence[CrowleyRun], about: About) -> str:
    """One line for each row, to twelve digits; empty where there is nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in entries(runs):
        cell = entry.cell
        theirs = (cell.method, cell.dataset, cell.network, cell.rate, cell.size, cell.published)
        ours = (entry.made_of, entry.not_zero, entry.mean, entry.std, entry.n)
        writer.writerow(map(field, (*theirs, *ours, about.scale, about.device, about.commit)))
    return out.getvalue()


def to_html(runs: Sequence[CrowleyRun], about: About) -> str:
    """One page that loads nothing and runs nothing; every text in it is escaped."""
    return (
        environment("secateur.papers")
        .get_template("snip.html")
        .render(
            title=_TITLE,
            heads=_HEADS,
            rows=[_texts(entry) for entry in entries(runs)],
            meanings=_MEANINGS,
            caption=caption(runs, about),
            command=about.command,
        )
    )


def write_tables(content: CrowleyCells, out: Path) -> None:
    """Leave the table as markdown, CSV and HTML."""
    for suffix, render in (("md", to_markdown), ("csv", to_csv), ("html", to_html)):
        write_bytes(out / f"snip.{suffix}", render(content.cells, content.about).encode())
