"""A Fisher run: 1000 channels of WRN-40-2 removed, one every 100 steps, over a masked reference
(`masked.py`).

100,000 steps take days, so both are measured after 0, 125, 250, ... 1000 removals, interleaved, and
integrated over the removals by Simpson's rule. Ours is `Training.step` with `Fisher`, in the layout that
the loop chooses, on the network really cut; what a removal costs (choosing, cutting, the first step at a
size never seen) is measured by steps that remove one each time, and added. The reference never gets
smaller, and its removals are free; it is measured with our malloc settings, and once more in a process of
its own with glibc's, as the published code runs. Which channels are gone is drawn at random once, as widths
of a real run are uneven, too, and no multiples of anything.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from benchmarks.masked import Masked
from benchmarks.networks import BATCH, CIFAR_STEPS, RealSteps, Steps, batch, finish, images, network, side
from benchmarks.processes import Partner, serve
from benchmarks.records import Case, Found, Settings
from benchmarks.timing import Action, Times, measure, significant, summary
from secateur.architecture.architecture import Architecture
from secateur.methods import Fisher
from secateur.models import Family
from secateur.training.evaluation import evaluate

BARS = {"fp32": 0.60, "bf16": 0.38}
BAR_WITH_VALIDATION = 0.33  # for the better of the two
GRID = tuple(range(0, 1001, 125))
QUICK_GRID = (0, 16, 32)
EVERY = 100  # steps for each removal
NEVER = 10**9
OUR_VALIDATION, THEIR_VALIDATION = 5_000, 10_000  # images: once an epoch; after every removal
THEIR_BATCH = 50  # in validation, as in the authors' code
MEASURED_IMAGES = 500  # of a validation, of which the time of one image is taken
REFERENCE = "reference fp32"
PUBLISHED = "published fp32"  # the same in a process of its own, with glibc's malloc as it is
VALIDATIONS = {REFERENCE: "reference validation", PUBLISHED: "published validation"}
Rounds = Mapping[int, Times]
Second = Callable[[str], float]  # an action's name -> its seconds in one round
Cost = Callable[[Second], float]  # seconds for a removal's worth of work


def run(settings: Settings) -> Found:
    """Training alone in both precisions, then with validation."""
    grid = QUICK_GRID if settings.quick else GRID
    rounds = {removed: _at(removed, settings) for removed in grid}
    found = Found()
    for reference, over in ((REFERENCE, ""), (PUBLISHED, ", over glibc's malloc")):
        if reference == PUBLISHED and settings.device != "cpu":
            continue  # it is about the host's memory
        _add(found, rounds, reference, over, settings)
    found.more["measured_ms"] = {str(removed): times.ms() for removed, times in rounds.items()}
    found.notes += [
        f"extrapolated from {len(grid)} sizes to {EVERY * grid[-1]:,} steps by Simpson's rule",
        f"validation: ours on {OUR_VALIDATION:,} images after each {CIFAR_STEPS:.0f} steps, the reference "
        f"on {THEIR_VALIDATION:,} after every removal as published, without gradients, in batches of "
        f"{THEIR_BATCH}; measured on {_measured_images(settings)} images",
        "the reference is given our malloc settings, but where it says otherwise, and free removals; batches "
        "lie ready on both sides, and our checkpoints are left to compare_overhead",
    ]
    return found


def _add(found: Found, rounds: Rounds, reference: str, over: str, settings: Settings) -> None:
    """The cases over one of the references; the bars are for the faster one."""
    theirs = totals(rounds, lambda second: EVERY * second(reference))
    barred = reference == REFERENCE
    for precision, bar in BARS.items():
        ours = totals(rounds, _our_training(precision))
        only = settings.bar(bar) if barred else None
        found.cases.append(_case(f"training {precision}", over, ours, theirs, only))
    theirs = totals(
        rounds,
        lambda second: EVERY * second(reference) + THEIR_VALIDATION * second(VALIDATIONS[reference]),
    )
    both = {precision: totals(rounds, _our_run(precision)) for precision in BARS}
    better = min(both, key=lambda precision: summary(both[precision]).middle)
    for precision, ours in both.items():
        only = settings.bar(BAR_WITH_VALIDATION) if barred and precision == better else None
        found.cases.append(_case(f"with validation {precision}", over, ours, theirs, only))


def _our_training(precision: str) -> Cost:
    """Seconds for one removal's worth of steps, and the removal."""

    def seconds(second: Second) -> float:
        step = second(f"ours {precision}")
        return (EVERY - 1) * step + second(f"ours {precision}, removing")

    return seconds


def _our_run(precision: str) -> Cost:
    """The same with validation once an epoch."""
    training = _our_training(precision)
    per_removal = OUR_VALIDATION * EVERY / CIFAR_STEPS
    return lambda second: training(second) + per_removal * second(f"ours {precision} validation")


def _case(name: str, over: str, ours: Sequence[float], theirs: Sequence[float], bar: float | None) -> Case:
    ratio = summary([one / other for one, other in zip(ours, theirs, strict=True)])
    ms = {"ours": 1e3 * summary(ours).middle, "reference": 1e3 * summary(theirs).middle}
    return Case(
        name + over,
        f"ours {name.split()[-1]}, whole run",
        "masked reference fp32" + over,
        ratio,
        bar,
        {key: significant(value) for key, value in ms.items()},
    )


