"""The search for a rate as part of a folder of runs: said as it goes, and made once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from secateur.atomic import write_json
from secateur.errors import InputError
from secateur.records.reading import read_json
from secateur.records.seal import check_seal, sealed
from secateur.runs.identity import identity_hash
from secateur.runs.run import Run
from secateur.runs.session import Session
from secateur.training.rates import RateSearch, Tried, best_of
from secateur.training.recipe import Recipe

RATES = "rates.json"


def with_rate_found(session: Session, run: Run) -> Recipe:
    """Give the run's recipe the rate that suits its network best, of a few that are tried on validation.

    `rates.json` in the session's folder keeps what was tried, so that the same command goes on with it.

    Args:
        run: that begins with the network that comes trained; it is not made.
    """
    key = identity_hash({"run": run.spec.identity, "seed": run.seed})
    with session.working("find a rate", 0.0):
        tried = _known(session, key) or _try(session, run, key)
    metric = run.terms.task.metric
    best = best_of(tried, metric.better)
    session.reporter.note(f"rate {best.rate:g} is taken, the best on the validation split")
    return replace(run.recipe, lr=best.rate)


def _try(session: Session, run: Run, key: str) -> list[Tried]:
    def make() -> Any:
        return run.start(session.store, session.runtime, None).model

    search = RateSearch(make, run.data, run.recipe, run.seed, session.runtime, run.terms)
    tried = []
    for each in search.tried():
        shown = "the loss is not finite" if each.value is None else run.terms.task.metric.shown(each.value)
        session.reporter.note(
            f"rate {each.rate:g}: {shown} on the validation split, after {search.steps} steps"
        )
        tried.append(each)
    if session.runtime.is_main:
        found = {key: [{"rate": each.rate, "value": each.value} for each in tried]}
        write_json(session.store.directory / RATES, sealed(_read(session) | found))
    return tried


def _known(session: Session, key: str) -> list[Tried]:
    """What was tried; nothing where that was not written by us, and is tried again."""
    try:
        found = [Tried(**each) for each in _read(session).get(key) or ()]
    except TypeError:
        return []
    numbers = [value for each in found for value in (each.rate, each.value) if value is not None]
    whole = all(type(value) is float for value in numbers) and all(each.rate for each in found)
    return found if whole and any(each.value is not None for each in found) else []


def _read(session: Session) -> dict[str, Any]:
    path = session.store.directory / RATES
    try:
        content = dict(read_json(path))
        check_seal(content, str(path), "delete it")
        return content
    except (InputError, TypeError, ValueError):  # none yet, cut off or damaged: it is found again
        return {}
