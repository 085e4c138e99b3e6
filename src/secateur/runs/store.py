"""A folder of runs: records, checkpoints, finished networks.

A run's id is a hash of everything that can change a number, then its seed: `train-3fa9c1e2b7d0-s0`. Device,
processes, paths and names are not in it. The folder holds for each:

    runs/ID/record.json               written last: a run is finished when it is there
    runs/ID/architecture.json, model.safetensors      the finished network
    runs/ID/manifest.json             the hashes of the network's files; the record has them too
    runs/ID/scores.safetensors        of every test example, whether the network is right
    runs/ID/tracked.json              how much of it which service was told (`tracking`)
    runs/ID/alive.json                who makes it; its time of change is the last sign of life
    runs/ID/failed.json               why it failed, until it is begun again
    runs/ID/checkpoint.safetensors    the state after the last epoch; JSON in its header, no pickle
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torch import Tensor

from secateur.atomic import make_folder, remove, write_bytes, write_json
from secateur.errors import InputError, UnreadableError, require_posix
from secateur.process import holders
from secateur.records.failed import FAILED_FILE, Failed
from secateur.records.manifest import MANIFEST_FILE
from secateur.records.measured import MEASURED_FILE
from secateur.records.ours import is_run
from secateur.records.out import check_stays
from secateur.records.record import Record
from secateur.records.run_folder import RunFolder
from secateur.runs.checkpoint_file import checkpoint_bytes, read_checkpoint
from secateur.runs.made import RECORD_FILE
from secateur.runs.scores_file import read_scores, scores_bytes
from secateur.runs.stop import Stop
from secateur.runs.sweeping import sweep
from secateur.runs.wholeness import (
    ASIDE,
    SCORES_FILE,
    aside,
    faults_of,
    is_newer,
    manifest_fault,
    record_at,
)
from secateur.training.checkpoint import Checkpoint

RUN_FILES = (
    RECORD_FILE,
    "architecture.json",
    "artefact.json",
    "transformers.json",
    *(MANIFEST_FILE, MEASURED_FILE),
    FAILED_FILE,
    "alive.json",
    "tracked.json",
    "model.safetensors",
    *("checkpoint.safetensors", SCORES_FILE),
)
"""What a run's folder may hold; with anything else in it, it is not deleted."""

_UNDER_LOCK = (*(name for name in RUN_FILES if name != MEASURED_FILE), "results.json", "plan.json")
"""What only who holds the folder writes."""


GOES_ON = "and the run goes on from an earlier state"
"""What becomes of a run whose way there was set aside."""