def totals(rounds: Rounds, seconds: Cost) -> list[float]:
    """For each round, the integral over removals of `seconds(second)`, a removal's worth of time.

    Args:
        rounds: removals -> what was measured at that size.
        seconds: is given a function from an action's name to its seconds in the round.
    """
    count = len(next(iter(next(iter(rounds.values())).seconds.values())))

    def total(number: int) -> float:
        def of(times: Times) -> float:
            return seconds(lambda name: times.seconds[name][number])

        return integral(list(rounds), [of(times) for times in rounds.values()])

    return [total(number) for number in range(count)]


def integral(points: Sequence[float], values: Sequence[float]) -> float:
    """Simpson's rule on evenly spaced points; trapezoids where their number is even."""
    steps = [right - left for left, right in pairwise(points)]
    assert max(steps) - min(steps) < 1e-9 * max(steps), points
    if len(points) % 2 == 0:
        return sum(step * (a + b) / 2 for step, (a, b) in zip(steps, pairwise(values), strict=True))
    weights = [1, *(4 if index % 2 else 2 for index in range(1, len(points) - 1)), 1]
    return steps[0] / 3 * sum(w * value for w, value in zip(weights, values, strict=True))


def order_of_removal(widths: Sequence[int], seed: int = 0) -> list[tuple[int, int]]:
    """(group, channel) of every channel that can go, at random; the first of each group stays."""
    every = [(group, channel) for group, width in enumerate(widths) for channel in range(1, width)]
    shuffled = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
    return [every[index] for index in shuffled.tolist()]


def without(whole: Family, gone: Sequence[tuple[int, int]]) -> Architecture:
    """The network without these channels."""
    widths = [width - sum(group == j for group, _ in gone) for j, width in enumerate(whole.widths)]
    return Architecture.of(whole).with_widths(widths)


def _at(removed: int, settings: Settings) -> Times:
    """All there is to measure after so many removals, interleaved."""
    whole = network("wrn-40-2", settings)
    compact = without(whole, order_of_removal(whole.widths)[:removed])
    actions = reference(removed, settings)
    for precision in BARS:
        actions |= _ours(compact, precision, settings)
    wait = finish(settings)
    if settings.device != "cpu":
        return measure(actions, rounds=settings.rounds, finish=wait, at_least_s=0)
    question = {"removed": removed, "quick": settings.quick}
    with Partner("benchmarks.fisher_run", question) as partner:
        actions[PUBLISHED] = Action(lambda: partner(REFERENCE))
        name = VALIDATIONS[REFERENCE]
        actions[VALIDATIONS[PUBLISHED]] = Action(lambda: partner(name), per=actions[name].per)
        return measure(actions, rounds=settings.rounds, finish=wait, at_least_s=0)


def reference(removed: int, settings: Settings) -> dict[str, Action]:
    """Its training step and its validation, after so many removals."""
    whole = network("wrn-40-2", settings)
    gone = order_of_removal(whole.widths)[:removed]
    masked = Masked(whole)  # type: ignore[arg-type]
    for group, channel in gone:
        masked.remove(group, channel)
    steps = Steps(masked, batch(settings), layout=torch.contiguous_format)
    return {REFERENCE: Action(steps), VALIDATIONS[REFERENCE]: _their_validation(steps.model, settings)}


def _ours(compact: Architecture, precision: str, settings: Settings) -> dict[str, Action]:
    def steps(every: int) -> RealSteps:
        method = Fisher(removals=NEVER, every=every)
        return RealSteps(compact.build(seed=0), settings, method=method, precision=precision)

    steady, removing = steps(NEVER), steps(1)
    count = _measured_images(settings)
    split = images(1, side(settings), test=count)
    return {
        f"ours {precision}": Action(steady),
        f"ours {precision}, removing": Action(removing),
        f"ours {precision} validation": Action(
            lambda: evaluate(steady.training.model, split.val, split, steady.training.runtime, precision),
            per=count,
        ),
    }


def _their_validation(model: nn.Module, settings: Settings) -> Action:
    """Batches of 50 that are there already, as contiguous tensors."""
    count = _measured_images(settings)
    x, _ = batch(settings, size=min(THEIR_BATCH, count))

    @torch.no_grad()
    def validate() -> None:
        model.eval()
        for _ in range(count // len(x)):
            model(x).argmax(1)
        model.train()

    return Action(validate, per=count)


def _measured_images(settings: Settings) -> int:
    return 20 if settings.quick else MEASURED_IMAGES


assert BATCH == 128  # what "every 100 steps" and the published settings are of


def child(question: dict[str, Any]) -> None:
    """In a process of its own, whose malloc nobody tuned."""
    actions = reference(question["removed"], Settings(quick=question["quick"]))
    serve({name: action.run for name, action in actions.items()})


if __name__ == "__main__":
    child(json.loads(sys.argv[1]))
