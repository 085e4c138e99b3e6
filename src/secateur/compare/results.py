"""The files a comparison leaves: `results.json`, `best/`, the report.

The first question asked in a folder has its report in the folder itself; every other in `reports/HASH/`,
beside the runs that they share. None replaces the answer to another.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.architecture.artefact import Artefact
from secateur.architecture.file import ARCHITECTURE_FILE, ARTEFACT_FILE, TRANSFORMERS_FILE, WEIGHTS_FILE
from secateur.atomic import json_bytes, make_folder, write_json
from secateur.compare.arms import ARMS
from secateur.compare.histories import histories
from secateur.compare.judging import judged_again
from secateur.compare.taking import taken
from secateur.compare.winner import Shown
from secateur.errors import InputError, UnreadableError, kind_and_line
from secateur.network.task import Task
from secateur.records.advice import Advice
from secateur.records.manifest import MANIFEST_FILE, check_whole, replace_files
from secateur.records.measured import Measured, hash_of
from secateur.records.ours import wrote
from secateur.records.out import check_out
from secateur.records.point import Point
from secateur.records.record import Record
from secateur.records.results import RESOURCES, Results
from secateur.records.seal import sealed
from secateur.records.winner import WINNER_FILE, Winner
from secateur.report import Beside, write_report
from secateur.report.checklist import checklist
from secateur.report.winner import parts
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.training.batches import AnyData

REPORTS = "reports"
"""The folder of the reports whose questions are not the folder's first."""

PAGE = "report.html"
"""Of a folder of results; while runs are made, of those that are there (`live`)."""

REPORT_FILES = (
    PAGE,
    *(
        f"figures/{name}.{kind}"
        for name in (
            "forest",
            *(f"accuracy_vs_{each}" for each in RESOURCES),
            "channel_profile",
            "training_curves",
        )
        for kind in ("png", "svg")
    ),
)
FILES = (
    "results.json",
    *(
        f"best/{name}"
        for name in (
            *(ARCHITECTURE_FILE, WEIGHTS_FILE, ARTEFACT_FILE, TRANSFORMERS_FILE, "record.json"),
            *(MANIFEST_FILE, WINNER_FILE),
        )
    ),
    *REPORT_FILES,
)
"""What is left for a question."""


@dataclass(frozen=True)
class Asked:
    """A comparison's question, as far as it can be told from another.

    Attributes:
        model: the network's name.
        architecture: its identity, as JSON.
        data: the data's fingerprint.
        settings: as results show them.
    """

    model: str
    architecture: Mapping[str, Any]
    data: str
    settings: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """12 hex digits."""
        return hashlib.sha256(_spelled([self.architecture, self.data, self.settings]).encode()).hexdigest()[
            :12
        ]

    def is_of(self, results: Results) -> bool:
        """Whether these results answer it; older ones have no hash, and fewer settings."""
        if results.question is not None:
            return results.question == self.hash
        same = (results.model, results.data.fingerprint) == (self.model, self.data)
        return same and all(
            _spelled(self.settings.get(name)) == _spelled(value) for name, value in results.settings.items()
        )

    def folder(self, directory: Path) -> Path:
        """Find where the answer belongs: `directory` itself, unless that has another question's."""
        try:
            there = load_results(directory)
        except UnreadableError:  # it may be another question's, and whole
            raise
        except InputError:  # none, or one that is of no use to anybody
            return directory
        return directory if self.is_of(there) else directory / REPORTS / self.hash


def _spelled(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=_said)


def _said(value: Any) -> str:
    """Spell what JSON has no form for alike in every process: functions by their names."""
    text = str(value)
    return getattr(value, "__qualname__", type(value).__qualname__) if " at 0x" in text else text


def write_results(results: Results, session: Session, folder: Path, shown: Shown, task: Task) -> None:
    """Leave `results.json`, `best/`, `report.html` and `figures/` in a folder, of a session's runs.

    Args:
        shown: what the kept network is tried on, for the page.
    """
    make_folder(folder / "best")
    write_json(folder / "results.json", results.to_json())
    best = best_point(results)
    if record := session.store.record(best.run_id):
        before = _winner_in(folder)
        leave_network(session.store, folder / "best", record, best, shown.data, task)
        if winner := shown.winner(best, session, before):
            write_json(folder / "best" / WINNER_FILE, winner.for_file())
        else:
            (folder / "best" / WINNER_FILE).unlink(missing_ok=True)  # of another network
    rewrite_report(folder, results)


def _winner_in(folder: Path) -> Winner | None:
    """What was found of the network that lies there; None where nothing was, or nobody can read it."""
    try:
        return Winner.of(folder / "best" / WEIGHTS_FILE)
    except InputError:
        return None


