"""How much better one arm is than each of the others: differences, what they allow to be said, what would.

An arm's value varies with the seed, and with the examples that happen to be in the test split. Both count:

    var(difference) = s~_a^2 / n_a + s~_b^2 / n_b + test split's part

with s~ of `secateur.compare.spreads` and the test split's part of `secateur.compare.sampling`. A difference's
p value is Student's t with Welch and Satterthwaite's degrees of freedom, averaged over what the spreads may
be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from secateur.compare.sampling import TestError
from secateur.compare.spreads import Array, Sample, Spreads

LEVEL = 0.05
"""Of whatever is said: wrong in one of twenty cases at most."""
OWN_LEVEL, OWN_LEVEL_OF_THREE = 0.04, 0.10
"""Of two arms by their own seeds; with three seeds, of a pair no noisier than the others."""
NOISIER = 2.0
"""A pair is noisier than the others where its variance is so many times theirs."""
OTHERS = 2
"""Fewer other arms than these say too little of what is noisy."""
MOST_SEEDS = 1000
"""More seeds than these are said to be too many."""
_DOUBLINGS, _HALVINGS = 12, 30
Z_POWER = 0.8416212335729143
"""The 80% quantile of the normal distribution: so likely a gap is seen that counts as visible."""


@dataclass(frozen=True)
class Difference:
    """One arm against another, `gap` better.

    Attributes:
        gap: how much better, in the values' unit; negative where it is worse.
        weights, variances, freedom: (G,), what the variance of `gap` may be by the seeds of all arms, without
            the test split's part.
        own: the same by the two arms' own seeds alone, with `own_freedom`; None where one has a single seed.
        noisier: whether their own spread is clearly above that of the other arms, or these are too few.
        seeds: the smaller number of the two.
        test: the test split's part.
    """

    gap: float
    weights: Array
    variances: Array
    freedom: Array
    own: float
    own_freedom: float
    noisier: bool
    seeds: int
    test: TestError

    @cached_property
    def p(self) -> float:
        """Two-sided, in [0, 1]."""
        return self._p(abs(self.gap))

    def _p(self, gap: float) -> float:
        from scipy.special import stdtr  # Student's t distribution; scipy.stats takes a second to import

        freedom, deviations = self._student
        return float(self.weights @ (2 * stdtr(freedom, -gap / deviations)))

    @cached_property
    def _student(self) -> tuple[Array, Array]:
        """What is the same whatever the gap, (G,) each: degrees of freedom, standard deviations."""
        variances = self.variances + self.test.between
        freedom = self.freedom * (variances / self.variances) ** 2
        return np.minimum(freedom, 1e8), np.sqrt(variances)

    @cached_property
    def own_p(self) -> float:
        """Two-sided, by Welch's t test of the two arms alone."""
        from scipy.special import stdtr

        variance = self.own + self.test.between
        freedom = min(self.own_freedom * (variance / self.own) ** 2, 1e8)
        return float(2 * stdtr(freedom, -abs(self.gap) / math.sqrt(variance)))

    @property
    def own_level(self) -> float:
        """Level at which the two arms alone must show a difference, too, before it is called one.

        What other arms say of these two's spread may be wrong. Welch's test at 4%, not 5, makes up for what
        the averaging over spreads lets through. With three seeds it would leave out half of what is there to
        be seen; at 10%, of pairs that look no noisier than the others, it leaves out little, and lets few
        false wins through (`tools/verdict_power.py`).
        """
        return OWN_LEVEL_OF_THREE if self.seeds == 3 and not self.noisier else OWN_LEVEL

    @property
    def wins(self) -> bool:
        """Whether the first is better, with nothing corrected for other comparisons."""
        return self.gap > 0 and self.p <= LEVEL

    @property
    def holds_alone(self) -> bool:
        """Whether the two arms' own seeds do not speak against it."""
        return self.own_p <= self.own_level

    @cached_property
    def half(self) -> float:
        """Half the width of the gap's 95% interval: the smallest gap that would have been told apart."""
        low, high = 0.0, 10 * math.sqrt(self.variance)
        while self._p(high) > LEVEL:
            low, high = high, 4 * high
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self._p(middle) > LEVEL else (low, middle)
        return high

    @property
    def by_seeds(self) -> float:
        """The seeds' part of the variance, averaged over what it may be."""
        return float(self.weights @ self.variances)

    @property
    def variance(self) -> float:
        """Of the gap, in all."""
        return self.by_seeds + self.test.between

    @property
    def visible(self) -> float:
        """The smallest true gap that such a comparison finds in four of five cases."""
        return self.half + Z_POWER * math.sqrt(self.variance)

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds would show this gap in four of five cases; None: none would, or more than 1,000."""
        return self.seeds_to_tell(self.half)

    def seeds_to_tell(self, smallest: float) -> int | None:
        """The same where a gap is told from `smallest` on now, by whatever rule."""
        room = self._variance_at(smallest) - self.test.between
        if room <= 0:
            return None
        needed = max(math.ceil(self.seeds * self.by_seeds / room), 2)
        return needed if needed <= MOST_SEEDS else None

    def _variance_at(self, smallest: float) -> float:
        """The variance at which this gap is found in four of five cases; what is told shrinks with it."""
        return self.variance * (self.gap / (smallest + Z_POWER * math.sqrt(self.variance))) ** 2

    def examples_needed(self, examples: int) -> int | None:
        """How many test examples would show this gap in four of five cases; None: none would."""
        split = self.test.between + min(self.test.within, self.by_seeds)
        room = self._variance_at(self.half) - (self.variance - split)
        return None if room <= 0 or split <= 0 else math.ceil(examples * split / room)


def difference(
    found: Sequence[Sample], known: Spreads, one: int, other: int, *, better: float, test: TestError
) -> Difference:
    """Compare two arms.

    Args:
        found: every arm's sample.
        known: their spreads.
        one, other: which two, as indices.
        better: 1 where higher values are better, else -1.
        test: the test split's part.
    """
    ours, theirs = found[one], found[other]
    parts = known.variances[:, [one, other]] / np.array([ours.n, theirs.n])
    total = parts.sum(1)
    return Difference(
        gap=better * (ours.mean - theirs.mean),
        weights=known.weights,
        variances=total,
        freedom=total**2 / (parts**2 / known.freedom[:, [one, other]]).sum(1),
        own=ours.of_mean + theirs.of_mean,
        own_freedom=_welch(ours, theirs),
        noisier=_noisier(found, known.scales, one, other),
        seeds=min(ours.n, theirs.n),
        test=test,
    )


def _welch(ours: Sample, theirs: Sample) -> float:
    """Satterthwaite's degrees of freedom."""
    total = ours.of_mean + theirs.of_mean
    return total**2 / (ours.of_mean**2 / ours.freedom + theirs.of_mean**2 / theirs.freedom)


