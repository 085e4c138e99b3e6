"""A folder of runs: records, checkpoints, finished networks.

A run's id is a hash of everything that can change a number, then its seed: `train-3fa9c1e2b7d0-s0`. Device,
processes, paths and names are not in it. The folder holds for each:

    runs/ID/record.json               written last: a run is finished when it is there
    runs/ID/architecture.json, model.safetensors      the finished network
    runs/ID/manifest.json             the hashes of its files
    runs/ID/scores.safetensors        of every test example, whether the network is right
    runs/ID/tracked.json              how much of it which service was told (`tracking`)
    runs/ID/alive.json                who makes it; its time of change is the last sign of life
    runs/ID/failed.json               why it failed, until it is begun again
    runs/ID/checkpoint.safetensors    the state after the last epoch; JSON in its header, no pickle
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from secateur.atomic import write_bytes, write_json
from secateur.budget import COUNTERS
from secateur.errors import InputError, require_posix
from secateur.process import holders
from secateur.records.failed import FAILED_FILE, Failed
from secateur.records.manifest import MANIFEST_FILE
from secateur.records.measured import MEASURED_FILE
from secateur.records.ours import is_run
from secateur.records.out import check_stays
from secateur.records.reading import read_json
from secateur.records.record import Record
from secateur.records.run_folder import RunFolder
from secateur.runs.checkpoint_file import checkpoint_bytes, read_checkpoint
from secateur.runs.sweeping import sweep
from secateur.training.checkpoint import Checkpoint

RUN_FILES = (
    "record.json",
    "architecture.json",
    "artefact.json",
    "transformers.json",
    *(MANIFEST_FILE, MEASURED_FILE),
    FAILED_FILE,
    "alive.json",
    "tracked.json",
    "model.safetensors",
    *("checkpoint.safetensors", "scores.safetensors"),
)
"""What a run's folder may hold; with anything else in it, it is not deleted."""

_UNDER_LOCK = (*(name for name in RUN_FILES if name != MEASURED_FILE), "results.json", "plan.json")
"""What only who holds the folder writes."""

ASIDE = ".damaged"
"""How files are called that were set aside, after a number."""


@dataclass(frozen=True)
class Stop:
    """A finished pruning run of a trajectory, and how far it went.

    Attributes:
        removed: channels that are gone.
        costs: resource -> units of the network that was left.
    """

    run_id: str
    trajectory: str
    removed: int
    costs: Mapping[str, int]


