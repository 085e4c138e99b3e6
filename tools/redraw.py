"""Draw the pictures in results/ again, of the numbers that are recorded there; nothing is run.

python tools/redraw.py           all of them
python tools/redraw.py NAME...   those of some folders of results/

Of a comparison that has figures: the forest, accuracy against what its budgets limit, and the profile. Its
training curves need histories of runs, which are not kept in results/, and stay. Of a paper: its
figures, its tables, and the pages that show them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from secateur.atomic import write_bytes
from secateur.papers import crowley2018, dupont2021
from secateur.papers.cells import CrowleyCells, DupontCells, FamilyCells
from secateur.papers.crowley2018.figure1 import write_figure1
from secateur.papers.crowley2018.figure2 import write_figure2
from secateur.papers.dupont2021.figures import draw_figure2
from secateur.records.results import Results
from secateur.report.drawing import house_style
from secateur.report.figures import encoded, figures_of

RESULTS = Path(__file__).parents[1] / "results"
PAPERS = {"crowley2018": (CrowleyCells, crowley2018), "dupont2021": (DupontCells, dupont2021)}


def comparison(directory: Path) -> None:
    """The figures of a comparison's `results.json`."""
    with house_style():
        for name, figure in figures_of(Results.load(directory / "results.json")).items():
            for kind in ("png", "svg"):
                write_bytes(directory / "figures" / f"{name}.{kind}", encoded(figure, kind, name))


def tables(directory: Path) -> None:
    """A paper's tables, of its `cells.json`."""
    content = json.loads((directory / "cells.json").read_text(encoding="utf-8"))
    cells, paper = PAPERS[content["paper"]]
    paper.write_tables(cells.load(directory / "cells.json"), directory)


def redraw(directory: Path) -> list[str]:
    """All that can be drawn of a folder; what it was drawn of."""
    sources = {
        "results.json": lambda: comparison(directory),
        "cells.json": lambda: tables(directory),
        "figure1.json": lambda: write_figure1(FamilyCells.load(directory / "figure1.json"), directory),
        "figure2.json": lambda: write_figure2(FamilyCells.load(directory / "figure2.json"), directory),
        "figure2.svg": lambda: draw_figure2(directory / "figure2.png", directory / "figure2.svg"),
    }
    if (directory / "figure2.json").is_file():
        del sources["figure2.svg"]  # Crowley et al.'s; Dupont et al.'s is of equations alone
    if not (directory / "figures").is_dir():
        del sources["results.json"]
    found = [name for name in sources if (directory / name).is_file()]
    for name in found:
        sources[name]()
    return found


def main() -> int:
    """Draw."""
    for directory in [RESULTS / name for name in sys.argv[1:]] or sorted(RESULTS.iterdir()):
        if found := redraw(directory):
            print(directory.name, *found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
