"""The files a comparison leaves: `results.json`, `best/`, the report."""

from __future__ import annotations

from pathlib import Path

from secateur.architecture.file import ARCHITECTURE_FILE, WEIGHTS_FILE
from secateur.atomic import write_bytes, write_json
from secateur.compare.arms import ARMS
from secateur.errors import InputError
from secateur.records.point import Point
from secateur.records.results import DataSummary, Results
from secateur.report import write_report
from secateur.runs.store import RunStore
from secateur.training.batches import AnyData


def describe_data(data: AnyData) -> DataSummary:
    """What a page says of the data."""
    return DataSummary(
        name=data.name,
        label=data.label,
        train=len(data.train),
        val=len(data.val),
        test=len(data.test),
        classes=data.num_classes,
        shape=tuple(data.shape),
        fingerprint=data.fingerprint,
        found=data.found,
    )


def write_results(results: Results, store: RunStore) -> None:
    """Leave `results.json`, `best/`, `report.html` and `figures/` in the folder of `store`."""
    write_json(store.directory / "results.json", results.to_json())
    best = best_point(results)
    folder = store.directory / "best"
    folder.mkdir(exist_ok=True)
    for name in (WEIGHTS_FILE, ARCHITECTURE_FILE):
        write_bytes(folder / name, (store.path(best.run_id) / name).read_bytes())
    rewrite_report(store.directory, results)


def rewrite_report(directory: Path, results: Results) -> Path:
    """Draw `report.html` and `figures/` from results and the runs' histories; the page's path."""
    store = RunStore(directory)
    ids = {point.run_id for point in [*results.points, *results.dense]}
    records = {run_id: store.record(run_id) for run_id in sorted(ids)}
    histories = {run_id: record.history for run_id, record in records.items() if record}
    return write_report(results, histories, directory, {name: arm.meaning for name, arm in ARMS.items()})


def load_results(directory: Path) -> Results:
    """The `results.json` of a folder; InputError where there is none that this version can read."""
    path = directory / "results.json"
    if not path.is_file():
        raise InputError(f"no results.json in '{directory}': name a folder that `secateur compare` left")
    return Results.load(path)


def best_point(results: Results) -> Point:
    """The network of `best/`: the leader at the smallest budget, of its seeds the best on validation.

    Which arm leads is judged on validation and test split together, and the verdict says so; which of its
    seeds is shipped is not, so that the seed's test accuracy was not what it was chosen by.
    """
    smallest = min(results.verdict.per_budget, key=lambda entry: entry.limit)
    candidates = [
        point for point in results.points if (point.arm, point.budget) == (smallest.leader, smallest.budget)
    ]
    rank = results.measure.rank
    return max(candidates, key=lambda point: (rank(point.val_accuracy), -point.seed))
