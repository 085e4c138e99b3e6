"""A folder of runs, as far as it is looked at without torch: which runs there are, and what lists say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from secateur.errors import InputError
from secateur.records.measure import ACCURACY, Measure
from secateur.records.out import expanded
from secateur.records.reading import is_file_name
from secateur.records.stored import Stored, optional


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordHead(Stored):
    """What a list of runs says of a record; a folder may hold 10,000, and the rest is not looked into.

    Attributes:
        history: an entry for each epoch; nothing is asked of it here.
    """

    SCHEMA: ClassVar[int | None] = 1
    AGAIN: ClassVar[str] = "delete the run's folder, and the same command makes it again"

    label: str
    params: int
    accuracy: float
    metric: Measure | None = optional()  # noqa: RUF009  # a field
    history: tuple[Any, ...]

    @property
    def measure(self) -> Measure:
        """What the accuracies are."""
        return self.metric or ACCURACY

    @property
    def epochs(self) -> int:
        """How many were trained, a part of one counted as one."""
        return len(self.history)


class RunFolder:
    """The runs of one output folder, and where they lie.

    Attributes:
        directory: the output folder.
        runs: holds a folder for each run.
    """

    def __init__(self, directory: str | Path):
        self.directory = expanded(directory, "--out")
        self.runs = self.directory / "runs"

    def path(self, run_id: str) -> Path:
        """The run's folder, which need not exist; InputError for an id that would lead elsewhere."""
        if not is_file_name(run_id):
            raise InputError(f"a run's id is one name of letters, digits and -_.=%,+@:, got {run_id!r:.80}")
        return self.runs / run_id

    def finished(self, run_id: str) -> bool:
        """Whether the run's record is there."""
        return (self.path(run_id) / "record.json").is_file()

    def head(self, run_id: str) -> RecordHead | None:
        """What a list says of a finished run, else None; InputError for a damaged record."""
        return RecordHead.load(self.path(run_id) / "record.json") if self.finished(run_id) else None

    def ids(self) -> list[str]:
        """All runs, finished or not, by id."""
        if not self.runs.is_dir():
            return []
        with os.scandir(self.runs) as found:
            return sorted(each.name for each in found if each.is_dir())

    def resolve(self, prefix: str) -> str:
        """The one run whose id begins with `prefix`; InputError where none or several do."""
        found = [run_id for run_id in self.ids() if run_id.startswith(prefix)]
        if prefix in found:
            return prefix
        if len(found) != 1:
            what = "no run" if not found else f"{len(found)} runs"
            raise InputError(
                f"{what} in '{self.runs}' begin with '{prefix}': `secateur runs list` names them"
            )
        return found[0]