class RunStore(RunFolder):
    """The runs of one output folder; several processes, on several machines, may make runs in it.

    Attributes:
        lock: while the folder is held, the open file that holds it; whoever inherits it holds it as well.
        mends: whether damaged records are set aside: the folder is held, and nobody else reads them.
        note: told what was set aside.
    """

    def __init__(self, directory: str | Path):
        super().__init__(directory)
        self.lock: int | None = None
        self.mends = False
        self.note: Callable[[str], None] = lambda text: None
        self._stops: dict[str, Stop] = {}
        self._sound: set[str] = set()

    def finished(self, run_id: str) -> bool:
        """Whether the run's record is there; for whoever makes runs, one that can be read."""
        if not super().finished(run_id):
            return False
        if not self.mends or run_id in self._sound:
            return True
        return self.record(run_id) is not None

    def record(self, run_id: str) -> Record | None:
        """Read the finished run's record; None where it is not finished.

        Whoever makes runs sets a damaged one aside: the run is made again.

        Raises:
            InputError: where the file is damaged and stays, or is of a newer version.
        """
        path = self.path(run_id) / "record.json"
        if not path.is_file():
            return None
        try:
            found = Record.load(path)
        except InputError as error:
            if not self.mends or _is_newer(path):
                raise
            self.set_aside(path, str(error))
            return None
        self._sound.add(run_id)
        return found

    def own(self, run_id: str) -> Path:
        """The run's folder, which need not exist, to write in; InputError where a link leads elsewhere."""
        folder = self.path(run_id)
        check_stays(folder, self.directory)
        return folder

    def set_aside(self, path: Path, why: str) -> Path:
        """Rename a file that is of no use, so that what it was is made again; where it lies now."""
        check_stays(path.parent, self.directory)
        numbers = (number for number in count(1) if not os.path.lexists(f"{path}.{number}{ASIDE}"))
        there = path.with_name(f"{path.name}.{next(numbers)}{ASIDE}")
        path.rename(there)
        self.note(f"{why.removesuffix('.')}; it was set aside as {there.name}, and is made again")
        return there

    def save_record(self, record: Record) -> None:
        """Declare the run finished."""
        folder = self.own(record.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "record.json", record.to_json())

    def save_failure(self, failed: Failed) -> None:
        """Keep why a run failed; one that cannot be told has no folder."""
        if failed.run_id is not None and not self.finished(failed.run_id):
            folder = self.own(failed.run_id)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / FAILED_FILE, failed.to_json())

    def failure(self, run_id: str) -> Failed | None:
        """Why a run failed; None where it did not, or was begun again since, or the file is damaged."""
        path = self.path(run_id) / FAILED_FILE
        try:
            return Failed.load(path) if path.is_file() and not self.finished(run_id) else None
        except InputError:
            return None

    def forget_failure(self, run_id: str) -> None:
        """Take a run for one that did not fail: it is begun again."""
        (self.own(run_id) / FAILED_FILE).unlink(missing_ok=True)

    def save_scores(self, run_id: str, scores: Tensor) -> None:
        """Keep the score of every test example, (N,), for verdicts; before the run is declared finished."""
        folder = self.own(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "scores.safetensors", save({"test": scores.contiguous()}))

    def scores(self, run_id: str) -> Tensor | None:
        """The score of every test example, (N,); None where there are none, as of older versions' runs."""
        path = self.path(run_id) / "scores.safetensors"
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                found: Tensor = file.get_tensor("test")
                return found
        except (SafetensorError, OSError):
            return None

    def stops(self, trajectory: str) -> list[Stop]:
        """Find the finished pruning runs along a trajectory; each record of its seed is read once."""
        seed = trajectory[trajectory.rindex("-") :]
        ids = [each for each in self.ids() if each.startswith("prune-") and each.endswith(seed)]
        for run_id in ids:
            if run_id not in self._stops and (record := self.record(run_id)):
                self._stops[run_id] = _stop_of(record)
        return [stop for stop in self._stops.values() if stop.trajectory == trajectory]

    def save_checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        """Replace the run's checkpoint, whole or not at all."""
        folder = self.own(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "checkpoint.safetensors", checkpoint_bytes(checkpoint))

    def checkpoint_path(self, run_id: str) -> Path:
        """Where the run's checkpoint lies, if it has one."""
        return self.path(run_id) / "checkpoint.safetensors"

    def checkpoint(self, run_id: str) -> Checkpoint | None:
        """The run's last checkpoint, else None; one that cannot be read counts as none."""
        path = self.checkpoint_path(run_id)
        return read_checkpoint(path) if path.is_file() else None

    def drop_checkpoint(self, run_id: str) -> None:
        """Forget the checkpoint of a run that nothing continues from."""
        (self.own(run_id) / "checkpoint.safetensors").unlink(missing_ok=True)

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

        self.own(run_id).mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path(run_id), os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

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
        self.directory.mkdir(parents=True, exist_ok=True)
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


def _is_newer(path: Path) -> bool:
    """Whether a record is of a version to come, which the user may still have."""
    try:
        content = read_json(path)
    except InputError:
        return False
    schema = content.get("schema") if isinstance(content, dict) else None
    return isinstance(schema, int) and schema > (Record.SCHEMA or 0)


def _stop_of(record: Record) -> Stop:
    costs = {resource: record.count_of(resource) for resource in COUNTERS}
    return Stop(record.run_id, record.trajectory or "", len(record.removed or ()), costs)
