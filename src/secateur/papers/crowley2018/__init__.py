"""Crowley et al. 2018, *Pruning neural networks: is it time to nip it in the bud?*: scales and places."""

from __future__ import annotations

from secateur.papers.crowley2018.families import Asked
from secateur.papers.crowley2018.figure1 import Figure1
from secateur.papers.crowley2018.scales import SCALES, Scale
from secateur.papers.crowley2018.snip import Snip
from secateur.papers.crowley2018.snip_grid import CELLS, COPYCAT, SNIP, Cell
from secateur.papers.crowley2018.snip_tables import entries, to_csv, to_html, to_markdown, write_tables

FIGURES = {"figure1": Figure1}
PLACES = ("snip", *FIGURES)


def files_of(place: str) -> list[str]:
    """What a place leaves beside the runs."""
    tables = [f"{place}.{kind}" for kind in ("md", "csv", "html")]
    if place not in FIGURES:
        return ["cells.json", *tables]
    return [FIGURES[place].file, *tables, f"{place}.png", f"{place}.svg"]


__all__ = [
    "CELLS",
    "COPYCAT",
    "FIGURES",
    "PLACES",
    "SCALES",
    "SNIP",
    "Asked",
    "Cell",
    "Figure1",
    "Scale",
    "Snip",
    "entries",
    "files_of",
    "to_csv",
    "to_html",
    "to_markdown",
    "write_tables",
]
