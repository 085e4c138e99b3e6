"""Two networks timed on one example in turns, so that whatever slows the machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from secateur.records.quantized import Pace, SideBySide


def side_by_side(
    runs: Sequence[Callable[[], object]], *, repeats: int, limit_s: float, **where: Any
) -> SideBySide:
    """Time the network in float and the one in int8 on one example, in turns; `where` they run is told."""
    before, after = _in_turns(runs, repeats, limit_s)
    return SideBySide(
        batch=1,
        before=_pace(before),
        after=_pace(after),
        speedup=statistics.median(one / other for one, other in zip(before, after, strict=True)),
        **where,
    )


def _in_turns(
    runs: Sequence[Callable[[], object]], repeats: int, limit_s: float
) -> tuple[list[int], list[int]]:
    """Time two calls in turns, in nanoseconds, at least 5 times each."""
    for run in (*runs, *runs, *runs):
        run()
    found: tuple[list[int], list[int]] = ([], [])
    end = time.perf_counter() + limit_s
    while len(found[0]) < 5 or (len(found[0]) < repeats and time.perf_counter() < end):
        for times, run in zip(found, runs, strict=True):
            started = time.perf_counter_ns()
            run()
            times.append(max(1, time.perf_counter_ns() - started))
    return found


def _pace(times: Sequence[int]) -> Pace:
    return Pace(
        median_ns=round(statistics.median(times)),
        p95_ns=round(statistics.quantiles(times, n=20)[-1]),
        n=len(times),
    )
