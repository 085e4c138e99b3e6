"""A rate for a network that comes trained, found on the validation split by a short search.

Each of a few rates trains the same weights on the same batches, the first part of an epoch, the rate rising
over half of it. The best validation accuracy wins; of equals the smallest rate, which changes least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from torch import nn

from secateur.device import Runtime
from secateur.errors import TrainingError
from secateur.progress import Reporter
from secateur.training.batches import AnyData, batches_of
from secateur.training.loop import Training
from secateur.training.meter import Meter
from secateur.training.recipe import Recipe
from secateur.training.terms import Terms

FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""The rates that are tried, as multiples of the recipe's."""

SHARE, FEWEST = 0.25, 10
"""How much of an epoch each is tried for, and how many steps at least (an epoch at most)."""


@dataclass(frozen=True)
class Tried:
    """A rate and what came of it; None: the loss was no number any more."""

    rate: float
    value: float | None


@dataclass(frozen=True)
class RateSearch:
    """What is tried on: the weights to start from (`make` builds them anew), data, recipe and seed."""

    make: Callable[[], nn.Module]
    data: AnyData
    recipe: Recipe
    seed: int
    runtime: Runtime
    terms: Terms

    def tried(self) -> Iterator[Tried]:
        """Try one rate after the other."""
        for factor in FACTORS:
            rate = float(f"{self.recipe.lr * factor:.3g}")
            yield Tried(rate, self._value_at(rate))

    @property
    def steps(self) -> int:
        """How many each rate is tried for."""
        batches = batches_of(self.data, self.recipe, self.seed, self.runtime).per_epoch()
        return min(batches, max(FEWEST, round(SHARE * batches)))

    def _value_at(self, rate: float) -> float | None:
        batches = batches_of(self.data, self.recipe, self.seed, self.runtime).per_epoch()
        rising = self.steps / batches / 2
        recipe = replace(self.recipe.undistilled(), lr=rate, epochs=1, warmup=rising, ema=None)
        training = Training(
            self.make(),
            self.data,
            recipe,
            seed=self.seed,
            runtime=self.runtime,
            reporter=Reporter(),
            epochs=1,
            terms=self.terms,
        )
        meter = Meter(training.progress, self.runtime.device, training.terms.task.metric)
        for x, y in islice(training.batches.of_epoch(0, 0, training.network.layout), self.steps):
            training.step(x, y, meter)
        try:
            meter.read(training.progress, rate)
        except TrainingError:  # the loss is no number any more
            return None
        return training.validated()


def best_of(tried: Sequence[Tried], better: Callable[[float, float], bool]) -> Tried:
    """The best rate; TrainingError where none kept the loss finite.

    Example:
        >>> best_of([Tried(1e-4, 0.9), Tried(1e-3, 0.9), Tried(1e-2, 0.1)], lambda a, b: a > b).rate
        0.0001
    """
    best: Tried | None = None
    for each in sorted(tried, key=lambda each: each.rate):
        if each.value is not None and (best is None or best.value is None or better(each.value, best.value)):
            best = each
    if best is None:
        raise TrainingError(
            f"no rate of {', '.join(f'{each.rate:g}' for each in tried)} kept the loss finite: check the data"
        )
    return best
