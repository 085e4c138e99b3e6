"""`secateur runs`: what lies in an output folder, and what is still wanted there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.printing import show_rows
from secateur.cli.shared import path_argument
from secateur.errors import InputError

if TYPE_CHECKING:
    from secateur.records.plan import Plan
    from secateur.records.record import Record
    from secateur.runs.store import RunStore

_Folder = Annotated[Path, path_argument("Folder that compare, train or prune left.")]


def list_runs(directory: _Folder = Path("secateur-compare")) -> None:
    """All runs of a folder, finished or not, and those that its last command wants besides.

    Example: `secateur runs list secateur-compare/`
    """
    from secateur.runs.graph import read_plan
    from secateur.runs.store import RunStore

    store = _existing(RunStore(directory))
    rows = [_row(run_id, store.record(run_id)) for run_id in store.ids()]
    rows += _not_begun(read_plan(store), store, {row[1] for row in rows})
    show_rows(("run", "what", "parameters", "accuracy", "epochs"), rows)


def _row(run_id: str, record: Record | None) -> tuple[str, ...]:
    """One run that has begun."""
    if record is None:
        return (run_id, "unfinished", "", "", "")
    return (run_id, record.label, f"{record.params:,}", f"{record.accuracy:.1%}", str(record.epochs))


def _not_begun(plan: Plan | None, store: RunStore, labels: set[str]) -> list[tuple[str, ...]]:
    """The runs of a plan that have not begun, and what they wait for; also those that cannot be told yet.

    Args:
        labels: of the runs that are finished; some had no id yet when the plan was written.
    """
    runs = plan.runs if plan else ()
    begun = {
        run.name for run in runs if run.name in labels or (run.run_id and store.path(run.run_id).is_dir())
    }
    found: list[tuple[str, ...]] = []
    for run in runs:
        if run.name not in begun:
            missing = [name for name in run.after if name not in begun]
            found.append(("not begun", f"{run.name}{_after(missing)}", "", "", ""))
    return found


def _after(missing: list[str]) -> str:
    return f" (waits for {', '.join(missing)})" if missing else ""


def show_run(
    run: Annotated[str, typer.Argument(help="A run's id, or how it begins.")],
    directory: _Folder = Path("secateur-compare"),
) -> None:
    """One run's record, as JSON.

    Example: `secateur runs show train-3fa9 secateur-compare/`
    """
    import json

    from secateur.runs.store import RunStore

    store = _existing(RunStore(directory))
    run_id = store.resolve(run)
    record = store.record(run_id)
    shown = record.to_json() if record else {"run_id": run_id, "finished": False}
    print(json.dumps(shown, indent=1))


def delete_run(
    run: Annotated[str, typer.Argument(help="A run's id, or how it begins.")],
    directory: _Folder = Path("secateur-compare"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete one run; the next command that needs it makes it again.

    Example: `secateur runs delete train-3fa9 secateur-compare/ --yes`
    """
    from secateur.runs.store import RunStore

    store = _existing(RunStore(directory))
    run_id = store.resolve(run)
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Delete {run_id}?")):
        raise InputError(f"{run_id} was not deleted: add --yes to confirm")
    with store.locked():
        store.delete(run_id)
    print(f"Deleted {run_id}")


def _existing(store: Any) -> Any:
    if not store.runs.is_dir():
        raise InputError(f"no runs in '{store.directory}': name a folder that compare, train or prune left")
    return store
