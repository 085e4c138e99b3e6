"""The harness: every claim is a ratio of two times of the same round.

A machine's speed drifts (clock rates, neighbours, temperature), by more than what we want to tell apart. So
all actions of a benchmark are run in every round, one after the other, in an order that changes from round
to round; only times of the same round are divided, and the median over the rounds is what is claimed.

On a virtual machine the neighbours slow everything down for seconds at a time, so what takes turns should be
short: a round of several passes lets single steps take turns, a round of one whole stretches of steps.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

AT_LEAST_S = 0.05  # an action is repeated within a round until it takes about as long
MOST_REPEATS = 2000
WARM_UP = 2  # runs of each action before the first round

Clock = Callable[[], float]


@dataclass(frozen=True)
class Action:
    """Something to time.

    Attributes:
        run: what is timed.
        before: run before each `run`, outside the clock.
        per: steps that one `run` consists of; times are of one step.
    """

    run: Callable[[], Any]
    before: Callable[[], Any] | None = None
    per: int = 1

    def seconds(self, repeats: int, clock: Clock, finish: Callable[[], Any]) -> float:
        """Of one step, over `repeats` runs."""
        if self.before is None:
            return self._timed(repeats, clock, finish) / repeats / self.per
        total = 0.0
        for _ in range(repeats):
            self.before()
            total += self._timed(1, clock, finish)
        return total / repeats / self.per

    def _timed(self, repeats: int, clock: Clock, finish: Callable[[], Any]) -> float:
        finish()
        started = clock()
        for _ in range(repeats):
            self.run()
        finish()
        return clock() - started


@dataclass(frozen=True)
class Ratio:
    """Median and quartiles over rounds."""

    middle: float
    low: float
    high: float


class Times:
    """Seconds of each action in each round."""

    def __init__(self, seconds: Mapping[str, Sequence[float]]):
        self.seconds = {name: list(values) for name, values in seconds.items()}

    def ratio(self, what: str, over: str, factor: float = 1.0) -> Ratio:
        """Of `what` over `over`, times `factor`, round by round."""
        pairs = zip(self.seconds[what], self.seconds[over], strict=True)
        return summary([factor * one / other for one, other in pairs])

    def ms(self, *names: str) -> dict[str, float]:
        """Medians in milliseconds, of all actions where none is named."""
        return {name: significant(1e3 * self.median(name)) for name in names or self.seconds}

    def median(self, name: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[name])


def measure(
    actions: Mapping[str, Action | Callable[[], Any]],
    *,
    rounds: int,
    finish: Callable[[], Any] = lambda: None,
    clock: Clock = time.perf_counter,
    at_least_s: float = AT_LEAST_S,
    warm_up: int = WARM_UP,
    passes: int = 1,
) -> Times:
    """Warm every action up, then time each `passes` times a round, in a rotating order.

    Args:
        actions: name -> what to run.
        rounds: at least 1.
        finish: waits for the device, before every look at the clock.
        at_least_s: short actions are repeated within a round for about as long; 0: never.
        warm_up: runs of each action that do not count, at least 1.
        passes: of a round over all actions, whose mean is an action's time in that round.
    """
    whole = {name: run if isinstance(run, Action) else Action(run) for name, run in actions.items()}
    repeats = _warm_up(whole, warm_up, finish, clock, at_least_s)
    seconds: dict[str, list[float]] = {name: [] for name in whole}
    for number in range(rounds * passes):
        for name in rotated(list(whole), number):
            seconds[name].append(whole[name].seconds(repeats[name], clock, finish))
    return Times({name: _means(values, passes) for name, values in seconds.items()})


def _means(values: Sequence[float], count: int) -> list[float]:
    """Of each `count` in a row."""
    return [statistics.fmean(values[first : first + count]) for first in range(0, len(values), count)]


def rotated(names: Sequence[str], number: int) -> list[str]:
    """The order of round `number`: each begins with another action."""
    shift = number % len(names)
    return [*names[shift:], *names[:shift]]


def _warm_up(
    actions: Mapping[str, Action],
    times: int,
    finish: Callable[[], Any],
    clock: Clock,
    at_least_s: float,
) -> dict[str, int]:
    """Run everything so many times; how often each is to be repeated in a round."""
    last = {}
    for _ in range(times):
        for name, action in actions.items():
            last[name] = action.seconds(1, clock, finish) * action.per
    return {name: _repeats(value, at_least_s) for name, value in last.items()}


def _repeats(seconds: float, at_least_s: float) -> int:
    if not at_least_s:
        return 1
    return min(MOST_REPEATS, max(1, math.ceil(at_least_s / max(seconds, 1e-9))))


def summary(values: Sequence[float]) -> Ratio:
    """Median and quartiles."""
    if len(values) == 1:
        return Ratio(values[0], values[0], values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Ratio(middle, low, high)


def significant(value: float, digits: int = 5) -> float:
    """Rounded to so many digits that mean something."""
    return float(f"{value:.{digits}g}")
