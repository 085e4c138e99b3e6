"""`secateur runs check`: whether a folder holds what was written into it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from secateur.cli.answer import Answer
from secateur.cli.shared import path_argument
from secateur.cli.terminal import show

_Folder = Annotated[Path, path_argument("Folder that compare, train, prune or sc.save left.")]


def check_runs(directory: _Folder = Path("secateur-compare")) -> Answer:
    """Read all of a folder back, as after copying it: a line for each fault, and exit code 1 for any.

    Nothing is changed: the command that left the folder makes again what is damaged.

    Example: `secateur runs check secateur-compare/`
    """
    from secateur.runs.checking import check_folder

    found = check_folder(directory)
    content = {"directory": str(directory), "runs": found.runs, "faults": list(found.faults)}

    def say() -> None:
        for fault in found.faults:
            show(fault)
        if not found.faults:
            show(f"{found.runs} run{'' if found.runs == 1 else 's'} checked: all is as it was written")

    return Answer(content, say, code=1 if found.faults else 0)
