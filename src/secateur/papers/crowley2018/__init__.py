"""Crowley et al. 2018, *Pruning neural networks: is it time to nip it in the bud?*: grid, runs, table."""

from __future__ import annotations

from secateur.papers.crowley2018.grid import CELLS, COPYCAT, PLACES, SCALES, SNIP, Cell, Scale
from secateur.papers.crowley2018.reproduction import Reproduction
from secateur.papers.crowley2018.tables import entries, to_csv, to_html, to_markdown, write_tables

__all__ = [
    "CELLS",
    "COPYCAT",
    "PLACES",
    "SCALES",
    "SNIP",
    "Cell",
    "Reproduction",
    "Scale",
    "entries",
    "to_csv",
    "to_html",
    "to_markdown",
    "write_tables",
]