class RunStore(RunFolder):
    """The runs of one output folder; several processes, on several machines, may make runs in it.

    Attributes:
        lock: while the folder is held, the open file that holds it; whoever inherits it holds it as well.
        mends: whether damaged runs are set aside, and made again: the folder is held, by this process or, of
            several that make each run together, by the first, which does it for all.
        note: told what was set aside.
        passed_over: runs whose checkpoints nobody can go on from.
    """

    def __init__(self, directory: str | Path):
        super().__init__(directory)
        self.lock: int | None = None
        self.mends = False
        self.note: Callable[[str], None] = lambda text: None
        self._stops: dict[str, Stop] = {}
        self._whole: set[str] = set()
        self.passed_over: set[str] = set()

    def finished(self, run_id: str) -> bool:
        """Whether the run's record is there; for whoever makes runs, a sound one with sound files."""
        if not super().finished(run_id):
            return False
        if not self.mends or run_id in self._whole:
            return True
        record = self.record(run_id)
        if record is None or not self._is_whole(record):
            return False
        self._whole.add(run_id)
        return True

    def _is_whole(self, record: Record) -> bool:
        """Whether a run's files are those that its record is of; else they are set aside, and the record."""
        folder = self.own(record.run_id)
        faults = faults_of(folder, record)
        if not faults:
            if (mended := manifest_fault(folder, record)) is not None and self._is_first:
                self.set_aside(folder / MANIFEST_FILE, f"{folder / MANIFEST_FILE} was damaged")
                write_json(folder / MANIFEST_FILE, mended.to_json())
            return True
        for name in faults:
            if self._is_first and (folder / name).is_file():
                aside(folder / name)
        why = ", ".join(f"{name} {fault}" for name, fault in faults.items())
        self.set_aside(folder / RECORD_FILE, f"{folder}: {why}, so its record is of no use")
        return False

    @property
    def _is_first(self) -> bool:
        """Whether it is this process that mends, of several that make each run together."""
        return self.lock is not None or not self.mends

    def record(self, run_id: str) -> Record | None:
        """Read the finished run's record; None where it is not finished.

        Whoever makes runs sets a damaged one aside: the run is made again.

        Raises:
            InputError: where the file is damaged and stays, or is of a newer version.
            UnreadableError: where it may be whole, but cannot be read now.
        """
        path = self.path(run_id) / RECORD_FILE
        if not path.is_file():
            return None
        try:
            return record_at(path)
        except InputError as error:
            if not self.mends or isinstance(error, UnreadableError) or is_newer(path):
                raise
            self.set_aside(path, str(error))
            return None

    def own(self, run_id: str) -> Path:
        """The run's folder, which need not exist, to write in; InputError where a link leads elsewhere."""
        folder = self.path(run_id)
        check_stays(folder, self.directory)
        return folder

    def set_aside(self, path: Path, why: str, then: str = "and is made again") -> None:
        """Rename a file that is of no use, and say so; of several processes the first does it for all."""
        check_stays(path.parent, self.directory)
        if self._is_first and (there := aside(path)) is not None:
            self.note(f"{why.removesuffix('.')}; it was set aside as {there.name}, {then}")

    def save_record(self, record: Record) -> None:
        """Declare the run finished."""
        folder = self.own(record.run_id)
        make_folder(folder)
        write_json(folder / RECORD_FILE, record.for_file())

    def save_failure(self, failed: Failed) -> None:
        """Keep why a run failed; one that cannot be told has no folder."""
        if failed.run_id is not None and not self.finished(failed.run_id):
            folder = self.own(failed.run_id)
            make_folder(folder)
            write_json(folder / FAILED_FILE, failed.to_json())

    def forget_failure(self, run_id: str) -> None:
        """Take a run for one that did not fail: it is begun again."""
        (self.own(run_id) / FAILED_FILE).unlink(missing_ok=True)

    def save_scores(self, run_id: str, scores: Tensor) -> None:
        """Keep the score of every test example, (N,), for verdicts; before the run is declared finished."""
        folder = self.own(run_id)
        make_folder(folder)
        write_bytes(folder / SCORES_FILE, scores_bytes(run_id, scores))

    def scores(self, run_id: str) -> Tensor | None:
        """The score of every test example, (N,); None where there are none, as of older versions' runs.

        Raises:
            InputError: where they were damaged since, or are another run's.
        """
        path = self.path(run_id) / SCORES_FILE
        return read_scores(path, run_id) if path.is_file() else None

    def stops(self, trajectory: str) -> list[Stop]:
        """Find the finished pruning runs along a trajectory; each record of its seed is read once.

        A damaged one is no reason to lose a run that may not even be along it.
        """
        seed = trajectory[trajectory.rindex("-") :]
        ids = [each for each in self.ids() if each.startswith("prune-") and each.endswith(seed)]
        for run_id in ids:
            if run_id not in self._stops:
                with suppress(InputError):
                    if record := self.record(run_id):
                        self._stops[run_id] = Stop.of(record)
        return [stop for stop in self._stops.values() if stop.trajectory == trajectory]

    def save_checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        """Replace the run's checkpoint, whole or not at all."""
        folder = self.own(run_id)
        make_folder(folder)
        write_bytes(folder / "checkpoint.safetensors", checkpoint_bytes(checkpoint))

    def checkpoint_path(self, run_id: str) -> Path:
        """Where the run's checkpoint lies, if it has one."""
        return self.path(run_id) / "checkpoint.safetensors"

    def checkpoint(self, run_id: str) -> Checkpoint | None:
        """The run's last checkpoint, else None; one that is damaged counts as none.

        Raises:
            OSError: where it cannot be read now.
        """
        path = self.checkpoint_path(run_id)
        return read_checkpoint(path) if path.is_file() else None

    def drop_checkpoint(self, run_id: str) -> None:
        """Forget the checkpoint of a run that nothing continues from."""
        remove(self.own(run_id) / "checkpoint.safetensors")

    def delete(self, run_id: str) -> None:
        """Remove a run and all that it left; InputError where something else lies there."""
        folder = self.path(run_id)
        if not is_run(folder) or folder.is_symlink():
            raise InputError(
                f"only runs are deleted, and '{folder}' is not known to be one: delete it yourself"
            )
        for each in folder.iterdir():
            if each.name not in RUN_FILES and not each.name.endswith((".part", ASIDE)):
                raise InputError(
                    f"a run is deleted with what Secateur wrote, but '{each}' is not of it: move it away"
                )
        shutil.rmtree(folder)

    @contextmanager
    def claimed(self, run_id: str) -> Iterator[None]:
        """Hold a run that is to be made, after whoever makes it now; a process that ends lets go, however."""
        require_posix("a folder of runs")
        import fcntl

        make_folder(self.own(run_id))
        folder = os.open(self.path(run_id), os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    @contextmanager
    def locked(self, needed: bool = True) -> Iterator[None]:
        """Hold the folder for this process; InputError where another one is at work in it.

        Of several processes of one run only the first needs it (`needed`).
        """
        require_posix("a folder of runs")
        import fcntl

        if not needed:
            yield
            return
        make_folder(self.directory)
        for name in (".lock", "runs"):
            check_stays(self.directory / name, self.directory)
        with open(self.directory / ".lock", "a", encoding="utf-8") as file:  # whoever's it is, it stays
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = holders(self.directory / ".lock")
                raise InputError(
                    f"another secateur is at work in '{self.directory}'{who}: wait for it, or choose another "
                    "--out"
                ) from None
            except OSError as error:  # a network's disk without a lock manager, say
                raise InputError(
                    f"--out must lie where files can be locked, but '{self.directory}' cannot "
                    f"({error.strerror}): choose a folder on another disk"
                ) from None
            self.lock = file.fileno()
            sweep(self.directory, _UNDER_LOCK)
            try:
                yield
            finally:
                self.lock = None
