"""Networks timed side by side: in turns, so that what slows a machine down for a while slows them all down.

A round gives every network a turn of some milliseconds, in an order that rotates. The first run of a turn
does not count: the one before left its own numbers in the caches, and threads that are still spinning. Of
networks that are compared, only times of the same round are divided.

Intervals are of medians, by order statistics (David and Nagaraja 2003, section 7.1), over rounds: runs of
one turn are no independent numbers.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

TURN_S = 0.02
ROUNDS = (12, 200)  # at least, so that an interval lies within the numbers; at most
PRECISE = 0.01
WARM_UP, WARM_UP_S = 5, 1.0  # runs of each network, or two where they take so long
_Z = 1.959963984540054  # the standard normal's 97.5% quantile

Clock = Callable[[], int]


@dataclass(frozen=True)
class Times:
    """Of one network, nanoseconds of every run that counts, round by round; no round is empty."""

    rounds: tuple[tuple[int, ...], ...]

    @property
    def medians(self) -> list[float]:
        """Of each round."""
        return [statistics.median(each) for each in self.rounds]

    @property
    def all(self) -> list[int]:
        """Every run that counts."""
        return [each for one in self.rounds for each in one]

    @property
    def median(self) -> float:
        """Over all runs."""
        return statistics.median(self.all)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the median, which lies in it."""
        low, high = interval(self.medians)
        return min(low, self.median), max(high, self.median)

    def quantile(self, share: float) -> int:
        """The smallest time that so large a share of the runs, in (0, 1], does not exceed."""
        return sorted(self.all)[math.ceil(share * len(self.all)) - 1]


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of rounds, with its 95% interval from `low` to `high`."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, one: Sequence[float], other: Sequence[float]) -> Ratio:
        """One network's medians over another's, of the same rounds."""
        ratios = [a / b for a, b in zip(one, other, strict=True)]
        return cls(statistics.median(ratios), *interval(ratios))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of the median: the values at ranks n/2 -+ 0.98 sqrt(n), as far as there are such.

    Example:
        >>> interval([*range(1, 101)])
        (40, 61)
    """
    ordered, n = sorted(values), len(values)
    low = max(1, math.floor(n / 2 - _Z / 2 * math.sqrt(n)))
    return ordered[low - 1], ordered[n - low]


def timed(
    runs: Mapping[str, Callable[[], object]],
    *,
    limit_s: float,
    turn_s: float = TURN_S,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, Times]:
    """Time networks in turns until all medians are known to 1%, or the time is over.

    Args:
        runs: name -> runs one batch and waits for its end.
        limit_s: seconds after which no further round begins, but for the fewest that there are; without the
            warm-up.
        turn_s: of one network in a round, at least one run.
        clock: nanoseconds.
    """
    taken = {name: _warmed(run, clock) for name, run in runs.items()}
    found: dict[str, list[tuple[int, ...]]] = {name: [] for name in runs}
    names, started = list(runs), clock()
    fewest, most = ROUNDS
    for number in range(most):
        if number >= fewest and (_known(found) or clock() - started > limit_s * 1e9):
            break
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            found[name].append(_turn(runs[name], taken[name], turn_s, clock))
    return {name: Times(tuple(rounds)) for name, rounds in found.items()}


def _warmed(run: Callable[[], object], clock: Clock) -> int:
    """Run a network until it is warm; the nanoseconds that its last run took."""
    begun = before = clock()
    for number in range(WARM_UP):
        run()
        now = clock()
        taken, before = now - before, now
        if number and now - begun > WARM_UP_S * 1e9:
            break
    return taken


def _turn(run: Callable[[], object], taken: int, turn_s: float, clock: Clock) -> tuple[int, ...]:
    """The times of one turn, but that of its first run, unless one run is as long as a turn."""
    if taken < turn_s * 1e9:
        run()
    times: list[int] = []
    begun = before = clock()
    while not times or before - begun < turn_s * 1e9:
        run()
        now = clock()
        times.append(max(1, now - before))
        before = now
    return tuple(times)


def _known(found: Mapping[str, Sequence[tuple[int, ...]]]) -> bool:
    """Whether every median's interval is within `PRECISE` of it."""
    for rounds in found.values():
        times = Times(tuple(rounds))
        low, high = times.interval
        if high - low > 2 * PRECISE * times.median:
            return False
    return True
