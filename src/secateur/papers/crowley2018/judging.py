"""Verdicts on what a paper claims, and the differences between two families of networks behind them.

Every seed gives one mean over all sizes that both families have. The difference has a 95% interval by
Student's t with Welch's degrees of freedom. That one family is better holds where the whole interval says so,
does not hold where it says the reverse, and is open else. One trajectory has no spread: it is a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from secateur.compare.summary import CONFIDENCE, Interval, interval
from secateur.papers.cells import FamilyRun
from secateur.papers.crowley2018.figure1_tables import error

MARGIN = 1.0
"""Points of test error within which networks "perform similarly" or something "made little difference"."""

HELD, NOT_HELD, OPEN, MISSING = "held", "not held", "open", "not made yet"


@dataclass(frozen=True)
class Verdict:
    """What our runs say of a claim.

    Attributes:
        word: `HELD`, `NOT_HELD`, `OPEN` or `MISSING`.
        numbers: behind it, in words.
    """

    word: str
    numbers: str = ""


@dataclass(frozen=True)
class Gap:
    """By how many points of test error one family lies below another (negative: above), over common sizes.

    Attributes:
        low, high: of the 95% interval; None where no seed repeats.
        better: sizes at which the first has the lower mean, of `sizes`.
        n: seeds of both.
    """

    mean: float
    low: float | None
    high: float | None
    better: int
    sizes: int
    n: tuple[int, int]

    def __str__(self) -> str:
        where = "" if self.low is None else f" ({self.low:+.1f} to {self.high:+.1f})"
        n = " and ".join(map(str, self.n))
        return f"{self.mean:+.1f} points{where}, lower at {self.better} of {self.sizes} sizes, n = {n}"


def by_seed(runs: Iterable[FamilyRun]) -> dict[int, dict[str, float]]:
    """Test errors in percent: seed -> size -> error."""
    found: dict[int, dict[str, float]] = {}
    for run in runs:
        found.setdefault(run.seed, {})[run.size] = error(run)
    return found


def gap(one: Sequence[FamilyRun], other: Sequence[FamilyRun]) -> Gap | None:
    """How far `one` lies below `other`; None where they have no size in common."""
    mine, theirs = by_seed(one), by_seed(other)
    sizes = {size for seed in mine.values() for size in seed} & {s for seed in theirs.values() for s in seed}
    if not sizes:
        return None
    ours, others = _over(mine, sizes), _over(theirs, sizes)
    if not ours or not others:  # no seed has all sizes yet
        return None
    lower = sum(_mean_at(mine, size) < _mean_at(theirs, size) for size in sizes)
    return gap_of(ours, others, lower, len(sizes))


def gap_of(ours: Sequence[float], others: Sequence[float], lower: int, sizes: int) -> Gap:
    """How far the mean of errors lies below that of others, with its interval."""
    mean, half = interval_of(others).mean - interval_of(ours).mean, half_of(ours, others)
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return Gap(mean, low, high, lower, sizes, (len(ours), len(others)))


def _over(seeds: dict[int, dict[str, float]], sizes: set[str]) -> list[float]:
    """The mean over the sizes of every seed that has all of them."""
    return [math.fsum(each[s] for s in sizes) / len(sizes) for each in seeds.values() if sizes <= set(each)]


def _mean_at(seeds: dict[int, dict[str, float]], size: str) -> float:
    found = [each[size] for each in seeds.values() if size in each]
    return math.fsum(found) / len(found)


def half_of(ours: Sequence[float], others: Sequence[float]) -> float | None:
    """Half the 95% interval of the difference of two means (Welch); None where neither side repeats."""
    from scipy.special import stdtrit

    parts = [(found.std or 0.0) ** 2 / found.n for found in map(interval_of, (ours, others)) if found.n > 1]
    counts = [len(values) for values in (ours, others) if len(values) > 1]
    if not parts:
        return None
    total = math.fsum(parts)
    if total == 0:
        return 0.0
    freedom = total**2 / math.fsum(part**2 / (n - 1) for part, n in zip(parts, counts, strict=True))
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(total)


def interval_of(values: Sequence[float]) -> Interval:
    """Of errors in percent."""
    return interval(values, share=False)


def better(found: Gap | None) -> Verdict:
    """Judge the claim that the first is better."""
    if found is None:
        return Verdict(MISSING)
    if found.low is None or found.high is None:
        return Verdict(OPEN, str(found))
    word = HELD if found.low > 0 else NOT_HELD if found.high < 0 else OPEN
    return Verdict(word, str(found))


def similar(found: Gap | None) -> Verdict:
    """Judge the claim that both perform similarly."""
    if found is None:
        return Verdict(MISSING)
    if found.low is None or found.high is None:
        return Verdict(OPEN, str(found))
    within = max(-found.low, found.high) <= MARGIN
    word = HELD if within else NOT_HELD if found.low > MARGIN or found.high < -MARGIN else OPEN
    return Verdict(word, str(found))


def smaller_is_clearer(one: Sequence[FamilyRun], other: Sequence[FamilyRun]) -> Verdict:
    """Judge the claim that the first lies further below at the smallest common size than at the largest."""
    mine, theirs = by_seed(one), by_seed(other)
    sizes = {size for seed in mine.values() for size in seed} & {s for seed in theirs.values() for s in seed}
    if len(sizes) < 2:
        return Verdict(MISSING)
    small, *_, large = sorted(sizes, key=lambda size: int(size[:-1]))
    rest = _mean_at(theirs, small) - _mean_at(theirs, large)
    found = [rest - (each[small] - each[large]) for each in mine.values() if {small, large} <= set(each)]
    if not found:
        return Verdict(MISSING)
    mean = interval_of(found)
    where = "" if mean.low is None else f" ({mean.low:+.1f} to {mean.high:+.1f})"
    said = f"{mean.mean:+.1f} points{where} more at {small} than at {large}, n = {mean.n}"
    if mean.low is None or mean.high is None:
        return Verdict(OPEN, said)
    return Verdict(HELD if mean.low > 0 else NOT_HELD if mean.high < 0 else OPEN, said)


def together(words: Sequence[str]) -> str:
    """One word for several verdicts on one claim."""
    found = set(words) - {MISSING}
    if not found:
        return MISSING
    return found.pop() if len(found) == 1 else OPEN