def _noisier(found: Sequence[Sample], scales: Array, one: int, other: int) -> bool:
    relative = np.array([each.variance for each in found]) / scales
    rest = np.delete(relative, [one, other])
    return len(rest) < OTHERS or float(relative[[one, other]].mean()) > NOISIER * float(rest.mean())


def corrected(ps: Sequence[float]) -> list[float]:
    """p values of one arm, the best by the same data, against each of the others, as one family.

    Step by step from the smallest: with m arms still in question there are m (m - 1) / 2 pairs of which this
    may be one, as which arm is the best was not known beforehand (Holm 1979 with Shaffer's counts 1986).

    Example:
        >>> [round(p, 6) for p in corrected([0.001, 0.04, 0.01])]
        [0.006, 0.04, 0.03]
    """
    found, largest = [0.0] * len(ps), 0.0
    for done, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        arms = len(ps) + 1 - done
        largest = max(largest, min(1.0, ps[index] * arms * (arms - 1) / 2))
        found[index] = largest
    return found


@dataclass(frozen=True)
class Conclusion:
    """What the differences of the leader to each of the others allow to be said; the rule itself.

    Attributes:
        wins: the leader is better than every other, and than the nearest by the two arms' own seeds too.
        corrected: the p values as one family.
        behind: of each of the others, whether the leader is clearly better.
    """

    wins: bool
    corrected: tuple[float, ...]
    behind: tuple[bool, ...]


def conclude(found: Sequence[Difference]) -> Conclusion:
    """Apply the rule of `docs/verdict.md` to the leader's differences; of none, nothing is said."""
    nearest = min(found, key=lambda each: each.gap, default=None)
    wins = nearest is not None and all(each.wins for each in found) and nearest.holds_alone
    ps = tuple(corrected([each.p for each in found]))
    behind = tuple(
        wins or (each.gap > 0 and p <= LEVEL and each.holds_alone) for each, p in zip(found, ps, strict=True)
    )
    return Conclusion(wins, ps, behind)


def told_from(found: Sequence[Difference]) -> tuple[float, ...]:
    """For each difference the smallest gap from which on the rule tells it, all else as it is.

    It is found by asking the rule itself, `conclude`, with that gap in the place of the observed one: what
    the seeds' spread, the test split, the correction for several arms and the two arms' own seeds ask for.

    Returns:
        in the values' unit; infinite where no gap would do.
    """
    return tuple(_told_from(found, index) for index in range(len(found)))


def _told_from(found: Sequence[Difference], index: int) -> float:
    def told(gap: float) -> bool:
        changed = [replace(each, gap=gap) if i == index else each for i, each in enumerate(found)]
        return conclude(changed).behind[index]

    low = high = found[index].half  # where p is 5%: nothing smaller is ever told
    for _ in range(_DOUBLINGS):
        if told(high):
            break
        low, high = high, 2 * high
    else:
        return math.inf
    for _ in range(_HALVINGS if high > low else 0):
        middle = (low + high) / 2
        low, high = (low, middle) if told(middle) else (middle, high)
    return high
