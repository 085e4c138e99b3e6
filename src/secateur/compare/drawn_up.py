"""What a comparison found, drawn up: of all its runs in the end, of those that are there while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any, TypeVar

from secateur.architecture.artefact import describe_data
from secateur.compare.advice import Question
from secateur.compare.gaps import failed_runs, missing_in
from secateur.compare.judging import judge
from secateur.compare.replicate import Replicate
from secateur.compare.results import Asked
from secateur.compare.settings import Sparsity
from secateur.compare.summary import summarise
from secateur.compare.wanted import Wanted
from secateur.records.failed import Failed
from secateur.records.measure import ACCURACY
from secateur.records.point import Point
from secateur.records.results import Profile, ProfileGroup, Results, Trajectory, Verdict
from secateur.runs.environment import describe_environment
from secateur.runs.graph import Made, NotMadeError
from secateur.runs.points import point_of
from secateur.runs.session import Session
from secateur.runs.store import RunStore

T = TypeVar("T")


def asked_in(wanted: Wanted) -> Asked:
    """The question, to be told from others that were asked in the same folder."""
    question, asked = wanted.question, wanted.question.settings
    identity = question.architecture.identity()
    whole = {
        "prune": asdict(asked.prune),
        "sparsity": asked.sparsity.identity(),
        "terms": asked.terms.identity(),
    }
    settings = {**_described(wanted), **whole}
    return Asked(question.name, identity, question.data.fingerprint, settings)


def whole(
    wanted: Wanted,
    replicates: Sequence[Replicate],
    made: Made,
    session: Session,
    command: str,
    failed: Mapping[str, Failed] | None = None,
) -> Results:
    """Draw up what was found, judged.

    Args:
        failed: why runs failed, by node: what waits for them, or is theirs, is missing.

    Raises:
        NotMadeError: where a network is missing and no run failed.
    """
    failed = failed or {}
    known = _unjudged(wanted, replicates, made, session, command, _there if failed else _all)
    missing = missing_in(wanted, replicates, made, failed) if failed else ()
    units = wanted.question.units
    asked = Question.of(known.settings, command)
    found = judge(known.points, known.dense, units, known.data, session.store, known.measure, asked, missing)
    return replace(
        known,
        summary=found.summary,
        dense_summary=found.dense_summary,
        verdict=found.verdict,
        environment={**known.environment, **_made_with([*known.dense, *known.points], session.store)},
        question=asked_in(wanted).hash,
        advice=found.advice,
        failed=failed_runs(failed),
        missing=missing,
    )


def _points(wanted: Wanted, replicates: Sequence[Replicate], made: Made) -> Iterator[Callable[[], Point]]:
    """What tells one point for every budget, arm and seed, the largest budget first."""
    for budget in wanted.question.budgets:
        for arm in wanted.arms:
            for replicate in replicates:
                yield partial(arm.point, replicate, budget, made)


def any_there(wanted: Wanted, replicates: Sequence[Replicate], made: Made) -> bool:
    """Whether there is a network of any arm."""
    return bool(_there(_points(wanted, replicates, made)))


def _dense_point(replicate: Replicate, made: Made) -> Point:
    """The unpruned network, as a point without a budget."""
    return point_of(made.record(replicate.dense()), "dense", None, epochs=replicate.question.recipe.epochs)


def _profile(replicate: Replicate, made: Made) -> Profile:
    """Channels kept in each group where copycat took its profile (Crowley et al. 2018, Fig. 2c)."""
    whole, left = replicate.question.architecture, replicate.profile_architecture(made)
    groups = tuple(
        ProfileGroup(name=name, kept=kept, of=width)
        for name, kept, width in zip(left.group_names(), left.widths, whole.widths, strict=True)
    )
    return Profile(seed=replicate.seed, removed=replicate.question.copycat_after, groups=groups)


def _trajectory(replicate: Replicate, made: Made) -> Trajectory:
    """Validation accuracy while pruning, once an epoch."""
    rows = made.record(replicate.pruned_to(replicate.question.budgets[-1])).history
    return Trajectory(
        seed=replicate.seed,
        removed=tuple(int(row.more["removed"]) for row in rows),
        params=tuple(row.params for row in rows),
        val_accuracy=tuple(row.val_accuracy for row in rows),
    )


def _described(wanted: Wanted) -> dict[str, Any]:
    """The settings as results show them."""
    question, settings = wanted.question, wanted.question.settings
    augmentation = settings.recipe.augmentation(question.data)
    recipe = settings.recipe.shown() | {
        "pad": augmentation.pad,
        "flip": augmentation.flip,
        "milestones": ", ".join(f"{share:g}" for share in settings.recipe.milestones),
    }
    return {
        "arms": ", ".join(settings.arms),
        "budgets": ", ".join(map(str, question.budgets)),
        "resource": settings.resource,
        "seeds": settings.seeds,
        "match": settings.match,
        "prune_every": settings.prune.every,
        "flop_penalty": settings.prune.beta,
        "tuning_lr": question.recipe.for_tuning(settings.prune.lr).lr,
        "copycat_after": question.copycat_after,
        **({"what must stay": str(settings.prune.constraints)} if settings.prune.constraints else {}),
        **(_described_sparsity(settings.sparsity) if any(arm.zeroes for arm in wanted.arms) else {}),
        **recipe,
        **settings.terms.in_words(),
        **({"tuned": question.tuned} if question.tuned else {}),
    }


def _described_sparsity(sparsity: Sparsity) -> dict[str, Any]:
    """The settings of the arms that zero weights."""
    changed = ", ".join(f"{name} {value}" for name, value in sparsity.reparametrization.items())
    return {
        "tune_share": sparsity.tune_share,
        "l1_strength": sparsity.l1_strength,
        "reparametrization": changed or "the method's defaults",
        **({"layer_shares": sparsity.layer_shares} if sparsity.layer_shares is not None else {}),
        **({"settings of methods": sparsity.in_words()} if sparsity.settings else {}),
    }


def _made_with(points: Sequence[Point], store: RunStore) -> dict[str, Any]:
    """The commits and the threads that the runs were made with; results may be drawn up with others."""
    commits: set[str] = set()
    threads: set[int] = set()
    for run_id in sorted({point.run_id for point in points}):
        if record := store.record(run_id):
            commits.add(record.commit)
            threads.add(record.threads)
    several = " or ".join(map(str, sorted(threads)))
    return {"trained_at": sorted(commits), "threads": several if len(threads) != 1 else threads.pop()}


def about(wanted: Wanted, replicates: Sequence[Replicate], made: Made, run_id: str) -> dict[str, str]:
    """The arms and budgets whose network a run makes, several where they share it; else none."""
    found: dict[str, None] = {}
    budgets: dict[str, None] = {}
    for budget in wanted.question.budgets:
        for arm in wanted.arms:
            for replicate in replicates:
                if made.id(arm.node(replicate, budget)) == run_id:
                    found[arm.name], budgets[str(budget)] = None, None
    named = {"arm": ", ".join(found), "budget": ", ".join(budgets)} if found else {}
    return {"model": wanted.question.name, "data": wanted.question.data.label, **named}


def so_far(
    wanted: Wanted, replicates: Sequence[Replicate], made: Made, session: Session, command: str
) -> Results:
    """What is there of the results, judged by nobody: a verdict on a part would be none on the whole."""
    known = _unjudged(wanted, replicates, made, session, command, _there)
    test = known.data.test if known.data.test > 0 else None
    unpruned = summarise(known.dense, {}, test=test, measure=known.measure)
    return replace(
        known,
        summary=summarise(known.points, wanted.question.units, test=test, measure=known.measure),
        dense_summary=unpruned[0] if unpruned else None,
    )


def _unjudged(
    wanted: Wanted,
    replicates: Sequence[Replicate],
    made: Made,
    session: Session,
    command: str,
    told: Callable[[Iterable[Callable[[], Any]]], list[Any]],
) -> Results:
    """The question, and what its runs found, without a summary.

    Args:
        told: `_all`, or `_there` where some may be missing.
    """
    question, settings = wanted.question, wanted.question.settings
    copycats, measure = "copycat" in settings.arms, settings.terms.task.metric.measure
    points = told(_points(wanted, replicates, made))
    return Results(
        command=command,
        metric=None if measure == ACCURACY else measure,
        model=question.name,
        data=describe_data(question.data),
        settings=_described(wanted),
        dense=tuple(told(partial(_dense_point, each, made) for each in replicates if wanted.needs_dense)),
        points=tuple(points),
        summary=(),
        dense_summary=None,
        profiles=tuple(told(partial(_profile, each, made) for each in replicates if copycats)),
        trajectory=tuple(told(partial(_trajectory, each, made) for each in replicates if question.prunes)),
        verdict=Verdict(text="No verdict yet: not every run is finished."),
        environment=describe_environment(session.runtime, settings.recipe.precision),
    )


def _all(found: Iterable[Callable[[], T]]) -> list[T]:
    """All of them; NotMadeError where one cannot be told."""
    return [each() for each in found]


def _there(found: Iterable[Callable[[], T]]) -> list[T]:
    """Those that can be told from the runs that are finished."""
    there = []
    for each in found:
        with suppress(NotMadeError):
            there.append(each())
    return there
