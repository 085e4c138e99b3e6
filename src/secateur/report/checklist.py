"""What the literature asks of a comparison of pruned networks, read off one.

Reference: Blalock, Gonzalez Ortiz, Frankle and Guttag, "What is the state of neural network pruning?", 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secateur.records.results import Results

RANDOM = ("random-tuned", "random-tuned-layers")
MAGNITUDE = ("magnitude", "magnitude-tuned", "magnitude-tuned-layerwise", "gradual-magnitude")
POINTS, SEEDS = 3, 3
"""Fewer budgets are no curve, and of fewer seeds a spread says little."""


@dataclass(frozen=True)
class Check:
    """One demand.

    Attributes:
        reason: why it is met, or what is missing: a sentence.
        remedy: which option of `secateur compare` meets it; empty where it is met, or none does.
    """

    title: str
    met: bool
    reason: str
    remedy: str = ""


def checklist(results: Results) -> list[Check]:
    """Every demand, met or not; nothing where no network is there yet."""
    if not results.summary:
        return []
    checks = (_points, _sizes, _unpruned, _controls, _same, _spread, _selection)
    return [check(results) for check in checks]


def _points(results: Results) -> Check:
    budgets = list(dict.fromkeys(row.budget for row in results.summary if row.budget))
    met = len(budgets) >= POINTS
    reason = f"{_count(len(budgets), 'budget')} for every arm: {', '.join(budgets)}."
    return Check("Several operating points", met, reason, f"At least {POINTS}: repeat --budget.")


def _sizes(results: Results) -> Check:
    uncounted = sorted({name for point in results.points for name in point.uncounted or {}})
    reason = "Parameters and MACs of every network are in the table and in results.json."
    if uncounted:
        reason = f"The MACs leave out operators whose cost nobody knows: {', '.join(uncounted)}."
    return Check("Parameters and MACs", not uncounted, reason)


def _unpruned(results: Results) -> Check:
    name = results.measure.name
    if results.dense_summary:
        shown = results.measure.shown(results.dense_summary.mean)
        reason = f"Every {name} is given as it is, beside the unpruned network’s {shown}."
        return Check("Raw numbers, and the unpruned network", True, reason)
    return Check(
        "Raw numbers, and the unpruned network",
        False,
        f"Every {name} is given as it is, but the unpruned network was not trained.",
        "Add an arm that begins with it, such as --arms …,"
        f"{'magnitude-tuned' if results.resource == 'nonzeros' else 'fisher-tuned'}.",
    )


def _controls(results: Results) -> Check:
    title = "Random and magnitude controls"
    arms = {row.arm for row in results.summary}
    random, magnitude = _first(RANDOM, arms), _first(MAGNITUDE, arms)
    if random and magnitude:
        return Check(title, True, f"{random} and {magnitude} are among the arms.")
    if results.resource == "nonzeros":
        missing = [name for name, there in ((RANDOM[0], random), (MAGNITUDE[1], magnitude)) if not there]
        reason = f"No arm zeroes weights {' or '.join(_HOW[name] for name in missing)}."
        return Check(title, False, reason, f"--arms …,{','.join(missing)}")
    width = " width, every layer narrower, is the control here." if "width" in arms else ""
    return Check(
        title,
        False,
        f"No arm of compare removes channels at random or by their magnitude.{width}",
        "secateur prune random-channels and secateur prune filter-norm make such networks, one at a time.",
    )


_HOW = {RANDOM[0]: "at random", MAGNITUDE[1]: "by their magnitude"}


def _same(results: Results) -> Check:
    """The same seeds for all: a seed sets initial weights and order, and the data are one."""
    title = "The same initial weights and data"
    cells: dict[tuple[str, str | None], set[int]] = {}
    for point in [*results.points, *results.dense]:
        cells.setdefault((point.arm, point.budget), set()).add(point.seed)
    every = set().union(*cells.values())
    missing = [f"{arm} {budget or ''}".strip() for (arm, budget), seeds in cells.items() if seeds != every]
    if missing:
        return Check(title, False, f"Not every seed is there of {', '.join(missing)}.", _FINISH)
    told = ", ".join(map(str, sorted(every)))
    return Check(
        title,
        True,
        f"Every arm has the seeds {told}, which set initial weights and the order of the data; the data are "
        f"one ({results.data.fingerprint}). Networks of another shape begin with weights of their own.",
    )


_FINISH = "Run the command again: it finishes what is missing."


def _spread(results: Results) -> Check:
    least = min(row.n for row in results.summary)
    met = least >= SEEDS
    if least == 1:
        reason = "One seed has no spread."
    else:
        reason = f"n = {least} for every arm, with standard deviations and 95% intervals."
    return Check("n and spread", met, reason, f"--seeds {SEEDS}")


def _selection(results: Results) -> Check:
    on_test = results.settings.get("select_on") == "test"
    reason = (
        "Training was steered by the test split."
        if on_test
        else f"What selects or schedules looked at the validation split (n = {results.data.val:,}); the "
        f"numbers are of the test split (n = {results.data.test:,}), measured once a run."
    )
    return Check("The selecting split is named", not on_test, reason)


def _first(names: Sequence[str], arms: set[str]) -> str | None:
    return next((name for name in names if name in arms), None)


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
