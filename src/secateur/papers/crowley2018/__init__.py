"""Crowley et al. 2018, *Pruning neural networks: is it time to nip it in the bud?*: scales and places."""

from __future__ import annotations

from secateur.papers.crowley2018.families import Asked, FamilyReproduction
from secateur.papers.crowley2018.figure1 import Figure1
from secateur.papers.crowley2018.figure2 import Figure2
from secateur.papers.crowley2018.penalties import Penalties
from secateur.papers.crowley2018.precision import PRECISION_FILE
from secateur.papers.crowley2018.scales import SCALES, Scale
from secateur.papers.crowley2018.snip import Snip
from secateur.papers.crowley2018.snip_grid import CELLS, COPYCAT, SNIP, Cell
from secateur.papers.crowley2018.snip_tables import entries, to_csv, to_html, to_markdown, write_tables

FIGURES: dict[str, type[FamilyReproduction]] = {kind.place: kind for kind in (Figure1, Figure2, Penalties)}
PLACES = ("snip", *FIGURES)


def files_of(place: str) -> list[str]:
    """What a place leaves beside the runs."""
    kinds = ("md", "csv", "html", *(("png", "svg") if place.startswith("figure") else ()))
    file = FIGURES[place].file if place in FIGURES else Snip.file
    return [file, "claims.md", PRECISION_FILE, *(f"{place}.{kind}" for kind in kinds)]


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
    "Figure2",
    "Penalties",
    "Scale",
    "Snip",
    "entries",
    "files_of",
    "to_csv",
    "to_html",
    "to_markdown",
    "write_tables",
]
