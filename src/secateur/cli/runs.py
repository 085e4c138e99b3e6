"""`secateur runs`: what lies in an output folder, and what is still wanted there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.answer import Answer
from secateur.cli.shared import path_argument
from secateur.cli.terminal import Table, show
from secateur.errors import InputError

if TYPE_CHECKING:
    from secateur.records.plan import Plan
    from secateur.records.run_folder import RunFolder
    from secateur.runs.life import State

_Folder = Annotated[Path, path_argument("Folder that compare, train or prune left.")]


@dataclass(frozen=True)
class Listed:
    """A run of a folder, as far as it is known: a line of the list."""

    run: str | None
    what: str
    state: str
    params: int | None = None
    accuracy: float | None = None
    shown: str = ""
    epochs: int | None = None

    def to_json(self) -> dict[str, Any]:
        """For scripts: the number, not how it is shown."""
        return {name: value for name, value in vars(self).items() if name != "shown"}

    def cells(self) -> tuple[str, ...]:
        """As texts, in the order of the heads."""
        return (
            self.run or self.state,
            self.what,
            "" if self.params is None else f"{self.params:,}",
            self.shown,
            "" if self.epochs is None else str(self.epochs),
        )


def list_runs(directory: _Folder = Path("secateur-compare")) -> Answer:
    """All runs of a folder, finished or not, and those that its last command wants besides.

    Example: `secateur runs list secateur-compare/`
    """
    from secateur.records.plan import read_plan
    from secateur.records.run_folder import RunFolder

    store = _existing(RunFolder(directory))
    rows = [_listed(store, run_id) for run_id in store.ids()]
    rows += _not_begun(read_plan(store.directory), store, {row.what for row in rows})
    content = {"directory": str(directory), "runs": [row.to_json() for row in rows]}
    return Answer(content, lambda: _show(rows))


def _show(rows: list[Listed]) -> None:
    shown = Table("run", "what", "parameters", "accuracy", "epochs")
    for row in rows:
        shown.add_row(*row.cells())
    shown.show()


def _listed(folder: RunFolder, run_id: str) -> Listed:
    """One run that has begun."""
    try:
        record = folder.head(run_id)
    except InputError:
        return Listed(run_id, "damaged: its next command makes it again", "damaged")
    if record is None:
        from secateur.runs.life import state_of

        state = state_of(folder, run_id)
        label = f"{state.label}: " if state.label else ""
        return Listed(run_id, f"{label}{state.text}", state.name)
    shown = record.measure.shown(record.accuracy)
    return Listed(run_id, record.label, "finished", record.params, record.accuracy, shown, record.epochs)


def _not_begun(plan: Plan | None, store: RunFolder, labels: set[str]) -> list[Listed]:
    """The runs of a plan that have not begun, and what they wait for; also those that cannot be told yet.

    Args:
        labels: of the runs that are finished; some had no id yet when the plan was written.
    """
    runs = plan.runs if plan else ()
    begun = {
        run.name for run in runs if run.name in labels or (run.run_id and store.path(run.run_id).is_dir())
    }
    found: list[Listed] = []
    for run in runs:
        if run.name not in begun:
            missing = [name for name in run.after if name not in begun]
            found.append(Listed(None, f"{run.name}{_after(missing)}", "not begun"))
    return found


def _after(missing: list[str]) -> str:
    return f" (waits for {', '.join(missing)})" if missing else ""


def show_run(
    run: Annotated[str, typer.Argument(help="A run's id, or how it begins.")],
    directory: _Folder = Path("secateur-compare"),
) -> Answer:
    """One run's record, as JSON; its numbers to six digits, with --json as they are.

    Example: `secateur runs show train-3fa9 secateur-compare/`
    """
    import json

    from secateur.records.run_folder import RunFolder
    from secateur.records.written import rounded
    from secateur.runs.life import state_of

    store = _existing(RunFolder(directory))
    run_id = _named(store, run)
    record = store.record(run_id)
    shown = record.to_json() if record else _unfinished(run_id, state_of(store, run_id))
    return Answer(shown, lambda: print(json.dumps(rounded(shown), indent=1)))


def _unfinished(run_id: str, state: State) -> dict[str, Any]:
    """What there is to show of a run without a record."""
    found = {"run_id": run_id, "finished": False, "state": state.name}
    return {**found, "label": state.label, "said": state.said}


def delete_run(
    run: Annotated[str, typer.Argument(help="A run's id, or how it begins.")],
    directory: _Folder = Path("secateur-compare"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> Answer:
    """Delete one run; the next command that needs it makes it again.

    Example: `secateur runs delete train-3fa9 secateur-compare/ --yes`
    """
    from secateur.runs.store import RunStore

    store = _existing(RunStore(directory))
    run_id = _named(store, run)
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Delete {run_id}?", err=True)):
        raise InputError(f"{run_id} was not deleted: add --yes to confirm")
    with store.locked():
        store.delete(run_id)
    return Answer({"deleted": run_id}, lambda: show(f"Deleted {run_id}"))


def _named(store: RunFolder, run: str) -> str:
    """The run that an id, or its beginning, names; nothing names none."""
    if not run.strip():
        raise InputError(
            "a run is named by its id, or how it begins, got '': `secateur runs list` names them"
        )
    return store.resolve(run)


def _existing(store: Any) -> Any:
    if not store.runs.is_dir():
        raise InputError(f"no runs in '{store.directory}': name a folder that compare, train or prune left")
    return store
