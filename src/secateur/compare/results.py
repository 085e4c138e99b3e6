"""The files a comparison leaves: `results.json`, `best/`, the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secateur.architecture.file import ARCHITECTURE_FILE, WEIGHTS_FILE
from secateur.atomic import write_bytes, write_json
from secateur.data import Data
from secateur.errors import InputError
from secateur.runs.store import RunStore

SCHEMA = 1


def describe_data(data: Data) -> dict[str, Any]:
    """What a page says of the data."""
    return {
        "name": data.name,
        "label": data.label,
        "train": len(data.train),
        "val": len(data.val),
        "test": len(data.test),
        "classes": data.num_classes,
        "shape": list(data.shape),
        "fingerprint": data.fingerprint,
    }


def write_results(results: dict[str, Any], store: RunStore) -> None:
    """Leave `results.json`, `best/`, `report.html` and `figures/` in the folder of `store`."""
    write_json(store.directory / "results.json", results)
    best = best_point(results)
    folder = store.directory / "best"
    folder.mkdir(exist_ok=True)
    for name in (WEIGHTS_FILE, ARCHITECTURE_FILE):
        write_bytes(folder / name, (store.path(best["run_id"]) / name).read_bytes())
    rewrite_report(store.directory, results)


def rewrite_report(directory: Path, results: dict[str, Any]) -> Path:
    """Draw `report.html` and `figures/` from results and the runs' histories; the page's path."""
    from secateur.report import write_report

    store = RunStore(directory)
    ids = {point["run_id"] for point in [*results["points"], *results["dense"]]}
    records = {run_id: store.record(run_id) for run_id in sorted(ids)}
    histories = {run_id: record["history"] for run_id, record in records.items() if record}
    return write_report(results, histories, directory)


def load_results(directory: Path) -> dict[str, Any]:
    """The `results.json` of a folder; InputError where there is none that this version can read."""
    path = directory / "results.json"
    if not path.is_file():
        raise InputError(f"no results.json in '{directory}': name a folder that `secateur compare` left")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path}: not valid JSON: run the comparison's command again") from None
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema {SCHEMA} is read here: run the comparison's command again")
    return results


def best_point(results: dict[str, Any]) -> dict[str, Any]:
    """The winner at the smallest budget: the verdict's leader, and of its seeds the best on validation."""
    smallest = min(results["verdict"]["per_budget"], key=lambda entry: entry["limit"])
    candidates = [
        point
        for point in results["points"]
        if point["arm"] == smallest["leader"] and point["budget"] == smallest["budget"]
    ]
    return max(candidates, key=lambda point: (point["val_accuracy"], -point["seed"]))
