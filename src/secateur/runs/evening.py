"""Finished runs made to lie as one process would have left them, whoever made them and however often it died.

A process may be killed between declaring a run finished and clearing up behind it. And a run that two of a
graph's nodes come to is called by the node that was told first, which with several workers depends on the
clock: in the end it is called by the node that stands first.
"""

from __future__ import annotations

from dataclasses import replace

from secateur.architecture.artefact import read_artefact
from secateur.architecture.file import ARTEFACT_FILE
from secateur.atomic import write_json
from secateur.runs.graph import Made, NotMadeError
from secateur.runs.life import forget_maker
from secateur.runs.run import Run
from secateur.runs.store import RunStore


def even_out(made: Made) -> None:
    """Do so with every finished run of a graph; the store is held."""
    for run, *others in _told(made).values():
        if made.store.finished(run.run_id):
            forget_maker(made.store, run.run_id)
            if not run.goes_on:
                made.store.drop_checkpoint(run.run_id)
            if {other.label for other in others} - {run.label}:
                _call(made.store, run, others)


def _told(made: Made) -> dict[str, list[Run]]:
    """The runs that are known by now, by id, each as all its nodes have it, in the graph's order."""
    found: dict[str, list[Run]] = {}
    for node in made.graph:
        try:
            run = made.run(node)
        except NotMadeError:
            continue
        found.setdefault(run.run_id, []).append(run)
    return found


def _call(store: RunStore, run: Run, others: list[Run]) -> None:
    """Give a record this run's label, where it has one of the others'; another question's stays."""
    record = store.record(run.run_id)
    if record is None or record.label not in {other.label for other in others} - {run.label}:
        return
    folder = store.path(run.run_id)
    if (artefact := read_artefact(folder)) is not None:
        write_json(folder / ARTEFACT_FILE, replace(artefact, label=run.label).for_file())
    store.save_record(replace(record, label=run.label))  # last, as it is what is looked at
