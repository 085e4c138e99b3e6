"""Points and the runs that they are of, judged: means, intervals and the verdict, now and again later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from secateur.atomic import write_json
from secateur.compare.advice import Question, advise
from secateur.compare.gaps import lost_seeds, with_gaps, with_intervals
from secateur.compare.summary import summarise
from secateur.compare.verdict import Evidence, decisions, verdict
from secateur.errors import InputError
from secateur.records.advice import Advice
from secateur.records.failed import Missing
from secateur.records.measure import ACCURACY, Measure
from secateur.records.point import Point
from secateur.records.reading import read_json
from secateur.records.results import DataSummary, Results, SummaryRow, Verdict
from secateur.runs.store import RunStore


@dataclass(frozen=True)
class Judgement:
    """What follows from the points of a comparison; as in `Results`."""

    summary: tuple[SummaryRow, ...]
    dense_summary: SummaryRow | None
    verdict: Verdict
    advice: Advice | None


def judge(
    points: Sequence[Point],
    dense: Sequence[Point],
    limits: Mapping[str, int],
    data: DataSummary,
    store: RunStore,
    measure: Measure = ACCURACY,
    question: Question | None = None,
    missing: Sequence[Missing] = (),
) -> Judgement:
    """Judge a comparison.

    Args:
        points, dense: its networks, and those that nothing was cut from.
        limits: budget -> units.
        store: where the runs lie; every test example's score is read there, as far as it was kept.
        question: what was asked, as advice needs it.
        missing: the networks that are not there, as runs failed.
    """
    test = data.test if data.test > 0 else None
    summary = summarise(points, limits, test=test, measure=measure)
    unpruned = summarise(dense, {}, test=test, measure=measure)
    scores = {}
    for point in [*points, *dense]:
        if (found := store.scores(point.run_id)) is not None and len(found) == test:
            scores[point.arm, point.budget, point.seed] = found.numpy()
    things = "images" if len(data.shape) == 3 else "examples"
    evidence = Evidence(test, data.val, scores, things, lost_seeds(missing))
    first = unpruned[0] if unpruned else None
    asked = replace(question or Question(), classes=data.classes)
    judged = with_intervals(summary) if missing else summary
    decided = decisions(judged, evidence, measure)
    advice = advise(judged, first, evidence, measure, asked, decided)
    said = verdict(judged, evidence, measure, decided)
    if missing:
        careless = verdict(judged, replace(evidence, lost={}), measure)
        said = with_gaps(said, careless, summary, missing)
    return Judgement(summary, first, said, advice)


def judged_again(results: Results, store: RunStore) -> Results:
    """The same comparison by today's rule; what was measured stays."""
    limits = {row.budget: row.limit for row in results.summary if row.budget and row.limit}
    asked = Question.of(results.settings, results.command)
    found = judge(
        results.points,
        results.dense,
        limits,
        results.data,
        store,
        results.measure,
        asked,
        results.missing,
    )
    return replace(
        results,
        summary=found.summary,
        dense_summary=found.dense_summary,
        verdict=found.verdict,
        advice=found.advice,
    )


def judge_folder(directory: Path, results: Results) -> tuple[Results, str]:
    """Judge the comparison that lies in a folder again, and replace its `results.json` where that differs.

    Returns:
        the comparison, and what changed, in a line; nothing where nothing did.
    """
    store = RunStore(directory if (directory / "runs").is_dir() else directory.parent.parent)
    found = judged_again(results, store)
    if found == results:
        return results, ""
    write_json(directory / "results.json", found.to_json())
    return found, _changed(directory, results, found)


def _changed(directory: Path, old: Results, new: Results) -> str:
    """The verdicts before and now, and whether `best/` holds another arm's network than is to be kept."""
    before, now = old.verdict, new.verdict
    if before.text == now.text:
        told = f"{directory}: judged again, with the same verdict; intervals and words may differ."
    else:
        told = f"{directory}: judged again. Before: {before.text} Now: {now.text}"
    there, kept = _in_best(directory), new.advice and (new.advice.arm, new.advice.budget)
    if there and kept and there != kept:
        told += (
            f" best/ still holds a network of {there[0]} at {there[1]}, and the advice is {kept[0]} at "
            f"{kept[1]}; the comparison's command replaces it."
        )
    return told


def _in_best(directory: Path) -> tuple[str, str] | None:
    """The arm and the budget of the network in `best/`, as its record says; None where there is none."""
    try:
        content = read_json(directory / "best" / "record.json")
        return str(content["arm"]), str(content["budget"])
    except (InputError, KeyError, TypeError):
        return None
