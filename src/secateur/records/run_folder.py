"""A folder of runs, as far as it is looked at without torch: which runs there are, and what lists say."""

from __future__ import annotations

import os
from pathlib import Path

from secateur.errors import InputError, require_posix
from secateur.records.failed import FAILED_FILE, Failed
from secateur.records.out import expanded
from secateur.records.reading import is_file_name
from secateur.records.record import Record
from secateur.records.record_head import RecordHead


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
        path = self.path(run_id) / "record.json"
        return RecordHead.load(path) if path.is_file() else None

    def record(self, run_id: str) -> Record | None:
        """A finished run's record, else None; InputError for a damaged one."""
        return Record.load(self.path(run_id) / "record.json") if self.finished(run_id) else None

    def failure(self, run_id: str) -> Failed | None:
        """Why a run failed; None where it did not, or was begun again since, or the file is damaged."""
        path = self.path(run_id) / FAILED_FILE
        try:
            return Failed.load(path) if path.is_file() and not self.finished(run_id) else None
        except InputError:
            return None

    def is_claimed(self, run_id: str) -> bool:
        """Whether a process of this machine, or of those that share its locks, is making the run."""
        require_posix("a folder of runs")
        import fcntl

        try:
            folder = os.open(self.path(run_id), os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return isinstance(error, BlockingIOError)
        finally:
            os.close(folder)
        return False

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
