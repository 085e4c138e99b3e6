"""What networks of some budgets would come to where they run, measured on untrained ones of the same shape.

Sizes and times hardly depend on what weights are, so that nobody has to train a network to learn that it is
too slow. Accuracy does, and is not forecast.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from secateur.architecture.architecture import Architecture
from secateur.architecture.elsewhere import importable_name
from secateur.architecture.file import TRANSFORMERS_FILE, WEIGHTS_FILE
from secateur.architecture.foreign import ForeignOrigin
from secateur.architecture.saved import save_model
from secateur.atomic import scratch
from secateur.budget import Budget
from secateur.deploy.predicted import in_words, predicted
from secateur.errors import InputError
from secateur.methods.random import Random
from secateur.progress import Reporter
from secateur.records.device_table import DeviceTable
from secateur.records.forecasted import Forecast, Forecasts
from secateur.records.measured import NOW, Sizes
from secateur.runs.brought import faster, words_on_speed
from secateur.runs.latency_width import width_within
from secateur.runs.runtimes import Found, Plan, speed_of, subject_of, time_on, timing_of, versions
from secateur.runs.sizes import sizes_of
from secateur.runs.timing import Subject, Timed
from secateur.surgery.anatomy import anatomy_of

UNPRUNED, WIDTH, UNIFORM, BOTTLENECK, SPARSE = "unpruned", "width", "uniform", "bottleneck", "sparse"
"""The ways to a budget that are known before anything is trained, and the network that none was taken to."""


@dataclass(frozen=True)
class Candidate:
    """A network to be measured.

    Attributes:
        way: one of the five names above.
        zeroed: whether weights are set to zero until the budget is met.
    """

    way: str
    budget: Budget | None
    architecture: Architecture
    zeroed: bool = False


def forecast(
    architecture: Architecture, budgets: Sequence[Budget], plan: Plan, reporter: Reporter
) -> Forecasts:
    """Measure what every way to every budget leaves, untrained, beside the unpruned network.

    Args:
        budgets: each by itself; of a latency the width is found that meets it, by measuring.

    Raises:
        InputError: where a budget does not bind, or no way leads to it.
    """
    remarks: list[str] = []
    for budget in budgets:
        _check(architecture, budget, plan)
    with scratch() as made:
        bench = _Bench(architecture, plan, made, reporter)
        bench.add(Candidate(UNPRUNED, None, architecture))
        for budget in budgets:
            for candidate in candidates_of(architecture, budget, remarks, bench):
                bench.add(candidate)
        found = time_on(plan, bench.subjects, reporter)
        rows = tuple(bench.row(number, found) for number in range(len(bench.candidates)))
    return Forecasts(
        model=architecture.display_name,
        rows=rows,
        not_measured=tuple(found.not_measured),
        remarks=(*_no_faster(rows), *remarks, *found.remarks),
        versions=versions(),
        platform=platform.platform(),
    )


def _check(architecture: Architecture, budget: Budget, plan: Plan) -> None:
    """Raise InputError, before anything is measured, for a budget that does not bind or has no runtime."""
    if budget.deployment is None:
        budget.limit_for(architecture)
    if budget.deployment is None or budget.deployment.table is not None:
        return
    Plan.of(
        [budget.deployment.runtime], batch=budget.deployment.batch_size, threads=budget.deployment.threads
    )


def candidates_of(
    architecture: Architecture, budget: Budget, remarks: list[str], bench: _Bench
) -> list[Candidate]:
    """The ways to a budget, no network twice; of those that do not lead there, `remarks` say why.

    Raises:
        InputError: where none does.
    """
    if budget.deployment is not None:
        narrow, words = bench.within(budget)
        remarks.append(words)
        return [Candidate(WIDTH, budget, narrow)]
    found: list[Candidate] = []
    failed: list[str] = []
    if budget.resource in ("nonzeros", "bytes"):
        found.append(Candidate(SPARSE, budget, architecture, zeroed=True))
    ways = {WIDTH: architecture.narrowed_to, UNIFORM: architecture.scaled_to}
    if architecture.has_blocks and not architecture.is_family:  # of a family it is the same as uniform
        ways[BOTTLENECK] = architecture.bottlenecked_to
    for way, narrowed in ways.items():
        try:
            candidate = Candidate(way, budget, narrowed(budget))
        except InputError as error:
            failed.append(f"{budget} has no network of the way {way}: {error}")
            continue
        if all(candidate.architecture != each.architecture for each in found):
            found.append(candidate)
    if not found:
        raise InputError("; ".join(failed))
    remarks += failed
    return found


@dataclass
class _Bench:
    """Networks that are built, counted and left where other processes find them."""

    architecture: Architecture
    plan: Plan
    made: Path
    reporter: Reporter
    candidates: list[Candidate] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    sizes: list[Sizes] = field(default_factory=list)

    def add(self, candidate: Candidate) -> None:
        """Build a network, and count it."""
        model = candidate.architecture.build(seed=0)
        if candidate.zeroed:
            assert candidate.budget is not None
            method = Random(candidate.budget)
            model = method.finalize(method.prepare(model))
        name = str(len(self.candidates))
        subject, size = self._left(model, name, self.plan)
        self.candidates.append(candidate)
        self.subjects.append(subject)
        self.sizes.append(sizes_of(model, size))

    def _left(self, model: nn.Module, name: str, plan: Plan) -> tuple[Subject, int]:
        """Leave a network for other processes; the bytes of its file."""
        folder = self.made / f"network-{name}"
        save_model(model, folder)
        origin = Architecture.of(model).origin
        factory = importable_name(origin) if isinstance(origin, ForeignOrigin) else None
        if (folder / TRANSFORMERS_FILE).is_file():
            factory = None
        elif isinstance(origin, ForeignOrigin) and factory is None:
            return subject_of(name, model, plan.batch, self.made), (folder / WEIGHTS_FILE).stat().st_size
        subject = subject_of(name, model, plan.batch, self.made, folder, factory)
        return subject, (folder / WEIGHTS_FILE).stat().st_size

    def within(self, budget: Budget) -> tuple[Architecture, str]:
        """The widest network that is as fast as a budget says, and what was measured."""
        assert budget.deployment is not None
        where = budget.deployment
        if where.table is not None:
            return self._foretold(budget, where.table, where.path)
        plan = replace(
            self.plan, runtimes=(where.runtime,), missing=(), batch=where.batch_size, threads=where.threads
        )

        whole, _ = self._left(self.architecture.build(seed=0), "whole", plan)
        known: list[int] = []

        def nanoseconds(architecture: Architecture) -> int:
            if not known:
                known.append(_timed([whole], budget, plan)["whole"].median_ns)
                return known[0]
            tried, _ = self._left(architecture.build(seed=0), "tried", plan)
            both = _timed([whole, tried], budget, plan)  # in turns, as the machine may be slower by now
            return math.ceil(known[0] / speed_of(where.runtime, both["whole"], both["tried"]).speedup)

        return width_within(self.architecture, budget, nanoseconds, self.reporter)

    def _foretold(self, budget: Budget, table: DeviceTable, path: str) -> tuple[Architecture, str]:
        """The same by a table of another device, where nothing can be measured."""

        def nanoseconds(architecture: Architecture) -> int:
            model = architecture.build(seed=0)
            return predicted(model, anatomy_of(model).inputs, table, f"the table '{path}'").nanoseconds

        found, words = width_within(self.architecture, budget, nanoseconds, self.reporter, "by the table")
        return found, f"{words}; {in_words(table, path)}"

    def row(self, number: int, found: Found) -> Forecast:
        """What is known of a network, and how much faster than the unpruned one it is."""
        candidate, name = self.candidates[number], str(number)
        measured = {runtime: each for runtime, each in found.timed.items() if name in each}
        return Forecast(
            way=candidate.way,
            budget=candidate.budget.text if candidate.budget else None,
            network=candidate.architecture.display_name,
            sizes=self.sizes[number],
            timings=tuple(
                timing_of(NOW, runtime, each[name], self.plan) for runtime, each in measured.items()
            ),
            speeds=tuple(
                speed_of(runtime, each["0"], each[name])
                for runtime, each in measured.items()
                if number and "0" in each
            ),
        )


def _timed(subjects: Sequence[Subject], budget: Budget, plan: Plan) -> dict[str, Timed]:
    """The times of networks on the runtime of a latency budget."""
    found = time_on(plan, subjects, Reporter())
    if found.not_measured:
        raise InputError(f"'{budget}' cannot be measured: {found.not_measured[0].why}")
    return found.timed[plan.runtimes[0]]


def _no_faster(rows: Sequence[Forecast]) -> list[str]:
    """Where a smaller network is no faster, in words."""
    return [
        f"{row.budget} ({row.way}): {words}"
        for row in rows[1:]
        for speed in row.speeds
        if not faster(speed)
        for words in words_on_speed(row.sizes, rows[0].sizes, (speed,))
    ]
