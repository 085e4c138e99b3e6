"""The chance of somebody else's code, held apart from ours: a loader's order is a function of a seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

Item = Any


def seeded(batches: Iterable[Item], seed: int) -> Iterator[Item]:
    """Go through an iterable as though the seed had been set, whatever others draw in between.

    The global generators of torch (CPU), numpy and `random` are the iterable's own while it works, and are
    given back each time. A `DataLoader`'s workers are seeded from torch's; generators that a loader or its
    samplers were given are seeded too.
    """
    chance = _Chance()
    with chance.taken():
        _seed_all(seed)
        for generator in _generators(batches):
            generator.manual_seed(seed)
        iterator = iter(batches)
    while True:
        with chance.taken():
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def _seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # the generator that datasets draw from
    random.seed(seed)


def _generators(batches: Any) -> list[torch.Generator]:
    """The generators that a loader and its samplers hold."""
    sampler = getattr(batches, "sampler", None)
    holders = (batches, sampler, getattr(getattr(batches, "batch_sampler", None), "sampler", None))
    found = [getattr(holder, "generator", None) for holder in holders]
    return [each for each in found if isinstance(each, torch.Generator)]


class _Chance:
    """The states of the global generators, while somebody else has them."""

    def __init__(self) -> None:
        self.states = _read()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Put these states in place, and take them away again as they are then."""
        before = _read()
        _write(self.states)
        try:
            yield
        finally:
            self.states = _read()
            _write(before)


def _read() -> tuple[torch.Tensor, Any, Any]:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def _write(states: tuple[torch.Tensor, Any, Any]) -> None:
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
