"""Points and the runs that they are of, judged: means, intervals and the verdict, now and again later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from secateur.atomic import write_json
from secateur.compare.summary import summarise
from secateur.compare.verdict import Evidence, verdict
from secateur.records.measure import ACCURACY, Measure
from secateur.records.point import Point
from secateur.records.results import DataSummary, Results, SummaryRow, Verdict
from secateur.runs.store import RunStore


@dataclass(frozen=True)
class Judgement:
    """What follows from the points of a comparison; as in `Results`."""

    summary: tuple[SummaryRow, ...]
    dense_summary: SummaryRow | None
    verdict: Verdict


def judge(
    points: Sequence[Point],
    dense: Sequence[Point],
    limits: Mapping[str, int],
    data: DataSummary,
    store: RunStore,
    measure: Measure = ACCURACY,
) -> Judgement:
    """Judge a comparison.

    Args:
        points, dense: its networks, and those that nothing was cut from.
        limits: budget -> units.
        store: where the runs lie; every test example's score is read there, as far as it was kept.
    """
    test = data.test if data.test > 0 else None
    summary = summarise(points, limits, test=test, measure=measure)
    unpruned = summarise(dense, {}, test=test, measure=measure)
    scores = {}
    for point in points:
        if (found := store.scores(point.run_id)) is not None and len(found) == test:
            scores[point.arm, point.budget, point.seed] = found.numpy()
    things = "images" if len(data.shape) == 3 else "examples"
    told = verdict(summary, Evidence(test, data.val, scores, things), measure)
    return Judgement(summary, unpruned[0] if unpruned else None, told)


def judged_again(results: Results, store: RunStore) -> Results:
    """The same comparison by today's rule; what was measured stays."""
    limits = {row.budget: row.limit for row in results.summary if row.budget and row.limit}
    found = judge(results.points, results.dense, limits, results.data, store, results.measure)
    return replace(results, summary=found.summary, dense_summary=found.dense_summary, verdict=found.verdict)


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
    """The verdicts before and now, and whether `best/` holds another arm's network than the leader's."""
    before, now = old.verdict, new.verdict
    if before.text == now.text:
        told = f"{directory}: judged again, with the same verdict; intervals and words may differ"
    else:
        told = f"{directory}: judged again. Before: {before.text} Now: {now.text}"
    leaders = [min(each.per_budget, key=lambda entry: entry.limit).leader for each in (before, now)]
    if leaders[0] != leaders[1]:
        told += f" best/ still holds a network of {leaders[0]}; the comparison's command replaces it."
    return told
