"""Dupont et al. 2021, *Weight reparametrization for budget-aware network pruning*, made again."""

from __future__ import annotations

from secateur.papers.dupont2021.claim_pages import verdicts
from secateur.papers.dupont2021.figures import draw_figure2
from secateur.papers.dupont2021.grid import CELLS, METHODS, PLACES, SCALES, Cell, Scale, parse_cells
from secateur.papers.dupont2021.reproduction import Reproduction
from secateur.papers.dupont2021.tables import write_tables

__all__ = [
    "CELLS",
    "METHODS",
    "PLACES",
    "SCALES",
    "Cell",
    "Reproduction",
    "Scale",
    "draw_figure2",
    "parse_cells",
    "verdicts",
    "write_tables",
]
