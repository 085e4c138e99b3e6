"""Whether a folder holds what was written into it: all that a command left there is read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from secateur.architecture.artefact import read_artefact
from secateur.architecture.file import ARCHITECTURE_FILE, WEIGHTS_FILE
from secateur.errors import InputError
from secateur.records.manifest import check_whole
from secateur.records.measured import MEASURED_FILE, Measured, hash_of
from secateur.records.plan import read_plan
from secateur.records.quantized import quantized_in
from secateur.records.results import Results
from secateur.records.winner import Winner
from secateur.runs.checkpoint_file import read_checkpoint
from secateur.runs.made import RECORD_FILE, Made
from secateur.runs.store import RunStore
from secateur.runs.wholeness import faults_of, record_at

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Checked:
    """What came of it.

    Attributes:
        runs: how many runs there are, finished or not.
        faults: a line for each; empty where all is well.
    """

    runs: int
    faults: tuple[str, ...]


def check_folder(directory: Path) -> Checked:
    """Read back every record, score, checkpoint and network of a folder; nothing is changed.

    Files of older versions, which have no digests, are read as far as their form goes.

    Raises:
        InputError: where nothing of ours lies there.
    """
    store = RunStore(directory)
    ids, networks = store.ids(), [each for each in _networks(store.directory) if _has_network(each)]
    if not ids and not networks:
        raise InputError(
            f"nothing to check in '{directory}': name a folder that compare, train, prune or sc.save left"
        )
    faults = [fault for run_id in ids for fault in _run_faults(store, run_id)]
    faults += [fault for folder in networks for fault in _network_faults(folder)]
    for folder in _answers(store.directory):
        faults += _said(partial(_read_results, folder))
    faults += _said(partial(read_plan, store.directory))
    return Checked(len(ids), tuple(faults))


def _answers(directory: Path) -> list[Path]:
    """The folders that results may lie in."""
    return [directory, *sorted(each for each in (directory / "reports").glob("*") if each.is_dir())]


def _networks(directory: Path) -> list[Path]:
    """The folders beside the runs that a network may lie in."""
    return [directory, *(each / "best" for each in _answers(directory))]


def _has_network(folder: Path) -> bool:
    return (folder / ARCHITECTURE_FILE).is_file() or (folder / WEIGHTS_FILE).is_file()


def _run_faults(store: RunStore, run_id: str) -> Iterator[str]:
    """What is wrong with a run; one that is not finished has but a checkpoint."""
    folder, checkpoint = store.path(run_id), store.checkpoint_path(run_id)
    if checkpoint.is_file() and read_checkpoint(checkpoint) is None:
        yield f"{checkpoint}: cannot be read, or was damaged"
    if not (folder / RECORD_FILE).is_file():
        return
    try:
        faults = faults_of(folder, record_at(folder / RECORD_FILE))
    except InputError as error:
        yield str(error)
        return
    yield from (f"{folder / name}: {fault}" for name, fault in faults.items())
    if not faults:
        yield from _said(lambda: store.scores(run_id))
        yield from _beside_weights(folder)


def _network_faults(folder: Path) -> Iterator[str]:
    """What is wrong with a network that was left for use."""
    missing = [name for name in (ARCHITECTURE_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    yield from (f"{folder / name}: is missing" for name in missing)
    if not missing:
        yield from _said(lambda: _check_record(folder))
        yield from _said(lambda: Winner.of(folder / WEIGHTS_FILE))
        yield from _beside_weights(folder)


def _check_record(folder: Path) -> None:
    """Raise InputError where a network's record is damaged, or of other weights."""
    made = Made.read(folder / RECORD_FILE)
    if made is not None and made.weights_sha256 not in (None, hash_of(folder / WEIGHTS_FILE)):
        raise InputError(f"{folder / RECORD_FILE}: is not of the weights beside it")


def _beside_weights(folder: Path) -> Iterator[str]:
    """What is wrong with what lies beside any weights."""
    yield from _said(lambda: check_whole(folder))
    yield from _said(lambda: read_artefact(folder))
    yield from _said(lambda: quantized_in(folder))
    if (folder / MEASURED_FILE).is_file():
        yield from _said(lambda: Measured.load(folder / MEASURED_FILE))


def _read_results(folder: Path) -> None:
    if (folder / RESULTS_FILE).is_file():
        Results.load(folder / RESULTS_FILE)


def _said(read: Callable[[], Any]) -> list[str]:
    """What a reader refuses, as a line; none where it takes what is there."""
    try:
        read()
    except InputError as error:
        return [str(error)]
    return []