def leave_network(
    store: RunStore, folder: Path, record: Record, point: Point, data: AnyData, task: Task
) -> None:
    """Write a run's network into a folder, complete: what its classes are called, and how it came about.

    `record.json` has the point, which weights it is of, then the rest of the run's record.
    """
    run = store.path(record.run_id)
    check_whole(run)
    whole = record.to_json()
    kept = ("history", "identity", "environment", "data")
    rest: dict[str, Any] = {key: whole[key] for key in kept if key in whole}
    own = {"weights_sha256": hash_of(run / WEIGHTS_FILE)}
    artefact = Artefact.of(data, task, label=record.label, run_id=record.run_id, budget=point.budget)
    theirs = (run / TRANSFORMERS_FILE).read_bytes() if (run / TRANSFORMERS_FILE).is_file() else None
    replace_files(
        folder,
        {  # the record first, as it makes the weights known as a run's, which another run's may replace
            "record.json": json_bytes(sealed({"schema": 1, **point.to_json(), **own, **rest})),
            ARTEFACT_FILE: json_bytes(artefact.for_file()),
            ARCHITECTURE_FILE: (run / ARCHITECTURE_FILE).read_bytes(),
            TRANSFORMERS_FILE: theirs,
            WEIGHTS_FILE: (run / WEIGHTS_FILE).read_bytes(),
        },
    )


def rewrite_report(directory: Path, results: Results) -> Path:
    """Draw `report.html` and `figures/` from results and the runs' histories; the page's path.

    Raises:
        InputError: where one of them is there and not ours.
    """
    check_out(directory, REPORT_FILES)
    shares = directory.parent.name == REPORTS and not (directory / "runs").is_dir()
    store = RunStore(directory.parent.parent if shares else directory)
    beside = Beside(
        meanings=meanings(),
        measured=Measured.of(directory / "best" / WEIGHTS_FILE),
        taken=taken(directory, results),
        advice=_advice(results, store),
        checklist=checklist(results),
        winner=_winner_parts(results, directory),
    )
    return write_report(results, histories(results, store), directory, beside)


def meanings() -> dict[str, str]:
    """A line on each arm."""
    return {name: arm.meaning for name, arm in ARMS.items()}


def _advice(results: Results, store: RunStore) -> Advice | None:
    """What to do; of results of older versions it follows from what is there, of unfinished ones nothing."""
    if results.advice or not results.verdict.per_budget:
        return results.advice
    return judged_again(results, store).advice


def _winner_parts(results: Results, directory: Path) -> dict[str, Any] | None:
    found = Winner.of(directory / "best" / WEIGHTS_FILE)
    examples = "images" if len(results.data.shape) == 3 else "examples"
    return parts(found, examples) if found else None


def load_results(directory: Path) -> Results:
    """The `results.json` of a folder; InputError where there is none that this version can read."""
    path = directory / "results.json"
    if not path.is_file():
        raise InputError(f"no results.json in '{directory}': {_what_lacks(directory)}")
    return Results.load(path)


@contextmanager
def agreeing(directory: Path) -> Iterator[None]:
    """Raise InputError for whatever is met where the parts of a `results.json` contradict each other.

    Each has its type, which `Results` checked; that its verdict names arms that its summary lacks, say, is
    found by who uses both. SECATEUR_DEBUG=1 shows where.
    """
    try:
        yield
    except (InputError, OSError, MemoryError, ImportError):
        raise
    except Exception as error:
        if os.environ.get("SECATEUR_DEBUG"):
            raise
        raise InputError(
            f"{directory / 'results.json'}: its parts must go together, and do not "
            f"({kind_and_line(error)}): {Results.AGAIN}"
        ) from error


def _what_lacks(directory: Path) -> str:
    """What to do about a folder without results."""
    if wrote(directory / PAGE) and wrote(directory / "plan.json"):
        return "its comparison is not finished; the same `secateur compare` goes on, and leaves it at the end"
    return "name a folder that `secateur compare` left"


def best_point(results: Results) -> Point:
    """The network of `best/`: what the advice says to keep, of its seeds the best on validation.

    Which arm and which budget that is was judged on validation and test split together, and the page says so;
    which of its seeds is shipped was not, so that its test accuracy was not what it was chosen by. Results
    without advice, of older versions, had the leader at the smallest budget.
    """
    smallest = min(results.verdict.per_budget, key=lambda entry: entry.limit)
    kept = (smallest.leader, smallest.budget)
    if results.advice:
        kept = (results.advice.arm, results.advice.budget)
    candidates = [point for point in results.points if (point.arm, point.budget) == kept]
    rank = results.measure.rank
    return max(candidates, key=lambda point: (rank(point.val_accuracy), -point.seed))
