"""A verdict in words."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.records.measure import Measure, number
from secateur.records.results import BOUNDED, SEEDS, BudgetVerdict, Gap, SummaryRow


def sentence(per_budget: Sequence[BudgetVerdict]) -> str:
    """All budgets in one sentence, short where they agree; the details are in each budget's own text."""
    winners = {entry.winner for entry in per_budget}
    if winners == {None}:
        text = f"no clear winner {listed([_at(entry) for entry in per_budget])}"
    elif len(winners) == 1:
        text = f"{winners.pop()} wins {listed([_at(entry) for entry in per_budget])}"
    else:
        text = "; ".join(
            f"{_at(entry)} {entry.winner} wins" if entry.winner else f"{_at(entry)} there is no clear winner"
            for entry in per_budget
        )
    return f"{text[0].upper()}{text[1:]}{_stragglers(per_budget)}."


def _stragglers(per_budget: Sequence[BudgetVerdict]) -> str:
    """Who is clearly behind where nobody wins: often the one thing that can be said.

    More than two are counted only; each budget's own text names them.
    """
    found = [
        f"{_few(entry.behind)} clearly behind at {entry.budget}"
        for entry in per_budget
        if entry.behind and not entry.winner
    ]
    return f"; {'; '.join(found)}" if found else ""


def clause(
    judged: BudgetVerdict,
    leader: SummaryRow,
    others: Sequence[SummaryRow],
    test: str,
    measure: Measure,
) -> str:
    """What can be said at one budget, without naming the budget.

    Args:
        test: how many examples are in the test split, "500 test images"; nothing where that is not known.
    """
    if not others:
        return f"{leader.arm} is the only arm, with {value(leader, measure)}"
    if not judged.gaps:
        return f"no clear winner, as one seed has no interval (--seeds 3): {_leads(leader, measure)}"
    nearest = min(judged.gaps, key=lambda gap: gap.gap)
    if judged.winner:
        ahead = f"{size(nearest.gap, measure)} {between(nearest.low, nearest.high, measure)}"
        return f"{leader.arm} wins with {value(leader, measure)}: {ahead} ahead of {nearest.arm}, the nearest"
    doubtful = [gap for gap in judged.gaps if gap.arm in judged.not_separated]
    behind = f"; {listed(judged.behind)} clearly behind" if judged.behind else ""
    return (
        f"no clear winner: {_leads(leader, measure)}, {_not_separated(doubtful, measure)}{behind}; "
        f"{_seen(judged, leader, nearest, test, measure)}"
    )


def _not_separated(doubtful: Sequence[Gap], measure: Measure) -> str:
    """The differences that are too small to tell: two in full, of more the smallest."""
    if not doubtful:
        return "but not by its own seeds alone"
    if len(doubtful) <= 2:
        return listed([_ahead(gap, measure) for gap in doubtful])
    nearest = min(doubtful, key=lambda gap: gap.gap)
    rest = [gap.arm for gap in doubtful if gap is not nearest]
    return f"{_ahead(nearest, measure)}, and not clearly ahead of {listed(rest)}"


def _leads(leader: SummaryRow, measure: Measure) -> str:
    """Said with what it leads on: on the test split alone another arm may well be ahead."""
    return f"{leader.arm} leads on validation and test together and has {value(leader, measure)} on test"


def _ahead(gap: Gap, measure: Measure) -> str:
    """One difference that is too small to tell."""
    if gap.gap == 0:
        return f"as much as {gap.arm} {between(gap.low, gap.high, measure)}"
    direction = "ahead of" if gap.gap > 0 else "behind"
    return f"{size(abs(gap.gap), measure)} {direction} {gap.arm} {between(gap.low, gap.high, measure)}"


def _seen(judged: BudgetVerdict, leader: SummaryRow, nearest: Gap, test: str, measure: Measure) -> str:
    """What is too small to be seen, and what would show it."""
    kept = " (of which no single results were kept)" if judged.basis == BOUNDED else ""
    counted = f" and {test}{kept}" if test and judged.basis != SEEDS else ""
    told = f"{leader.n} seeds{counted} show gaps from about {size(nearest.visible, measure)} on"
    if nearest.gap <= 0:
        return told
    ways = []
    if nearest.seeds_needed:
        ways.append(f"{max(nearest.seeds_needed, leader.n + 1):,} seeds")
    if nearest.examples_needed and judged.basis != SEEDS:
        ways.append(f"{nearest.examples_needed:,} {test.partition(' ')[2]}")
    if not ways:
        return f"{told}; no number of seeds or of test examples alone would show the gap to {nearest.arm}"
    return f"{told}; the gap to {nearest.arm} would take about {' or '.join(ways)}"


def value(row: SummaryRow, measure: Measure) -> str:
    """A mean with its interval: "94.7% ± 2.1"; of other metrics "dice 0.8312 ± 0.01"."""
    shown = measure.shown(row.mean)
    if row.half is None:
        return shown
    return f"{shown} ± {row.half * 100:.1f}" if measure.fraction else f"{shown} ± {number(row.half)}"


def size(gap: float, measure: Measure) -> str:
    """A gap: "0.7 points"; of other metrics "0.012"."""
    return f"{gap * 100:.1f} points" if measure.fraction else number(gap)


def between(low: float, high: float, measure: Measure) -> str:
    """An interval of a gap: "(-1.7 to 3.0)"."""
    if measure.fraction:
        return f"({low * 100:.1f} to {high * 100:.1f})"
    return f"({number(low)} to {number(high)})"


def _at(entry: BudgetVerdict) -> str:
    return f"at {entry.budget} ({entry.limit:,})"


def _few(names: Sequence[str]) -> str:
    return listed(names) if len(names) <= 2 else f"{len(names)} arms"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: "width", "width and copycat", "l1, width and copycat"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
